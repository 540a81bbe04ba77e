// SPDX-License-Identifier: Apache-2.0

//! The calls of Linux that map, unmap and protect memory, and the program break.
//!
//! Each checks everything that can fail before it changes anything, so a call that fails has no
//! effect. (Linux protects or unmaps up to the first hole; nobody relies on that.)

use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::areas::{Area, Fit, Kind};
use crate::arenas::LARGE;
use crate::space::{Brk, down, up};
use crate::tables::Entry;
use crate::{Backing, Errno, Machine, Place, Prot, Space};

impl<M: Machine> Space<M> {
    /// `mmap` of private memory; returns its address.
    ///
    /// `MAP_NORESERVE` needs no flag: nothing is ever reserved.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no length, an unaligned address or offset, an object that is too short.
    /// `EACCES`: executable memory that is not an executable object, or executable memory locked.
    /// `EEXIST`: something is there. `ENOMEM`: no room, or more writable memory than there will
    /// ever be.
    pub fn mmap(
        &mut self,
        place: Place,
        len: u64,
        prot: Prot,
        backing: Backing,
    ) -> Result<u64, Errno> {
        let mapped = self.map(place, len, prot, backing);
        self.settle();
        mapped
    }

    /// `munmap`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no length, an unaligned address, or a range outside of the mmap area. `ENOMEM`:
    /// the rest of a chunk cannot be kept for lack of tables.
    pub fn munmap(&mut self, address: u64, len: u64) -> Result<(), Errno> {
        let range = range(address, len, Errno::EINVAL)?;
        if range.is_empty() || !self.is_in_zone(&range) {
            return Err(Errno::EINVAL);
        }
        let unmapped = self.unmap(range);
        self.settle();
        unmapped
    }

    /// `mprotect`.
    ///
    /// The rights of the image and of the break's memory are fixed: taking away the right to write
    /// (as a libc does with its relocations) succeeds without effect. Page tables are writable in
    /// the same protection domain, so it would stop no attacker, and it would cost a whole chunk
    /// of leaves.
    ///
    /// # Errors
    ///
    /// `EINVAL`: an unaligned address. `ENOMEM`: a hole in the range, no tables left, or more
    /// writable memory than there will ever be. `EACCES`: rights that this memory never gets.
    pub fn mprotect(&mut self, address: u64, len: u64, prot: Prot) -> Result<(), Errno> {
        let range = range(address, len, Errno::ENOMEM)?;
        if range.is_empty() {
            return Ok(());
        }
        let protected = self.protect(range, prot);
        self.settle();
        protected
    }

    /// `madvise`: `MADV_DONTNEED` resets memory to its initial content, other advice is heard.
    ///
    /// Memory is cleared in place: cheaper than to free it, with its flush, fault and new leaf.
    ///
    /// # Errors
    ///
    /// `EINVAL`: an unaligned address or unknown advice. `ENOMEM`: a hole in the range.
    pub fn madvise(&mut self, address: u64, len: u64, advice: i32) -> Result<(), Errno> {
        const DONTNEED: i32 = 4;
        if !matches!(advice, 0..=4 | 8 | 10 | 11 | 14..=17 | 20 | 21) {
            return Err(Errno::EINVAL);
        }
        let range = range(address, len, Errno::EINVAL)?;
        if !self.areas.cover(&range) {
            return Err(Errno::ENOMEM);
        }
        if advice == DONTNEED {
            self.reset(range);
            self.settle();
        }
        Ok(())
    }

    /// `brk`: moves the program break if that is possible, and returns where it is.
    ///
    /// Memory comes and goes by chunks; what lies between the break and the end of its chunk can
    /// be touched, but is zero when the break passes over it unless the program wrote there.
    pub fn brk(&mut self, address: u64) -> u64 {
        let Brk { start, mapped_end, limit, now } = self.brk;
        let end = |address| up(address, CHUNK).map(|end: u64| end.max(mapped_end));
        let (Some(old), Some(new)) = (end(now), end(address)) else { return now };
        if address < start || new > limit.max(mapped_end) {
            return now;
        }
        if new > old {
            if !self.can_commit(new - old) || self.areas.room().is_err() {
                return now;
            }
            let area = Area { end: new, prot: Prot::READ_WRITE, kind: Kind::Anonymous };
            self.areas.insert(old, area);
        } else {
            self.remove(new..old);
            self.zero(address..now.min(new));
            self.settle();
        }
        self.brk.now = address;
        address
    }

