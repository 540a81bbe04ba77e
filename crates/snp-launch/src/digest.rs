// SPDX-License-Identifier: Apache-2.0

//! The launch digest: a chain over pages, as the firmware computes it.
//!
//! The digest is 48 zero bytes at first; each page replaces it by the SHA-384 of a `PAGE_INFO`
//! (AMD 56860, section 8.17.2, table 67), 112 bytes:
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0x00 | 48 | `DIGEST_CUR`: the digest so far |
//! | 0x30 | 48 | `CONTENTS`: SHA-384 of the page, for normal pages and VMSAs; else zeros |
//! | 0x60 | 2 | `LENGTH`: 0x70 |
//! | 0x62 | 1 | `PAGE_TYPE` |
//! | 0x63 | 1 | `IMI_PAGE`: 0 |
//! | 0x64 | 4 | rights of less privileged levels: none, for a Keep has none |
//! | 0x68 | 8 | `GPA`: the physical address |

use sha2::{Digest as _, Sha384};

use crate::PAGE;

/// Where a VMSA is said to be.
const VMSA_ADDRESS: u64 = 0xffff_ffff_f000;

/// `PAGE_TYPE` of SNP_LAUNCH_UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PageType {
    /// Encrypted and measured.
    Normal = 1,
    /// A processor's state: encrypted and measured.
    Vmsa = 2,
    /// Cleared.
    Zero = 3,
    /// Encrypted, but not measured.
    Unmeasured = 4,
    /// Filled by the firmware with secrets.
    Secrets = 5,
    /// Checked by the firmware.
    Cpuid = 6,
}

/// What a launch puts at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update<'a> {
    /// Whole pages.
    Normal(&'a [u8]),
    /// A processor's state; it has no address.
    Vmsa(&'a [u8; PAGE]),
    /// So many bytes of zeros; whole pages.
    Zero(u64),
    /// Whole pages.
    Unmeasured(&'a [u8]),
    /// A page for secrets.
    Secrets,
    /// A page with the answers of `cpuid`. Which is not measured, so a plan has none.
    Cpuid,
}

impl Update<'_> {
    /// The type of its pages.
    #[must_use]
    pub fn page_type(&self) -> PageType {
        match self {
            Self::Normal(_) => PageType::Normal,
            Self::Vmsa(_) => PageType::Vmsa,
            Self::Zero(_) => PageType::Zero,
            Self::Unmeasured(_) => PageType::Unmeasured,
            Self::Secrets => PageType::Secrets,
            Self::Cpuid => PageType::Cpuid,
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Normal(bytes) | Self::Unmeasured(bytes) => bytes.len() as u64,
            Self::Zero(length) => *length,
            Self::Vmsa(_) | Self::Secrets | Self::Cpuid => PAGE as u64,
        }
    }
}

/// Why pages cannot be launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Address or length are not those of whole pages, or there is none.
    #[error("{length:#x} bytes at {address:#x} are not whole pages")]
    Pages {
        /// The address.
        address: u64,
        /// The length.
        length: u64,
    },
}

/// How many bytes of which kind were launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Encrypted and hashed.
    pub normal: u64,
    /// Processors' states: encrypted and hashed.
    pub vmsa: u64,
    /// Cleared.
    pub zero: u64,
    /// All else.
    pub other: u64,
}

impl Size {
    /// Bytes that the firmware hashes and encrypts: what makes a launch slow, and what has to be
    /// trusted.
    #[must_use]
    pub fn measured(&self) -> u64 {
        self.normal + self.vmsa
    }
}

/// The digest over all pages so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchDigest {
    value: [u8; 48],
    size: Size,
}

impl Default for LaunchDigest {
    fn default() -> Self {
        Self { value: [0; 48], size: Size::default() }
    }
}

impl LaunchDigest {
    /// The digest.
    #[must_use]
    pub fn value(&self) -> [u8; 48] {
        self.value
    }

    /// How much went in.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Adds pages from a physical address on.
    ///
    /// # Errors
    ///
    /// [`DigestError`]; then nothing was added.
    pub fn update(&mut self, address: u64, update: &Update<'_>) -> Result<(), DigestError> {
        let length = update.length();
        let page = PAGE as u64;
        let whole = address.is_multiple_of(page) && length.is_multiple_of(page) && length != 0;
        if !whole || address.checked_add(length).is_none() {
            return Err(DigestError::Pages { address, length });
        }
        let kind = update.page_type();
        match update {
            Update::Normal(bytes) => {
                for (address, page) in (address..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
                    self.page(kind, address, &Sha384::digest(page).into());
                }
                self.size.normal += length;
            }
            Update::Vmsa(bytes) => {
                self.page(kind, VMSA_ADDRESS, &Sha384::digest(bytes).into());
                self.size.vmsa += length;
            }
            _ => {
                for offset in (0..length).step_by(PAGE) {
                    self.page(kind, address + offset, &[0; 48]);
                }
                let size = &mut self.size;
                *(if kind == PageType::Zero { &mut size.zero } else { &mut size.other }) += length;
            }
        }
        Ok(())
    }

    fn page(&mut self, kind: PageType, address: u64, contents: &[u8; 48]) {
        let mut hash = Sha384::new();
        hash.update(self.value);
        hash.update(contents);
        hash.update([0x70, 0, kind as u8, 0, 0, 0, 0, 0]);
        hash.update(address.to_le_bytes());
        self.value = hash.finalize().into();
    }
}
