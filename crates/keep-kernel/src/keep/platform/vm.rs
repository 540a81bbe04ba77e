// SPDX-License-Identifier: Apache-2.0

//! Memory of a virtual machine: page tables and the direct map.

use keep_layout::{DIRECT_VIRT, IMAGE_PHYS, SHARED_PHYS, TABLES_SIZE, TABLES_VIRT};
use keep_mm::Machine;

use super::snp;

/// Page tables and private memory, where the image's page tables show them.
#[derive(Debug)]
pub(crate) struct DirectMap {
    /// Bytes that are in the direct map or belong to the image.
    pub(crate) mapped: u64,
    /// Bytes that the host has given so far.
    pub(crate) ram: u64,
    /// The most it may give.
    pub(crate) limit: u64,
    /// What marks an entry of a page table whose memory is private; 0 where there is no such bit.
    pub(crate) c_bit: u64,
}

/// An entry leads somewhere.
const PRESENT: u64 = 1;

impl Machine for DirectMap {
    fn read_entry(&self, at: u64) -> u64 {
        // SAFETY: see `entry`.
        unsafe { entry(at).read_volatile() & !self.c_bit }
    }

    fn write_entry(&mut self, at: u64, value: u64) {
        // All memory that `keep-mm` knows of is private, and so are the tables.
        let value = if value & PRESENT != 0 { value | self.c_bit } else { value };
        // SAFETY: see `entry`; that the new entry keeps the kernel's own memory as it is, is what
        // `keep-mm` is there for.
        unsafe { entry(at).write_volatile(value) }
    }

    fn zero(&mut self, phys: u64, len: u64) {
        // SAFETY: `keep-mm` names memory that it has just taken from its free list, and all free
        // memory is in the direct map.
        unsafe { ((DIRECT_VIRT + phys) as *mut u8).write_bytes(0, len as usize) }
    }

    fn copy(&mut self, from: u64, to: u64, len: u64) {
        let (from, to) = ((DIRECT_VIRT + from) as *const u8, (DIRECT_VIRT + to) as *mut u8);
        // SAFETY: as in `zero`; frames are different or the same, never shifted.
        unsafe { from.copy_to(to, len as usize) }
    }

    fn grow(&mut self, len: u64) -> Option<(u64, u64)> {
        let (have, limit) = (self.ram, self.limit);
        // What was given at the start is there without asking.
        if self.mapped < have {
            let start = IMAGE_PHYS + self.mapped;
            self.mapped = have;
            return Some((start, IMAGE_PHYS + have));
        }
        let len = len.min(limit.checked_sub(have)?);
        if len == 0 {
            return None;
        }
        match crate::port().grow(have, len, limit) {
            Ok(Ok(total)) => {
                (self.ram, self.mapped) = (total, total);
                Some((IMAGE_PHYS + have, IMAGE_PHYS + total))
            }
            Ok(Err(_)) => None,
            Err(lie) => panic!("the host lied about memory: {lie}"),
        }
    }

    fn adopt(&mut self, start: u64, end: u64) {
        if let Some(snp) = snp::get() {
            snp.acquire(start..end);
        }
    }

    fn flush(&mut self) {
        super::forget();
        crate::processors::forget();
    }
}

/// The bit of page tables' entries that makes memory private, as a mask; 0 if there is none. It is
/// what the measured image has in the entries of its top-level table, beside an address of a Keep.
pub(crate) fn c_bit(root: u64) -> u64 {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    // SAFETY: see `entry`; the first entry leads to the image.
    let first = unsafe { entry(root).read_volatile() };
    first & ADDRESS & !(2 * SHARED_PHYS - 1)
}

/// A word of a page table.
fn entry(at: u64) -> *mut u64 {
    assert!(at < TABLES_SIZE && at.is_multiple_of(8), "no page table at {at:#x}");
    (TABLES_VIRT + at) as *mut u64
}
