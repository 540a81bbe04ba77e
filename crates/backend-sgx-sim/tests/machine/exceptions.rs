// SPDX-License-Identifier: Apache-2.0

//! Asynchronous exits: which exception, what of it is in the frame, and that a thread goes on as it was.

use backend_sgx_sim::Trick;
use sgx_guest::exception::vector;
use sgx_guest::ssa::fault;

use crate::enclave::{Came, SHARED, Step, THREAD, can, run, run_hostile};

fn vector_of(came: &Came) -> u8 {
    came.fault().0
}

#[test]
fn what_is_not_for_enclaves_is_undefined() {
    if !can() {
        return;
    }
    let came = run(vec![Step::Cpuid, Step::Syscall, Step::Bases]);
    match &came[0] {
        Came::Fault { vector: vector::UD, .. } => {}
        Came::Value(_) => println!("cpuid is answered here: the processor cannot make it fault"),
        other => panic!("{other:?}"),
    }
    assert_eq!(vector_of(&came[1]), vector::UD, "a system call");
    assert_eq!(came[2], Came::Value([THREAD + 0x8000, THREAD + 0x8000, THREAD]));
}

#[test]
fn exceptions_are_reported_with_what_belongs_to_them() {
    if !can() {
        return;
    }
    let came = run(vec![
        Step::Breakpoint,
        Step::Divide,
        Step::Misaligned,
        Step::Load(0),
        Step::Load(0x8000_0000_0000_0000),
        Step::Store(SHARED + (2 << 20), 1),
        Step::Call(THREAD + 0x4000),
        Step::Leaf(99, [0; 3]),
        // EENTER is not for the inside.
        Step::Leaf(2, [THREAD, 0, 0]),
        Step::Load(THREAD + 0x8000),
    ]);
    assert_eq!(vector_of(&came[0]), vector::BP);
    assert_eq!(vector_of(&came[1]), vector::DE);
    assert_eq!(vector_of(&came[2]), vector::AC);
    assert_eq!(came[3].fault(), (vector::PF, 0, fault::USER));
    assert_eq!(came[4].fault(), (vector::GP, 0, 0), "no address is known");
    let outside = fault::USER | fault::WRITE;
    assert_eq!(came[5].fault(), (vector::PF, SHARED + (2 << 20), outside));
    let never = fault::USER | fault::FETCH | fault::PRESENT;
    // The host's mapping does not allow it, so the map of pages is not asked.
    assert_eq!(came[6].fault(), (vector::PF, THREAD + 0x4000, never));
    assert_eq!(vector_of(&came[7]), vector::GP, "{came:?}");
    assert_eq!(vector_of(&came[8]), vector::GP, "{:?}", came[8]);
    assert_eq!(came[9].value(), THREAD + 0x8000, "it goes on after all of it");
}

#[test]
fn a_storm_of_interrupts_changes_nothing() {
    if !can() {
        return;
    }
    let storm = [Trick::Storm { within: 20_000, count: 2000 }, Trick::Registers];
    let came = run_hostile(&storm, vec![Step::State(20_000_000), Step::Bases, Step::State(1000)]);
    assert_eq!(came[0].value(), 0, "state was lost");
    // GS is as the program left it within a step; an entry sets it again.
    assert_eq!(came[1], Came::Value([THREAD + 0x8000, THREAD + 0x8000, THREAD]));
    assert_eq!(came[2].value(), 0);
}
