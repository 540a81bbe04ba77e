// SPDX-License-Identifier: Apache-2.0

//! State save areas as the processor writes them, and how long they are.

use crate::attributes::{misc, xfrm};
use crate::bytes::{get, put};
use crate::page::PAGE;
use crate::ssa::{EXINFO, ExInfo, ExitInfo, ExitType, GPRS, offset};

/// Bytes of the part of the extended state that is always there: x87, SSE and the header.
const LEGACY: u64 = 576;

/// Bytes of extended state with these components, in the standard format; none if a component is unknown here
/// or x87 or SSE is missing.
///
/// Offsets are those that every processor has had (SDM, volume 1, "XSAVE area"); the processor's own word is
/// CPUID leaf 0xd, which an enclave cannot ask and a host can.
#[must_use]
pub const fn xsave_size(components: u64) -> Option<u64> {
    const KNOWN: u64 = xfrm::X87 | xfrm::SSE | xfrm::AVX | xfrm::AVX_512 | xfrm::PKRU | xfrm::AMX;
    if components & 3 != 3 || components & !KNOWN != 0 {
        return None;
    }
    Some(match 63 - components.leading_zeros() {
        2 => LEGACY + 256,
        5 => 1088 + 64,
        6 => 1152 + 512,
        7 => 1664 + 1024,
        9 => 2688 + 8,
        17 => 2752 + 64,
        18 => 2816 + 8192,
        _ => LEGACY,
    })
}

/// Bytes of the MISC region; none for bits that are unknown here.
#[must_use]
pub const fn misc_size(select: u32) -> Option<u64> {
    if select & !(misc::EXINFO | misc::CPINFO) != 0 {
        return None;
    }
    // The highest bit counts, for components below it keep their place.
    Some(16 * (32 - select.leading_zeros()) as u64)
}

/// A frame: how long it is and what lies where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Pages (`SECS.SSAFRAMESIZE`).
    pub pages: u32,
}

impl Frame {
    /// The smallest frame that holds these components (`XFRM` and `MISCSELECT`); none if one is unknown here.
    #[must_use]
    pub const fn smallest(components: u64, select: u32) -> Option<Self> {
        match (xsave_size(components), misc_size(select)) {
            (Some(state), Some(misc)) => {
                Some(Self { pages: (state + misc + GPRS as u64).div_ceil(PAGE) as u32 })
            }
            _ => None,
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.pages as u64 * PAGE
    }

    /// Where `GPRSGX` begins in the frame.
    #[must_use]
    pub const fn gprs(self) -> u64 {
        self.size().saturating_sub(GPRS as u64)
    }

    /// Where `EXINFO` begins in the frame.
    #[must_use]
    pub const fn exinfo(self) -> u64 {
        self.gprs().saturating_sub(EXINFO as u64)
    }

    /// Where the frame with this number begins: `base` is the first one, at `TCS.OSSA`. While a handler runs,
    /// `CSSA` is one more than the number of the frame that holds what was interrupted.
    #[must_use]
    pub const fn at(self, base: u64, number: u32) -> Option<u64> {
        match self.size().checked_mul(number as u64) {
            Some(offset) => base.checked_add(offset),
            None => None,
        }
    }
}

impl ExitInfo {
    /// The 4 bytes.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        let kind = match self.kind {
            ExitType::Hardware => 3,
            ExitType::Software => 6,
        };
        Self::VALID | kind << 8 | self.vector as u32
    }
}

impl ExInfo {
    /// The 16 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; EXINFO] {
        let mut bytes = [0; EXINFO];
        put::<0, 8, EXINFO>(&mut bytes, self.address.to_le_bytes());
        put::<8, 4, EXINFO>(&mut bytes, self.error.to_le_bytes());
        bytes
    }
}

/// `GPRSGX`: registers of a thread that left its enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gprs {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: in the order of their numbers.
    pub registers: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// RIP: of the instruction that faulted, or of the next one.
    pub rip: u64,
    /// RSP outside.
    pub outer_rsp: u64,
    /// RBP outside.
    pub outer_rbp: u64,
    /// EXITINFO, as it is.
    pub exit_info: u32,
    /// AEXNOTIFY: bit 0.
    pub aex_notify: u8,
    /// Base of FS.
    pub fs_base: u64,
    /// Base of GS.
    pub gs_base: u64,
}

impl Gprs {
    /// From the 184 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; GPRS]) -> Self {
        let mut registers = [0; 16];
        for (to, from) in registers.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *to = u64::from_le_bytes(*from);
        }
        let [aex_notify] = get::<{ offset::AEX_NOTIFY }, 1, GPRS>(bytes);
        Self {
            registers,
            rflags: u64::from_le_bytes(get::<{ offset::RFLAGS }, 8, GPRS>(bytes)),
            rip: u64::from_le_bytes(get::<{ offset::RIP }, 8, GPRS>(bytes)),
            outer_rsp: u64::from_le_bytes(get::<{ offset::URSP }, 8, GPRS>(bytes)),
            outer_rbp: u64::from_le_bytes(get::<{ offset::URBP }, 8, GPRS>(bytes)),
            exit_info: u32::from_le_bytes(get::<{ offset::EXITINFO }, 4, GPRS>(bytes)),
            aex_notify,
            fs_base: u64::from_le_bytes(get::<{ offset::FS_BASE }, 8, GPRS>(bytes)),
            gs_base: u64::from_le_bytes(get::<{ offset::GS_BASE }, 8, GPRS>(bytes)),
        }
    }

    /// The 184 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; GPRS] {
        let mut bytes = [0; GPRS];
        for (to, from) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.registers) {
            *to = from.to_le_bytes();
        }
        put::<{ offset::RFLAGS }, 8, GPRS>(&mut bytes, self.rflags.to_le_bytes());
        put::<{ offset::RIP }, 8, GPRS>(&mut bytes, self.rip.to_le_bytes());
        put::<{ offset::URSP }, 8, GPRS>(&mut bytes, self.outer_rsp.to_le_bytes());
        put::<{ offset::URBP }, 8, GPRS>(&mut bytes, self.outer_rbp.to_le_bytes());
        put::<{ offset::EXITINFO }, 4, GPRS>(&mut bytes, self.exit_info.to_le_bytes());
        put::<{ offset::AEX_NOTIFY }, 1, GPRS>(&mut bytes, [self.aex_notify]);
        put::<{ offset::FS_BASE }, 8, GPRS>(&mut bytes, self.fs_base.to_le_bytes());
        put::<{ offset::GS_BASE }, 8, GPRS>(&mut bytes, self.gs_base.to_le_bytes());
        bytes
    }
}
