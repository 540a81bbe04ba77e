// SPDX-License-Identifier: Apache-2.0

//! Leaves that map a whole chunk, where there are frames.

use keep_layout::{CHUNK, PAGE};

use crate::areas::{Area, Kind};
use crate::bits::PAGES;
use crate::pages::Pages;
use crate::space::down;
use crate::tables::Entry;
use crate::{Errno, Prot, Space};

impl<P: Pages + ?Sized> Space<P> {
    /// Gives a chunk a leaf of its own, if its rights are the same everywhere and all of it is private.
    pub(crate) fn own_chunk(&mut self, chunk: u64) -> Option<()> {
        let prot = self.uniform(chunk)?;
        // In this order: making room may take away a table that is empty still.
        let phys = self.take(CHUNK)?.start;
        let leaf = Entry::owned(phys, prot, true);
        let Some(at) = self.reach(chunk, 1) else {
            self.pages.change(leaf, Entry::EMPTY);
            return None;
        };
        for (start, area) in self.areas.within(chunk..chunk + CHUNK) {
            if let Kind::Object { shift, .. } = area.kind {
                let from = start.wrapping_add(shift);
                self.pages.copy(from, phys + (start - chunk), area.end - start);
            }
        }
        let old = Entry(self.pages.read_entry(at));
        if old != Entry::EMPTY && !old.is_large() {
            for index in 0..PAGES as u64 {
                let place = old.phys() + index * 8;
                let entry = Entry(self.pages.read_entry(place));
                if entry.is_owned() {
                    self.pages.copy(entry.phys(), phys + index * PAGE, PAGE);
                }
                self.set(place, entry, Entry::EMPTY);
            }
            self.tables.give(old.phys());
            self.stale = true;
        }
        self.set(at, old, leaf);
        Some(())
    }

    fn uniform(&self, chunk: u64) -> Option<Prot> {
        if !self.pages.has_frames() {
            return None;
        }
        if self.arenas.contains(chunk) {
            return Some(Prot::READ_WRITE);
        }
        let range = chunk..chunk + CHUNK;
        let prot = self.areas.at(chunk)?.1.prot;
        let same = |(_, area): (u64, Area)| area.prot == prot && area.is_private();
        (self.areas.cover(&range) && self.areas.within(range).all(same)).then_some(prot)
    }

    /// Maps an object's own chunk, if that is possible.
    pub(crate) fn show_chunk(&mut self, chunk: u64) -> Option<()> {
        let leaf = self.object_chunk(chunk)?;
        let at = self.reach(chunk, 1)?;
        let old = Entry(self.pages.read_entry(at));
        if old == Entry::EMPTY {
            self.set(at, old, leaf);
        }
        (old == Entry::EMPTY).then_some(())
    }

    /// The leaf that maps a whole chunk of an object, if there can be one: all of it
    /// shows the object in order, nothing is without rights, and what can be executed does not
    /// meet what can be written. Only what follows the object's end may be unmapped.
    pub(crate) fn object_chunk(&self, chunk: u64) -> Option<Entry> {
        let (_, Area { kind, .. }) = self.areas.at(chunk)?;
        let Kind::Object { object, shift, shared: true } = kind else { return None };
        let phys = chunk.wrapping_add(shift);
        if !phys.is_multiple_of(CHUNK) || !self.pages.has_frames() {
            return None;
        }
        let (mut covered, mut exec, mut write) = (chunk, false, false);
        for (start, area) in self.areas.within(chunk..chunk + CHUNK) {
            if start != covered || area.kind != kind || area.prot == Prot::NONE {
                return None;
            }
            covered = area.end;
            exec |= area.prot.exec();
            write |= area.prot.write();
        }
        let all = object.phys.saturating_add(object.len);
        let end = covered == chunk + CHUNK || covered.wrapping_add(shift) >= all;
        let prot = if exec { Prot::READ_EXEC } else { Prot::READ };
        (end && !(exec && write)).then(|| Entry::shared(phys, prot, true))
    }

    /// Replaces the leaf of a chunk by 512 leaves of pages with the same rights.
    pub(crate) fn split(&mut self, at: u64, leaf: Entry) -> Result<(), Errno> {
        let table = self.tables.split(&mut *self.pages, leaf).ok_or(Errno::ENOMEM)?;
        self.pages.write_entry(at, table.0);
        self.pages.change(leaf, table);
        Ok(())
    }

    /// Splits the leaf that reaches over an edge of a range, if it owns its frame. Arenas look
    /// after themselves.
    pub(crate) fn isolate(&mut self, range: &core::ops::Range<u64>) -> Result<(), Errno> {
        for edge in [range.start, range.end] {
            let step = self.walk(edge);
            let inside = edge & (step.span - 1) != 0;
            if inside && step.entry.is_owned() && !self.arenas.contains(down(edge, CHUNK)) {
                self.split(step.at, step.entry)?;
            }
        }
        Ok(())
    }
}
