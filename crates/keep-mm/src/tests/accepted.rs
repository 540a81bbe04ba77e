// SPDX-License-Identifier: Apache-2.0

//! Random calls and accesses in a simulated enclave, whose processor and host keep to the rules for
//! pages and stop the test as soon as one is broken: a page that is accepted twice, one that becomes
//! writable and executable, one that is used without being there.

use std::boxed::Box;
use std::collections::HashMap;
use std::ops::Range;
use std::vec;
use std::vec::Vec;

use keep_layout::{CHUNK, PAGE};
use proptest::prelude::*;

use super::pages::{Origin, Page, Pages, RW, Shows, Sizes, Span, Step, ZONE, step};
use super::sim::{IMAGE, MIB, MMAP, object_byte};
use crate::accepted::{Accepted, Enclave};
use crate::tables::Entry;
use crate::{
    Access, Backing, Config, Denial, Errno, Fault, Object, Place, Prot, Ram, Region, Source, Space,
};

const TABLES: Range<u64> = MMAP + (1 << 40)..MMAP + (1 << 40) + (1 << 30);
const HELD: Range<u64> = TABLES.end..MMAP + (2 << 40);
const LIMIT: u64 = 24 * MIB;
/// More pages than anybody asks for.
const PLENTY: u64 = 1 << 40;
const BRK: u64 = IMAGE + 0x5000;
const SIZES: Sizes = Sizes { brk: 4 * MIB, object: 200 * PAGE, offset: 40 };

/// A page as the processor knows it.
struct Epc {
    prot: Prot,
    /// Was writable at some time.
    dirty: bool,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Sim {
    pages: HashMap<u64, Epc>,
    /// Pages that the host has left to give.
    left: u64,
    /// Times that the host was asked to change pages.
    asked: usize,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

impl Sim {
    fn add(&mut self, page: u64, prot: Prot, bytes: Vec<u8>) -> bool {
        assert!(page.is_multiple_of(PAGE) && (IMAGE..HELD.end).contains(&page));
        assert!(!self.pages.contains_key(&page), "{page:#x} is accepted twice");
        assert!(!(prot.write() && prot.exec()));
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        self.pages.insert(page, Epc { prot, dirty: prot.write(), bytes });
        true
    }

    fn at(&mut self, page: u64) -> &mut Epc {
        self.pages.get_mut(&page).expect("a page that is not there")
    }
}

fn pages(range: Range<u64>) -> impl Iterator<Item = u64> {
    assert!(
        !range.is_empty() && range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE)
    );
    range.step_by(PAGE as usize)
}

impl Ram for Sim {
    fn read_entry(&self, at: u64) -> u64 {
        let page = self.pages.get(&(at & !(PAGE - 1))).expect("a table that is not there");
        let at = (at % PAGE) as usize;
        u64::from_le_bytes(page.bytes[at..at + 8].try_into().unwrap())
    }

    fn write_entry(&mut self, at: u64, value: u64) {
        assert!(TABLES.contains(&at));
        let page = self.at(at & !(PAGE - 1));
        let at = (at % PAGE) as usize;
        page.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn zero(&mut self, phys: u64, len: u64) {
        let range = phys..phys + len;
        let mut at = range.start;
        while at < range.end {
            let end = (at | (PAGE - 1)).saturating_add(1).min(range.end);
            let page = self.at(at & !(PAGE - 1));
            assert!(page.prot.write());
            let first = (at % PAGE) as usize;
            page.bytes[first..first + (end - at) as usize].fill(0);
            at = end;
        }
    }

    fn copy(&mut self, _: u64, _: u64, _: u64) {
        panic!("an enclave copies by accepting");
    }
}

impl Enclave for Sim {
    fn accept(&mut self, page: u64) -> bool {
        self.add(page, RW, vec![0; PAGE as usize])
    }

    fn accept_copy(&mut self, page: u64, from: u64, prot: Prot) -> bool {
        let from = self.at(from);
        assert!(from.prot.allows(Access::Read));
        let bytes = from.bytes.clone();
        self.add(page, prot, bytes)
    }

    fn extend(&mut self, page: u64, prot: Prot) {
        let page = self.at(page);
        assert!(page.prot.within(prot) && page.prot != prot, "{:?} to {prot:?}", page.prot);
        assert!(!(prot.exec() && (page.dirty || prot.write())), "code that was written");
        page.prot = prot;
        page.dirty |= prot.write();
    }