    fn map(&mut self, place: Place, len: u64, prot: Prot, backing: Backing) -> Result<u64, Errno> {
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = up(len, PAGE).ok_or(Errno::ENOMEM)?;
        self.areas.room()?;
        let fixed = match place {
            Place::Fixed(start) | Place::FixedNoReplace(start) => Some(start),
            Place::Anywhere | Place::Hint(_) => None,
        };
        let target = fixed.map(|start| range(start, len, Errno::ENOMEM)).transpose()?;
        if target.as_ref().is_some_and(|range| !self.is_in_zone(range)) {
            return Err(Errno::ENOMEM);
        }
        if let (Place::FixedNoReplace(_), Some(range)) = (place, &target)
            && self.areas.within(range.clone()).next().is_some()
        {
            return Err(Errno::EEXIST);
        }
        if let Backing::Object { object, offset } = backing {
            let end = offset.checked_add(len).ok_or(Errno::EINVAL)?;
            if !offset.is_multiple_of(PAGE) || end > up(object.len, CHUNK).ok_or(Errno::EINVAL)? {
                return Err(Errno::EINVAL);
            }
        }
        let executable = match backing {
            Backing::Anonymous => false,
            Backing::Object { object, .. } => object.executable && !self.exec_locked,
        };
        if prot.exec() && !executable {
            return Err(Errno::EACCES);
        }
        if backing == Backing::Anonymous && prot.write() {
            let replaced = target.clone().map_or(0, |range| self.areas.charge(range));
            if !self.can_commit(len.saturating_sub(replaced)) {
                return Err(Errno::ENOMEM);
            }
        }
        let start = match target {
            Some(range) => {
                self.close_arenas(&range)?;
                self.unmap(range.clone())?;
                range.start
            }
            None => self.place(place, len, prot, backing).ok_or(Errno::ENOMEM)?,
        };
        let kind = match backing {
            Backing::Anonymous => Kind::Anonymous,
            Backing::Object { object, offset } => Kind::Object {
                object,
                shift: (object.phys + offset).wrapping_sub(start),
                // Wasmtime maps an artifact writable, but does not write to it; it maps the
                // initial content of memory over a reservation, and that is written to.
                shared: !prot.write() || (object.executable && fixed.is_none()),
            },
        };
        self.areas.insert(start, Area { end: start + len, prot, kind });
        if let Backing::Object { object, .. } = backing
            && object.executable
        {
            self.seal(object);
        }
        Ok(start)
    }

    fn unmap(&mut self, range: Range<u64>) -> Result<(), Errno> {
        self.areas.room()?;
        self.isolate(&range)?;
        self.remove(range);
        Ok(())
    }

    /// Unmaps a range that has been isolated.
    fn remove(&mut self, range: Range<u64>) {
        self.forget_recent();
        self.areas.remove(range.clone());
        self.clear_around_arenas(range);
    }

    fn is_in_zone(&self, range: &Range<u64>) -> bool {
        self.zones.all.start <= range.start && range.end <= self.zones.all.end
    }

    /// Whether so many bytes more of writable memory can ever be had.
    ///
    /// WebAssembly's `memory.grow` turns an error here into an answer that a guest understands;
    /// running out of memory at a later touch could only end the program.
    fn can_commit(&self, len: u64) -> bool {
        let taken = self.frames.start() + self.held + self.areas.committed();
        taken.checked_add(len).is_some_and(|total| total <= self.ram_limit)
    }

    /// Chooses where a mapping goes.
    fn place(&mut self, place: Place, len: u64, prot: Prot, backing: Backing) -> Option<u64> {
        let small = backing == Backing::Anonymous && len < LARGE;
        if let Place::Hint(start) = place {
            let range = down(start, PAGE)..down(start, PAGE).saturating_add(len);
            if self.is_in_zone(&range) && self.vacant(&range) {
                return Some(range.start);
            }
        } else if small && prot == Prot::READ_WRITE {
            return self.arena_place(len);
        }
        let skew = match backing {
            // Chunks of an object fit chunks of addresses.
            Backing::Object { offset, .. } => offset,
            // A stack with a guard page below: the stack is whole chunks.
            Backing::Anonymous => CHUNK - len % CHUNK,
        };
        let (zone, fit) = if small {
            (&self.zones.small, Fit::PAGES)
        } else {
            (&self.zones.large, Fit::chunks(skew))
        };
        self.areas.find(zone.clone(), len, fit)
    }

