// SPDX-License-Identifier: Apache-2.0

//! Random calls and accesses against a model that knows pages only.
//!
//! The model says for each page what rights it has and what each byte shows. After every step all
//! invariants are audited and the areas are compared with the model; at the end every byte that
//! was ever written is compared.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::vec::Vec;

use keep_layout::{CHUNK, PAGE};
use proptest::prelude::*;
use proptest::sample::Index;

use super::sim::{IMAGE, Keep, MIB, MMAP, Setup, keep, object_byte};
use crate::areas::Kind;
use crate::{Access, Backing, Denial, Errno, Fault, Object, Place, Prot};

const RW: Prot = Prot::READ_WRITE;
const ZONE: u64 = 512 * MIB;
const LIMIT: u64 = 48 * MIB;

/// A range: in or around something that is mapped.
#[derive(Clone, Debug)]
struct Span {
    at: Index,
    align: u64,
    shift: i64,
    pages: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Mmap { place: u8, span: Span, len: u64, prot: Prot, object: Option<(Index, u64)> },
    Munmap(Span),
    Mprotect(Span, Prot),
    DontNeed(Span),
    Touch(Span, Access, u8),
    Populate(Span, bool, u8),
    Brk(u64),
    NewObject(u64, bool),
    Lock,
}

fn span() -> impl Strategy<Value = Span> {
    let align = prop_oneof![3 => Just(PAGE), 2 => Just(CHUNK)];
    let shift = prop_oneof![4 => Just(0i64), 2 => -3i64..40, 1 => 500i64..1100];
    let pages = prop_oneof![3 => 1u64..20, 2 => 20u64..700, 2 => Just(512u64), 1 => 700u64..2100];
    (any::<Index>(), align, shift, pages).prop_map(|(at, align, shift, pages)| Span {
        at,
        align,
        shift,
        pages,
    })
}

fn prot() -> impl Strategy<Value = Prot> {
    prop_oneof![
        2 => Just(Prot::NONE),
        2 => Just(Prot::READ),
        6 => Just(RW),
        2 => Just(Prot::READ_EXEC),
    ]
}

fn len() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1u64..16 * PAGE,
        4 => 16 * PAGE..2 * MIB,
        2 => (1u64..5).prop_map(|chunks| chunks * CHUNK),
        2 => 2 * MIB..9 * MIB,
    ]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![
        4 => Just(Access::Read),
        6 => Just(Access::Write),
        1 => Just(Access::Execute),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let object = proptest::option::weighted(0.3, (any::<Index>(), 0u64..1200));
    prop_oneof![
        12 => (0u8..6, span(), len(), prot(), object)
            .prop_map(|(place, span, len, prot, object)| {
                Step::Mmap { place, span, len, prot, object }
            }),
        5 => span().prop_map(Step::Munmap),
        10 => (span(), prot()).prop_map(|(span, prot)| Step::Mprotect(span, prot)),
        3 => span().prop_map(Step::DontNeed),
        25 => (span(), access(), any::<u8>())
            .prop_map(|(span, access, value)| Step::Touch(span, access, value)),
        4 => (span(), any::<bool>(), any::<u8>())
            .prop_map(|(span, write, value)| Step::Populate(span, write, value)),
        2 => (0u64..12 * MIB).prop_map(Step::Brk),
        2 => (1u64..5 * MIB, prop::bool::weighted(0.8))
            .prop_map(|(len, executable)| Step::NewObject(len, executable)),
        1 => prop::bool::weighted(0.1).prop_map(|lock| if lock { Step::Lock } else { Step::Brk(0) }),
    ]
}

/// What a page shows before it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Zero,
    Object { object: Object, offset: u64, shared: bool },
}

#[derive(Clone, Debug)]
struct Page {
    prot: Prot,
    origin: Origin,
    /// Has a copy of its own of an object's page.
    copied: bool,
    bytes: HashMap<u64, u8>,
}

impl Page {
    fn byte(&self, offset: u64) -> u8 {
        self.bytes.get(&offset).copied().unwrap_or(match self.origin {
            Origin::Zero => 0,
            Origin::Object { object, offset: start, .. } if start + offset < object.len => {
                object_byte(object.phys, start + offset)
            }
            Origin::Object { .. } => 0,
        })
    }
}

