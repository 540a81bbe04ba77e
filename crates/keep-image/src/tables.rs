// SPDX-License-Identifier: Apache-2.0

//! The first page tables, as the map of addresses in `keep-layout` draws them.
//!
//! Bits that the processor would set by itself (accessed, dirty) are set from the start: pages of
//! tables are then never written behind the kernel's back, and their content is the same at any
//! time. Entries of upper tables allow everything; the leaves alone decide.

use keep_layout::{
    CHUNK, DIRECT_VIRT, KERNEL_DATA, PAGE, SHARED_PHYS, SHARED_SIZE, SHARED_VIRT, TABLES_PHYS,
    TABLES_SIZE, TABLES_VIRT,
};

use crate::place::Place;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// An entry that leads to a lower table.
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED;
/// A leaf to read and execute.
const TEXT: u64 = PRESENT | USER | ACCESSED;
/// A leaf to read and write.
const DATA: u64 = PRESENT | WRITABLE | USER | ACCESSED | DIRTY | NO_EXECUTE;

/// Bits of an entry that hold an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The tables; the first is the top-level one.
#[derive(Debug)]
pub(crate) struct Tables(Vec<[u64; 512]>);

impl Tables {
    /// The tables for this image.
    pub(crate) fn new(place: &Place) -> Self {
        let mut tables = Self(vec![[0; 512]]);
        for virt in (place.text_start..KERNEL_DATA).step_by(CHUNK as usize) {
            tables.map(virt, place.phys(virt), TEXT, CHUNK);
        }
        for virt in (KERNEL_DATA..place.data_end).step_by(CHUNK as usize) {
            tables.map(virt, place.phys(virt), DATA, CHUNK);
        }
        for offset in (0..TABLES_SIZE).step_by(PAGE as usize) {
            tables.map(TABLES_VIRT + offset, TABLES_PHYS + offset, DATA, PAGE);
        }
        for offset in (0..SHARED_SIZE).step_by(CHUNK as usize) {
            tables.map(SHARED_VIRT + offset, SHARED_PHYS + offset, DATA, CHUNK);
        }
        for phys in (place.data_phys()..place.image_end()).step_by(CHUNK as usize) {
            tables.map(DIRECT_VIRT + phys, phys, DATA, CHUNK);
        }
        tables
    }

    /// The tables' bytes, a page each, to be put at [`TABLES_PHYS`].
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flatten().flat_map(|entry| entry.to_le_bytes()).collect()
    }

    /// Physical address of the first page behind the tables.
    pub(crate) fn end(&self) -> u64 {
        TABLES_PHYS + self.0.len() as u64 * PAGE
    }

    fn map(&mut self, virt: u64, phys: u64, rights: u64, size: u64) {
        let mut table = 0;
        let (last, large) = if size == CHUNK { (21, LARGE) } else { (12, 0) };
        for shift in [39, 30, 21, 12] {
            let index = (virt >> shift) as usize % 512;
            if shift == last {
                self.0[table][index] = phys | rights | large;
                return;
            }
            let entry = self.0[table][index];
            table = if entry == 0 {
                let next = self.0.len();
                self.0.push([0; 512]);
                self.0[table][index] = (TABLES_PHYS + next as u64 * PAGE) | TABLE;
                next
            } else {
                (((entry & ADDRESS) - TABLES_PHYS) / PAGE) as usize
            };
        }
    }
}
