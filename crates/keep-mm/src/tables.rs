// SPDX-License-Identifier: Apache-2.0

//! The page tables themselves: reading, extending, splitting, pruning.
//!
//! An entry that is not present but not zero either *holds* a frame: memory without rights that
//! keeps its content. Bits 9 and 10 are free for software to use; the processor ignores all bits
//! of an entry that is not present.

use alloc::vec::Vec;
use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::pages::{Pages, Ram};
use crate::space::down;
use crate::{Access, Prot};

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
/// Set in advance, because setting them later costs the hypervisor an exit.
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// The frame belongs to this mapping alone and is given back with it.
const OWNED: u64 = 1 << 9;
/// Not present, but holds a frame.
const HELD: u64 = 1 << 10;
const NO_EXEC: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const TABLE: u64 = PRESENT | WRITE | USER | ACCESSED;

/// A word of a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub(crate) u64);

impl Entry {
    pub(crate) const EMPTY: Self = Self(0);

    /// A leaf for a frame of its own. It can be writable, and never executable.
    pub(crate) fn owned(phys: u64, prot: Prot, large: bool) -> Self {
        let large = if large { LARGE } else { 0 };
        let rights = match prot {
            Prot::NONE => HELD,
            _ if prot.write() => PRESENT | USER | ACCESSED | WRITE | DIRTY,
            _ => PRESENT | USER | ACCESSED,
        };
        Self(phys | rights | OWNED | NO_EXEC | large)
    }

    /// A leaf for a frame of an object. It can be executable, and never writable.
    pub(crate) fn shared(phys: u64, prot: Prot, large: bool) -> Self {
        if prot == Prot::NONE {
            return Self::EMPTY;
        }
        let large = if large { LARGE } else { 0 };
        let no_exec = if prot.exec() { 0 } else { NO_EXEC };
        Self(phys | PRESENT | USER | ACCESSED | no_exec | large)
    }

    /// A leaf of the direct map.
    pub(crate) fn direct(phys: u64) -> Self {
        Self(phys | PRESENT | USER | WRITE | ACCESSED | DIRTY | LARGE | NO_EXEC)
    }

    /// The same leaf with other rights.
    pub(crate) fn with(self, prot: Prot) -> Self {
        if self.is_owned() {
            Self::owned(self.phys(), prot, self.is_large())
        } else {
            Self::shared(self.phys(), prot, self.is_large())
        }
    }

    /// The same leaf without the right to write.
    pub(crate) fn read_only(self) -> Self {
        Self(self.0 & !(WRITE | DIRTY))
    }

    /// Its rights.
    pub(crate) fn prot(self) -> Prot {
        match self.0 & (PRESENT | WRITE | NO_EXEC) {
            present if present & PRESENT == 0 => Prot::NONE,
            PRESENT => Prot::READ_EXEC,
            rights if rights & WRITE != 0 => Prot::READ_WRITE,
            _ => Prot::READ,
        }
    }

    pub(crate) fn phys(self) -> u64 {
        self.0 & ADDRESS
    }

    pub(crate) fn is_present(self) -> bool {
        self.0 & PRESENT != 0
    }

    pub(crate) fn is_large(self) -> bool {
        self.0 & LARGE != 0
    }

    pub(crate) fn is_owned(self) -> bool {
        self.0 & OWNED != 0
    }

    pub(crate) fn permits(self, access: Access) -> bool {
        self.prot().allows(access)
    }
}

/// What the tables say about an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Where the entry is.
    pub(crate) at: u64,
    /// A leaf, or empty.
    pub(crate) entry: Entry,
    /// How many bytes of addresses the entry stands for.
    pub(crate) span: u64,
}

impl Step {
    /// The first address after those that the entry stands for.
    pub(crate) fn next(&self, address: u64) -> u64 {
        down(address, self.span) + self.span
    }

    /// The physical address behind `address`.
    pub(crate) fn phys(&self, address: u64) -> u64 {
        self.entry.phys() + (address & (self.span - 1))
    }
}

