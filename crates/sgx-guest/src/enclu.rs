// SPDX-License-Identifier: Apache-2.0

//! Numbers: leaf functions of `ENCLU` and `ENCLS`, and what they answer in RAX (SDM, "SGX Instruction
//! References", "Error Codes").

#[cfg(feature = "host")]
pub use crate::host::enclu::{Encls, Enclu, ErrorCode};

/// Leaf functions of `ENCLU` that a Keep uses, as its registers want them.
pub mod leaf {
    /// A report for another enclave.
    pub const EREPORT: u32 = 0;
    /// A key.
    pub const EGETKEY: u32 = 1;
    /// Accepts what was done to a page.
    pub const EACCEPT: u32 = 5;
    /// More rights for a page.
    pub const EMODPE: u32 = 6;
    /// Accepts a page that was added, with content.
    pub const EACCEPTCOPY: u32 = 7;
}

/// `SGX_PAGE_ATTRIBUTES_MISMATCH`, what `EACCEPT` says of a page that is not what was to be accepted.
pub const PAGE_ATTRIBUTES_MISMATCH: u64 = 19;
