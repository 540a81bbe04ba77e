// SPDX-License-Identifier: Apache-2.0

//! Physical memory: which chunk is free, who has it, and which of its pages are in use.
//!
//! Memory is handed out by chunks, lowest first, because a chunk that was used before is already
//! present at the host. Only where a mapping needs pages is a chunk *carved*; pages of one carved
//! chunk serve many mappings, and the chunk is whole again when its last page comes back. A page is
//! cleared when it comes back, a chunk only when it is handed out again: many never are.
//!
//! What the kernel takes for itself it keeps, so who has a whole chunk need not be known.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use keep_layout::{CHUNK, PAGE};

use crate::Machine;
use crate::bits::Bits;
use crate::space::down;

/// All physical memory after the image.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Address of the first chunk.
    start: u64,
    chunks: Vec<Chunk>,
    /// Carved chunks that have a free page, by their addresses.
    partial: BTreeSet<u64>,
    fresh_is_zero: bool,
}

impl Frames {
    pub(crate) fn new(start: u64, fresh_is_zero: bool) -> Self {
        Self { start, chunks: Vec::new(), partial: BTreeSet::new(), fresh_is_zero }
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
    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        let used = |chunk: &Chunk| match chunk {
            Chunk::Free { .. } => 0,
            Chunk::Taken => CHUNK,
            Chunk::Carved(free) => {
                (0..crate::bits::PAGES).filter(|&page| !free.get(page)).count() as u64 * PAGE
            }
        };
        self.start + self.chunks.iter().map(used).sum::<u64>()
    }

    /// Bytes that were there before this allocator.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Takes chunks that adjoin each other and clears them.
    pub(crate) fn take(&mut self, count: usize, m: &mut impl Machine) -> Option<u64> {
        let mut run = 0;
        let last = self.chunks.iter().position(|chunk| {
            run = if matches!(chunk, Chunk::Free { .. }) { run + 1 } else { 0 };
            run >= count
        })?;
        let first = last + 1 - count;
        for index in first..=last {
            if !matches!(self.chunks[index], Chunk::Free { clean: true }) {
                m.zero(self.address(index), CHUNK);
            }
            self.chunks[index] = Chunk::Taken;
        }
        Some(self.address(first))
    }

    /// Gives a whole chunk back.
    pub(crate) fn give(&mut self, phys: u64) {
        if let Some(chunk) = self.chunk(phys) {
            *chunk = Chunk::Free { clean: false };
        }
    }

    /// Turns a whole chunk into 512 pages in use.
    pub(crate) fn carve(&mut self, phys: u64) {
        if let Some(chunk) = self.chunk(phys) {
            *chunk = Chunk::Carved(Box::new(Bits::NONE));
        }
    }

    /// Takes a page, which is zero; a chunk is carved for it only if `carve`.
    pub(crate) fn take_page(&mut self, carve: bool, m: &mut impl Machine) -> Option<u64> {
        if self.partial.is_empty() && carve {
            let phys = self.take(1, m)?;
            *self.chunk(phys)? = Chunk::Carved(Box::new(Bits::ALL));
            self.partial.insert(phys);
        }
        let phys = *self.partial.first()?;
        let Some(Chunk::Carved(free)) = self.chunk(phys) else { return None };
        let page = free.first()?;
        free.set(page, false);
        if **free == Bits::NONE {
            self.partial.remove(&phys);
        }
        Some(phys + page as u64 * PAGE)
    }

    /// Gives a page back and clears it.
    pub(crate) fn give_page(&mut self, phys: u64, m: &mut impl Machine) {
        let Some(chunk) = self.chunk(phys) else { return };
        let Chunk::Carved(free) = chunk else { return };
        m.zero(phys, PAGE);
        free.set((phys % CHUNK / PAGE) as usize, true);
        if **free == Bits::ALL {
            *chunk = Chunk::Free { clean: true };
            self.partial.remove(&down(phys, CHUNK));
        } else {
            self.partial.insert(down(phys, CHUNK));
        }
    }

    fn chunk(&mut self, phys: u64) -> Option<&mut Chunk> {
        let index = usize::try_from(phys.checked_sub(self.start)? / CHUNK).ok()?;
        self.chunks.get_mut(index)
    }

    fn address(&self, index: usize) -> u64 {
        self.start + index as u64 * CHUNK
    }
}

/// Who has a chunk.
#[derive(Debug)]
enum Chunk {
    /// Nobody; `clean` if it is known to be zero.
    Free { clean: bool },
    /// A leaf, or the kernel.
    Taken,
    /// Many leaves of pages, but not these, which are zero.
    Carved(Box<Bits>),
}
