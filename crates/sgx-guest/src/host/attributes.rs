// SPDX-License-Identifier: Apache-2.0

//! Attributes for processor and host, and under a mask.

use crate::attributes::Attributes;
#[cfg(doc)]
use crate::attributes::flag;
use crate::bytes::put;

impl Attributes {
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