struct Model {
    keep: Keep,
    pages: BTreeMap<u64, Page>,
    objects: Vec<Object>,
    locked: bool,
    brk: u64,
    /// Whether tables suffice for whatever happens.
    ample: bool,
}

impl Model {
    fn new(setup: Setup) -> Self {
        let keep = keep(setup);
        let brk = IMAGE + 0x10_0123;
        Self {
            keep,
            pages: BTreeMap::new(),
            objects: Vec::new(),
            locked: false,
            brk,
            ample: setup.tables > 100,
        }
    }

    fn range(&self, span: &Span) -> Range<u64> {
        let pages: Vec<u64> = self.pages.keys().copied().collect();
        let at = if pages.is_empty() { MMAP } else { pages[span.at.index(pages.len())] };
        let start = (at & !(span.align - 1)).wrapping_add_signed(span.shift * PAGE as i64);
        let start = start.clamp(MMAP, MMAP + ZONE - PAGE);
        start..(start + span.pages * PAGE).min(MMAP + ZONE)
    }

    fn mapped(&self, range: &Range<u64>) -> bool {
        self.pages.range(range.clone()).count() as u64 == (range.end - range.start) / PAGE
    }

    fn committed(&self) -> u64 {
        let is_charged = |page: &&Page| page.origin == Origin::Zero && page.prot == RW;
        self.pages.values().filter(is_charged).count() as u64 * PAGE + self.brk_committed()
    }

    fn brk_committed(&self) -> u64 {
        self.brk.next_multiple_of(CHUNK).saturating_sub(IMAGE + CHUNK)
    }

    fn fits(&self, more: u64) -> bool {
        let held = self.objects.iter().map(|object| object.len.next_multiple_of(CHUNK));
        3 * CHUNK + held.sum::<u64>() + self.committed() + more <= LIMIT
    }

    /// Running out of memory is only right when there is none.
    fn check_exhausted(&self) {
        if self.ample {
            assert!(self.keep.tables.free() > 50, "tables leak");
            assert_eq!(self.keep.pages.state.used(), LIMIT, "memory ran out too early");
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Mmap { place, span, len, prot, object } => {
                self.mmap(*place, span, *len, *prot, object);
            }
            Step::Munmap(span) => {
                let range = self.range(span);
                match self.keep.munmap(range.start, range.end - range.start) {
                    Ok(()) => self.unmap(range),
                    Err(error) => assert!(error == Errno::ENOMEM && !self.ample),
                }
            }
            Step::Mprotect(span, prot) => self.mprotect(span, *prot),
            Step::DontNeed(span) => {
                let range = self.range(span);
                let done = self.keep.madvise(range.start, range.end - range.start, 4);
                assert_eq!(done.is_ok(), self.mapped(&range));
                if done.is_ok() {
                    for (_, page) in self.pages.range_mut(range) {
                        page.bytes.clear();
                        page.copied &= !matches!(page.origin, Origin::Object { shared: true, .. });
                    }
                }
            }
            Step::Touch(span, access, value) => {
                let range = self.range(span);
                let address = range.start + u64::from(*value) * 16;
                self.touch(address, *access, *value);
            }
            Step::Populate(span, write, value) => self.populate(span, *write, *value),
            Step::Brk(offset) => self.move_brk(IMAGE + 0x10_0123 + offset),
            Step::NewObject(len, executable) => {
                let chunks = len.div_ceil(CHUNK) as usize;
                if let Some(phys) = self.keep.alloc(chunks as u64 * CHUNK) {
                    let start = phys as usize;
                    let memory =
                        &mut self.keep.pages.machine.ram[start..start + chunks * CHUNK as usize];
                    assert!(memory.iter().all(|&byte| byte == 0), "stale data");
                    for (offset, byte) in memory[..*len as usize].iter_mut().enumerate() {
                        *byte = object_byte(phys, offset as u64);
                    }
                    self.objects.push(Object { phys, len: *len, executable: *executable });
                }
            }
            Step::Lock => {
                self.keep.lock_exec();
                self.locked = true;
            }
        }
    }

