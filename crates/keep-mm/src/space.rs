// SPDX-License-Identifier: Apache-2.0

//! The address space: how what was asked for becomes leaves of page tables.
//!
//! The calls (`calls`) change areas and then bring existing leaves in line with them; new
//! leaves are made only here, when an address is touched. Two rules keep the parts apart:
//!
//! * A leaf that owns its frame never reaches over the edge of a call's range: `isolate` splits it
//!   first, which is the only step of these calls that can run out of tables, and harmless if the
//!   call then fails. A leaf of an object has no content to lose and is simply dropped.
//! * Whatever changes or empties a present entry sets `stale`, and every public call ends in
//!   `settle`, which flushes once. Until then neither program nor kernel uses these addresses.

use core::ops::Range;

use keep_layout::{CHUNK, DIRECT_VIRT, PAGE, SHARED_PHYS};

use crate::areas::{Area, Areas, Kind};
use crate::arenas::Arenas;
use crate::bits::PAGES;
use crate::frames::Frames;
use crate::tables::{Entry, Tables};
use crate::{Access, Config, Denial, Errno, Fault, Machine, Object, Prot, Usage};

/// Pages that are mapped together when one is touched, where chunks do not fit: 64 KiB, the unit
/// in which WebAssembly memory grows. Mapping costs nothing until the page is used.
pub(crate) const AROUND: u64 = 16 * PAGE;
/// The least by which memory grows.
const GROWTH: u64 = 64 << 20;

/// The address space of a Keep. See the [crate documentation](crate).
#[derive(Debug)]
pub struct Space<M> {
    pub(crate) machine: M,
    pub(crate) frames: Frames,
    pub(crate) tables: Tables,
    pub(crate) areas: Areas,
    pub(crate) arenas: Arenas,
    pub(crate) zones: Zones,
    pub(crate) brk: Brk,
    /// The processor may have cached a translation that is gone.
    pub(crate) stale: bool,
    pub(crate) exec_locked: bool,
    recent: [Recent; 4],
    next_recent: usize,
    /// Bytes that the kernel itself has.
    pub(crate) held: u64,
    pub(crate) ram_limit: u64,
}

impl<M: Machine> Space<M> {
    /// Takes over the address space that the image builder has made.
    pub fn new(machine: M, config: Config) -> Self {
        let start = up(config.free_ram.start, CHUNK).unwrap_or(!(CHUNK - 1));
        let mut frames = Frames::new(start, config.fresh_is_zero);
        while frames.end().checked_add(CHUNK).is_some_and(|end| end <= config.free_ram.end) {
            frames.push_chunk();
        }
        Self {
            machine,
            frames,
            tables: Tables::new(config.root, config.tables),
            areas: Areas::of_image(&config.image),
            arenas: Arenas::default(),
            zones: Zones::new(config.mmap),
            brk: Brk {
                start: config.brk_start,
                mapped_end: config.brk_mapped_end,
                limit: down(config.brk_limit, CHUNK),
                now: config.brk_start,
            },
            stale: false,
            exec_locked: false,
            recent: [Recent::default(); 4],
            next_recent: 0,
            held: 0,
            ram_limit: down(config.ram_limit, CHUNK).min(SHARED_PHYS),
        }
    }

    /// How much is in use.
    pub fn usage(&self) -> Usage {
        Usage { limit: self.ram_limit }
    }

    /// From now on nothing becomes executable that is not already.
    pub fn lock_exec(&mut self) {
        self.exec_locked = true;
    }

    /// Serves a page fault at any address.
    pub fn fault(&mut self, address: u64, access: Access) -> Fault {
        let fault = self.resolve(address, access);
        self.settle();
        fault
    }

    /// Makes memory present before the kernel touches it on behalf of the program.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the program itself could not touch all of it so, `ENOMEM` if memory ran out.
    #[inline]
    pub fn populate(&mut self, address: u64, len: u64, write: bool) -> Result<(), Errno> {
        let end = address.checked_add(len).ok_or(Errno::EFAULT)?;
        let known = |recent: &Recent| {
            recent.start <= address && end <= recent.end && (recent.write || !write)
        };
        if len == 0 || self.recent.iter().any(known) {
            return Ok(());
        }
        let access = if write { Access::Write } else { Access::Read };
        let done = self.populate_range(address..end, access);
        self.settle();
        done
    }

    /// Takes `count` chunks in a row for the kernel; they are zero.
    pub fn alloc_chunks(&mut self, count: usize) -> Option<u64> {
        if count == 0 {
            return None;
        }
        let phys = self.take_chunks(count);
        if phys.is_some() {
            self.held += count as u64 * CHUNK;
        }
        self.settle();
        phys
    }

