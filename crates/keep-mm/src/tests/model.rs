// SPDX-License-Identifier: Apache-2.0

//! Random calls and accesses against a model that knows pages only.
//!
//! The model says for each page what rights it has and what each byte shows. After every step all
//! invariants are audited and the areas are compared with the model; at the end every byte that
//! was ever written is compared.

use proptest::prelude::*;

use keep_layout::{CHUNK, PAGE};

use super::pages::{Origin, Pages, Shows, Sizes, Span, Step, ZONE, step};
use super::sim::{IMAGE, Keep, MIB, MMAP, Setup, keep, object_byte};
use crate::areas::Kind;
use crate::{Access, Denial, Errno, Fault, Object, Prot};

const LIMIT: u64 = 48 * MIB;
const SIZES: Sizes = Sizes { brk: 12 * MIB, object: 5 * MIB, offset: 1200 };

struct Model {
    keep: Keep,
    pages: Pages,
    brk: u64,
    /// Whether tables suffice for whatever happens.
    ample: bool,
}

impl Model {
    fn new(setup: Setup) -> Self {
        Self {
            keep: keep(setup),
            pages: Pages::default(),
            brk: IMAGE + 0x10_0123,
            ample: setup.tables > 100,
        }
    }

    fn committed(&self) -> u64 {
        self.pages.charge(0..u64::MAX) + self.brk_committed()
    }

    fn brk_committed(&self) -> u64 {
        self.brk.next_multiple_of(CHUNK).saturating_sub(IMAGE + CHUNK)
    }

    fn fits(&self, more: u64) -> bool {
        let held = self.pages.objects.iter().map(|object| object.len.next_multiple_of(CHUNK));
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
                let range = self.pages.range(span);
                match self.keep.munmap(range.start, range.end - range.start) {
                    Ok(()) => self.pages.unmapped(&range),
                    Err(error) => assert!(error == Errno::ENOMEM && !self.ample),
                }
            }
            Step::Mprotect(span, prot) => self.mprotect(span, *prot),
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
                    self.pages.objects.push(Object { phys, len: *len, executable: *executable });
                }
            }
            Step::Lock => {
                self.keep.lock_exec();
                self.pages.locked = true;
            }
            // Here that is a matter of the limit.
            Step::Leave(_) => {}
        }
    }

    fn mmap(&mut self, place: u8, span: &Span, len: u64, prot: Prot, object: &Shows) {
        let call = self.pages.call(place, self.pages.range(span).start, len, prot, object);
        let expected = self.pages.mmap(&call, |more| self.fits(more));
        let mapped = self.keep.mmap(call.place, len, prot, call.backing());
        if !self.ample && mapped == Err(Errno::ENOMEM) {
            return;
        }
        assert_eq!(mapped.map(drop), expected);
        if let Ok(start) = mapped {
            self.pages.mapped(&call, start);
        }
    }

    fn mprotect(&mut self, span: &Span, prot: Prot) {
        let range = self.pages.range(span);
        let expected = self.pages.mprotect(&range, prot, |more| self.fits(more));
        let done = self.keep.mprotect(range.start, range.end - range.start, prot);
        if !self.ample && done == Err(Errno::ENOMEM) {
            return;
        }
        assert_eq!(done, expected);
        if done.is_ok() {
            self.pages.protected(&range, prot);
        }
    }

    fn touch(&mut self, address: u64, access: Access, value: u8) {
        let page = address & !(PAGE - 1);
        let offset = address % PAGE;
        let tail = self.is_tail(page);
        let arena = self.keep.arenas.contains(page & !(CHUNK - 1));
        let Some(model) = self.pages.map.get_mut(&page) else {
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
            Origin::Object { object, shared: true, .. } => object.executable && !model.written,
            _ => false,
        };
        match self.keep.touch(address, access) {
            Ok(byte) => {
                let extra = access == Access::Execute && model.prot == Prot::READ && near_code;
                assert!(model.prot.allows(access) || extra, "{access:?} at {address:#x}");
                assert_eq!(*byte, model.byte(offset), "{address:#x}");
                if access == Access::Write {
                    *byte = value;
                    model.store(offset, value);
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
        self.pages.map.range(chunk..page).next_back().is_some_and(|(_, page)| page.is_shared())
    }

    fn populate(&mut self, span: &Span, write: bool, value: u8) {
        let access = if write { Access::Write } else { Access::Read };
        let range = self.pages.range(span);
        let start = range.start + u64::from(value);
        let allowed = self.pages.allow(&range, access);
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
            for (&page, model) in self.pages.map.range_mut(range.clone()) {
                let address = page.max(start);
                let byte = self.keep.pages.machine.access(address, access).expect("it is present");
                assert_eq!(*byte, model.byte(address % PAGE));
                if write {
                    *byte = value;
                    model.store(address % PAGE, value);
                }
            }
        }
    }

    /// A call that failed half-way may have made copies; that is not an error, but counts.
    fn learn_copies(&mut self) {
        for (&page, model) in &mut self.pages.map {
            if model.is_shared() {
                model.written = self.keep.is_owned(page);
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
        let mut pages = self.pages.map.iter();
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
        for (address, expected) in self.pages.bytes() {
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
        let held: u64 =
            self.pages.objects.iter().map(|object| object.len.next_multiple_of(CHUNK)).sum();
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
        steps in prop::collection::vec(step(SIZES), 1..80),
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
        steps in prop::collection::vec(step(SIZES), 1..80),
        tables in 2u64..9,
    ) {
        let setup = Setup {
            ram: 48 * MIB, limit: LIMIT, mmap_size: ZONE, tables, fresh_is_zero: true,
        };
        run(setup, &steps);
    }
}