    fn unmap(&mut self, range: Range<u64>) {
        let gone: Vec<u64> = self.pages.range(range).map(|(&page, _)| page).collect();
        gone.iter().for_each(|page| drop(self.pages.remove(page)));
    }

    fn mmap(
        &mut self,
        place: u8,
        span: &Span,
        len: u64,
        prot: Prot,
        object: &Option<(Index, u64)>,
    ) {
        let range = self.range(span);
        let place = match place {
            0..3 => Place::Anywhere,
            3 => Place::Hint(range.start),
            4 => Place::Fixed(range.start),
            _ => Place::FixedNoReplace(range.start),
        };
        let fixed = matches!(place, Place::Fixed(_) | Place::FixedNoReplace(_));
        let (backing, object) = match object {
            Some((index, page)) if !self.objects.is_empty() => {
                let object = self.objects[index.index(self.objects.len())];
                let offset = page * PAGE;
                (Backing::Object { object, offset }, Some((object, offset)))
            }
            _ => (Backing::Anonymous, None),
        };
        let end = range.start + len.next_multiple_of(PAGE);
        let target = range.start..end;
        let expected = if fixed && end > MMAP + ZONE {
            Err(Errno::ENOMEM)
        } else if matches!(place, Place::FixedNoReplace(_))
            && self.pages.range(target.clone()).next().is_some()
        {
            Err(Errno::EEXIST)
        } else if let Some((object, offset)) = object {
            if offset + len.next_multiple_of(PAGE) > object.len.next_multiple_of(CHUNK) {
                Err(Errno::EINVAL)
            } else if prot == Prot::READ_EXEC && (!object.executable || self.locked) {
                Err(Errno::EACCES)
            } else {
                Ok(())
            }
        } else if prot == Prot::READ_EXEC {
            Err(Errno::EACCES)
        } else {
            let charged = |page: &&Page| page.origin == Origin::Zero && page.prot == RW;
            let replaced = if fixed {
                self.pages.range(target.clone()).map(|(_, page)| page).filter(charged).count()
            } else {
                0
            };
            let more = (end - range.start).saturating_sub(replaced as u64 * PAGE);
            let fits = prot != RW || self.fits(more);
            if fits { Ok(()) } else { Err(Errno::ENOMEM) }
        };
        let mapped = self.keep.mmap(place, len, prot, backing);
        if !self.ample && mapped == Err(Errno::ENOMEM) {
            return;
        }
        assert_eq!(mapped.map(|_| ()), expected);
        let Ok(start) = mapped else { return };
        if fixed {
            assert_eq!(start, range.start);
        }
        let mapped = start..start + (end - range.start);
        assert!(mapped.start.is_multiple_of(PAGE));
        assert!(MMAP <= mapped.start && mapped.end <= MMAP + ZONE);
        if matches!(place, Place::Fixed(_)) {
            self.unmap(mapped.clone());
        }
        for page in mapped.step_by(PAGE as usize) {
            let origin = match object {
                None => Origin::Zero,
                Some((object, offset)) => Origin::Object {
                    object,
                    offset: offset + (page - start),
                    shared: prot != RW || (object.executable && !fixed),
                },
            };
            let new = Page { prot, origin, copied: false, bytes: HashMap::new() };
            assert!(self.pages.insert(page, new).is_none(), "{page:#x} was in use");
        }
    }

    fn mprotect(&mut self, span: &Span, prot: Prot) {
        let range = self.range(span);
        let pages = || self.pages.range(range.clone()).map(|(_, page)| page);
        let may_run = |page: &Page| match page.origin {
            Origin::Object { object, shared: true, .. } => {
                object.executable && !page.copied && (page.prot == Prot::READ_EXEC || !self.locked)
            }
            _ => false,
        };
        let more = pages().filter(|page| page.origin == Origin::Zero && page.prot != RW).count();
        let expected = if !self.mapped(&range) {
            Err(Errno::ENOMEM)
        } else if pages().all(|page| page.prot == prot) {
            Ok(())
        } else if prot == Prot::READ_EXEC && !pages().all(may_run) {
            Err(Errno::EACCES)
        } else if prot == RW && !self.fits(more as u64 * PAGE) {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        };
        let done = self.keep.mprotect(range.start, range.end - range.start, prot);
        if !self.ample && done == Err(Errno::ENOMEM) {
            return;
        }
        assert_eq!(done, expected);
        if done.is_ok() {
            self.pages.range_mut(range).for_each(|(_, page)| page.prot = prot);
        }
    }