    fn restrict(&mut self, range: Range<u64>, prot: Prot) {
        self.asked += 1;
        for page in pages(range) {
            let page = self.at(page);
            assert!(prot.within(page.prot) && page.prot != prot, "{:?} to {prot:?}", page.prot);
            page.prot = prot;
        }
    }

    fn trim(&mut self, range: Range<u64>) {
        self.asked += 2;
        for page in pages(range) {
            assert!(self.pages.remove(&page).is_some(), "{page:#x} is not there");
            self.left += 1;
        }
    }
}

type Keep = Space<Source<Sim, Accepted>>;

fn keep() -> Keep {
    let config = Config {
        root: TABLES.start,
        tables: TABLES.start + PAGE..TABLES.end,
        free_ram: BRK - IMAGE..BRK - IMAGE,
        ram_limit: LIMIT,
        mmap: MMAP..MMAP + ZONE,
        brk_start: BRK,
        brk_mapped_end: BRK,
        brk_limit: MMAP,
        image: vec![Region { range: IMAGE..BRK, prot: RW }],
        fresh_is_zero: true,
    };
    let sim = Sim { left: PLENTY, ..Sim::default() };
    Space::new(Box::new(Source::accepted(sim, &config, HELD)), config)
}

impl Keep {
    /// The program uses an address, as often as it takes.
    fn touch(&mut self, address: u64, access: Access) -> Result<&mut u8, Fault> {
        let page = address & !(PAGE - 1);
        if !self.pages.machine.pages.get(&page).is_some_and(|epc| epc.prot.allows(access)) {
            assert_eq!(self.accepted(address, access), None);
            match self.fault(address, access) {
                Fault::Resolved => {}
                fault => return Err(fault),
            }
        }
        let known = self.accepted(address, access).is_some();
        assert!(known || self.is_kept(page));
        let epc = self.pages.machine.at(page);
        assert!(epc.prot.allows(access), "{access:?} at {address:#x} after it was resolved");
        Ok(&mut epc.bytes[(address % PAGE) as usize])
    }

    /// Whether a page may be there although nobody has mapped it: an arena keeps it.
    fn is_kept(&self, page: u64) -> bool {
        self.arenas.contains(page & !(CHUNK - 1)) && self.areas.at(page).is_none()
    }

    /// All that the tables hold: address, rights, whether it is a mapping's own.
    fn there(&self) -> Vec<(u64, Prot, bool)> {
        let mut found = Vec::new();
        self.there_in(TABLES.start, 3, 0, &mut found);
        found
    }

    fn there_in(&self, table: u64, level: u32, base: u64, found: &mut Vec<(u64, Prot, bool)>) {
        for index in 0..512 {
            let address = base + (index << (12 + 9 * level));
            let entry = Entry(self.pages.machine.read_entry(table + index * 8));
            if entry == Entry::EMPTY {
                continue;
            }
            if level > 0 {
                self.there_in(entry.phys(), level - 1, address, found);
                continue;
            }
            assert_eq!(entry.phys(), address, "an entry leads to its own address");
            found.push((address, entry.prot(), entry.is_owned()));
        }
    }

    fn object(&mut self, len: u64, executable: bool) -> Option<Object> {
        let phys = self.alloc(len)?;
        for start in (0..len).step_by(PAGE as usize) {
            let page = self.pages.machine.at(phys + start);
            assert!(page.prot.write());
            for (byte, offset) in page.bytes.iter_mut().zip(start..len) {
                *byte = object_byte(phys, offset);
            }
        }
        Some(Object { phys, len, executable })
    }