    pub(crate) fn settle(&mut self) {
        if self.stale {
            self.stale = false;
            self.forget_recent();
            self.machine.flush();
        }
    }

    pub(crate) fn forget_recent(&mut self) {
        self.recent = [Recent::default(); 4];
    }

    pub(crate) fn resolve(&mut self, address: u64, access: Access) -> Fault {
        let Some((start, area)) = self.areas.at(address) else {
            return Fault::Denied(Denial::MapErr);
        };
        if !area.prot.allows(access) {
            return Fault::Denied(Denial::AccErr);
        }
        let page = down(address, PAGE);
        if self.tables.walk(&self.machine, page).entry.permits(access) {
            return Fault::Resolved;
        }
        let done = match area.kind {
            Kind::Image => return Fault::Denied(Denial::AccErr),
            Kind::Object { shared: true, .. } if access != Access::Write => {
                self.map_object(page, start, &area)
            }
            _ => self.own(page, start, &area),
        };
        if done.is_none() {
            // Tables that were made in vain.
            self.prune(page..page + PAGE);
            return Fault::OutOfMemory;
        }
        Fault::Resolved
    }

    fn populate_range(&mut self, range: Range<u64>, access: Access) -> Result<(), Errno> {
        let mut known: Option<Range<u64>> = None;
        let mut address = range.start;
        while address < range.end {
            match self.resolve(address, access) {
                Fault::Resolved => {}
                Fault::Denied(_) => return Err(Errno::EFAULT),
                Fault::OutOfMemory => return Err(Errno::ENOMEM),
            }
            let (start, area) = self.areas.at(address).ok_or(Errno::EFAULT)?;
            let step = self.tables.walk(&self.machine, address);
            let present = start.max(down(address, step.span))..area.end.min(step.next(address));
            address = present.end;
            known = Some(known.map_or(present.start, |known| known.start)..present.end);
        }
        if let Some(Range { start, end }) = known {
            // Before the new range is remembered, so that `settle` does not forget it.
            self.settle();
            self.recent[self.next_recent] = Recent { start, end, write: access == Access::Write };
            self.next_recent = (self.next_recent + 1) % self.recent.len();
        }
        Ok(())
    }

    /// Gives a page, with its neighbours, frames of its own that show what the area shows.
    pub(crate) fn own(&mut self, page: u64, start: u64, area: &Area) -> Option<()> {
        let chunk = down(page, CHUNK);
        let step = self.tables.walk(&self.machine, page);
        if step.entry.is_owned() {
            self.set(step.at, step.entry, step.entry.with(area.prot));
            return Some(());
        }
        if let Some(prot) = self.uniform(chunk)
            && self.build(chunk, prot).is_some()
        {
            return Some(());
        }
        // An arena exists for the sake of its leaf.
        self.arenas.remove(chunk);
        if step.entry.is_large() {
            self.set(step.at, step.entry, Entry::EMPTY);
        }
        self.own_pages(page, start, area)
    }

    /// The rights of a chunk if they are the same everywhere and all of it is private.
    fn uniform(&self, chunk: u64) -> Option<Prot> {
        if self.arenas.contains(chunk) {
            return Some(Prot::READ_WRITE);
        }
        let range = chunk..chunk + CHUNK;
        let prot = self.areas.at(chunk)?.1.prot;
        let same = |(_, area): (u64, Area)| area.prot == prot && area.is_private();
        (self.areas.cover(&range) && self.areas.within(range).all(same)).then_some(prot)
    }

    /// Makes one leaf for a chunk, from what its pages hold already and what its areas show.
    fn build(&mut self, chunk: u64, prot: Prot) -> Option<()> {
        // In this order: making room may take away a table that is empty still.
        let phys = self.take_chunks(1)?;
        let Some(at) = self.tables.reach(&mut self.machine, chunk, 1) else {
            self.frames.give(phys);
            return None;
        };
        for (start, area) in self.areas.within(chunk..chunk + CHUNK) {
            if let Kind::Object { shift, .. } = area.kind {
                let from = start.wrapping_add(shift);
                self.machine.copy(from, phys + (start - chunk), area.end - start);
            }
        }
        let old = Entry(self.machine.read_entry(at));
        if old != Entry::EMPTY && !old.is_large() {
            for index in 0..PAGES as u64 {
                let place = old.phys() + index * 8;
                let entry = Entry(self.machine.read_entry(place));
                if entry.is_owned() {
                    self.machine.copy(entry.phys(), phys + index * PAGE, PAGE);
                }
                self.release(place, entry);
            }
            self.tables.give(old.phys());
            self.stale = true;
        }
        self.set(at, old, Entry::owned(phys, prot, true));
        Some(())
    }

