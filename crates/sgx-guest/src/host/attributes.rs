// SPDX-License-Identifier: Apache-2.0

//! Attributes for processor and host, and under a mask; and what a Keep asks for beside them.

use crate::attributes::{Attributes, KEEP_FLAGS, KEEP_XFRM, flag};
use crate::bytes::put;

/// Bits of `MISCSELECT`.
pub mod misc {
    /// Address and error code of page faults and general protection faults are saved (`EXINFO`).
    pub const EXINFO: u32 = 1 << 0;
    /// Causes of control protection exceptions are saved (`CPINFO`).
    pub const CPINFO: u32 = 1 << 1;
}

/// `MISCSELECT` of a Keep: without `EXINFO` it would have to believe the host where a page fault was.
pub const KEEP_MISC: u32 = misc::EXINFO;
/// `FLAGS` that no Keep may have: the first lets the host in, the others are keys that a Keep has no business with.
pub const FORBIDDEN_FLAGS: u64 = flag::DEBUG | flag::PROVISION_KEY | flag::EINITTOKEN_KEY;

const _: () = assert!(KEEP_FLAGS & FORBIDDEN_FLAGS == 0);

impl Attributes {
    /// What a Keep asks for.
    pub const KEEP: Self = Self { flags: KEEP_FLAGS, xfrm: KEEP_XFRM };
    /// Every bit: the mask of Keeps' `SIGSTRUCT`s and of their key requests. With it no attribute can be
    /// changed under a signature, nor can an enclave with another one, above all [`flag::DEBUG`], have the key.
    pub const ALL: Self = Self { flags: !0, xfrm: !0 };

    /// The 16 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        put::<0, 8, 16>(&mut bytes, self.flags.to_le_bytes());
        put::<8, 8, 16>(&mut bytes, self.xfrm.to_le_bytes());
        bytes
    }

    /// Bit by bit.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { flags: self.flags & other.flags, xfrm: self.xfrm & other.xfrm }
    }
}
