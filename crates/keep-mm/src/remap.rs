// SPDX-License-Identifier: Apache-2.0

//! `mremap`: growing, shrinking and moving a mapping.
//!
//! Whole chunks move by their leaf, everything else is copied: a copied page costs a fraction of
//! the leaf that it needs at its new place in any case.

use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::areas::{Area, Kind};
use crate::arenas::LARGE;
use crate::calls::range;
use crate::space::{down, up};
use crate::tables::{Entry, Step};
use crate::{Errno, Machine, Move, Prot, Space};

impl<M: Machine> Space<M> {
    /// `mremap`; returns where the mapping is now.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no length, unaligned addresses, overlapping places, more than an object has.
    /// `EFAULT`: the old range is not one mapping. `EACCES`: code does not move. `ENOMEM`: no
    /// room.
    pub fn mremap(
        &mut self,
        address: u64,
        old_len: u64,
        new_len: u64,
        to: Move,
    ) -> Result<u64, Errno> {
        let moved = self.remap(address, old_len, new_len, to);
        self.settle();
        moved
    }

    fn remap(&mut self, address: u64, old_len: u64, len: u64, to: Move) -> Result<u64, Errno> {
        let mut old = range(address, old_len, Errno::EINVAL)?;
        let len = up(len, PAGE).ok_or(Errno::EINVAL)?;
        if old.is_empty() || len == 0 || !self.is_in_zone(&old) {
            return Err(Errno::EINVAL);
        }
        let end = old.start.checked_add(len).ok_or(Errno::EINVAL)?;
        let (_, area) = self.areas.at(old.start).ok_or(Errno::EFAULT)?;
        if area.end < old.end {
            return Err(Errno::EFAULT);
        }
        if let Kind::Object { object, shift, .. } = area.kind {
            let last = old.start.wrapping_add(shift).checked_add(len).ok_or(Errno::EINVAL)?;
            if last > object.phys + up(object.len, CHUNK).ok_or(Errno::EINVAL)? {
                return Err(Errno::EINVAL);
            }
        }
        let target = match to {
            Move::To(start) => {
                let new = self.fixed(start, len).map_err(|_| Errno::EINVAL)?;
                if new.start < old.end && old.start < new.end {
                    return Err(Errno::EINVAL);
                }
                Some(new)
            }
            Move::No | Move::May => None,
        };
        if target.is_some() && area.prot.exec() {
            return Err(Errno::EACCES);
        }
        let more = len.saturating_sub(old.end - old.start);
        if area.kind == Kind::Anonymous && area.prot.write() && !self.can_commit(more) {
            return Err(Errno::ENOMEM);
        }
        if let Some(new) = target {
            self.replace(new.clone())?;
            if end < old.end {
                self.unmap(end..old.end)?;
                old.end = end;
            }
            self.isolate(&old)?;
            return self.relocate(old, new, area);
        }
        if more == 0 {
            if end < old.end {
                self.unmap(end..old.end)?;
            }
            return Ok(old.start);
        }
        if self.extend(&old, end, area) {
            return Ok(old.start);
        }
        match to {
            Move::May if area.prot.exec() => Err(Errno::EACCES),
            Move::May => {
                self.areas.room()?;
                self.isolate(&old)?;
                let small = area.kind == Kind::Anonymous && len < LARGE;
                let start = if small && area.prot == Prot::READ_WRITE {
                    self.arena_place(len)
                } else {
                    // Chunks must stay chunks.
                    self.find_place(small, len, old.start)
                };
                let start = start.ok_or(Errno::ENOMEM)?;
                self.relocate(old, start..start + len, area)
            }
            _ => Err(Errno::ENOMEM),
        }
    }

    /// Grows a mapping where it is, if there is room.
    fn extend(&mut self, old: &Range<u64>, end: u64, area: Area) -> bool {
        let more = old.end..end;
        let last = down(old.end - 1, CHUNK);
        let room = if area.end != old.end || !self.is_in_zone(&more) {
            false
        } else if self.arenas.contains(last) {
            more.end <= last + CHUNK && self.arena_extend(&more)
        } else {
            let code = area.prot.exec();
            !code && self.vacant(&more) && self.areas.room().is_ok()
        };
        if room {
            self.areas.insert(more.start, Area { end, ..area });
        }
        room
    }

    /// Moves a mapping that has been isolated to a free place that may be larger.
    fn relocate(&mut self, old: Range<u64>, new: Range<u64>, area: Area) -> Result<u64, Errno> {
        let kind = match area.kind {
            Kind::Object { object, shift, shared } => {
                let shift = shift.wrapping_add(old.start).wrapping_sub(new.start);
                Kind::Object { object, shift, shared }
            }
            other => other,
        };
        // The old area goes first: around the hole that it leaves no leaf grows to a chunk again.
        self.areas.remove(old.clone());
        self.areas.insert(new.start, Area { end: new.end, kind, ..area });
        if let Err(error) = self.relocate_content(&old, new.start) {
            // Should even this fail, an empty mapping stays there.
            let _ = self.unmap(new.clone());
            self.prune(new);
            self.areas.insert(old.start, Area { end: old.end, ..area });
            return Err(error);
        }
        self.remove(old);
        Ok(new.start)
    }

    /// Copies what has to be copied, then moves what can be moved; only the former can fail.
    fn relocate_content(&mut self, old: &Range<u64>, new: u64) -> Result<(), Errno> {
        let target = |address: u64| address - old.start + new;
        let mut address = old.start;
        while address < old.end {
            let step = self.tables.walk(&self.machine, address);
            let mut next = step.next(address).min(old.end);
            if self.moves(&step, address, old, target(address)) {
                self.tables.reach(&mut self.machine, target(address), 1).ok_or(Errno::ENOMEM)?;
            } else if step.entry.is_owned() {
                let to = target(address);
                let (start, area) = self.areas.at(to).ok_or(Errno::ENOMEM)?;
                self.own(down(to, PAGE), start, &area).ok_or(Errno::ENOMEM)?;
                let leaf = self.tables.walk(&self.machine, to);
                next = next.min(address + (leaf.next(to) - to));
                self.machine.copy(step.phys(address), leaf.phys(to), next - address);
            }
            address = next;
        }
        let mut address = old.start;
        while address < old.end {
            let step = self.tables.walk(&self.machine, address);
            if self.moves(&step, address, old, target(address))
                && let Some(at) = self.tables.reach(&mut self.machine, target(address), 1)
            {
                self.set(at, Entry::EMPTY, step.entry);
                self.set(step.at, step.entry, Entry::EMPTY);
            }
            address = step.next(address);
        }
        Ok(())
    }

    /// Whether a leaf can be used at another address as it is.
    fn moves(&self, step: &Step, address: u64, old: &Range<u64>, to: u64) -> bool {
        step.entry.is_owned()
            && step.entry.is_large()
            && address.is_multiple_of(CHUNK)
            && to.is_multiple_of(CHUNK)
            && address + CHUNK <= old.end
    }
}
