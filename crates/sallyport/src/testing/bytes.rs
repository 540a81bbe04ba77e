// SPDX-License-Identifier: Apache-2.0

//! Turns the bytes of a fuzzer into decisions.

use crate::{DATA, SHARED_SIZE};

/// Bytes to decide by; zeros follow at the end.
#[derive(Debug)]
pub struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// All decisions that `bytes` hold.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One of 256.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    /// A word: often small, often where limits are, sometimes any.
    pub fn word(&mut self) -> u64 {
        let near = [0, DATA as u64, SHARED_SIZE as u64, 1 << 16, 1 << 20, 1 << 32, 1 << 63, 33];
        let kind = self.byte();
        match kind {
            0..80 => u64::from(kind),
            80..176 => {
                let base = near[usize::from(kind % 8)];
                base.wrapping_add(u64::from(kind % 12 / 4)).wrapping_sub(1)
            }
            176..216 => u64::from_le_bytes([self.byte(), self.byte(), self.byte(), 0, 0, 0, 0, 0]),
            _ => u64::from_le_bytes(core::array::from_fn(|_| self.byte())),
        }
    }

    /// An offset of a word in the block.
    pub fn place(&mut self) -> usize {
        let any = u64::from_le_bytes([self.byte(), self.byte(), self.byte(), 0, 0, 0, 0, 0]);
        any as usize % SHARED_SIZE / 8 * 8
    }
}
