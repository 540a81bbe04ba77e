// SPDX-License-Identifier: Apache-2.0

//! The uses that the design is made for, and what they cost.

use std::vec::Vec;

use keep_layout::{CHUNK, DIRECT_VIRT, PAGE};

use super::sim::{Audit, IMAGE, MIB, MMAP, Setup, keep, object_byte};
use crate::{Access, Backing, Denial, Errno, Fault, Object, Place, Prot};

const RW: Prot = Prot::READ_WRITE;

#[test]
fn large_memory_takes_one_leaf_a_chunk() {
    let mut keep = keep(Setup::default());
    let start = keep.anonymous(64 * MIB, RW);
    for page in (0..64 * MIB).step_by(PAGE as usize) {
        keep.store(start + page, 1);
    }
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small), (32, 0));
    assert_eq!(keep.pages.machine.flushes, 0);
    assert_eq!(keep.pages.machine.grown, [64 * MIB]);
    keep.munmap(start, 64 * MIB).unwrap();
    assert_eq!(keep.pages.machine.flushes, 1);
    assert_eq!(keep.denied(start, Access::Read), Denial::MapErr);
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small), (0, 0));
    // The same memory, cleared.
    let start = keep.anonymous(64 * MIB, RW);
    assert!((0..32).all(|chunk| keep.load(start + chunk * CHUNK) == 0));
    assert_eq!(keep.pages.machine.grown.len(), 1);
}

#[test]
fn wasm_memory_grows_in_its_reservation() {
    let mut keep = keep(Setup::default());
    let before = (keep.pages.state.used(), keep.tables.free());
    let reserved = (4 << 30) + 64 * MIB;
    let start = keep.anonymous(reserved, Prot::NONE);
    let again = keep.anonymous(reserved, Prot::NONE);
    assert!(again >= start + reserved || again + reserved <= start);
    assert_eq!((keep.pages.state.used(), keep.tables.free()), before);
    let memory = start + 32 * MIB;
    assert!(memory.is_multiple_of(CHUNK));
    assert_eq!(keep.denied(memory, Access::Read), Denial::AccErr);

    // 17 pages of WebAssembly do not fill a chunk.
    let mut size = 17 << 16;
    keep.mprotect(memory, size, RW).unwrap();
    keep.store(memory, 1);
    keep.store(memory + size - 1, 2);
    assert_eq!(keep.denied(memory + size, Access::Read), Denial::AccErr);
    assert_eq!(keep.denied(memory - 1, Access::Read), Denial::AccErr);
    assert_eq!(keep.audit().large, 0);
    // Growing does not flush, and the chunk becomes one leaf when it is whole.
    assert_eq!(keep.pages.machine.flushes, 0);
    let grown = 16 * MIB - size;
    keep.mprotect(memory + size, grown, RW).unwrap();
    size += grown;
    assert_eq!(keep.pages.machine.flushes, 0);
    for page in (0..size).step_by(PAGE as usize) {
        keep.touch(memory + page, Access::Write).unwrap();
    }
    assert_eq!((keep.load(memory), keep.load(memory + (17 << 16) - 1)), (1, 2));
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small), (8, 0));
    assert_eq!(keep.pages.machine.flushes, 1);
    // More than there will ever be is refused, not granted and fatal later.
    assert_eq!(keep.mprotect(memory + size, 1 << 30, RW), Err(Errno::ENOMEM));
    assert_eq!(keep.denied(memory + size, Access::Write), Denial::AccErr);
    keep.munmap(start, reserved).unwrap();
    keep.munmap(again, reserved).unwrap();
    assert_eq!(keep.audit().large, 0);
    assert_eq!((keep.pages.state.used(), keep.tables.free()), before);
}

