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

use alloc::boxed::Box;
use core::ops::Range;

use keep_layout::{CHUNK, DIRECT_VIRT, PAGE};

use crate::areas::{Area, Areas, Kind};
use crate::arenas::Arenas;
use crate::pages::{Pages, Want};
use crate::tables::{Entry, Step, Tables};
use crate::{Access, Config, Denial, Errno, Fault, Object, Prot, Usage};

/// Pages that are mapped together when one is touched, where chunks do not fit: 64 KiB, the unit
/// in which WebAssembly memory grows.
const AROUND: u64 = 16 * PAGE;

/// The address space of a Keep. See the [crate documentation](crate).
#[derive(Debug)]
pub struct Space<P: ?Sized> {
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
    /// Bytes of the image and of what the kernel has taken.
    pub(crate) taken: u64,
    pub(crate) ram_limit: u64,
    pub(crate) pages: Box<P>,
}

impl<P: Pages + ?Sized> Space<P> {
    /// Takes over the address space that the image builder has made.
    pub fn new(pages: Box<P>, config: Config) -> Self {
        Self {
            tables: Tables::new(config.root, config.tables),
            areas: Areas::of_image(&config.image),
            arenas: Arenas::default(),
            zones: Zones::new(config.mmap),
            brk: Brk {
                start: config.brk_start,
                mapped_end: config.brk_mapped_end,
                end: config.brk_mapped_end,
                limit: down(config.brk_limit, CHUNK),
                now: config.brk_start,
            },
            stale: false,
            exec_locked: false,
            recent: [Recent::default(); 4],
            next_recent: 0,
            taken: up(config.free_ram.start, CHUNK).unwrap_or(!(CHUNK - 1)),
            ram_limit: config.ram_limit,
            pages,
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

    /// Where the kernel sees memory that it has taken.
    pub fn at(&self, taken: u64) -> *mut u8 {
        (self.window() + taken) as *mut u8
    }

    /// The least that it is worth to [`alloc`](Self::alloc), in bytes, a power of two. Without frames each
    /// page costs, so no more is taken than is needed.
    pub fn unit(&self) -> u64 {
        if self.pages.has_frames() { CHUNK } else { CHUNK / 8 }
    }

    fn window(&self) -> u64 {
        if self.pages.has_frames() { DIRECT_VIRT } else { 0 }
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

    /// Takes memory for the kernel, for good; it is zero, and the address is aligned to a chunk.
    pub fn alloc(&mut self, len: u64) -> Option<u64> {
        let taken = if len > 0 { self.take(len) } else { None };
        self.settle();
        let Range { start, end } = taken?;
        self.taken += end - start;
        Some(start)
    }

    /// Takes memory from the platform, or else from arenas that nobody uses.
    pub(crate) fn take(&mut self, len: u64) -> Option<Range<u64>> {
        match self.pages.take(&mut self.tables, len) {
            None if self.drop_empty_arenas() => self.pages.take(&mut self.tables, len),
            taken => taken,
        }
    }

    pub(crate) fn settle(&mut self) {
        let stale = core::mem::take(&mut self.stale);
        if stale {
            self.forget_recent();
        }
        self.pages.settle(stale);
    }

    pub(crate) fn forget_recent(&mut self) {
        self.recent = [Recent::default(); 4];
    }

    fn resolve(&mut self, address: u64, access: Access) -> Fault {
        let Some((start, area)) = self.areas.at(address) else {
            return Fault::Denied(Denial::MapErr);
        };
        if !area.prot.allows(access) {
            return Fault::Denied(Denial::AccErr);
        }
        let page = down(address, PAGE);
        if self.walk(page).entry.permits(access) {
            return Fault::Resolved;
        }
        let done = match area.kind {
            Kind::Image => return Fault::Denied(Denial::AccErr),
            Kind::Object { shared: true, .. } if access != Access::Write => {
                let shown = self.show_chunk(down(page, CHUNK));
                shown.or_else(|| self.show(page, start, &area, false))
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
            let (start, area) = self.areas.at(address).ok_or(Errno::EFAULT)?;
            // The image is there.
            if area.kind != Kind::Image || !area.prot.allows(access) {
                match self.resolve(address, access) {
                    Fault::Resolved => {}
                    Fault::Denied(_) => return Err(Errno::EFAULT),
                    Fault::OutOfMemory => return Err(Errno::ENOMEM),
                }
            }
            let step = self.walk(address);
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

    /// Gives a page, with its neighbours, memory of its own that shows what the area shows.
    fn own(&mut self, page: u64, start: u64, area: &Area) -> Option<()> {
        let step = self.walk(page);
        if step.entry.is_owned() {
            self.set(step.at, step.entry, step.entry.with(area.prot));
            return Some(());
        }
        if self.own_chunk(down(page, CHUNK)).is_some() {
            return Some(());
        }
        if step.entry.is_large() {
            self.set(step.at, step.entry, Entry::EMPTY);
        }
        self.show(page, start, area, true)
    }

    /// Maps a page with its neighbours: memory of their own, or an object's.
    fn show(&mut self, page: u64, start: u64, area: &Area, own: bool) -> Option<()> {
        let around = match own {
            // Copies of a shared object are made singly: each bars its page from becoming executable.
            true if !area.is_private() => PAGE,
            // Mapping a frame that is there costs nothing until the page is used.
            false if self.pages.has_frames() => CHUNK,
            _ => AROUND,
        };
        let window = down(page, around)..down(page, around) + around;
        let table = down(self.reach(page, 0)?, PAGE);
        self.show_page(table, page, area, own, true)?;
        for other in (window.start.max(start)..window.end.min(area.end)).step_by(PAGE as usize) {
            if self.show_page(table, other, area, own, false).is_none() {
                break;
            }
        }
        Some(())
    }

    fn show_page(
        &mut self,
        table: u64,
        page: u64,
        area: &Area,
        own: bool,
        must: bool,
    ) -> Option<()> {
        let at = table + page % CHUNK / PAGE * 8;
        let old = Entry(self.pages.read_entry(at));
        if !must && old != Entry::EMPTY {
            return Some(());
        }
        let from = match area.kind {
            Kind::Object { shift, .. } => Some(page.wrapping_add(shift)),
            _ => None,
        };
        let prot = if own { area.prot } else { area.prot.and(Prot::READ_EXEC) };
        let want = Want { page, from, prot, own, must, fresh: old == Entry::EMPTY };
        let phys = match self.pages.provide(&mut self.tables, want) {
            None if must && self.drop_empty_arenas() => {
                self.pages.provide(&mut self.tables, want)?
            }
            provided => provided?,
        };
        let leaf = if own { Entry::owned } else { Entry::shared };
        self.set(at, old, leaf(phys, prot, false));
        Some(())
    }

    /// Finds the entry that decides about an address.
    pub(crate) fn walk(&self, address: u64) -> Step {
        self.tables.walk(&*self.pages, address)
    }

    pub(crate) fn reach(&mut self, address: u64, level: u32) -> Option<u64> {
        self.tables.reach(&mut *self.pages, address, level)
    }

    /// Goes through the entries for a range, each with the first address of the range that it stands for,
    /// and makes of it what it is told.
    pub(crate) fn change(
        &mut self,
        range: Range<u64>,
        mut to: impl FnMut(&mut Self, u64, Step) -> Entry,
    ) {
        let (mut address, mut cleared) = (range.start, false);
        while address < range.end {
            let step = self.walk(address);
            let new = to(self, address, step);
            cleared |= new == Entry::EMPTY && new != step.entry;
            self.set(step.at, step.entry, new);
            address = step.next(address);
        }
        if cleared {
            self.prune(range);
        }
    }

    /// Empties the tables for a range.
    pub(crate) fn clear(&mut self, range: Range<u64>) {
        self.change(range, |_, _, _| Entry::EMPTY);
    }

    pub(crate) fn prune(&mut self, range: Range<u64>) {
        // The processor may have cached the way to a table, too.
        self.stale |= self.tables.prune(&mut *self.pages, &range);
    }

    /// Changes an entry.
    pub(crate) fn set(&mut self, at: u64, old: Entry, new: Entry) {
        if new != old {
            self.pages.write_entry(at, new.0);
            self.pages.change(old, new);
            self.stale |= old.is_present();
        }
    }

    /// Takes the right to write to an object from the kernel.
    pub(crate) fn seal(&mut self, object: Object) {
        let mut address = self.window() + object.phys;
        let end = address + object.len;
        while address < end {
            let step = self.walk(address);
            self.set(step.at, step.entry, step.entry.read_only());
            address = step.next(address);
        }
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
    /// What is mapped up to here stays.
    pub(crate) mapped_end: u64,
    pub(crate) end: u64,
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