    fn touch(&mut self, address: u64, access: Access, value: u8) {
        let page = address & !(PAGE - 1);
        let offset = address % PAGE;
        let tail = self.is_tail(page);
        let arena = self.keep.arenas.contains(page & !(CHUNK - 1));
        let Some(model) = self.pages.get_mut(&page) else {
            match self.keep.touch(address, Access::Read) {
                Err(fault) => assert_eq!(fault, Fault::Denied(Denial::MapErr)),
                Ok(&mut byte) => assert!(arena || tail && byte == 0, "{page:#x} is not mapped"),
            }
            if !arena {
                assert!(self.keep.touch(address, Access::Write).is_err());
            }
            return;
        };
        let near_code = match model.origin {
            Origin::Object { object, shared: true, .. } => object.executable && !model.copied,
            _ => false,
        };
        match self.keep.touch(address, access) {
            Ok(byte) => {
                let extra = access == Access::Execute && model.prot == Prot::READ && near_code;
                assert!(model.prot.allows(access) || extra, "{access:?} at {address:#x}");
                assert_eq!(*byte, model.byte(offset), "{address:#x}");
                if access == Access::Write {
                    *byte = value;
                    model.bytes.insert(offset, value);
                    model.copied |= matches!(model.origin, Origin::Object { .. });
                }
            }
            Err(Fault::OutOfMemory) => self.check_exhausted(),
            Err(fault) => {
                assert_eq!(fault, Fault::Denied(Denial::AccErr));
                assert!(!model.prot.allows(access), "{access:?} at {address:#x}");
            }
        }
    }

    /// Whether a page lies behind an object's end in a chunk that shows the object.
    fn is_tail(&self, page: u64) -> bool {
        let chunk = page & !(CHUNK - 1);
        self.pages
            .range(chunk..page)
            .next_back()
            .is_some_and(|(_, page)| matches!(page.origin, Origin::Object { shared: true, .. }))
    }

    fn populate(&mut self, span: &Span, write: bool, value: u8) {
        let access = if write { Access::Write } else { Access::Read };
        let range = self.range(span);
        let start = range.start + u64::from(value);
        let allowed = self.mapped(&range)
            && self.pages.range(range.clone()).all(|(_, page)| page.prot.allows(access));
        for _ in 0..2 {
            match self.keep.populate(start, range.end - start, write) {
                Ok(()) => assert!(allowed),
                Err(Errno::ENOMEM) => {
                    self.check_exhausted();
                    return self.learn_copies();
                }
                Err(error) => {
                    assert!(!allowed && error == Errno::EFAULT);
                    return self.learn_copies();
                }
            }
            // Now the kernel touches it, and must not fault.
            for (&page, model) in self.pages.range_mut(range.clone()) {
                let address = page.max(start);
                let byte = self.keep.pages.machine.access(address, access).expect("it is present");
                assert_eq!(*byte, model.byte(address % PAGE));
                if write {
                    *byte = value;
                    model.bytes.insert(address % PAGE, value);
                    model.copied |= matches!(model.origin, Origin::Object { .. });
                }
            }
        }
    }

    /// A call that failed half-way may have made copies; that is not an error, but counts.
    fn learn_copies(&mut self) {
        for (&page, model) in &mut self.pages {
            if matches!(model.origin, Origin::Object { shared: true, .. }) {
                model.copied = self.keep.is_owned(page);
            }
        }
    }