    /// What the processor has is what the kernel believes, and no more than the areas allow.
    fn audit(&self) {
        let there = self.there();
        for &(page, prot, owned) in &there {
            let epc = &self.pages.machine.pages[&page];
            assert_eq!((epc.prot, epc.dirty && !owned), (prot, false), "{page:#x}");
            if let Some((_, area)) = self.areas.at(page) {
                assert!(prot.within(area.prot), "{page:#x} has {prot:?} in {area:?}");
            } else {
                assert!(HELD.contains(&page) || self.is_kept(page), "{page:#x} is in no area");
            }
        }
        let last = HELD.end - PAGE;
        let others = |page: &&u64| TABLES.contains(page) || **page == last;
        let others = self.pages.machine.pages.keys().filter(others).count();
        assert_eq!(there.len() + others, self.pages.machine.pages.len());
        let used = self.pages.machine.pages.len() as u64 * PAGE + (BRK - IMAGE);
        assert_eq!(used, self.pages.state.used);
        assert!(used <= LIMIT);
    }
}

/// What Linux would do, page by page.
struct Model {
    keep: Keep,
    /// Those of the break among them.
    pages: Pages,
    brk: u64,
}

impl Model {
    fn fits(&self, more: u64) -> bool {
        self.keep.taken + self.pages.charge(0..u64::MAX) + more <= LIMIT
    }

    /// Running out is right if the host has nothing left, or the Keep no more than its limit.
    fn check_exhausted(&self) {
        assert!(self.keep.pages.machine.left == 0 || self.keep.pages.state.used >= LIMIT);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Mmap { place, span, len, prot, object } => {
                self.mmap(*place, span, *len, *prot, object);
            }
            Step::Munmap(span) => {
                let range = self.pages.range(span);
                assert_eq!(self.keep.munmap(range.start, range.end - range.start), Ok(()));
                self.pages.unmapped(&range);
            }
            Step::Mprotect(span, prot) => {
                let range = self.pages.range(span);
                let expected = self.pages.mprotect(&range, *prot, |more| self.fits(more));
                let done = self.keep.mprotect(range.start, range.end - range.start, *prot);
                assert_eq!(done, expected);
                if done.is_ok() {
                    self.pages.protected(&range, *prot);
                }
            }
            Step::DontNeed(span) => {
                let range = self.pages.range(span);
                let done = self.keep.madvise(range.start, range.end - range.start, 4);
                assert_eq!(done.is_ok(), self.pages.are_mapped(&range));
                if done.is_ok() {
                    self.pages.reset(&range);
                }
            }
            Step::Touch(span, access, value) => {
                let address = self.pages.range(span).start + u64::from(*value) * 16;
                self.touch(address, *access, *value);
            }
            Step::Populate(span, write, _) => self.populate(span, *write),
            Step::Brk(offset) => self.brk(BRK + offset),
            Step::NewObject(len, executable) => match self.keep.object(*len, *executable) {
                Some(object) => self.pages.objects.push(object),
                None => self.check_exhausted(),
            },
            Step::Lock => {
                self.keep.lock_exec();
                self.pages.locked = true;
            }
            Step::Leave(pages) => self.keep.pages.machine.left = *pages,
        }
    }

    fn mmap(&mut self, place: u8, span: &Span, len: u64, prot: Prot, object: &Shows) {
        let call = self.pages.call(place, self.pages.range(span).start, len, prot, object);
        let expected = self.pages.mmap(&call, |more| self.fits(more));
        let mapped = self.keep.mmap(call.place, len, prot, call.backing());
        assert_eq!(mapped.map(drop), expected);
        if let Ok(start) = mapped {
            self.pages.mapped(&call, start);
        }
    }

    fn touch(&mut self, address: u64, access: Access, value: u8) {
        let touched = self.keep.touch(address, access);
        let Some(page) = self.pages.map.get_mut(&(address & !(PAGE - 1))) else {
            match touched {
                Ok(_) => assert!(self.keep.is_kept(address & !(PAGE - 1))),
                Err(fault) => assert_eq!(fault, Fault::Denied(Denial::MapErr)),
            }
            return;
        };
        match touched {
            Ok(byte) => {
                assert!(page.prot.allows(access), "{access:?} at {address:#x}");
                assert_eq!(*byte, page.byte(address % PAGE), "{address:#x}");
                if access == Access::Write {
                    *byte = value;
                    page.store(address % PAGE, value);
                }
            }
            Err(Fault::OutOfMemory) => self.check_exhausted(),
            Err(fault) => {
                assert_eq!(fault, Fault::Denied(Denial::AccErr));
                assert!(!page.prot.allows(access), "{access:?} at {address:#x}");
            }
        }
    }

