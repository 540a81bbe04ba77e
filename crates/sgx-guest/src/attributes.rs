// SPDX-License-Identifier: Apache-2.0

//! What an enclave is allowed: `ATTRIBUTES` and `MISCSELECT` (SDM, "SECS"), and which of it a Keep has.
//!
//! This is the one place that says what a Keep asks for and what it must never be. The host builds the `SECS`
//! and the `SIGSTRUCT` from it, the Keep holds its own report against it before it does anything else, and a
//! sealing key covers every bit of it.

use crate::bytes::{LayoutError, get};

/// Bits of `ATTRIBUTES.FLAGS`.
pub mod flag {
    /// The enclave was initialised: set by `EINIT`, never asked for.
    pub const INIT: u64 = 1 << 0;
    /// The host may read and write the enclave.
    pub const DEBUG: u64 = 1 << 1;
    /// The enclave runs in 64-bit mode.
    pub const MODE64BIT: u64 = 1 << 2;
    /// The enclave may have the provisioning keys, which name the platform.
    pub const PROVISION_KEY: u64 = 1 << 4;
    /// The enclave may have the launch key.
    pub const EINITTOKEN_KEY: u64 = 1 << 5;
    /// Control-flow enforcement in the enclave.
    pub const CET: u64 = 1 << 6;
    /// Key separation and sharing: `CONFIGID`, `CONFIGSVN` and the extended product identities.
    pub const KSS: u64 = 1 << 7;
    /// Threads may ask to be told of asynchronous exits.
    pub const AEX_NOTIFY: u64 = 1 << 10;
}

/// Bits of `ATTRIBUTES.XFRM`, which are those of `XCR0`.
pub mod xfrm {
    /// x87; every enclave has it.
    pub const X87: u64 = 1 << 0;
    /// SSE; every enclave has it.
    pub const SSE: u64 = 1 << 1;
    /// AVX.
    pub const AVX: u64 = 1 << 2;
    /// The three components of AVX-512.
    pub const AVX_512: u64 = 0b111 << 5;
    /// Protection keys of user pages.
    pub const PKRU: u64 = 1 << 9;
    /// The two components of AMX.
    pub const AMX: u64 = 0b11 << 17;
}

/// Bits of `MISCSELECT`.
pub mod misc {
    /// Address and error code of page faults and general protection faults are saved (`EXINFO`).
    pub const EXINFO: u32 = 1 << 0;
    /// Causes of control protection exceptions are saved (`CPINFO`).
    pub const CPINFO: u32 = 1 << 1;
}

/// `FLAGS` of a Keep, as asked for at the launch.
///
/// `KSS`, because the workload's digest is the `CONFIGID`.
pub const KEEP_FLAGS: u64 = flag::MODE64BIT | flag::KSS;
/// `XFRM` of a Keep: what code for a Keep may use on any backend.
pub const KEEP_XFRM: u64 = xfrm::X87 | xfrm::SSE | xfrm::AVX;
/// `MISCSELECT` of a Keep: without `EXINFO` it would have to believe the host where a page fault was.
pub const KEEP_MISC: u32 = misc::EXINFO;
/// `FLAGS` that no Keep may have: the first lets the host in, the others are keys that a Keep has no business with.
pub const FORBIDDEN_FLAGS: u64 = flag::DEBUG | flag::PROVISION_KEY | flag::EINITTOKEN_KEY;

/// `ATTRIBUTES`, 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `FLAGS`: bits of [`flag`].
    pub flags: u64,
    /// `XFRM`: bits of [`xfrm`].
    pub xfrm: u64,
}

impl Attributes {
    /// What a Keep asks for.
    pub const KEEP: Self = Self { flags: KEEP_FLAGS, xfrm: KEEP_XFRM };

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
    /// [`flag::INIT`], which it has as soon as it runs.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Field`] with what is wrong.
    pub fn check_keep(self) -> Result<(), LayoutError> {
        if self.is_debug() {
            return Err(LayoutError::Field("ATTRIBUTES.DEBUG"));
        }
        if self.flags & FORBIDDEN_FLAGS != 0 {
            return Err(LayoutError::Field("ATTRIBUTES: a key that is not for Keeps"));
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

const _: () = assert!(KEEP_FLAGS & FORBIDDEN_FLAGS == 0);
