// SPDX-License-Identifier: Apache-2.0

//! What an enclave is allowed: `ATTRIBUTES` and `MISCSELECT` (SDM, "SECS"), and which of it a Keep has.
//!
//! This is the one place that says what a Keep asks for and what it must never be. The host builds the `SECS`
//! and the `SIGSTRUCT` from it, the Keep holds its own report against it before it does anything else, and a
//! sealing key covers every bit of it.

use crate::bytes::{LayoutError, get};
#[cfg(feature = "host")]
pub use crate::host::attributes::{FORBIDDEN_FLAGS, KEEP_MISC, misc};

/// Bits of `ATTRIBUTES.FLAGS`.
pub mod flag {
    #[cfg(feature = "host")]
    pub use crate::host::numbers::flag::*;

    /// The enclave was initialised: set by `EINIT`, never asked for.
    pub const INIT: u64 = 1 << 0;
    /// The host may read and write the enclave.
    pub const DEBUG: u64 = 1 << 1;
    /// The enclave runs in 64-bit mode.
    pub const MODE64BIT: u64 = 1 << 2;
    /// Key separation and sharing: `CONFIGID`, `CONFIGSVN` and the extended product identities.
    pub const KSS: u64 = 1 << 7;
}

/// Bits of `ATTRIBUTES.XFRM`, which are those of `XCR0`.
pub mod xfrm {
    #[cfg(feature = "host")]
    pub use crate::host::numbers::xfrm::*;

    /// x87; every enclave has it.
    pub const X87: u64 = 1 << 0;
    /// SSE; every enclave has it.
    pub const SSE: u64 = 1 << 1;
    /// AVX.
    pub const AVX: u64 = 1 << 2;
}

/// `FLAGS` of a Keep, as asked for at the launch.
///
/// `KSS`, because the workload's digest is the `CONFIGID`.
pub const KEEP_FLAGS: u64 = flag::MODE64BIT | flag::KSS;
/// `XFRM` of a Keep: what code for a Keep may use on any backend.
pub const KEEP_XFRM: u64 = xfrm::X87 | xfrm::SSE | xfrm::AVX;

/// `ATTRIBUTES`, 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `FLAGS`: bits of [`flag`].
    pub flags: u64,
    /// `XFRM`: bits of [`xfrm`].
    pub xfrm: u64,
}

impl Attributes {
    /// From the 16 bytes; all bits are kept.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self {
            flags: u64::from_le_bytes(get::<0, 8, 16>(&bytes)),
            xfrm: u64::from_le_bytes(get::<8, 8, 16>(&bytes)),
        }
    }

    /// Whether the host may look into the enclave.
    #[must_use]
    pub fn is_debug(self) -> bool {
        self.flags & flag::DEBUG != 0
    }

    /// Whether an enclave with these attributes can be a Keep: exactly [`Attributes::KEEP`], with or without
    /// [`flag::INIT`], which it has as soon as it runs. So it has none of [`FORBIDDEN_FLAGS`].
    ///
    /// # Errors
    ///
    /// [`LayoutError::Field`] with what is wrong.
    pub fn check_keep(self) -> Result<(), LayoutError> {
        if self.is_debug() {
            return Err(LayoutError::Field("ATTRIBUTES.DEBUG"));
        }
        if self.flags & !flag::INIT != KEEP_FLAGS {
            return Err(LayoutError::Field("ATTRIBUTES.FLAGS"));
        }
        if self.xfrm != KEEP_XFRM {
            return Err(LayoutError::Field("ATTRIBUTES.XFRM"));
        }
        Ok(())
    }
}
