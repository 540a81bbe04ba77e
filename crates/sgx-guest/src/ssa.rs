// SPDX-License-Identifier: Apache-2.0

//! State save areas: what the processor writes down when a thread leaves its enclave without having asked to
//! (SDM, "State Save Area (SSA) Frame").
//!
//! ```text
//! 0                                     extended state, as XSAVE lays it out
//! size - 184 - MISC                     MISC: EXINFO at its upper end
//! size - 184                            GPRSGX
//! size
//! ```
//!
//! A frame is the enclave's memory, so the host cannot write to it. But the host chooses when it is written,
//! and whether the enclave is entered again while one is in use.

use crate::bytes::{LayoutError, get};
#[cfg(feature = "host")]
pub use crate::host::ssa::{Frame, Gprs, misc_size, xsave_size};

/// Bytes of `GPRSGX`.
pub const GPRS: usize = 184;
/// Bytes of `EXINFO`.
pub const EXINFO: usize = 16;

/// Where registers lie in `GPRSGX`; each has 8 bytes.
pub mod offset {
    #[cfg(feature = "host")]
    pub use crate::host::numbers::offset::*;

    /// RAX.
    pub const RAX: usize = 0;
    /// RSP.
    pub const RSP: usize = 32;
    /// RFLAGS.
    pub const RFLAGS: usize = 128;
    /// RIP.
    pub const RIP: usize = 136;
    /// EXITINFO, 4 bytes.
    pub const EXITINFO: usize = 160;
}

/// How `EXITINFO` says that an exception came about (`EXIT_TYPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitType {
    /// By the processor.
    Hardware,
    /// By an instruction that asks for it: `int3`.
    Software,
}

/// `EXITINFO`: an exception that the processor vouches for, or none.
///
/// Interrupts and exceptions that are not for enclaves leave nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitInfo {
    /// The exception's number.
    pub vector: u8,
    /// How it came about.
    pub kind: ExitType,
}

impl ExitInfo {
    pub(crate) const VALID: u32 = 1 << 31;

    /// From the 4 bytes; `None` inside if no exception is reported.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Reserved`], [`LayoutError::Field`]: no processor writes that.
    pub fn from_bits(bits: u32) -> Result<Option<Self>, LayoutError> {
        let [vector, ..] = bits.to_le_bytes();
        if bits & !(Self::VALID | 0x7ff) != 0 {
            return Err(LayoutError::Reserved("EXITINFO"));
        }
        if bits & Self::VALID == 0 {
            return Ok(None);
        }
        let kind = match bits >> 8 & 7 {
            3 => ExitType::Hardware,
            6 => ExitType::Software,
            _ => return Err(LayoutError::Field("EXITINFO.EXIT_TYPE")),
        };
        Ok(Some(Self { vector, kind }))
    }
}

/// `EXINFO`: where a page fault was, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExInfo {
    /// `MADDR`: the address, all bits of it; 0 for a general protection fault.
    pub address: u64,
    /// `ERRCD`: bits of [`fault`].
    pub error: u32,
}

/// Bits of a page fault's error code.
pub mod fault {
    #[cfg(feature = "host")]
    pub use crate::host::numbers::fault::*;

    /// It was to be written.
    pub const WRITE: u32 = 1 << 1;
    /// It was to be executed.
    pub const FETCH: u32 = 1 << 4;
}

impl ExInfo {
    /// From the 16 bytes. The last four have no meaning.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; EXINFO]) -> Self {
        Self {
            address: u64::from_le_bytes(get::<0, 8, EXINFO>(bytes)),
            error: u32::from_le_bytes(get::<8, 4, EXINFO>(bytes)),
        }
    }
}
