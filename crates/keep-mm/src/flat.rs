// SPDX-License-Identifier: Apache-2.0

//! The address space of an enclave: no page tables, no physical addresses, no second view of a page.
//!
//! The processor knows of each page of an enclave whether it is there and what may be done with it,
//! whatever the host's page tables say. A page comes when the enclave *accepts* it, at the address
//! where it stays; it is zero then, or a copy of another. The enclave itself can only give it more
//! rights. To take rights or the page it asks the host, and accepts what the host did, which proves
//! it. So the cheap direction is the one that programs mostly go: a reservation costs nothing, and
//! memory comes with the first touch.
//!
//! What always holds:
//!
//! * A page is accepted once, until it is given up. So a fault at a page that is there with the rights
//!   for it can only mean that the host took it ([`Flat::shown`]).
//! * What is there may do no more than its area: taking rights or unmapping takes effect at once.
//! * No page is ever writable and executable, nor executable after it was writable: pages of an object
//!   are *clean* copies without the right to write, and only those can become executable. The first
//!   write makes a page *owned*, for good. The object itself loses its right to be written when
//!   it is first mapped, if it can be executed.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::areas::{Area, Areas, Fit, Kind};
use crate::arenas::LARGE;
use crate::asked::{View, advice, area, range};
use crate::bits::PAGES;
use crate::space::{AROUND, Brk, Zones, down, up};
use crate::{Access, Backing, Config, Denial, Errno, Fault, Object, Place, Prot, Usage};

/// What an enclave does with its pages. A host that does not do what it is asked for ends the Keep, so
/// that only accepting can fail: there may be no memory.
pub trait Enclave {
    /// Accepts a page that is not there: zero, to be read and written.
    fn accept(&mut self, page: u64) -> bool;
    /// Accepts a page that is not there, with these rights and the content of the page at `from`.
    fn accept_copy(&mut self, page: u64, from: u64, prot: Prot) -> bool;
    /// Gives a page these rights, which are all it has and more.
    fn extend(&mut self, page: u64, prot: Prot);
    /// Leaves pages these rights, which are less than they have.
    fn restrict(&mut self, pages: Range<u64>, prot: Prot);
    /// Gives pages up.
    fn trim(&mut self, pages: Range<u64>);
    /// Clears memory that is there and can be written.
    fn zero(&mut self, bytes: Range<u64>);
}

/// What the processor knows of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page(u8);

impl Page {
    const ABSENT: Self = Self(0);
    const THERE: u8 = 1 << 3;
    /// It could be written at some time.
    const OWNED: u8 = 1 << 4;

    fn new(prot: Prot, owned: bool) -> Self {
        Self(prot.bits() | Self::THERE | if owned { Self::OWNED } else { 0 })
    }

    fn prot(self) -> Prot {
        Prot::of_bits(self.0)
    }

    fn is_there(self) -> bool {
        self.0 & Self::THERE != 0
    }

    fn is_owned(self) -> bool {
        self.0 & Self::OWNED != 0
    }

    /// What it may have in an area with these rights.
    fn share(self, prot: Prot) -> Prot {
        if self.is_owned() { prot } else { prot.and(Prot::READ_EXEC) }
    }
}

/// Pages of a chunk, and how many of them are there.
#[derive(Debug)]
struct Chunk {
    there: usize,
    pages: [Page; PAGES],
}

/// All pages, by their chunks' addresses.
#[derive(Debug, Default)]
struct Pages(BTreeMap<u64, Box<Chunk>>);

impl Pages {
    fn get(&self, page: u64) -> Page {
        let chunk = self.0.get(&down(page, CHUNK));
        chunk.map_or(Page::ABSENT, |chunk| chunk.pages[index(page)])
    }

    fn set(&mut self, range: Range<u64>, to: Page) {
        for page in range.step_by(PAGE as usize) {
            let new = || Box::new(Chunk { there: 0, pages: [Page::ABSENT; PAGES] });
            let chunk = self.0.entry(down(page, CHUNK)).or_insert_with(new);
            let old = core::mem::replace(&mut chunk.pages[index(page)], to);
            chunk.there = chunk.there + usize::from(to.is_there()) - usize::from(old.is_there());
            if chunk.there == 0 {
                self.0.remove(&down(page, CHUNK));
            }
        }
    }