#[test]
fn initial_content_of_wasm_memory_shares_the_leaf_of_its_chunk() {
    let mut keep = keep(Setup::default());
    let artifact = keep.object(3 * MIB, true);
    // Mapping it for the first time makes it read-only for the kernel, with a flush.
    keep.mmap(Place::Anywhere, MIB, RW, Backing::Object { object: artifact, offset: 0 }).unwrap();
    assert_eq!(keep.pages.machine.flushes, 1);
    let memory = keep.anonymous(64 * MIB, Prot::NONE);
    keep.mprotect(memory, 4 * MIB, RW).unwrap();
    let backing = Backing::Object { object: artifact, offset: 0x10_0000 };
    keep.mmap(Place::Fixed(memory + MIB), 0x8000, RW, backing).unwrap();
    assert_eq!(keep.load(memory + MIB), object_byte(artifact.phys, 0x10_0000));
    keep.store(memory + MIB, 9);
    assert_eq!(keep.load(memory), 0);
    assert_eq!(keep.load(memory + MIB + 0x8000), 0);
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small, keep.pages.machine.flushes), (1, 0, 1));
    keep.madvise(memory, 4 * MIB, 4).unwrap();
    assert_eq!(keep.load(memory + MIB), object_byte(artifact.phys, 0x10_0000));
    assert_eq!(keep.mprotect(memory + MIB, 0x8000, Prot::READ_EXEC), Err(Errno::EACCES));
}

#[test]
fn a_fiber_stack_is_one_chunk_over_its_guard() {
    let mut keep = keep(Setup::default());
    let start = keep.anonymous(2 * MIB + PAGE, Prot::NONE);
    keep.mprotect(start + PAGE, 2 * MIB, RW).unwrap();
    keep.store(start + 2 * MIB, 1);
    keep.store(start + PAGE, 1);
    assert_eq!(keep.denied(start, Access::Write), Denial::AccErr);
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small, keep.pages.machine.flushes), (1, 0, 0));
}

#[test]
fn small_mappings_share_one_leaf() {
    let mut keep = keep(Setup::default());
    let starts: Vec<u64> = (0..16).map(|_| keep.anonymous(100 << 10, RW)).collect();
    for (value, &start) in (1..).zip(&starts) {
        keep.store(start, value);
        keep.store(start + (100 << 10) - 1, value);
    }
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small, keep.pages.machine.flushes), (1, 0, 0));
    // What is given back is cleared for the next one, without a flush.
    keep.populate(starts[3], 1, true).unwrap();
    keep.munmap(starts[3], 100 << 10).unwrap();
    assert_eq!(keep.populate(starts[3], 1, false), Err(Errno::EFAULT));
    let next = keep.anonymous(100 << 10, RW);
    assert_eq!(next, starts[3]);
    assert_eq!((keep.load(next), keep.load(next + (100 << 10) - 1)), (0, 0));
    assert_eq!((keep.audit().large, keep.pages.machine.flushes), (1, 0));
    // Other rights split the chunk; all others keep their content.
    keep.mprotect(starts[5], PAGE, Prot::READ).unwrap();
    assert_eq!(keep.denied(starts[5], Access::Write), Denial::AccErr);
    assert_eq!(keep.denied(starts[15] + (100 << 10), Access::Read), Denial::MapErr);
    for (value, &start) in (1..).zip(&starts) {
        assert_eq!(keep.load(start), if start == next { 0 } else { value });
    }
    assert_eq!((keep.audit().large, keep.audit().small), (0, 400));
    starts.iter().for_each(|&start| keep.munmap(start, 100 << 10).unwrap());
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small), (0, 0));
}

#[test]
fn a_guarded_signal_stack_costs_nothing_until_it_is_used() {
    let mut keep = keep(Setup::default());
    let buffer = keep.anonymous(256 << 10, RW);
    keep.store(buffer, 1);
    let stack = keep.anonymous(3 * PAGE, RW);
    keep.mprotect(stack, PAGE, Prot::NONE).unwrap();
    assert_eq!(keep.pages.machine.flushes, 0);
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small), (1, 0));
    keep.store(stack + PAGE, 1);
    assert_eq!(keep.denied(stack, Access::Read), Denial::AccErr);
}