/// The tree of page tables and the pages it can grow by.
#[derive(Debug)]
pub struct Tables {
    root: u64,
    /// Pages that were never tables.
    fresh: Range<u64>,
    /// Pages that were tables; all of their entries are empty.
    spare: Vec<u64>,
}

impl Tables {
    pub(crate) fn new(root: u64, fresh: Range<u64>) -> Self {
        Self { root, fresh, spare: Vec::new() }
    }

    /// How many tables can still be made.
    #[cfg(test)]
    pub(crate) fn free(&self) -> u64 {
        self.fresh.end.saturating_sub(self.fresh.start) / PAGE + self.spare.len() as u64
    }

    /// Finds the entry that decides about an address.
    pub(crate) fn walk(&self, m: &(impl Ram + ?Sized), address: u64) -> Step {
        self.walk_to(m, address, 0)
    }

    /// Finds the entry for an address at a level, or the leaf or gap above it.
    fn walk_to(&self, m: &(impl Ram + ?Sized), address: u64, lowest: u32) -> Step {
        let mut table = self.root;
        let mut level = 3;
        loop {
            let at = slot(table, address, level);
            let entry = Entry(m.read_entry(at));
            if level == lowest || entry == Entry::EMPTY || entry.is_large() {
                return Step { at, entry, span: span(level) };
            }
            table = entry.phys();
            level -= 1;
        }
    }

    /// The place of the entry for an address at a level (1: chunk, 0: page); tables on the way to
    /// it are made. `None` if there are no pages left for them, or a larger leaf is in the way.
    pub(crate) fn reach(
        &mut self,
        m: &mut (impl Pages + ?Sized),
        address: u64,
        level: u32,
    ) -> Option<u64> {
        let mut table = self.root;
        for upper in (level + 1..=3).rev() {
            let at = slot(table, address, upper);
            let mut entry = Entry(m.read_entry(at));
            if entry.is_large() {
                return None;
            }
            if entry == Entry::EMPTY {
                entry = Entry(self.take(m)? | TABLE);
                m.write_entry(at, entry.0);
            }
            table = entry.phys();
        }
        Some(slot(table, address, level))
    }

    /// Makes a table of 512 leaves of pages that say the same as the leaf of a chunk.
    pub(crate) fn split(&mut self, m: &mut (impl Pages + ?Sized), leaf: Entry) -> Option<Entry> {
        let table = self.take(m)?;
        let page = Entry(leaf.0 & !LARGE);
        for offset in 0..512 {
            m.write_entry(table + offset * 8, page.0 + offset * PAGE);
        }
        Some(Entry(table | TABLE))
    }

    /// Gives back a table whose entries have all been emptied.
    pub(crate) fn give(&mut self, table: u64) {
        self.spare.push(table);
    }

    /// Gives back the tables for a range that have become empty, and tells whether there were any.
    pub(crate) fn prune(&mut self, m: &mut (impl Pages + ?Sized), range: &Range<u64>) -> bool {
        let mut pruned = false;
        for level in 1..=3 {
            let mut address = range.start;
            while address < range.end {
                let Step { at, entry, span } = self.walk_to(m, address, level);
                let table = entry.phys();
                if entry != Entry::EMPTY
                    && !entry.is_large()
                    && (0..512).all(|index| m.read_entry(table + index * 8) == 0)
                {
                    m.write_entry(at, 0);
                    self.give(table);
                    pruned = true;
                }
                address = down(address, span) + span;
            }
        }
        pruned
    }

    fn take(&mut self, m: &mut (impl Pages + ?Sized)) -> Option<u64> {
        if let Some(table) = self.spare.pop() {
            return Some(table);
        }
        let table = self.fresh.start;
        if self.fresh.end.checked_sub(table)? < PAGE || !m.new_table(table) {
            return None;
        }
        self.fresh.start += PAGE;
        Some(table)
    }
}

/// Bytes of addresses that one entry of a level stands for.
fn span(level: u32) -> u64 {
    PAGE << (9 * level)
}

fn slot(table: u64, address: u64, level: u32) -> u64 {
    table + (address / span(level) % 512) * 8
}

const _: () = assert!(CHUNK == PAGE << 9, "a chunk is what a table of the lowest level maps");
