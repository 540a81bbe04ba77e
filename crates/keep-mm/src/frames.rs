// SPDX-License-Identifier: Apache-2.0

//! Physical memory: which chunk is free, who has it, and which of its pages are in use.
//!
//! Memory is handed out by chunks, lowest first, because a chunk that was used before is already
//! present at the host. Only where a mapping needs pages is a chunk *carved*; pages of one carved
//! chunk serve many mappings, and the chunk is whole again when its last page comes back.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use keep_layout::{CHUNK, PAGE};

use crate::Machine;
use crate::bits::{Bits, PAGES};

/// All physical memory after the image.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Address of the first chunk.
    start: u64,
    chunks: Vec<Chunk>,
    /// Carved chunks that have a free page.
    partial: BTreeSet<usize>,
    /// No chunk below this one is free.
    lowest: usize,
    fresh_is_zero: bool,
    held: u64,
    /// Pages in use, those of whole chunks included.
    used: u64,
}

impl Frames {
    pub(crate) fn new(start: u64, fresh_is_zero: bool) -> Self {
        Self {
            start,
            chunks: Vec::new(),
            partial: BTreeSet::new(),
            lowest: 0,
            fresh_is_zero,
            held: 0,
            used: 0,
        }
    }

    /// End of all memory.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.chunks.len() as u64 * CHUNK
    }

    /// Adds the chunk after the last one.
    pub(crate) fn push_chunk(&mut self) {
        self.chunks.push(Chunk::Free { clean: self.fresh_is_zero });
    }

    /// Bytes in use, image and page tables included.
    pub(crate) fn used(&self) -> u64 {
        self.start + self.used * PAGE
    }

    /// Bytes that the kernel holds.
    pub(crate) fn held(&self) -> u64 {
        self.held * CHUNK
    }

    /// Bytes that were there before this allocator.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Takes chunks that adjoin each other and clears them.
    pub(crate) fn take(&mut self, count: usize, owner: Owner, m: &mut impl Machine) -> Option<u64> {
        while matches!(self.chunks.get(self.lowest), Some(chunk) if !chunk.is_free()) {
            self.lowest += 1;
        }
        let mut run = 0;
        let last = (self.lowest..self.chunks.len()).find(|&index| {
            run = if self.chunks[index].is_free() { run + 1 } else { 0 };
            run >= count
        })?;
        let first = last + 1 - count;
        for index in first..=last {
            if !matches!(self.chunks[index], Chunk::Free { clean: true }) {
                m.zero(self.address(index), CHUNK);
            }
            self.chunks[index] = Chunk::Taken(owner);
        }
        self.used += (count * PAGES) as u64;
        if owner == Owner::Kernel {
            self.held += count as u64;
        }
        Some(self.address(first))
    }

    /// Whether the kernel has all chunks of this range.
    pub(crate) fn is_held(&self, phys: u64, len: u64) -> bool {
        let count = usize::try_from(len.div_ceil(CHUNK)).unwrap_or(usize::MAX);
        let chunks =
            self.index(phys).and_then(|first| self.chunks.get(first..first.checked_add(count)?));
        phys.is_multiple_of(CHUNK)
            && chunks.is_some_and(|chunks| {
                chunks.iter().all(|chunk| matches!(chunk, Chunk::Taken(Owner::Kernel)))
            })
    }

    /// Gives a whole chunk back.
    pub(crate) fn give(&mut self, phys: u64) {
        let Some(index) = self.index(phys) else { return };
        if let Some(Chunk::Taken(owner)) = self.chunks.get(index) {
            self.held -= u64::from(*owner == Owner::Kernel);
            self.used -= PAGES as u64;
            self.set_free(index);
        }
    }

    /// Turns a whole chunk into 512 pages in use.
    pub(crate) fn carve(&mut self, phys: u64) {
        if let Some(chunk) = self.index(phys).and_then(|index| self.chunks.get_mut(index)) {
            *chunk = Chunk::Carved(Box::new(Carved { free: Bits::NONE, clean: Bits::NONE }));
        }
    }

    /// Takes a page and tells whether it is known to be zero; a chunk is carved only if `carve`.
    pub(crate) fn take_page(&mut self, carve: bool, m: &mut impl Machine) -> Option<(u64, bool)> {
        if self.partial.is_empty() && carve {
            let phys = self.take(1, Owner::Program, m)?;
            let index = self.index(phys)?;
            self.used -= PAGES as u64;
            // `take` has cleared what needed it.
            let clean = Bits::ALL;
            self.chunks[index] = Chunk::Carved(Box::new(Carved { free: Bits::ALL, clean }));
            self.partial.insert(index);
        }
        let index = *self.partial.first()?;
        let Some(Chunk::Carved(carved)) = self.chunks.get_mut(index) else { return None };
        let page = carved.free.first()?;
        carved.free.set(page, false);
        if carved.free == Bits::NONE {
            self.partial.remove(&index);
        }
        self.used += 1;
        let clean = carved.clean.get(page);
        carved.clean.set(page, false);
        Some((self.address(index) + page as u64 * PAGE, clean))
    }

    /// Gives a page back.
    pub(crate) fn give_page(&mut self, phys: u64) {
        let Some(index) = self.index(phys) else { return };
        let Some(Chunk::Carved(carved)) = self.chunks.get_mut(index) else { return };
        carved.free.set((phys % CHUNK / PAGE) as usize, true);
        self.used -= 1;
        self.partial.insert(index);
        if carved.free == Bits::ALL {
            self.partial.remove(&index);
            self.set_free(index);
        }
    }

    fn set_free(&mut self, index: usize) {
        self.chunks[index] = Chunk::Free { clean: false };
        self.lowest = self.lowest.min(index);
    }

    fn index(&self, phys: u64) -> Option<usize> {
        usize::try_from(phys.checked_sub(self.start)? / CHUNK).ok()
    }

    fn address(&self, index: usize) -> u64 {
        self.start + index as u64 * CHUNK
    }
}

/// Who has a whole chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Kernel,
    Program,
}

#[derive(Debug)]
enum Chunk {
    Free { clean: bool },
    Taken(Owner),
    Carved(Box<Carved>),
}

impl Chunk {
    fn is_free(&self) -> bool {
        matches!(self, Self::Free { .. })
    }
}

/// A chunk in pages.
#[derive(Debug)]
struct Carved {
    free: Bits,
    /// Pages that nobody has used since the chunk was cleared.
    clean: Bits,
}