#[test]
fn an_artifact_is_mapped_by_chunks_without_a_copy() {
    let mut keep = keep(Setup::default());
    let len = 5 * MIB + 12_345;
    let object = keep.object(len, true);
    let used = keep.pages.state.used();
    // As Wasmtime does: writable, then read-only, then its code executable.
    let backing = Backing::Object { object, offset: 0 };
    let start = keep.mmap(Place::Anywhere, len, RW, backing).unwrap();
    assert!(!keep.direct_is_writable(object.phys));
    assert_eq!(keep.load(start + 5000), object_byte(object.phys, 5000));
    keep.mprotect(start, len, Prot::READ).unwrap();
    keep.mprotect(start + 4 * PAGE, 3 * MIB, Prot::READ_EXEC).unwrap();
    // One for the direct map, one for the code.
    assert_eq!(keep.pages.machine.flushes, 2);
    for page in (0..len).step_by(PAGE as usize) {
        assert_eq!(keep.load(start + page), object_byte(object.phys, page));
    }
    keep.touch(start + MIB, Access::Execute).unwrap();
    assert_eq!(keep.denied(start + MIB, Access::Write), Denial::AccErr);
    assert_eq!(keep.denied(start + 4 * MIB, Access::Execute), Denial::AccErr);
    assert_eq!(keep.load(start + len), 0);
    let Audit { large, small, .. } = keep.audit();
    assert_eq!((large, small), (3, 0));
    assert_eq!(keep.pages.state.used(), used);
    keep.munmap(start, len).unwrap();
    keep.audit();
}

#[test]
fn what_was_written_never_runs() {
    let mut keep = keep(Setup::default());
    let object = keep.object(MIB, true);
    let data = keep.object(MIB, false);
    let backing = |object: Object| Backing::Object { object, offset: 0 };
    let anywhere = Place::Anywhere;
    assert_eq!(Prot::from_linux(7), Err(Errno::EACCES));
    for prot in [Prot::NONE, Prot::READ, RW] {
        let plain = keep.anonymous(3 * MIB, prot);
        assert_eq!(keep.mprotect(plain, PAGE, Prot::READ_EXEC), Err(Errno::EACCES));
        let plain = keep.mmap(anywhere, MIB, prot, backing(data)).unwrap();
        assert_eq!(keep.mprotect(plain, PAGE, Prot::READ_EXEC), Err(Errno::EACCES));
    }
    let refused = keep.mmap(anywhere, PAGE, Prot::READ_EXEC, Backing::Anonymous);
    assert_eq!(refused, Err(Errno::EACCES));
    let refused = keep.mmap(anywhere, PAGE, Prot::READ_EXEC, backing(data));
    assert_eq!(refused, Err(Errno::EACCES));

    let start = keep.mmap(anywhere, MIB, RW, backing(object)).unwrap();
    keep.store(start + 5 * PAGE, 0xcc);
    keep.mprotect(start, MIB, Prot::READ).unwrap();
    assert_eq!(keep.mprotect(start, MIB, Prot::READ_EXEC), Err(Errno::EACCES));
    assert_eq!(keep.mprotect(start + 5 * PAGE, PAGE, Prot::READ_EXEC), Err(Errno::EACCES));
    keep.mprotect(start, 5 * PAGE, Prot::READ_EXEC).unwrap();
    keep.touch(start, Access::Execute).unwrap();
    assert_eq!(keep.load(start + 5 * PAGE), 0xcc);
    assert_eq!(keep.load(start + 6 * PAGE), object_byte(object.phys, 6 * PAGE));
    // What can run does not become writable through the direct map.
    assert!(!keep.direct_is_writable(object.phys));
    let other = keep.mmap(anywhere, MIB, RW, backing(object)).unwrap();
    keep.store(other, 0xcc);
    assert_eq!(keep.load(start), object_byte(object.phys, 0));
    keep.audit();

    let code = keep.mmap(anywhere, MIB, Prot::READ_EXEC, backing(object)).unwrap();
    keep.lock_exec();
    keep.touch(code, Access::Execute).unwrap();
    keep.mprotect(code, MIB, Prot::READ_EXEC).unwrap();
    let refused = keep.mmap(anywhere, MIB, Prot::READ_EXEC, backing(object));
    assert_eq!(refused, Err(Errno::EACCES));
    let late = keep.mmap(anywhere, MIB, Prot::READ, backing(object)).unwrap();
    assert_eq!(keep.mprotect(late, MIB, Prot::READ_EXEC), Err(Errno::EACCES));
    keep.audit();
}