    /// The first pages in a row that are there and alike.
    fn run<K: PartialEq>(
        &self,
        range: Range<u64>,
        like: impl Fn(Page) -> K,
    ) -> Option<(Range<u64>, Page)> {
        let mut run: Option<(Range<u64>, Page)> = None;
        let first = down(range.start, CHUNK);
        for (&start, chunk) in self.0.range(first..range.end.max(first)) {
            let part = range.start.max(start)..range.end.min(start + CHUNK);
            for at in part.step_by(PAGE as usize) {
                let page = chunk.pages[index(at)];
                match &mut run {
                    None if !page.is_there() => {}
                    None => run = Some((at..at + PAGE, page)),
                    Some((run, of))
                        if run.end == at && page.is_there() && like(page) == like(*of) =>
                    {
                        run.end = at + PAGE;
                    }
                    Some(_) => return run,
                }
            }
        }
        run
    }
}

fn index(page: u64) -> usize {
    (page % CHUNK / PAGE) as usize
}

/// What is at an address, for whoever has to find out what a fault there means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing that may be used so.
    Nothing,
    /// A page that may be used so as soon as [`Flat::fault`] was asked to.
    Awaited(Prot),
    /// A page that is there and may be used so.
    Accepted(Prot),
}

/// The address space of a Keep in an enclave: pages come with their first touch, and each is accepted
/// once.
#[derive(Debug)]
pub struct Flat<E> {
    pub(crate) enclave: E,
    pages: Pages,
    pub(crate) areas: Areas,
    zones: Zones,
    brk: Brk,
    exec_locked: bool,
    /// Bytes of the image.
    image: u64,
    /// Where the next memory for the kernel comes from. Its first page stays zero.
    held: Range<u64>,
    /// Bytes that the kernel has.
    pub(crate) taken: u64,
    /// Bytes that were accepted.
    pub(crate) used: u64,
    ram_limit: u64,
}

