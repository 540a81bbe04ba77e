// SPDX-License-Identifier: Apache-2.0

//! What a hostile host does reaches the enclave as hardware would show it, and what an enclave does to its host
//! ends it with a sentence.

use std::time::{Duration, Instant};

use backend_sgx_sim::Trick;
use keep_backend::BackendError;
use sgx_guest::enclu::ErrorCode;
use sgx_guest::exception::vector;
use sgx_guest::page::{PageType, Rights, SecInfo};
use sgx_guest::ssa::fault;

use crate::enclave::{AREA, DATA, SHARED, Step, broken, can, launch_on, run_hostile, sim};
use crate::pages::accept;

const BY_MAP: u32 = fault::USER | fault::PRESENT | fault::SGX;

fn flat(steps: impl IntoIterator<Item = Vec<Step>>) -> Vec<Step> {
    steps.into_iter().flatten().collect()
}

#[test]
fn changes_that_were_not_made_cannot_be_accepted() {
    if !can() {
        return;
    }
    let mismatch = ErrorCode::PageAttributesMismatch.number();
    let steps = flat([
        accept(SecInfo::added(), AREA).to_vec(),
        vec![Step::Exit([3, AREA, 0x1000, 1])],
        accept(SecInfo::restricted(Rights::R), AREA).to_vec(),
        vec![Step::Exit([4, AREA, 0x1000, 0])],
        accept(SecInfo::modified(PageType::Trim), AREA).to_vec(),
        vec![Step::Exit([4, AREA, 0x1000, 0])],
        accept(SecInfo::modified(PageType::Trim), AREA).to_vec(),
        vec![Step::Exit([5, AREA, 0x1000, 0]), Step::Load(AREA)],
    ]);
    let tricks = [Trick::SkipRestrict(0), Trick::SkipTrim(0), Trick::SkipRemove(0)];
    let came = run_hostile(&tricks, steps);
    assert_eq!((came[2].value(), came[4].value()), (0, mismatch), "the host says it was done");
    assert_eq!((came[5].value(), came[7].value()), (0, mismatch));
    assert_eq!((came[8].value(), came[10].value()), (0, 0), "now it was");
    assert_eq!(came[12].fault(), (vector::PF, AREA, BY_MAP));
}

#[test]
fn a_host_without_memory_is_a_page_fault() {
    if !can() {
        return;
    }
    let steps = flat([
        accept(SecInfo::added(), AREA).to_vec(),
        accept(SecInfo::added(), AREA + 0x1000).to_vec(),
        vec![Step::Load(AREA)],
    ]);
    let came = run_hostile(&[Trick::NoPages(1)], steps);
    assert_eq!(came[1].value(), 0);
    assert_eq!(came[3].fault(), (vector::PF, AREA + 0x1000, fault::USER));
    assert_eq!(came[4].value(), 0);
}

#[test]
fn a_page_that_was_taken_is_gone() {
    if !can() {
        return;
    }
    let at = DATA + 0x2000;
    let steps =
        vec![Step::Store(at, 7), Step::Load(at), Step::Load(at), Step::Load(at), Step::Load(DATA)];
    // Doorbell 0 asks for the first step.
    for (trick, error) in [
        // It was put there by EADD; the host's driver adds one at the touch, which is pending.
        (Trick::Take { doorbell: 2, address: at }, BY_MAP),
        (Trick::Replace { doorbell: 2, address: at }, BY_MAP),
    ] {
        let came = run_hostile(&[trick], steps.clone());
        assert_eq!(came[1].value(), 7);
        assert_eq!(came[2].fault(), (vector::PF, at, error), "{trick:?}");
        assert_eq!(came[4].value(), 0);
    }
}

#[test]
fn answers_and_registers_are_the_hosts_to_choose() {
    if !can() {
        return;
    }
    let lie = 0xffff_ffff_ffff_f001;
    let tricks = [Trick::Answer { operation: 2, value: lie }, Trick::Registers];
    // Operations 0 and 1 ask for steps.
    let came = run_hostile(&tricks, vec![Step::Load(DATA), Step::Exit([4, DATA, 0x1000, 0])]);
    assert_eq!(came[1].value(), lie);
    let target = run_hostile(
        &[Trick::WrongTarget],
        vec![Step::Exit([7, 0, 0, 0]), Step::Load(SHARED + 0x3000)],
    );
    assert_eq!(target[1].value(), 0x5a5a_5a5a_5a5a_5a5a);
}

#[test]
fn a_wrong_entry_is_refused_by_the_processor() {
    if !can() {
        return;
    }
    let cause = broken(&[Trick::ResumeForEnter(1)], vec![Step::Load(DATA), Step::Load(DATA)]);
    // It looks like an exception of the thread, whose handler would be next: but there is no frame for one.
    assert!(cause.contains("operation 0"), "{cause}");
    // The handler is entered once more: it finds that everything is done, and resumes.
    let came = run_hostile(&[Trick::EnterForResume(0)], vec![Step::Breakpoint, Step::Load(DATA)]);
    assert_eq!(came[0].fault().0, vector::BP);
}

#[test]
fn what_an_enclave_must_not_do_ends_it() {
    if !can() {
        return;
    }
    for (steps, says) in [
        (vec![Step::Exit([2, 0, 0, 0])], "operation 2"),
        (vec![Step::Exit([99, 0, 0, 0])], "operation 99"),
        (vec![Step::Exit([3, AREA, 0x1000, 8])], "operation 3"),
        (vec![Step::Load(DATA), Step::HandleBy(7)], "operation 7"),
        (vec![Step::HandleBy(1)], "refused to go on"),
        (vec![Step::Astray(SHARED)], "another address"),
        (vec![Step::Astray(0)], "another address"),
        (vec![Step::OwnStack], "another stack"),
        (vec![Step::Call(SHARED)], "outside of its enclave"),
    ] {
        let name = format!("{steps:?}");
        let cause = broken(&[], steps);
        assert!(cause.contains(says), "{name}: {cause}");
    }
}

#[test]
fn an_enclave_that_never_leaves_can_be_ended() {
    if !can() {
        return;
    }
    let (launched, _) = launch_on(&sim(), &[], vec![Step::Forever]);
    let thread = std::thread::spawn(move || launched.keep.serve());
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    launched.killer.kill();
    assert!(matches!(thread.join().unwrap(), Err(BackendError::Killed)));
    assert!(start.elapsed() < Duration::from_secs(30), "it hangs");
}