    fn move_brk(&mut self, to: u64) {
        let (old, new) = (self.brk.next_multiple_of(CHUNK), to.next_multiple_of(CHUNK));
        let fits = self.fits(new.saturating_sub(old)) || new <= old;
        let result = self.keep.brk(to);
        assert_eq!(result, if fits { to } else { self.brk });
        let before = self.brk;
        self.brk = result;
        // What the break has passed over anew is zero; then it is written.
        for page in (before..result).step_by(MIB as usize / 2) {
            match self.keep.touch(page, Access::Write) {
                Ok(byte) => {
                    assert_eq!(*byte, 0);
                    *byte = 0x5a;
                }
                Err(fault) => {
                    assert_eq!(fault, Fault::OutOfMemory);
                    self.check_exhausted();
                }
            }
        }
    }

    /// Compares the areas with the model, and audits the tables.
    fn check(&self) {
        self.keep.audit();
        let mut pages = self.pages.iter();
        for (start, area) in self.keep.areas.within(MMAP..MMAP + ZONE) {
            for page in (start..area.end).step_by(PAGE as usize) {
                let (&address, model) = pages.next().expect("an area without pages");
                assert_eq!((address, model.prot), (page, area.prot));
                let same = match (area.kind, model.origin) {
                    (Kind::Anonymous, Origin::Zero) => true,
                    (
                        Kind::Object { object, shift, shared },
                        Origin::Object { object: other, offset, shared: is_shared },
                    ) => {
                        let phys = page.wrapping_add(shift);
                        object == other && phys == object.phys + offset && shared == is_shared
                    }
                    _ => false,
                };
                assert!(same, "{page:#x}: {:?} is not {:?}", area.kind, model.origin);
            }
        }
        assert!(pages.next().is_none(), "pages without an area");
        assert_eq!(self.keep.areas.committed(), self.committed());
    }

    /// Compares all bytes, unmaps everything and expects all memory back.
    fn finish(mut self) {
        let bytes: Vec<(u64, u8)> = self
            .pages
            .iter()
            .filter(|(_, page)| page.prot != Prot::NONE)
            .flat_map(|(&at, page)| {
                let written = page.bytes.keys().copied().chain([0, 4095]);
                written.map(move |offset| (at + offset, page.byte(offset)))
            })
            .collect();
        for (address, expected) in bytes {
            match self.keep.touch(address, Access::Read) {
                Ok(&mut byte) => assert_eq!(byte, expected, "{address:#x}"),
                Err(fault) => {
                    assert_eq!(fault, Fault::OutOfMemory, "{address:#x}");
                    self.check_exhausted();
                }
            }
        }
        self.check();
        self.move_brk(IMAGE + 0x10_0123);
        self.keep.munmap(MMAP, ZONE).unwrap();
        self.keep.drop_empty_arenas();
        self.keep.settle();
        let audit = self.keep.audit();
        assert_eq!((audit.large, audit.small), (0, 0));
        let held: u64 = self.objects.iter().map(|object| object.len.next_multiple_of(CHUNK)).sum();
        assert_eq!(
            (self.keep.taken, self.keep.pages.state.used()),
            (3 * CHUNK + held, 3 * CHUNK + held)
        );
        assert_eq!(self.keep.areas.within(0..u64::MAX).count(), 1);
    }
}

impl Keep {
    fn is_owned(&self, page: u64) -> bool {
        self.walk(page).entry.is_owned()
    }
}

fn run(setup: Setup, steps: &[Step]) {
    let mut model = Model::new(setup);
    model.check();
    for step in steps {
        model.step(step);
        model.check();
    }
    model.finish();
}

proptest! {
    #![proptest_config(super::cases())]

    /// Everything does what the model says.
    #[test]
    fn memory_is_what_the_model_says(
        steps in prop::collection::vec(step(), 1..80),
        fresh_is_zero in any::<bool>(),
    ) {
        let setup = Setup {
            ram: 16 * MIB, limit: LIMIT, mmap_size: ZONE, tables: 400, fresh_is_zero,
        };
        run(setup, &steps);
    }

    /// When tables run out, calls may fail, but nothing else goes wrong.
    #[test]
    fn few_tables_do_no_harm(
        steps in prop::collection::vec(step(), 1..80),
        tables in 2u64..9,
    ) {
        let setup = Setup {
            ram: 48 * MIB, limit: LIMIT, mmap_size: ZONE, tables, fresh_is_zero: true,
        };
        run(setup, &steps);
    }
}