    fn own_pages(&mut self, page: u64, start: u64, area: &Area) -> Option<()> {
        // Copies of a shared object are made singly: each bars its page from becoming executable.
        let around = if area.is_private() { AROUND } else { PAGE };
        let window = down(page, around)..down(page, around) + around;
        let table = down(self.tables.reach(&mut self.machine, page, 0)?, PAGE);
        self.own_page(table, page, area, true)?;
        for other in (window.start.max(start)..window.end.min(area.end)).step_by(PAGE as usize) {
            if self.own_page(table, other, area, false).is_none() {
                break;
            }
        }
        Some(())
    }

    fn own_page(&mut self, table: u64, page: u64, area: &Area, must: bool) -> Option<()> {
        let at = table + page % CHUNK / PAGE * 8;
        let old = Entry(self.machine.read_entry(at));
        if !must && old != Entry::EMPTY {
            return Some(());
        }
        let phys = match self.frames.take_page(must, &mut self.machine) {
            None if must && self.make_room(1) => self.frames.take_page(true, &mut self.machine)?,
            taken => taken?,
        };
        if area.kind != Kind::Anonymous {
            self.fill(phys, page..page + PAGE, area);
        }
        self.set(at, old, Entry::owned(phys, area.prot, false));
        Some(())
    }

    /// Puts into memory at `phys` what an area shows in a range.
    pub(crate) fn fill(&mut self, phys: u64, range: Range<u64>, area: &Area) {
        let len = range.end - range.start;
        match area.kind {
            Kind::Object { shift, .. } => {
                self.machine.copy(range.start.wrapping_add(shift), phys, len);
            }
            _ => self.machine.zero(phys, len),
        }
    }

    /// Maps the frames of an object: its chunk if that is possible, else what the area has of it.
    fn map_object(&mut self, page: u64, start: u64, area: &Area) -> Option<()> {
        let Kind::Object { shift, .. } = area.kind else { return None };
        let chunk = down(page, CHUNK);
        let at = self.tables.reach(&mut self.machine, chunk, 1)?;
        let old = Entry(self.machine.read_entry(at));
        if old == Entry::EMPTY
            && let Some(prot) = self.object_chunk(chunk)
        {
            let leaf = Entry::shared(chunk.wrapping_add(shift), prot, true);
            self.set(at, old, leaf);
            return Some(());
        }
        let table = down(self.tables.reach(&mut self.machine, page, 0)?, PAGE);
        for page in (chunk.max(start)..area.end.min(chunk + CHUNK)).step_by(PAGE as usize) {
            let at = table + page % CHUNK / PAGE * 8;
            let old = Entry(self.machine.read_entry(at));
            if old == Entry::EMPTY {
                let leaf = Entry::shared(page.wrapping_add(shift), area.prot, false);
                self.set(at, old, leaf);
            }
        }
        Some(())
    }