#[test]
fn a_chunk_of_an_object_gives_no_more_rights_than_it_must() {
    let mut keep = keep(Setup::default());
    let object = keep.object(4 * MIB, true);
    let backing = Backing::Object { object, offset: 0 };
    // Code next to what can be written to: no common leaf.
    let start = keep.mmap(Place::Anywhere, 4 * MIB, RW, backing).unwrap();
    keep.mprotect(start, MIB, Prot::READ_EXEC).unwrap();
    keep.touch(start, Access::Execute).unwrap();
    keep.load(start + MIB);
    assert_eq!(keep.denied(start + MIB, Access::Execute), Denial::AccErr);
    // A part of the object: no leaf for all of its chunk.
    let part = keep.mmap(Place::Anywhere, MIB, Prot::READ, backing).unwrap();
    keep.load(part);
    assert_eq!(keep.denied(part + MIB, Access::Read), Denial::MapErr);
    // A copy of one page is a copy of that page only, and can be dropped again.
    let whole = keep.mmap(Place::Anywhere, 4 * MIB, RW, backing).unwrap();
    keep.load(whole);
    keep.store(whole + 5 * PAGE, 0xcc);
    keep.mprotect(whole + 6 * PAGE, PAGE, Prot::READ_EXEC).unwrap();
    assert_eq!(keep.mprotect(whole + 5 * PAGE, PAGE, Prot::READ_EXEC), Err(Errno::EACCES));
    keep.madvise(whole + 5 * PAGE, PAGE, 4).unwrap();
    keep.mprotect(whole + 5 * PAGE, PAGE, Prot::READ_EXEC).unwrap();
    assert_eq!(keep.load(whole + 5 * PAGE), object_byte(object.phys, 5 * PAGE));
    keep.audit();
}

#[test]
fn what_the_kernel_found_present_is_not_trusted_after_it_went() {
    let mut keep = keep(Setup::default());
    let start = keep.anonymous(4 * MIB, RW);
    let check = |keep: &mut super::sim::Keep, expected| {
        assert_eq!(keep.populate(start, 100, true), expected);
        if expected.is_ok() {
            *keep.pages.machine.access(start, Access::Write).unwrap() = 1;
        }
    };
    check(&mut keep, Ok(()));
    keep.madvise(start, 2 * MIB, 4).unwrap();
    check(&mut keep, Ok(()));
    keep.mprotect(start, 2 * MIB, Prot::READ).unwrap();
    check(&mut keep, Err(Errno::EFAULT));
    keep.mprotect(start, 2 * MIB, RW).unwrap();
    check(&mut keep, Ok(()));
    keep.munmap(start, 4 * MIB).unwrap();
    check(&mut keep, Err(Errno::EFAULT));
    // Finding it again costs no walk, let alone a flush.
    let start = keep.anonymous(4 * MIB, RW);
    keep.populate(start, 4 * MIB, true).unwrap();
    let flushes = keep.pages.machine.flushes;
    keep.populate(start + MIB, 4096, false).unwrap();
    assert_eq!(keep.pages.machine.flushes, flushes);
}

#[test]
fn a_table_is_not_used_again_while_the_processor_may_know_it() {
    let mut keep = keep(Setup::default());
    let start = keep.anonymous(4 * PAGE, Prot::NONE);
    keep.mprotect(start, 4 * PAGE, RW).unwrap();
    keep.store(start, 1);
    keep.mprotect(start, 4 * PAGE, Prot::NONE).unwrap();
    assert_eq!(keep.denied(start, Access::Read), Denial::AccErr);
    let flushes = keep.pages.machine.flushes;
    keep.munmap(start, 4 * PAGE).unwrap();
    assert_eq!(keep.pages.machine.flushes, flushes + 1);
    let other = keep.mmap(Place::Fixed(start + 64 * MIB), 4 * PAGE, RW, Backing::Anonymous);
    keep.store(other.unwrap(), 2);
    assert_eq!(keep.denied(start, Access::Read), Denial::MapErr);
}

