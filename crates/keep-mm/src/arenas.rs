// SPDX-License-Identifier: Apache-2.0

//! Arenas: chunks that many small mappings share, so that all of them cost one leaf.
//!
//! An arena is an aligned chunk of addresses whose mappings are all plain readable and writable
//! memory. When one of them is first touched, the whole chunk gets one leaf, and what is unmapped
//! later stays under it. In an enclave, or when there is no chunk left, its pages come one by one, and
//! stay likewise: so the host is not asked to take what will soon be wanted again. The moment one page of it is to have other rights, or is mapped over,
//! the arena is *closed*: split into pages, those that nobody has freed, and forgotten. An arena that
//! nobody uses any more waits for the next small mapping, and goes when memory runs out.
//!
//! Very small mappings have arenas of their own: they are mostly stacks for signal handlers,
//! which get a guard page right after they are made and so close their arena before it has cost
//! anything.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::areas::Area;
use crate::bits::Bits;
use crate::pages::Pages;
use crate::space::down;
use crate::tables::Entry;
use crate::{Errno, Space};

/// Mappings of this size and larger have chunks of their own.
pub(crate) const LARGE: u64 = 1 << 20;
/// Mappings below this size are kept apart from larger ones.
const TINY: u64 = 64 << 10;

/// All open arenas by their first address.
#[derive(Debug, Default)]
pub(crate) struct Arenas(BTreeMap<u64, Arena>);

#[derive(Debug)]
struct Arena {
    tiny: bool,
    used: Bits,
}

impl Arenas {
    pub(crate) fn contains(&self, chunk: u64) -> bool {
        self.0.contains_key(&chunk)
    }

    pub(crate) fn overlapping(&self, range: &Range<u64>) -> Vec<u64> {
        let first = down(range.start, CHUNK);
        self.0.range(first..range.end.max(first)).map(|(&chunk, _)| chunk).collect()
    }
}

impl<P: Pages + ?Sized> Space<P> {
    /// Finds and takes a place for a small mapping in an arena.
    pub(crate) fn arena_place(&mut self, len: u64) -> Option<u64> {
        let (pages, tiny) = ((len / PAGE) as usize, len < TINY);
        let found = self.arenas.0.iter().filter(|(_, arena)| arena.tiny == tiny);
        let (chunk, first) = found
            .filter_map(|(&chunk, arena)| Some((chunk, arena.used.gap(pages)?)))
            .next()
            .or_else(|| Some((self.new_arena(tiny)?, 0)))?;
        self.arena_take(chunk, first..first + pages);
        Some(chunk + first as u64 * PAGE)
    }

    /// Unmaps a range in which there may be arenas.
    pub(crate) fn clear_around_arenas(&mut self, range: Range<u64>) {
        let mut start = range.start;
        for chunk in self.arenas.overlapping(&range) {
            let part = range.start.max(chunk)..range.end.min(chunk + CHUNK);
            self.clear(start..part.start);
            start = part.end;
            let Some(arena) = self.arenas.0.get_mut(&chunk) else { continue };
            arena.used.fill(pages(chunk, &part), false);
        }
        self.clear(start..range.end);
    }

    /// Makes ordinary memory of the arenas in a range.
    pub(crate) fn close_arenas(&mut self, range: &Range<u64>) -> Result<(), Errno> {
        for chunk in self.arenas.overlapping(range) {
            let step = self.walk(chunk);
            if step.entry.is_large() {
                self.split(step.at, step.entry)?;
            }
            let Some(arena) = self.arenas.0.remove(&chunk) else { continue };
            self.change(chunk..chunk + CHUNK, |_, address, step| {
                let used = arena.used.get(((address - chunk) / PAGE) as usize);
                if used { step.entry } else { Entry::EMPTY }
            });
        }
        Ok(())
    }

    /// Gives back the arenas that are kept for later; tells whether that gave back memory.
    pub(crate) fn drop_empty_arenas(&mut self) -> bool {
        let empty = self.arenas.0.iter().filter(|(_, arena)| arena.used == Bits::NONE);
        let empty: Vec<u64> = empty.map(|(&chunk, _)| chunk).collect();
        for &chunk in &empty {
            self.arenas.0.remove(&chunk);
            self.clear(chunk..chunk + CHUNK);
        }
        !empty.is_empty()
    }

    fn new_arena(&mut self, tiny: bool) -> Option<u64> {
        let zone = self.zones.arenas.clone();
        let mut chunk = zone.start;
        while chunk < zone.end && !self.vacant(&(chunk..chunk + CHUNK)) {
            chunk += CHUNK;
        }
        if chunk >= zone.end {
            return None;
        }
        self.arenas.0.insert(chunk, Arena { tiny, used: Bits::NONE });
        Some(chunk)
    }

    fn arena_take(&mut self, chunk: u64, pages: Range<usize>) {
        let at = |page: usize| chunk + page as u64 * PAGE;
        self.zero(at(pages.start)..at(pages.end));
        if let Some(arena) = self.arenas.0.get_mut(&chunk) {
            arena.used.fill(pages, true);
        }
    }

    /// Whether neither a mapping nor an arena is in a range.
    pub(crate) fn vacant(&self, range: &Range<u64>) -> bool {
        let mapped = |(start, area): (u64, Area)| start < area.end;
        !self.areas.within(range.clone()).any(mapped) && self.arenas.overlapping(range).is_empty()
    }
}

/// Pages of a chunk that a range in it has.
fn pages(chunk: u64, range: &Range<u64>) -> Range<usize> {
    ((range.start - chunk) / PAGE) as usize..((range.end - chunk) / PAGE) as usize
}
