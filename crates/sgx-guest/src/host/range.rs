// SPDX-License-Identifier: Apache-2.0

//! Pointers and offsets, as the host reckons with them.

use crate::range::Elrange;

impl Elrange {
    /// Its first address.
    #[must_use]
    pub const fn base(self) -> u64 {
        self.base
    }

    /// Its length.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.size
    }

    /// How far into the enclave an address is.
    #[must_use]
    pub const fn offset(self, address: u64) -> Option<u64> {
        if self.contains(address) { Some(address.wrapping_sub(self.base)) } else { None }
    }

    /// Whether all `length` bytes from `address` are in the enclave. No bytes are inside if they begin inside,
    /// or at the end.
    #[must_use]
    pub const fn inside(self, address: u64, length: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        offset <= self.size && length <= self.size.saturating_sub(offset)
    }
}