#[test]
fn resetting_a_part_of_a_chunk_spares_the_rest() {
    let mut keep = keep(Setup::default());
    let object = keep.object(MIB, false);
    let memory = keep.anonymous(4 * MIB, RW);
    let backing = Backing::Object { object, offset: 0 };
    keep.mmap(Place::Fixed(memory + MIB), 8 * PAGE, RW, backing).unwrap();
    for page in 0..512 {
        keep.store(memory + page * PAGE, 7);
    }
    keep.madvise(memory + PAGE, MIB + PAGE, 4).unwrap();
    assert_eq!((keep.load(memory), keep.load(memory + PAGE)), (7, 0));
    assert_eq!(keep.load(memory + MIB), object_byte(object.phys, 0));
    assert_eq!(keep.load(memory + MIB + PAGE), object_byte(object.phys, PAGE));
    assert_eq!(keep.load(memory + MIB + 2 * PAGE), 7);
    assert_eq!((keep.audit().large, keep.pages.machine.flushes), (1, 0));
}

#[test]
fn a_page_of_an_arena_is_cleared_each_time() {
    let mut keep = keep(Setup::default());
    let first = keep.anonymous(100 << 10, RW);
    keep.store(first, 1);
    for _ in 0..3 {
        let again = keep.anonymous(100 << 10, RW);
        assert_eq!(keep.load(again), 0);
        keep.store(again, 1);
        keep.munmap(again, 100 << 10).unwrap();
    }
    assert_eq!(keep.pages.machine.flushes, 0);
}

#[test]
fn memory_runs_out_without_harm() {
    let setup = Setup { ram: 8 * MIB, limit: 32 * MIB, ..Setup::default() };
    let mut keep = keep(setup);
    assert_eq!((keep.pages.state.used(), keep.pages.state.end()), (6 * MIB, 8 * MIB));
    assert_eq!(keep.usage().limit, 32 * MIB);
    assert_eq!(keep.mmap(Place::Anywhere, 64 * MIB, RW, Backing::Anonymous), Err(Errno::ENOMEM));
    let start = keep.anonymous(26 * MIB, RW);
    keep.alloc(CHUNK).unwrap();
    for chunk in 0..12 {
        keep.store(start + chunk * CHUNK, 7);
    }
    assert_eq!(keep.touch(start + 24 * MIB, Access::Write), Err(Fault::OutOfMemory));
    assert_eq!(keep.populate(start + 24 * MIB, 1, true), Err(Errno::ENOMEM));
    assert_eq!(keep.alloc(CHUNK), None);
    assert_eq!(keep.pages.state.used(), 32 * MIB);
    assert_eq!(keep.audit().large, 12);
    keep.munmap(start, 2 * MIB).unwrap();
    keep.store(start + 24 * MIB, 7);
    keep.munmap(start, 26 * MIB).unwrap();
    keep.audit();
    assert_eq!(keep.pages.state.used(), 8 * MIB);
    assert!(keep.alloc(12 * CHUNK).is_some());
}

#[test]
fn an_idle_arena_makes_way_for_another() {
    let mut keep = keep(Setup { ram: 8 * MIB, limit: 32 * MIB, ..Setup::default() });
    let idle = keep.anonymous(4 * PAGE, RW);
    keep.store(idle, 1);
    keep.munmap(idle, 4 * PAGE).unwrap();
    let rest = keep.anonymous(24 * MIB, RW);
    (0..12).for_each(|chunk| keep.store(rest + chunk * CHUNK, 7));
    assert_eq!(keep.pages.state.used(), 32 * MIB);
    // Its leaf goes, and with it the table that is to hold the new leaf.
    let other = keep.anonymous(100 << 10, RW);
    keep.store(other, 2);
    assert_eq!(keep.load(other), 2);
    keep.audit();
}