impl<E: Enclave> Flat<E> {
    /// Takes over the enclave as it was launched. Of `config` only what an enclave has counts: the image,
    /// the places of mmap area and break, the limit. `held` is the place for memory of the kernel.
    pub fn new(enclave: E, config: Config, held: Range<u64>) -> Self {
        let areas = Areas::of_image(&config.image);
        let brk_start = up(config.brk_start, PAGE).unwrap_or(config.brk_limit);
        Self {
            enclave,
            pages: Pages::default(),
            image: config.image.iter().map(|part| part.range.end - part.range.start).sum(),
            areas,
            zones: Zones::new(config.mmap),
            brk: Brk {
                start: brk_start,
                mapped_end: brk_start,
                limit: down(config.brk_limit, CHUNK),
                now: brk_start,
            },
            exec_locked: false,
            held,
            taken: 0,
            used: 0,
            ram_limit: config.ram_limit,
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

    /// What is at an address for somebody who uses it so.
    pub fn shown(&self, address: u64, access: Access) -> Shown {
        let page = self.pages.get(down(address, PAGE));
        match self.areas.at(address) {
            Some((_, area)) if !area.prot.allows(access) => Shown::Nothing,
            Some((_, Area { kind: Kind::Image, prot, .. })) => Shown::Accepted(prot),
            Some(_) if page.prot().allows(access) => Shown::Accepted(page.prot()),
            Some((_, area)) => Shown::Awaited(area.prot),
            None => Shown::Nothing,
        }
    }

    /// Serves a page fault at any address where [`Flat::shown`] awaits a page; otherwise says why not.
    pub fn fault(&mut self, address: u64, access: Access) -> Fault {
        let Some((start, area)) = self.areas.at(address) else {
            return Fault::Denied(Denial::MapErr);
        };
        if !area.prot.allows(access) {
            return Fault::Denied(Denial::AccErr);
        }
        let at = down(address, PAGE);
        let page = self.pages.get(at);
        if area.kind == Kind::Image || page.prot().allows(access) {
            return Fault::Resolved;
        }
        if page.is_there() {
            // The area allows more than there is: the first write to a clean page.
            self.change(at..at + PAGE, Page::new(page.prot(), true), area.prot);
            return Fault::Resolved;
        }
        if !self.accept(at, &area, access) {
            return Fault::OutOfMemory;
        }
        let window = down(at, AROUND).max(start)..(down(at, AROUND) + AROUND).min(area.end);
        for other in window.step_by(PAGE as usize) {
            // Copies of an object that is written to are made singly: each bars its page from
            // becoming executable.
            let access = if area.is_private() { access } else { Access::Read };
            if !self.pages.get(other).is_there() && !self.accept(other, &area, access) {
                break;
            }
        }
        Fault::Resolved
    }

    /// Makes memory present before the kernel touches it on behalf of the program.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the program itself could not touch all of it so, `ENOMEM` if memory ran out.
    pub fn populate(&mut self, address: u64, len: u64, write: bool) -> Result<(), Errno> {
        let end = address.checked_add(len).ok_or(Errno::EFAULT)?;
        let access = if write { Access::Write } else { Access::Read };
        let mut at = address;
        while at < end {
            let (_, area) = self.areas.at(at).ok_or(Errno::EFAULT)?;
            let known = self.pages.run(down(at, PAGE)..end, |page| page.prot().allows(access));
            match known {
                _ if !area.prot.allows(access) => return Err(Errno::EFAULT),
                _ if area.kind == Kind::Image => at = area.end,
                Some((run, page)) if run.start <= at && page.prot().allows(access) => {
                    at = run.end.min(area.end);
                }
                _ => match self.fault(at, access) {
                    Fault::Resolved => {}
                    Fault::Denied(_) => return Err(Errno::EFAULT),
                    Fault::OutOfMemory => return Err(Errno::ENOMEM),
                },
            }
        }
        Ok(())
    }

    /// Takes memory for the kernel, for good; it is zero, and aligned to a chunk.
    pub fn alloc(&mut self, len: u64) -> Option<u64> {
        self.zeros()?;
        let start = self.held.start + CHUNK;
        let end = start.checked_add(up(len, PAGE)?)?;
        if end >= self.held.end {
            return None;
        }
        for page in (start..end).step_by(PAGE as usize) {
            // Some may be there from an attempt that failed.
            if !self.pages.get(page).is_there() && !self.take(page) {
                return None;
            }
        }
        self.held.start = down(end - 1, CHUNK);
        self.taken += end - start;
        Some(start)
    }

    /// A page of zeros.
    fn zeros(&mut self) -> Option<u64> {
        let page = self.held.end - PAGE;
        (self.pages.get(page).is_there() || self.take(page)).then_some(page)
    }

    fn take(&mut self, page: u64) -> bool {
        let done = self.used + self.image < self.ram_limit && self.enclave.accept(page);
        if done {
            self.used += PAGE;
            self.pages.set(page..page + PAGE, Page::new(Prot::READ_WRITE, true));
        }
        done
    }

    /// Accepts a page as an area shows it.
    fn accept(&mut self, page: u64, area: &Area, access: Access) -> bool {
        let owned = area.is_private() || access == Access::Write;
        let from = match area.kind {
            Kind::Object { object, shift, .. } => {
                let from = page.wrapping_add(shift);
                if from - object.phys < object.len { Some(from) } else { self.zeros() }
            }
            _ if area.prot == Prot::READ_WRITE => return self.take(page),
            _ => self.zeros(),
        };
        let Some(from) = from else { return false };
        let state = Page::new(Prot::NONE, owned);
        let state = Page::new(state.share(area.prot), owned);
        let done = self.used + self.image < self.ram_limit
            && self.enclave.accept_copy(page, from, state.prot());
        if done {
            self.used += PAGE;
            self.pages.set(page..page + PAGE, state);
        }
        done
    }

    /// Gives pages that are alike the rights that they may have under `prot`.
    fn change(&mut self, pages: Range<u64>, page: Page, prot: Prot) {
        let (old, new) = (page.prot(), page.share(prot));
        let kept = old.and(new);
        if kept != old {
            self.enclave.restrict(pages.clone(), kept);
        }
        if kept != new {
            pages.clone().step_by(PAGE as usize).for_each(|page| self.enclave.extend(page, new));
        }
        self.pages.set(pages, Page::new(new, page.is_owned()));
    }

    /// Gives up what is there.
    fn clear(&mut self, range: Range<u64>) {
        let mut at = range.start;
        while let Some((run, _)) = self.pages.run(at..range.end, Page::is_there) {
            at = run.end;
            self.enclave.trim(run.clone());
            self.used -= run.end - run.start;
            self.pages.set(run, Page::ABSENT);
        }
    }

    fn view(&self) -> View<'_> {
        View {
            areas: &self.areas,
            zones: &self.zones,
            exec_locked: self.exec_locked,
            taken: self.image + self.taken,
            ram_limit: self.ram_limit,
        }
    }

    /// `mmap`, as [`Space::mmap`](crate::Space::mmap).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn mmap(
        &mut self,
        place: Place,
        len: u64,
        prot: Prot,
        backing: Backing,
    ) -> Result<u64, Errno> {
        let (len, target) = self.view().map(place, len, prot, backing)?;
        let fixed = target.is_some();
        let start = match target {
            Some(range) => {
                self.remove(range.clone());
                range.start
            }
            None => self.place(place, len, backing).ok_or(Errno::ENOMEM)?,
        };
        self.areas.insert(start, area(start, len, prot, backing, fixed));
        if let Backing::Object { object, .. } = backing
            && object.executable
        {
            self.seal(object);
        }
        Ok(start)
    }