    fn protect(&mut self, range: Range<u64>, prot: Prot) -> Result<(), Errno> {
        if !self.areas.cover(&range) {
            return Err(Errno::ENOMEM);
        }
        if range.end <= self.zones.all.start || self.zones.all.end <= range.start {
            let fixed = |(_, area): (u64, Area)| prot != Prot::NONE && prot.within(area.prot);
            let kept = self.areas.within(range).all(fixed);
            return if kept { Ok(()) } else { Err(Errno::EACCES) };
        }
        if !self.is_in_zone(&range) {
            return Err(Errno::ENOMEM);
        }
        if self.areas.within(range.clone()).all(|(_, area)| area.prot == prot) {
            return Ok(());
        }
        if prot.exec() {
            self.check_exec(&range)?;
        }
        if prot.write() {
            let anonymous = |(start, area): (u64, Area)| match area.kind {
                Kind::Anonymous if !area.prot.write() => area.end - start,
                _ => 0,
            };
            if !self.can_commit(self.areas.within(range.clone()).map(anonymous).sum()) {
                return Err(Errno::ENOMEM);
            }
        }
        self.areas.room()?;
        if prot != Prot::READ_WRITE {
            self.close_arenas(&range)?;
        }
        self.isolate(&range)?;
        self.areas.protect(range.clone(), prot);
        self.apply(range);
        Ok(())
    }

    /// Whether all of a range may become executable: it shows an executable object, and nobody
    /// has written to it.
    fn check_exec(&self, range: &Range<u64>) -> Result<(), Errno> {
        for (start, area) in self.areas.within(range.clone()) {
            let executable = match area.kind {
                Kind::Object { object, shared, .. } => {
                    shared && object.executable && (area.prot.exec() || !self.exec_locked)
                }
                _ => false,
            };
            if !executable {
                return Err(Errno::EACCES);
            }
            let mut address = start;
            while address < area.end {
                let step = self.tables.walk(&self.machine, address);
                if step.entry.is_owned() {
                    return Err(Errno::EACCES);
                }
                address = step.next(address);
            }
        }
        Ok(())
    }

    /// Brings the leaves of a range in line with its areas.
    fn apply(&mut self, range: Range<u64>) {
        let mut cleared = false;
        let mut address = range.start;
        while address < range.end {
            let step = self.tables.walk(&self.machine, address);
            if step.entry != Entry::EMPTY {
                let prot = if step.entry.is_owned() || !step.entry.is_large() {
                    self.areas.at(address).map(|(_, area)| area.prot)
                } else {
                    self.object_chunk(down(address, CHUNK))
                };
                let new = step.entry.with(prot.unwrap_or(Prot::NONE));
                self.set(step.at, step.entry, new);
                cleared |= new == Entry::EMPTY;
            }
            address = step.next(address);
        }
        if cleared {
            self.prune(range);
        }
    }

    /// Resets memory to what it showed at first.
    fn reset(&mut self, range: Range<u64>) {
        let mut cleared = false;
        let mut address = range.start;
        while address < range.end {
            let step = self.tables.walk(&self.machine, address);
            let Some((_, area)) = self.areas.at(address) else { break };
            let end = step.next(address).min(range.end).min(area.end);
            if step.entry.is_owned() && !area.is_private() {
                self.release(step.at, step.entry);
                cleared = true;
            } else if step.entry.is_owned() {
                self.fill(step.phys(address), address..end, &area);
            }
            address = end;
        }
        if cleared {
            self.prune(range);
        }
    }

    /// Clears bytes that are present.
    fn zero(&mut self, range: Range<u64>) {
        let mut address = range.start;
        while address < range.end {
            let step = self.tables.walk(&self.machine, address);
            let end = step.next(address).min(range.end);
            if step.entry.is_present() {
                self.machine.zero(step.phys(address), end - address);
            }
            address = end;
        }
    }
}

/// The pages of a call's range; `too_long` is the error if they reach over the end of all
/// addresses.
fn range(address: u64, len: u64, too_long: Errno) -> Result<Range<u64>, Errno> {
    if !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let end = up(len, PAGE).and_then(|len| address.checked_add(len)).ok_or(too_long)?;
    Ok(address..end)
}