#[test]
fn tables_run_out_without_harm() {
    let setup = Setup { tables: 8, ..Setup::default() };
    let mut keep = keep(setup);
    let start = keep.anonymous(64 * MIB, RW);
    for chunk in 0..32 {
        keep.store(start + chunk * CHUNK + 5 * PAGE, chunk as u8 + 1);
    }
    let mut split = 0;
    for chunk in 0..32 {
        match keep.mprotect(start + chunk * CHUNK, PAGE, Prot::NONE) {
            Ok(()) => split += 1,
            Err(error) => assert_eq!(error, Errno::ENOMEM),
        }
        keep.audit();
    }
    assert!((3..=6).contains(&split), "{split}");
    for chunk in 0..32 {
        assert_eq!(keep.load(start + chunk * CHUNK + 5 * PAGE), chunk as u8 + 1);
    }
    keep.munmap(start, 64 * MIB).unwrap();
    assert_eq!(keep.tables.free(), 8);
}

#[test]
fn a_lying_host_gives_no_memory() {
    let mut keep = keep(Setup { ram: 8 * MIB, ..Setup::default() });
    keep.alloc(CHUNK).unwrap();
    for lie in [
        (0, 8 * MIB),
        (8 * MIB, 8 * MIB),
        (8 * MIB, 9 * MIB),
        (8 * MIB, 6 * MIB),
        (10 * MIB, 12 * MIB),
        (8 * MIB, 514 * MIB),
        (8 * MIB, u64::MAX),
    ] {
        keep.pages.machine.lie = Some(lie);
        assert_eq!(keep.alloc(CHUNK), None, "{lie:?}");
        assert_eq!(keep.pages.state.end(), 8 * MIB);
    }
    keep.pages.machine.lie = None;
    assert!(keep.alloc(CHUNK).is_some());
}

#[test]
fn a_stingy_host_is_asked_again() {
    let mut keep = keep(Setup { ram: 8 * MIB, limit: 20 * MIB, ..Setup::default() });
    keep.pages.machine.stingy = true;
    let start = keep.anonymous(12 * MIB, RW);
    (0..6).for_each(|chunk| keep.store(start + chunk * CHUNK, 1));
    assert_eq!(keep.pages.state.end(), 18 * MIB);
}

#[test]
fn the_break_moves_and_what_it_leaves_is_cleared() {
    let mut keep = keep(Setup::default());
    let start = keep.brk(0);
    assert_eq!(start, IMAGE + 0x10_0123);
    assert_eq!(keep.brk(start + 100), start + 100);
    keep.store(start + 50, 1);
    assert_eq!(keep.brk(start + 10 * MIB), start + 10 * MIB);
    for offset in (0..10 * MIB).step_by(MIB as usize) {
        keep.store(start + offset, 2);
    }
    assert_eq!((keep.audit().large, keep.pages.machine.flushes), (5, 0));
    assert_eq!(keep.brk(start + MIB / 2), start + MIB / 2);
    assert_eq!((keep.load(start), keep.load(start + 50)), (2, 1));
    assert_eq!(keep.denied(start + 9 * MIB, Access::Read), Denial::MapErr);
    assert_eq!(keep.brk(start + 10 * MIB), start + 10 * MIB);
    assert!((1..10).all(|mib| keep.load(start + mib * MIB) == 0));
    for refused in [start - 1, IMAGE + 257 * MIB, MMAP, u64::MAX, 0] {
        assert_eq!(keep.brk(refused), start + 10 * MIB);
    }
    // Bytes of one page are cleared exactly.
    assert_eq!(keep.brk(start + 100), start + 100);
    keep.store(start + 99, 3);
    keep.store(start + 100, 4);
    keep.brk(start + 101);
    keep.brk(start + 100);
    keep.brk(start + 101);
    assert_eq!((keep.load(start + 99), keep.load(start + 100)), (3, 0));
    keep.audit();
}