    /// Takes the right to write to an object.
    fn seal(&mut self, object: Object) {
        let all = object.phys..object.phys + object.len;
        while let Some((run, page)) = self.pages.run(all.clone(), Page::prot)
            && page.prot().write()
        {
            self.change(run, page, Prot::READ);
        }
    }

    fn place(&self, place: Place, len: u64, backing: Backing) -> Option<u64> {
        if let Place::Hint(start) = place {
            let range = down(start, PAGE)..down(start, PAGE).saturating_add(len);
            if self.view().is_in_zone(&range) && self.areas.within(range.clone()).next().is_none() {
                return Some(range.start);
            }
        }
        let small = backing == Backing::Anonymous && len < LARGE;
        let (zone, fit) = if small {
            (&self.zones.small, Fit::PAGES)
        } else {
            (&self.zones.large, Fit::chunks(0))
        };
        self.areas.find(zone.clone(), len, fit)
    }

    /// `munmap`, as [`Space::munmap`](crate::Space::munmap).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn munmap(&mut self, address: u64, len: u64) -> Result<(), Errno> {
        let range = range(address, len, Errno::EINVAL)?;
        if range.is_empty() || !self.view().is_in_zone(&range) {
            return Err(Errno::EINVAL);
        }
        self.areas.room()?;
        self.remove(range);
        Ok(())
    }

    fn remove(&mut self, range: Range<u64>) {
        self.areas.remove(range.clone());
        self.clear(range);
    }

    /// `mprotect`, as [`Space::mprotect`](crate::Space::mprotect).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn mprotect(&mut self, address: u64, len: u64, prot: Prot) -> Result<(), Errno> {
        let range = range(address, len, Errno::ENOMEM)?;
        if range.is_empty() || !self.view().protect(&range, prot)? {
            return Ok(());
        }
        let mut at = range.start;
        while let Some((run, page)) = self.pages.run(at..range.end, |page| page) {
            at = run.end;
            if prot.exec() && page.is_owned() {
                return Err(Errno::EACCES);
            }
        }
        self.areas.protect(range.clone(), prot);
        let mut at = range.start;
        while let Some((run, page)) = self.pages.run(at..range.end, |page| page) {
            at = run.end;
            self.change(run, page, prot);
        }
        Ok(())
    }

    /// `madvise`, as [`Space::madvise`](crate::Space::madvise).
    ///
    /// Plain memory is cleared in place: cheaper than to give it up and accept it anew.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn madvise(&mut self, address: u64, len: u64, advice: i32) -> Result<(), Errno> {
        let Some(range) = self::advice(&self.areas, address, len, advice)? else { return Ok(()) };
        let mut at = range.start;
        while let Some((run, page)) = self.pages.run(at..range.end, |page| page) {
            let Some((_, area)) = self.areas.at(run.start) else { break };
            let run = run.start..run.end.min(area.end);
            at = run.end;
            if area.kind == Kind::Anonymous && page.prot().write() {
                self.enclave.zero(run);
            } else if page.is_owned() {
                self.clear(run);
            }
        }
        Ok(())
    }

    /// `brk`, as [`Space::brk`](crate::Space::brk), but by pages.
    pub fn brk(&mut self, address: u64) -> u64 {
        let Brk { start, limit, now, .. } = self.brk;
        let (Some(old), Some(new)) = (up(now, PAGE), up(address, PAGE)) else { return now };
        if address < start || new > limit {
            return now;
        }
        if new > old {
            if !self.view().can_commit(new - old) || self.areas.room().is_err() {
                return now;
            }
            let area = Area { end: new, prot: Prot::READ_WRITE, kind: Kind::Anonymous };
            self.areas.insert(old, area);
        } else {
            self.remove(new..old);
            if self.pages.get(down(address, PAGE)).prot().write() {
                self.enclave.zero(address..now.clamp(address, new));
            }
        }
        self.brk.now = address;
        address
    }

    /// The state of every page that is there: address, rights, whether it could ever be written.
    #[cfg(test)]
    pub(crate) fn there(&self) -> impl Iterator<Item = (u64, Prot, bool)> {
        self.pages.0.iter().flat_map(|(&start, chunk)| {
            let pages = chunk.pages.iter().enumerate().filter(|(_, page)| page.is_there());
            pages.map(move |(index, page)| {
                (start + index as u64 * PAGE, page.prot(), page.is_owned())
            })
        })
    }
}
