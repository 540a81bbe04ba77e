// SPDX-License-Identifier: Apache-2.0

//! The calls of Linux that map, unmap and protect memory, and the program break.
//!
//! Each checks everything that can fail before it changes anything, so a call that fails has no
//! effect. (Linux protects or unmaps up to the first hole; nobody relies on that.)

use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::areas::{Area, Fit, Kind};
use crate::arenas::LARGE;
use crate::asked::{area, range};
use crate::pages::Pages;
use crate::space::{Brk, down, up};
use crate::tables::{Entry, Step};
use crate::{Access, Backing, Errno, Place, Prot, Space};

impl<P: Pages + ?Sized> Space<P> {
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
        let Brk { start, mapped_end, end: old, limit, now } = self.brk;
        let Some(new) = up(address, CHUNK).map(|end| end.max(mapped_end)) else { return now };
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
        self.brk.end = new;
        self.brk.now = address;
        address
    }

    fn map(&mut self, place: Place, len: u64, prot: Prot, backing: Backing) -> Result<u64, Errno> {
        let (len, target) = self.check_map(place, len, prot, backing)?;
        let fixed = target.is_some();
        let start = match target {
            Some(range) => {
                self.close_arenas(&range)?;
                self.unmap(range.clone())?;
                range.start
            }
            None => self.place(place, len, prot, backing).ok_or(Errno::ENOMEM)?,
        };
        self.areas.insert(start, area(start, len, prot, backing, fixed));
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
        if !self.check_protect(&range, prot)? {
            return Ok(());
        }
        if prot.exec() && self.is_written(&range) {
            return Err(Errno::EACCES);
        }
        if prot != Prot::READ_WRITE {
            self.close_arenas(&range)?;
        }
        self.isolate(&range)?;
        self.areas.protect(range.clone(), prot);
        self.apply(range);
        Ok(())
    }

    /// Whether somebody has written to a page of a range.
    fn is_written(&self, range: &Range<u64>) -> bool {
        let mut address = range.start;
        while address < range.end {
            let step = self.walk(address);
            if step.entry.is_owned() {
                return true;
            }
            address = step.next(address);
        }
        false
    }

    /// Brings the leaves of a range in line with its areas.
    fn apply(&mut self, range: Range<u64>) {
        self.change(range, |space, address, Step { entry, .. }| match entry {
            Entry::EMPTY => entry,
            leaf if leaf.is_large() && !leaf.is_owned() => {
                space.object_chunk(down(address, CHUNK)).unwrap_or(Entry::EMPTY)
            }
            leaf => leaf.with(space.areas.at(address).map_or(Prot::NONE, |(_, area)| area.prot)),
        });
    }

    /// Resets memory to what it showed at first.
    fn reset(&mut self, range: Range<u64>) {
        let mut start = range.start;
        while let Some((_, area)) = self.areas.at(start).filter(|_| start < range.end) {
            let part = start..area.end.min(range.end);
            start = part.end;
            self.change(part.clone(), |space, address, step| {
                if !step.entry.is_owned() {
                    return step.entry;
                }
                if !space.can_fill(step.entry, &area) {
                    return Entry::EMPTY;
                }
                space.fill(step.phys(address), address..step.next(address).min(part.end), &area);
                step.entry
            });
        }
    }

    /// Whether what an area showed at first can be put there anew. Without frames only zeros can, and only
    /// where the program itself could write.
    fn can_fill(&self, leaf: Entry, area: &Area) -> bool {
        let plain = area.kind == Kind::Anonymous && leaf.permits(Access::Write);
        area.is_private() && (plain || self.pages.has_frames())
    }

    /// Puts into memory at `phys` what an area shows in a range.
    fn fill(&mut self, phys: u64, range: Range<u64>, area: &Area) {
        let len = range.end - range.start;
        match area.kind {
            Kind::Object { shift, .. } => {
                self.pages.copy(range.start.wrapping_add(shift), phys, len);
            }
            _ => self.pages.zero(phys, len),
        }
    }

    /// Clears bytes that are present.
    pub(crate) fn zero(&mut self, range: Range<u64>) {
        let end = range.end;
        self.change(range, |space, address, step| {
            if step.entry.is_present() {
                let len = step.next(address).min(end) - address;
                space.pages.zero(step.phys(address), len);
            }
            step.entry
        });
    }
}