#[test]
fn the_image_stays_as_it_is() {
    let mut keep = keep(Setup::default());
    keep.mprotect(IMAGE, PAGE, Prot::READ).unwrap();
    keep.mprotect(IMAGE, CHUNK, RW).unwrap();
    assert_eq!(keep.mprotect(IMAGE, PAGE, Prot::NONE), Err(Errno::EACCES));
    assert_eq!(keep.mprotect(IMAGE, PAGE, Prot::READ_EXEC), Err(Errno::EACCES));
    assert_eq!(keep.mprotect(IMAGE - PAGE, CHUNK, RW), Err(Errno::ENOMEM));
    assert_eq!(keep.munmap(IMAGE, CHUNK), Err(Errno::EINVAL));
    let fixed = keep.mmap(Place::Fixed(IMAGE), PAGE, RW, Backing::Anonymous);
    assert_eq!(fixed, Err(Errno::ENOMEM));
    keep.madvise(IMAGE, CHUNK, 4).unwrap();
    keep.store(IMAGE, 5);
    keep.populate(IMAGE + 5, 100, true).unwrap();
    assert_eq!(keep.populate(IMAGE + CHUNK - 1, 2, false), Err(Errno::EFAULT));
    assert_eq!(keep.populate(DIRECT_VIRT + 16 * MIB, 2, false), Err(Errno::EFAULT));
    assert_eq!(keep.fault(IMAGE, Access::Execute), Fault::Denied(Denial::AccErr));
}

#[test]
fn no_argument_is_too_odd() {
    let mut keep = keep(Setup::default());
    let start = keep.anonymous(4 * MIB, RW);
    let object = keep.object(MIB, true);
    let odd = [0, 1, PAGE, start, start + 1, MMAP, start + 4 * MIB, 1 << 47, 1 << 63, !0, !0xfff];
    for a in odd {
        for b in odd {
            for prot in [Prot::NONE, Prot::READ, RW, Prot::READ_EXEC] {
                for place in
                    [Place::Anywhere, Place::Hint(a), Place::Fixed(a), Place::FixedNoReplace(a)]
                {
                    let _ = keep.mmap(place, b, prot, Backing::Anonymous);
                    let _ = keep.mmap(place, b, prot, Backing::Object { object, offset: a });
                }
                let _ = keep.mprotect(a, b, prot);
            }
            let _ = keep.madvise(a, b, 4);
            let _ = keep.populate(a, b, true);
            let _ = keep.munmap(a, b);
        }
        keep.fault(a, Access::Write);
        keep.brk(a);
        keep.alloc(a);
        keep.audit();
    }
}

#[test]
fn arguments_are_checked_as_linux_does() {
    let mut keep = keep(Setup::default());
    let start = keep.anonymous(4 * MIB, RW);
    let map =
        |keep: &mut super::sim::Keep, place, len| keep.mmap(place, len, RW, Backing::Anonymous);
    assert_eq!(map(&mut keep, Place::Anywhere, 0), Err(Errno::EINVAL));
    assert_eq!(map(&mut keep, Place::Anywhere, !0), Err(Errno::ENOMEM));
    assert_eq!(map(&mut keep, Place::Fixed(start + 1), PAGE), Err(Errno::EINVAL));
    assert_eq!(map(&mut keep, Place::FixedNoReplace(start), PAGE), Err(Errno::EEXIST));
    assert_eq!(map(&mut keep, Place::Hint(start + 8 * MIB), PAGE), Ok(start + 8 * MIB));
    assert_ne!(map(&mut keep, Place::Hint(start), PAGE), Ok(start));
    assert_eq!(keep.munmap(start, 0), Err(Errno::EINVAL));
    assert_eq!(keep.munmap(start + 1, PAGE), Err(Errno::EINVAL));
    assert_eq!(keep.mprotect(start + 1, PAGE, RW), Err(Errno::EINVAL));
    assert_eq!(keep.mprotect(start, 0, RW), Ok(()));
    assert_eq!(keep.mprotect(start, 4 * MIB + 1, RW), Err(Errno::ENOMEM));
    assert_eq!(keep.madvise(start, PAGE, 99), Err(Errno::EINVAL));
    assert_eq!(keep.madvise(start, 5 * MIB, 3), Err(Errno::ENOMEM));
    assert_eq!(Prot::from_linux(8), Err(Errno::EINVAL));
}
