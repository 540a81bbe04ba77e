// SPDX-License-Identifier: Apache-2.0

//! The Keep's words to hypervisor and firmware, against both sides' words.

mod channel;
mod cpuid;
mod firmware;
mod ghcb;
mod msr;
mod pages;
mod reports;
mod vmsa;

use std::cell::RefCell;

use sallyport::Window;

/// A page that both sides see.
struct Page(RefCell<[u8; 4096]>);

impl Page {
    fn new() -> Self {
        Self(RefCell::new([0; 4096]))
    }
}

impl Window for Page {
    fn load(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0.borrow()[at..at + 8].try_into().unwrap())
    }
    fn store(&self, at: usize, word: u64) {
        self.0.borrow_mut()[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.0.borrow()[at..at + into.len()]);
    }
    fn write(&self, at: usize, from: &[u8]) {
        self.0.borrow_mut()[at..at + from.len()].copy_from_slice(from);
    }
}