    fn populate(&mut self, span: &Span, write: bool) {
        let range = self.pages.range(span);
        let access = if write { Access::Write } else { Access::Read };
        let allowed = self.pages.allow(&range, access);
        // Also where neither end is on a page.
        match self.keep.populate(range.start + 7, range.end - range.start - 9, write) {
            Ok(()) => assert!(allowed),
            Err(Errno::ENOMEM) => self.check_exhausted(),
            Err(error) => assert!(error == Errno::EFAULT && !allowed),
        }
        for (&page, model) in self.pages.map.range_mut(range) {
            let there = self.keep.pages.machine.pages.get(&page);
            if model.is_shared() {
                model.written |= there.is_some_and(|epc| epc.dirty);
            }
            if allowed && self.keep.pages.machine.left > 0 && self.keep.pages.state.used < LIMIT {
                assert!(there.is_some_and(|epc| epc.prot.allows(access)), "{page:#x}");
            }
        }
    }

    fn brk(&mut self, to: u64) {
        let old = self.pages.map.range(..MMAP).next_back().map_or(BRK, |(&page, _)| page + PAGE);
        let new = to.next_multiple_of(CHUNK);
        let fits = new <= old || self.fits(new - old);
        let result = self.keep.brk(to);
        assert_eq!(result == to, fits, "{result:#x} of {to:#x}");
        if !fits {
            return;
        }
        for page in (old..new).step_by(PAGE as usize) {
            self.pages.map.insert(page, Page::new(RW, Origin::Zero));
        }
        self.pages.unmapped(&(new..MMAP));
        // What lies behind the break stays as the program left it, but for what the break has left.
        let passed = to..std::mem::replace(&mut self.brk, to);
        for (&at, page) in self.pages.map.range_mut(..MMAP) {
            page.bytes.retain(|offset, _| !passed.contains(&(at + offset)));
        }
    }

