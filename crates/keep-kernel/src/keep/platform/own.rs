// SPDX-License-Identifier: Apache-2.0

//! The Keep's own memory, where the kernel sees it.

use core::ops::Range;

use keep_mm::Ram;

/// Page tables and private memory, and what else is to be known of memory on a platform.
#[derive(Debug)]
pub(super) struct Own<T> {
    /// The tables' addresses.
    pub(super) tables: Range<u64>,
    /// Where the kernel sees the first of them.
    pub(super) tables_at: u64,
    /// What is added to other addresses.
    pub(super) window: u64,
    /// What marks an entry of a page table whose memory is private; 0 where there is no such bit.
    pub(super) c_bit: u64,
    pub(super) platform: T,
}

/// An entry leads somewhere.
const PRESENT: u64 = 1;

impl<T> Own<T> {
    /// A word of a table.
    fn entry(&self, at: u64) -> *mut u64 {
        assert!(self.tables.contains(&at) && at.is_multiple_of(8), "no page table at {at:#x}");
        (self.tables_at + (at - self.tables.start)) as *mut u64
    }
}

impl<T> Ram for Own<T> {
    fn read_entry(&self, at: u64) -> u64 {
        // SAFETY: see `entry`; `keep-mm` names only tables that are there.
        unsafe { self.entry(at).read_volatile() & !self.c_bit }
    }

    fn write_entry(&mut self, at: u64, value: u64) {
        // All memory that `keep-mm` knows of is private, and so are the tables.
        let value = if value & PRESENT != 0 { value | self.c_bit } else { value };
        // SAFETY: as above; that the new entry keeps the kernel's own memory as it is, is what
        // `keep-mm` is there for.
        unsafe { self.entry(at).write_volatile(value) }
    }

    fn zero(&mut self, phys: u64, len: u64) {
        // SAFETY: `keep-mm` names memory that it has just taken from its free list, or the program's that
        // is there; all of it can be written where the kernel sees it.
        unsafe { ((self.window + phys) as *mut u8).write_bytes(0, len as usize) }
    }

    fn copy(&mut self, from: u64, to: u64, len: u64) {
        let (from, to) = ((self.window + from) as *const u8, (self.window + to) as *mut u8);
        // SAFETY: as in `zero`; frames are different or the same, never shifted.
        unsafe { from.copy_to(to, len as usize) }
    }
}