    /// The rights of a leaf that maps a whole chunk of an object, if there can be one: all of it
    /// shows the object in order, nothing is without rights, and what can be executed does not
    /// meet what can be written. Only what follows the object's end may be unmapped.
    pub(crate) fn object_chunk(&self, chunk: u64) -> Option<Prot> {
        let (_, Area { kind, .. }) = self.areas.at(chunk)?;
        let Kind::Object { object, shift, shared: true } = kind else { return None };
        if !chunk.wrapping_add(shift).is_multiple_of(CHUNK) {
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
        (end && !(exec && write)).then_some(prot)
    }

    /// Splits the leaf that reaches over an edge of a range, if it owns its frame. Arenas look
    /// after themselves.
    pub(crate) fn isolate(&mut self, range: &Range<u64>) -> Result<(), Errno> {
        for edge in [range.start, range.end] {
            let step = self.tables.walk(&self.machine, edge);
            let inside = edge & (step.span - 1) != 0;
            if inside && step.entry.is_owned() && !self.arenas.contains(down(edge, CHUNK)) {
                self.split(step.at, step.entry)?;
            }
        }
        Ok(())
    }

    pub(crate) fn split(&mut self, at: u64, leaf: Entry) -> Result<(), Errno> {
        self.tables.split(&mut self.machine, at, leaf).ok_or(Errno::ENOMEM)?;
        self.frames.carve(leaf.phys());
        Ok(())
    }

    /// Empties the tables for a range and gives back what they own.
    pub(crate) fn clear(&mut self, range: Range<u64>) {
        let mut cleared = false;
        let mut address = range.start;
        while address < range.end {
            let step = self.tables.walk(&self.machine, address);
            cleared |= step.entry != Entry::EMPTY;
            self.release(step.at, step.entry);
            address = step.next(address);
        }
        if cleared {
            self.prune(range);
        }
    }

    pub(crate) fn prune(&mut self, range: Range<u64>) {
        // The processor may have cached the way to a table, too.
        self.stale |= self.tables.prune(&mut self.machine, &range);
    }

    /// Empties an entry and gives back what it owns.
    pub(crate) fn release(&mut self, at: u64, leaf: Entry) {
        if leaf.is_owned() && leaf.is_large() {
            self.frames.give(leaf.phys());
        } else if leaf.is_owned() {
            self.frames.give_page(leaf.phys(), &mut self.machine);
        }
        self.set(at, leaf, Entry::EMPTY);
    }

    pub(crate) fn set(&mut self, at: u64, old: Entry, new: Entry) {
        if new != old {
            self.machine.write_entry(at, new.0);
            self.stale |= old.is_present();
        }
    }

    /// Takes the right to write to an object from the direct map.
    pub(crate) fn seal(&mut self, object: Object) {
        for offset in (0..object.len).step_by(CHUNK as usize) {
            let step = self.tables.walk(&self.machine, DIRECT_VIRT + object.phys + offset);
            self.set(step.at, step.entry, step.entry.read_only());
        }
    }

    fn take_chunks(&mut self, count: usize) -> Option<u64> {
        match self.frames.take(count, &mut self.machine) {
            None if self.make_room(count) => self.frames.take(count, &mut self.machine),
            taken => taken,
        }
    }

    /// Gets more memory from the host, or else from arenas that nobody uses.
    fn make_room(&mut self, count: usize) -> bool {
        let Some(need) = (count as u64).checked_mul(CHUNK) else { return false };
        let left = self.ram_limit.saturating_sub(self.frames.end());
        if need <= left {
            // Double what there is, so that the host is asked seldom.
            let wish = (self.frames.end() - self.frames.start()).max(GROWTH).max(need).min(left);
            if self.grow(wish) || (wish > need && self.grow(need)) {
                return true;
            }
        }
        self.drop_empty_arenas()
    }

    fn grow(&mut self, len: u64) -> bool {
        let old_end = self.frames.end();
        let Some((start, end)) = self.machine.grow(len) else { return false };
        if start != old_end || end > self.ram_limit || !end.is_multiple_of(CHUNK) {
            return false;
        }
        while self.frames.end() < end {
            let phys = self.frames.end();
            let Some(at) = self.tables.reach(&mut self.machine, DIRECT_VIRT + phys, 1) else {
                break;
            };
            let old = Entry(self.machine.read_entry(at));
            self.set(at, old, Entry::direct(phys));
            self.frames.push_chunk();
        }
        let end = self.frames.end();
        if end > old_end {
            self.machine.adopt(old_end, end);
        }
        end > old_end
    }
}

/// Memory that is known to be present; a plain range instead of `Range` because that is not `Copy`.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    start: u64,
    end: u64,
    write: bool,
}

/// The program break.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brk {
    pub(crate) start: u64,
    pub(crate) mapped_end: u64,
    pub(crate) limit: u64,
    pub(crate) now: u64,
}

/// Parts of the mmap area. Mappings of one kind are kept together so that they share tables, and
/// so that arenas have neighbours of their own kind only.
#[derive(Debug)]
pub(crate) struct Zones {
    pub(crate) all: Range<u64>,
    pub(crate) large: Range<u64>,
    pub(crate) small: Range<u64>,
    pub(crate) arenas: Range<u64>,
}

impl Zones {
    pub(crate) fn new(all: Range<u64>) -> Self {
        let all = up(all.start, CHUNK).unwrap_or(0)..down(all.end, CHUNK);
        let part = down(all.end.saturating_sub(all.start) / 16, CHUNK);
        let arenas = all.end - part..all.end;
        let small = arenas.start - part..arenas.start;
        let large = all.start..small.start.max(all.start);
        Self { all, large, small, arenas }
    }
}

pub(crate) fn down(address: u64, align: u64) -> u64 {
    address & !(align - 1)
}

pub(crate) fn up(address: u64, align: u64) -> Option<u64> {
    address.checked_add(align - 1).map(|sum| down(sum, align))
}
