// SPDX-License-Identifier: Apache-2.0

//! MRENCLAVE (SDM, "Measurement", and `ECREATE`, `EADD`, `EEXTEND`).
//!
//! It is one SHA-256 over blocks of 64 bytes, in the order in which the enclave was built:
//!
//! | step | blocks |
//! |---|---|
//! | `ECREATE` | `ECREATE\0`, SSAFRAMESIZE (4), SIZE (8), zeros |
//! | `EADD` | `EADD\0\0\0\0`, offset of the page (8), the first 48 bytes of SECINFO |
//! | `EEXTEND` | `EEXTEND\0`, offset of the 256 bytes (8), zeros; then the 256 bytes |
//!
//! So size, order, place, type and rights of pages count, and their content as far as `EEXTEND` was told to. The
//! base does not count, nor do attributes, `MISCSELECT` and `CONFIGID`: signature and report say these.

use std::convert::Infallible;

use sgx_guest::page::SecInfo;
use sha2::{Digest as _, Sha256};

use crate::plan::{Page, Sink};
use crate::secs::Secs;

/// Bytes that one `EEXTEND` measures.
pub(crate) const CHUNK: usize = 256;

/// Measures what a launch would load.
#[derive(Debug, Clone, Default)]
pub struct Measurer(Sha256);

impl Measurer {
    fn block(&mut self, tag: &[u8; 8], fields: &[&[u8]]) {
        let mut block = [0; 64];
        let mut rest = &mut block[..];
        for field in [&tag[..]].iter().chain(fields) {
            // Longer than a block they never are together.
            let Some((to, behind)) = rest.split_at_mut_checked(field.len()) else { break };
            to.copy_from_slice(field);
            rest = behind;
        }
        self.0.update(block);
    }

    /// `ECREATE`.
    pub fn ecreate(&mut self, secs: &Secs) {
        // CET_LEG_BITMAP_OFFSET would follow; it is zero.
        let fields = [&secs.frame.pages.to_le_bytes()[..], &secs.size.to_le_bytes()];
        self.block(b"ECREATE\0", &fields);
    }

    /// `EADD` of a page at this offset from the base.
    pub fn eadd(&mut self, offset: u64, info: SecInfo) {
        let info = info.to_bytes();
        let measured = info.first_chunk::<48>().map_or(&info[..], |part| part);
        self.block(b"EADD\0\0\0\0", &[&offset.to_le_bytes(), measured]);
    }

    /// `EEXTEND` of 256 bytes at this offset from the base.
    pub fn eextend(&mut self, offset: u64, bytes: &[u8; CHUNK]) {
        self.block(b"EEXTEND\0", &[&offset.to_le_bytes()]);
        self.0.update(bytes);
    }

    /// MRENCLAVE of everything so far.
    #[must_use]
    pub fn mrenclave(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}

impl Sink for Measurer {
    type Error = Infallible;

    fn create(&mut self, secs: &Secs) -> Result<(), Infallible> {
        self.ecreate(secs);
        Ok(())
    }

    fn add(&mut self, page: &Page<'_>) -> Result<(), Infallible> {
        self.eadd(page.offset, page.info);
        if page.measured {
            let offsets = (page.offset..).step_by(CHUNK);
            for (offset, chunk) in offsets.zip(page.bytes.as_chunks::<CHUNK>().0) {
                self.eextend(offset, chunk);
            }
        }
        Ok(())
    }
}
