// SPDX-License-Identifier: Apache-2.0

//! Pages of an enclave: types, rights, `SECINFO`, and what is accepted.

use crate::bytes::put;
#[cfg(feature = "host")]
pub use crate::host::page::Tcs;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Types of pages (SDM, "PAGE_TYPE").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PageType {
    /// The enclave's control structure.
    Secs = 0,
    /// A thread control structure.
    Tcs = 1,
    /// Code and data.
    Reg = 2,
    /// Versions of pages that were evicted.
    Va = 3,
    /// Given up by the enclave, to be removed.
    Trim = 4,
    /// The first page of a shadow stack.
    ShadowFirst = 5,
    /// Another page of a shadow stack.
    ShadowRest = 6,
}

/// What can be done with a page: bits as in `SECINFO.FLAGS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(pub(crate) u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// To be read.
    pub const R: Self = Self(1);
    /// To be read and written.
    pub const RW: Self = Self(3);
    /// The lower three bits: read, write, execute.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self((bits & 7) as u8)
    }

    /// Read 1, write 2, execute 4.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0 as u64
    }

    /// Whether these are all among `others`.
    #[must_use]
    pub const fn within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }
}

/// `SECINFO` (SDM, "SECINFO"), 64 bytes, aligned to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecInfo {
    /// Read, write, execute.
    pub rights: Rights,
    /// `PENDING`: added to a running enclave, which did not accept it yet.
    pub pending: bool,
    /// `MODIFIED`: of a new type, which the enclave did not accept yet.
    pub modified: bool,
    /// `PR`: its rights were taken, which the enclave did not accept yet.
    pub restricted: bool,
    /// `PAGE_TYPE`.
    pub page_type: PageType,
}

impl SecInfo {
    /// Its length.
    pub const SIZE: usize = 64;
    /// An ordinary page with these rights.
    #[must_use]
    pub const fn reg(rights: Rights) -> Self {
        let page_type = PageType::Reg;
        Self { rights, pending: false, modified: false, restricted: false, page_type }
    }

    /// What the enclave accepts after `EAUG`: an empty page to be read and written.
    #[must_use]
    pub const fn added() -> Self {
        Self { pending: true, ..Self::reg(Rights::RW) }
    }

    /// What the enclave accepts after `EMODPR`: a page that has these rights now.
    #[must_use]
    pub const fn restricted(rights: Rights) -> Self {
        Self { restricted: true, ..Self::reg(rights) }
    }

    /// What the enclave accepts after `EMODT`: a page that became a thread, or is to be removed.
    #[must_use]
    pub const fn modified(page_type: PageType) -> Self {
        Self { modified: true, page_type, ..Self::reg(Rights::NONE) }
    }

    /// `FLAGS`.
    #[must_use]
    pub const fn flags(self) -> u64 {
        self.rights.bits()
            | (self.pending as u64) << 3
            | (self.modified as u64) << 4
            | (self.restricted as u64) << 5
            | (self.page_type as u64) << 8
    }

    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<0, 8, 64>(&mut bytes, self.flags().to_le_bytes());
        bytes
    }
}
