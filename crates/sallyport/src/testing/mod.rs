// SPDX-License-Identifier: Apache-2.0

//! Shared blocks in ordinary memory, and the bodies of fuzz targets, which run as tests as well.

mod bytes;
mod lying_host;
#[cfg(test)]
mod tests;

pub use bytes::Bytes;
pub use lying_host::lying_host;

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use crate::{RawWindow, SHARED_SIZE, Window};

/// A block as a VMM would map it, for use through [`RawWindow`].
#[derive(Debug)]
pub struct Block {
    base: *mut u8,
}

// SAFETY: the memory is only handed out as a `RawWindow`, which may be used by any thread.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    const LAYOUT: Layout = match Layout::from_size_align(SHARED_SIZE, 4096) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    };

    /// A block of zeros.
    pub fn new() -> Self {
        // SAFETY: the size is not zero.
        let base = unsafe { alloc_zeroed(Self::LAYOUT) };
        if base.is_null() {
            handle_alloc_error(Self::LAYOUT);
        }
        Self { base }
    }

    /// A window on it.
    ///
    /// # Safety
    ///
    /// The block must outlive the window and all copies of it.
    pub unsafe fn window(&self) -> RawWindow {
        // SAFETY: `new` made room for a block, and the caller keeps it.
        unsafe { RawWindow::new(self.base) }
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.base, Self::LAYOUT) }
    }
}

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
