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

use core::fmt::Debug;
use core::ops::Range;

use keep_layout::{CHUNK, DIRECT_VIRT, PAGE};

use crate::Config;
use crate::bits::Bits;
use crate::pages::{Pages, Ram, Source, Want};
use crate::space::{down, up};
use crate::tables::{Entry, Tables};

/// The least by which memory grows.
const GROWTH: u64 = 64 << 20;

/// What else a virtual machine does for its memory.
pub trait Machine: Ram {
    /// Makes the processors forget all cached translations.
    fn flush(&mut self);
    /// Asks the host for at least `len` bytes of memory more; `len` is a multiple of a chunk.
    ///
    /// Returns first and end address. What does not adjoin the memory there is, is not aligned
    /// to chunks or passes the limit is refused by the caller, so nothing of it is used.
    fn grow(&mut self, len: u64) -> Option<(u64, u64)>;
    /// Takes possession of memory that [`grow`](Self::grow) has just named, `start` to `end`, once
    /// the direct map shows it and before it is touched: where the processor tells a Keep's own
    /// memory from the host's, it has to be told which is which.
    fn adopt(&mut self, start: u64, end: u64);
}

/// All physical memory after the image.
#[derive(Debug)]
pub struct Frames {
    /// Address of the first chunk.
    start: u64,
    chunks: Vec<Chunk>,
    /// Carved chunks that have a free page, by their addresses.
    partial: BTreeSet<u64>,
    fresh_is_zero: bool,
    /// There is no memory from here on.
    limit: u64,
}

impl<M: Machine + Debug> Source<M, Frames> {
    /// Takes over the memory that a virtual machine was launched with.
    pub fn framed(machine: M, config: &Config) -> Self {
        let mut frames = Frames {
            start: up(config.free_ram.start, CHUNK).unwrap_or(!(CHUNK - 1)),
            chunks: Vec::new(),
            partial: BTreeSet::new(),
            fresh_is_zero: config.fresh_is_zero,
            limit: config.ram_limit,
        };
        while frames.end().checked_add(CHUNK).is_some_and(|end| end <= config.free_ram.end) {
            frames.push_chunk();
        }
        Self { machine, state: frames }
    }

    fn chunks(&mut self, tables: &mut Tables, count: usize) -> Option<u64> {
        match self.state.take(count, &mut self.machine) {
            None if self.grow(tables, count) => self.state.take(count, &mut self.machine),
            taken => taken,
        }
    }

    /// A page, which is zero; a chunk is carved for it only if `carve`.
    fn page(&mut self, tables: &mut Tables, carve: bool) -> Option<u64> {
        if self.state.partial.is_empty() && carve {
            let phys = self.chunks(tables, 1)?;
            self.state.put(phys, Chunk::Carved(Box::new(Bits::ALL)));
            self.state.partial.insert(phys);
        }
        let phys = *self.state.partial.first()?;
        let Some(Chunk::Carved(free)) = self.state.chunk(phys) else { return None };
        let page = free.first()?;
        free.set(page, false);
        if **free == Bits::NONE {
            self.state.partial.remove(&phys);
        }
        Some(phys + page as u64 * PAGE)
    }

    /// Gets more memory from the host, for so many chunks if possible.
    fn grow(&mut self, tables: &mut Tables, count: usize) -> bool {
        let need = (count as u64).saturating_mul(CHUNK);
        let left = self.state.limit.saturating_sub(self.state.end());
        // Double what there is, so that the host is asked seldom.
        let wish = (self.state.end() - self.state.start).max(GROWTH).max(need).min(left);
        need <= left && (self.grow_by(tables, wish) || (wish > need && self.grow_by(tables, need)))
    }

    fn grow_by(&mut self, tables: &mut Tables, len: u64) -> bool {
        let old_end = self.state.end();
        let Some((start, end)) = self.machine.grow(len) else { return false };
        if start != old_end || end > self.state.limit || !end.is_multiple_of(CHUNK) {
            return false;
        }
        while self.state.end() < end {
            let phys = self.state.end();
            let Some(at) = tables.reach(self, DIRECT_VIRT + phys, 1) else { break };
            self.write_entry(at, Entry::direct(phys).0);
            self.state.push_chunk();
        }
        let end = self.state.end();
        if end > old_end {
            self.machine.adopt(old_end, end);
        }
        end > old_end
    }
}

impl<M: Machine + Debug> Pages for Source<M, Frames> {
    fn has_frames(&self) -> bool {
        true
    }

    fn new_table(&mut self, at: u64) -> bool {
        (0..512).for_each(|index| self.write_entry(at + index * 8, 0));
        true
    }

    fn take(&mut self, tables: &mut Tables, len: u64) -> Option<Range<u64>> {
        let count = len.div_ceil(CHUNK);
        let start = self.chunks(tables, usize::try_from(count).ok()?)?;
        Some(start..start + count * CHUNK)
    }

    fn provide(&mut self, tables: &mut Tables, want: Want) -> Option<u64> {
        if !want.own {
            return want.from;
        }
        let phys = self.page(tables, want.must)?;
        if let Some(from) = want.from {
            self.machine.copy(from, phys, PAGE);
        }
        Some(phys)
    }

    fn change(&mut self, old: Entry, new: Entry) {
        let phys = old.phys();
        match (old.is_owned(), old.is_large()) {
            (true, true) if new == Entry::EMPTY => {
                self.state.put(phys, Chunk::Free { clean: false })
            }
            (true, true) if !new.is_large() => {
                self.state.put(phys, Chunk::Carved(Box::new(Bits::NONE)))
            }
            (true, false) if new == Entry::EMPTY => {
                self.state.give_page(phys, &mut self.machine);
            }
            _ => {}
        }
    }

    fn settle(&mut self, stale: bool) {
        if stale {
            self.machine.flush();
        }
    }
}

impl Frames {
    /// End of all memory.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.chunks.len() as u64 * CHUNK
    }

    /// Adds the chunk after the last one.
    fn push_chunk(&mut self) {
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

    /// Takes chunks that adjoin each other and clears them.
    fn take(&mut self, count: usize, m: &mut impl Ram) -> Option<u64> {
        let mut run = 0;
        let last = self.chunks.iter().position(|chunk| {
            run = if matches!(chunk, Chunk::Free { .. }) { run + 1 } else { 0 };
            run >= count
        })?;
        let first = last + 1 - count;
        let phys = self.start + first as u64 * CHUNK;
        for (chunk, at) in
            self.chunks[first..=last].iter_mut().zip((phys..).step_by(CHUNK as usize))
        {
            if !matches!(chunk, Chunk::Free { clean: true }) {
                m.zero(at, CHUNK);
            }
            *chunk = Chunk::Taken;
        }
        Some(phys)
    }

    /// Says who has a chunk.
    fn put(&mut self, phys: u64, to: Chunk) {
        if let Some(chunk) = self.chunk(phys) {
            *chunk = to;
        }
    }

    /// Gives a page back and clears it.
    fn give_page(&mut self, phys: u64, m: &mut impl Ram) {
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
