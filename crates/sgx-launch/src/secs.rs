// SPDX-License-Identifier: Apache-2.0

//! The control structure of an enclave (SDM, "SGX Enclave Control Structure (SECS)"), as its builder fills it.

use sgx_guest::attributes::{Attributes, KEEP_MISC, flag, xfrm};
use sgx_guest::range::Elrange;
use sgx_guest::ssa::Frame;

use crate::cpuid::Capabilities;
use crate::plan::PlanError;

/// What `ECREATE` is given: 4096 bytes of which most are zero.
///
/// `MRENCLAVE`, `MRSIGNER`, `ISVPRODID` and `ISVSVN` are zero here: the processor finds them out by itself and
/// from the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secs {
    /// `SIZE` in bytes: a power of two of at least two pages.
    pub size: u64,
    /// `BASEADDR`: a multiple of the size.
    pub base: u64,
    /// `SSAFRAMESIZE`.
    pub frame: Frame,
    /// `MISCSELECT`.
    pub misc_select: u32,
    /// `ATTRIBUTES`.
    pub attributes: Attributes,
    /// `CONFIGID`: the workload's digest. With KSS only.
    pub config_id: [u8; 64],
    /// `CONFIGSVN`. With KSS only.
    pub config_svn: u16,
}

/// Why `ECREATE` refuses; each is a general protection fault there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Size or base.
    #[error(
        "an enclave's size is a power of two of at least two pages, and its base a multiple of it"
    )]
    Range,
    /// The processor has no enclaves of this size.
    #[error("the processor has no enclaves above 2^{limit} bytes")]
    TooLarge {
        /// Largest size as a power of two.
        limit: u8,
    },
    /// Attributes that the processor does not have, or `INIT`.
    #[error("the processor does not offer the attributes {0:#x}")]
    Flags(u64),
    /// Components of the extended state that are missing or not possible.
    #[error("the processor does not offer the state components {0:#x}")]
    Xfrm(u64),
    /// Bits of `MISCSELECT` that the processor does not have.
    #[error("the processor does not save what MISCSELECT asks for: {0:#x}")]
    Misc(u32),
    /// The frame does not hold the state.
    #[error("a state save area of {pages} pages is too small, {needed} are needed")]
    Frame {
        /// What it has.
        pages: u32,
        /// What it needs.
        needed: u32,
    },
    /// A configuration without KSS.
    #[error("CONFIGID and CONFIGSVN need KSS")]
    Configuration,
}

impl Secs {
    /// Its length.
    pub const SIZE: usize = 4096;

    /// That of a Keep: attributes from the one place that has them, and the smallest frame for them.
    ///
    /// # Errors
    ///
    /// [`PlanError::Create`] with [`CreateError::Range`].
    pub fn keep(base: u64, size: u64, config_id: [u8; 64]) -> Result<Self, PlanError> {
        const FRAME: Frame = match Frame::smallest(Attributes::KEEP.xfrm, KEEP_MISC) {
            Some(frame) => frame,
            None => panic!("a Keep's state is known"),
        };
        let secs = Self {
            size,
            base,
            frame: FRAME,
            misc_select: KEEP_MISC,
            attributes: Attributes::KEEP,
            config_id,
            config_svn: 0,
        };
        secs.range().ok_or(CreateError::Range)?;
        Ok(secs)
    }

    /// Its addresses; none if they cannot be an enclave's.
    #[must_use]
    pub const fn range(&self) -> Option<Elrange> {
        Elrange::new(self.base, self.size)
    }

    /// Whether a processor makes such an enclave, by the rules of `ECREATE`.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(&self, processor: &Capabilities) -> Result<(), CreateError> {
        self.range().ok_or(CreateError::Range)?;
        if self.attributes.flags & flag::MODE64BIT == 0 {
            return Err(CreateError::Flags(self.attributes.flags));
        }
        if self.size > 1_u64.checked_shl(processor.max_size.into()).unwrap_or(u64::MAX) {
            return Err(CreateError::TooLarge { limit: processor.max_size });
        }
        let flags = self.attributes.flags & !(processor.attributes.flags & !flag::INIT);
        if flags != 0 {
            return Err(CreateError::Flags(flags));
        }
        let components = self.attributes.xfrm;
        let avx_512 = components & xfrm::AVX_512;
        let impossible = components & !processor.attributes.xfrm != 0
            || components & (xfrm::X87 | xfrm::SSE) != xfrm::X87 | xfrm::SSE
            || (avx_512 != 0 && (avx_512 != xfrm::AVX_512 || components & xfrm::AVX == 0))
            || !matches!(components & xfrm::AMX, 0 | xfrm::AMX);
        if impossible {
            return Err(CreateError::Xfrm(components));
        }
        if self.misc_select & !processor.misc_select != 0 {
            return Err(CreateError::Misc(self.misc_select & !processor.misc_select));
        }
        let needed = Frame::smallest(components, self.misc_select)
            .ok_or(CreateError::Xfrm(components))?
            .pages;
        if self.frame.pages < needed {
            return Err(CreateError::Frame { pages: self.frame.pages, needed });
        }
        let configured = self.config_id != [0; 64] || self.config_svn != 0;
        if configured && self.attributes.flags & flag::KSS == 0 {
            return Err(CreateError::Configuration);
        }
        Ok(())
    }

    /// The 4096 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let mut put = |at: usize, from: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(from) {
                *to = *from;
            }
        };
        put(0, &self.size.to_le_bytes());
        put(8, &self.base.to_le_bytes());
        put(16, &self.frame.pages.to_le_bytes());
        put(20, &self.misc_select.to_le_bytes());
        // 24: CET_LEG_BITMAP_OFFSET, 32: CET_ATTRIBUTES. A Keep has no CET.
        put(48, &self.attributes.to_bytes());
        put(192, &self.config_id);
        put(260, &self.config_svn.to_le_bytes());
        bytes
    }

    /// From the 4096 bytes; none if anything is set that this crate does not know.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
            bytes.get(at..)?.first_chunk().copied()
        }
        let secs = Self {
            size: u64::from_le_bytes(field(bytes, 0)?),
            base: u64::from_le_bytes(field(bytes, 8)?),
            frame: Frame { pages: u32::from_le_bytes(field(bytes, 16)?) },
            misc_select: u32::from_le_bytes(field(bytes, 20)?),
            attributes: Attributes::from_bytes(field(bytes, 48)?),
            config_id: field(bytes, 192)?,
            config_svn: u16::from_le_bytes(field(bytes, 260)?),
        };
        (secs.to_bytes() == *bytes).then_some(secs)
    }
}