    fn finish(mut self) {
        self.keep.pages.machine.left = PLENTY;
        for (address, expected) in self.pages.bytes() {
            match self.keep.touch(address, Access::Read) {
                Ok(&mut byte) => assert_eq!(byte, expected, "{address:#x}"),
                Err(fault) => {
                    assert_eq!(fault, Fault::OutOfMemory, "{address:#x}");
                    self.check_exhausted();
                }
            }
        }
        self.keep.audit();
        self.keep.brk(BRK);
        self.keep.munmap(MMAP, ZONE).unwrap();
        self.keep.audit();
        self.keep.drop_empty_arenas();
        self.keep.settle();
        let may_stay = |page: u64| HELD.contains(&page) || page < BRK.next_multiple_of(CHUNK);
        assert!(self.keep.there().iter().all(|&(page, ..)| may_stay(page)), "pages leak");
    }
}

proptest! {
    #![proptest_config(super::cases())]

    /// Everything does what the model says, with a host that has enough and one that has not.
    #[test]
    fn an_enclave_is_what_the_model_says(steps in prop::collection::vec(step(SIZES), 1..80)) {
        let mut model =
            Model { keep: keep(), pages: Pages::default(), brk: BRK };
        for step in &steps {
            model.step(step);
            model.keep.audit();
        }
        model.finish();
    }
}

/// What Wasmtime does with a linear memory asks the host for nothing until it is unmapped.
#[test]
fn a_linear_memory_is_cheap() {
    let mut keep = keep();
    let mapped = |keep: &Keep| keep.there().len() as u64 * PAGE;
    let size = 256 * MIB;
    let at = keep.mmap(Place::Anywhere, size, Prot::NONE, Backing::Anonymous).unwrap();
    for grown in 1..=8 {
        keep.mprotect(at, grown * 65536, RW).unwrap();
        *keep.touch(at + grown * 65536 - 1, Access::Write).unwrap() = 7;
    }
    assert!(keep.touch(at + 8 * 65536, Access::Read).is_err());
    keep.madvise(at, 8 * 65536, 4).unwrap();
    assert_eq!(keep.touch(at + 65535, Access::Read), Ok(&mut 0));
    assert_eq!(keep.pages.machine.asked, 0);
    assert_eq!(mapped(&keep), 8 * 65536);
    keep.munmap(at, size).unwrap();
    assert_eq!((keep.pages.machine.asked, mapped(&keep)), (2, 0), "given up in one go");
}

/// What is mapped for a moment costs the host nothing, and is cleared for whoever gets it next.
#[test]
fn small_mappings_come_and_go_without_the_host() {
    let mut keep = keep();
    let at = keep.mmap(Place::Anywhere, 3 * PAGE, RW, Backing::Anonymous).unwrap();
    *keep.touch(at, Access::Write).unwrap() = 7;
    let there = keep.there().len();
    for _ in 0..10 {
        keep.munmap(at, 3 * PAGE).unwrap();
        assert_eq!(keep.mmap(Place::Anywhere, 3 * PAGE, RW, Backing::Anonymous), Ok(at));
        let byte = keep.touch(at, Access::Write).unwrap();
        assert_eq!(std::mem::replace(byte, 7), 0);
    }
    assert_eq!((keep.there().len(), keep.pages.machine.asked), (there, 0));
    // Other rights for a part end that, and what nobody has goes at once.
    keep.munmap(at + PAGE, 2 * PAGE).unwrap();
    keep.mprotect(at, PAGE, Prot::READ).unwrap();
    assert_eq!((keep.there().len(), keep.pages.machine.asked), (there - 2, 3));
    keep.audit();
}

/// A page that the host took is not mistaken for one that is still to come.
#[test]
fn a_page_that_was_taken_is_noticed() {
    let mut keep = keep();
    let at = keep.mmap(Place::Anywhere, MIB, RW, Backing::Anonymous).unwrap();
    assert_eq!(keep.accepted(at, Access::Write), None);
    *keep.touch(at, Access::Write).unwrap() = 1;
    keep.pages.machine.pages.remove(&at);
    assert_eq!(keep.accepted(at, Access::Read), Some(RW));
    assert_eq!(keep.fault(at, Access::Read), Fault::Resolved, "and it is not accepted anew");
    assert!(!keep.pages.machine.pages.contains_key(&at));
    assert_eq!(keep.accepted(IMAGE, Access::Write), Some(RW));
    assert_eq!(keep.accepted(IMAGE, Access::Execute), None);
}

/// An artifact goes the way that Wasmtime takes it, and cannot be changed once it may run.
#[test]
fn code_is_the_object_byte_for_byte() {
    let mut keep = keep();
    let object = keep.object(3 * PAGE + 5, true).unwrap();
    let backing = Backing::Object { object, offset: 0 };
    let at = keep.mmap(Place::Anywhere, object.len, RW, backing).unwrap();
    assert!(!keep.pages.machine.at(object.phys).prot.write(), "the object is sealed");
    assert_eq!(keep.touch(at, Access::Read), Ok(&mut object_byte(object.phys, 0)));
    keep.mprotect(at, 4 * PAGE, Prot::READ).unwrap();
    keep.mprotect(at + PAGE, PAGE, Prot::READ_EXEC).unwrap();
    let byte = object_byte(object.phys, PAGE);
    assert_eq!(keep.touch(at + PAGE, Access::Execute), Ok(&mut byte.clone()));
    assert!(keep.touch(at, Access::Execute).is_err());
    assert!(keep.touch(at + PAGE, Access::Write).is_err());
    assert_eq!(keep.touch(at + 3 * PAGE + 5, Access::Read), Ok(&mut 0));
    keep.mprotect(at, PAGE, RW).unwrap();
    *keep.touch(at, Access::Write).unwrap() = 1;
    assert_eq!(keep.mprotect(at, PAGE, Prot::READ_EXEC), Err(Errno::EACCES), "it was written");
    assert_eq!(keep.pages.machine.at(object.phys).bytes[0], object_byte(object.phys, 0));
}

/// A host without memory gets an answer, and nothing is lost when it has some again.
#[test]
fn a_host_that_adds_nothing_is_survived() {
    let mut keep = keep();
    let at = keep.mmap(Place::Anywhere, MIB, RW, Backing::Anonymous).unwrap();
    // Tables on three levels, and three pages.
    keep.pages.machine.left = 6;
    assert!(keep.touch(at, Access::Write).is_ok(), "neighbours are no must");
    assert_eq!(keep.touch(at + 4 * PAGE, Access::Write), Err(Fault::OutOfMemory));
    assert_eq!(keep.populate(at, 4 * PAGE, true), Err(Errno::ENOMEM));
    assert_eq!(keep.alloc(MIB), None);
    keep.pages.machine.left = PLENTY;
    assert!(keep.touch(at + 4 * PAGE, Access::Write).is_ok());
    assert!(keep.alloc(MIB).is_some());
    assert_eq!(keep.alloc(LIMIT), None, "more than there will ever be");
    keep.audit();
}
