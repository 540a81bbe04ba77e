// SPDX-License-Identifier: Apache-2.0

//! A shared block in ordinary memory, for tests and fuzz targets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use crate::{SHARED_SIZE, Window};

/// A block without any `unsafe`: words of 64 bits, whose bytes are changed one at a time.
#[derive(Debug)]
pub struct MemoryWindow {
    words: Vec<AtomicU64>,
}

impl Default for MemoryWindow {
    fn default() -> Self {
        Self { words: (0..SHARED_SIZE / 8).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Window for MemoryWindow {
    fn load(&self, at: usize) -> u64 {
        assert!(at.is_multiple_of(8));
        self.words[at / 8].load(Ordering::Acquire)
    }

    fn store(&self, at: usize, word: u64) {
        assert!(at.is_multiple_of(8));
        self.words[at / 8].store(word, Ordering::Release);
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        for (i, byte) in into.iter_mut().enumerate() {
            let at = at + i;
            *byte = self.words[at / 8].load(Ordering::Relaxed).to_le_bytes()[at % 8];
        }
    }

    fn write(&self, at: usize, from: &[u8]) {
        for (i, &byte) in from.iter().enumerate() {
            let at = at + i;
            let set = |word: u64| {
                let mut bytes = word.to_le_bytes();
                bytes[at % 8] = byte;
                Some(u64::from_le_bytes(bytes))
            };
            // The closure always gives a new value, so this cannot fail.
            let _ = self.words[at / 8].fetch_update(Ordering::Relaxed, Ordering::Relaxed, set);
        }
    }
}
