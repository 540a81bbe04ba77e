// SPDX-License-Identifier: Apache-2.0

//! Pointers: wholly inside the enclave, or wholly outside of it.
//!
//! Enclave code can touch the host's memory and its own with the same instructions. So a pointer that came
//! from the host and points into the enclave makes the enclave overwrite or reveal itself, and one of the
//! Keep's own that points outside hands its data to the host. Both are checked before the first byte is
//! touched, lengths included, without an addition that may overflow.
//!
//! A Keep takes no pointer from its host, only offsets in a block whose place is measured. So what is here serves
//! the launch, which holds that place against the enclave's addresses, and the stand-in, whose instructions take
//! pointers as the processor's do.

use crate::page::PAGE;

/// First address that user programs do not have with four levels of page tables.
const USER_END: u64 = 1 << 47;

/// The addresses of an enclave (`ELRANGE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elrange {
    base: u64,
    size: u64,
}

impl Elrange {
    /// As an enclave's control structure has it: `size` a power of two of at least two pages, `base` a multiple
    /// of it, all of it addresses of user programs.
    #[must_use]
    pub const fn new(base: u64, size: u64) -> Option<Self> {
        if !size.is_power_of_two() || size < 2 * PAGE || !base.is_multiple_of(size) {
            return None;
        }
        match base.checked_add(size) {
            Some(end) if end <= USER_END => Some(Self { base, size }),
            _ => None,
        }
    }

    /// The first address behind it.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.base.saturating_add(self.size)
    }

    /// Whether one address is in the enclave.
    #[must_use]
    pub const fn contains(self, address: u64) -> bool {
        // One comparison, which cannot overflow.
        address.wrapping_sub(self.base) < self.size
    }

    /// Whether all `length` bytes from `address` are addresses of user programs outside of the enclave. No
    /// bytes are outside wherever they do not begin strictly inside.
    #[must_use]
    pub const fn outside(self, address: u64, length: u64) -> bool {
        let Some(end) = address.checked_add(length) else { return false };
        end <= USER_END && (end <= self.base || address >= self.end())
    }

    /// As [`Elrange::outside`], for bytes that are read: they begin and end on eight bytes.
    ///
    /// A host may map device memory there. Some processors then return stale data of others, or of this
    /// enclave, for what a read of less than eight aligned bytes leaves out (Intel, "MMIO stale data", SA-00615,
    /// and "stale data read from legacy xAPIC", SA-00657). Reads of aligned words do not have it.
    #[must_use]
    pub const fn outside_words(self, address: u64, length: u64) -> bool {
        address.is_multiple_of(8) && length.is_multiple_of(8) && self.outside(address, length)
    }

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
