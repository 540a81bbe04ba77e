// SPDX-License-Identifier: Apache-2.0

//! One bit for each of the 512 pages of a chunk.

use core::ops::Range;

/// Pages in a chunk.
pub(crate) const PAGES: usize = 512;

/// A set of pages of a chunk. Indices are taken modulo 512, so that no index can be out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits([u64; 8]);

impl Bits {
    pub(crate) const ALL: Self = Self([u64::MAX; 8]);
    pub(crate) const NONE: Self = Self([0; 8]);

    pub(crate) fn get(&self, index: usize) -> bool {
        self.0[index / 64 % 8] >> (index % 64) & 1 != 0
    }

    pub(crate) fn set(&mut self, index: usize, value: bool) {
        let bit = 1 << (index % 64);
        if value {
            self.0[index / 64 % 8] |= bit;
        } else {
            self.0[index / 64 % 8] &= !bit;
        }
    }

    pub(crate) fn fill(&mut self, range: Range<usize>, value: bool) {
        range.for_each(|index| self.set(index, value));
    }

    /// The first page in the set.
    pub(crate) fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    /// The first page of `len` pages in a row that are not in the set.
    pub(crate) fn gap(&self, len: usize) -> Option<usize> {
        let mut start = 0;
        for index in 0..PAGES {
            if self.get(index) {
                start = index + 1;
            } else if index + 1 - start >= len {
                return Some(start);
            }
        }
        None
    }
}
