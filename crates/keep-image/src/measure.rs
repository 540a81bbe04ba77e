// SPDX-License-Identifier: Apache-2.0

//! The launch digest: a hash chain over the pages of an image.
//!
//! It is the chain by which SEV-SNP's firmware measures a launch (SEV Secure Nested Paging
//! Firmware ABI Specification, revision 1.55, section 8.17, `PAGE_INFO`), so the offline
//! measurement works alike for a backend with that firmware and for one without. The digest
//! starts as 48 zero bytes; each page replaces it by the SHA-384 of these 112 bytes:
//!
//! | offset | length | content |
//! |---|---|---|
//! | 0x00 | 48 | the digest so far |
//! | 0x30 | 48 | SHA-384 of the page |
//! | 0x60 | 2 | 0x70, the length of this structure |
//! | 0x62 | 1 | type of the page: 1 for a page of memory, 2 for the processor's state |
//! | 0x63 | 1 | 0: not a page of a migration image |
//! | 0x64 | 3 | 0: no rights for less privileged levels |
//! | 0x67 | 1 | 0 |
//! | 0x68 | 8 | physical address |
//!
//! Pages are taken by ascending address, the processor's state last, at address
//! `0xffff_ffff_f000`. Its page holds `KEEPVCPU` and the words of [`Start`], little-endian, then
//! zeros; a backend with the firmware measures the page that its hardware loads instead.

use sha2::{Digest as _, Sha384};

use keep_layout::PAGE;

use crate::cpu::Start;
use crate::image::{PageKind, Sink};

/// The name of the digest and of what it is made over.
pub const ALGORITHM: &str = "sha384/pages-v1";

const TYPE_NORMAL: u8 = 1;
const TYPE_STATE: u8 = 2;
const STATE_ADDRESS: u64 = 0xffff_ffff_f000;

/// A sink that measures what a launch would load.
#[derive(Debug, Clone)]
pub struct Measurer {
    digest: [u8; 48],
    size: u64,
}

impl Default for Measurer {
    fn default() -> Self {
        Self { digest: [0; 48], size: 0 }
    }
}

impl Measurer {
    /// The digest over everything so far.
    pub fn digest(&self) -> [u8; 48] {
        self.digest
    }

    /// The digest in lower-case hex.
    pub fn hex(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes of memory that were measured.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn page(&mut self, kind: u8, address: u64, bytes: &[u8]) {
        let mut info = [0; 0x70];
        info[..0x30].copy_from_slice(&self.digest);
        info[0x30..0x60].copy_from_slice(&Sha384::digest(bytes));
        info[0x60..0x62].copy_from_slice(&0x70_u16.to_le_bytes());
        info[0x62] = kind;
        info[0x68..].copy_from_slice(&address.to_le_bytes());
        self.digest = Sha384::digest(info).into();
    }
}

impl Sink for Measurer {
    type Error = std::convert::Infallible;

    fn pages(&mut self, phys: u64, _: PageKind, bytes: &[u8]) -> Result<(), Self::Error> {
        for (address, page) in (phys..).step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize)) {
            self.page(TYPE_NORMAL, address, page);
            self.size += page.len() as u64;
        }
        Ok(())
    }

    fn start(&mut self, start: &Start) -> Result<(), Self::Error> {
        let mut page = [0; PAGE as usize];
        page[..8].copy_from_slice(b"KEEPVCPU");
        for (to, word) in page[8..].as_chunks_mut::<8>().0.iter_mut().zip(start.to_words()) {
            *to = word.to_le_bytes();
        }
        self.page(TYPE_STATE, STATE_ADDRESS, &page);
        Ok(())
    }
}
