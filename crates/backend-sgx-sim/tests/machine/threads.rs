// SPDX-License-Identifier: Apache-2.0

//! Several threads of an enclave: at the same time, waiting for each other, in each other's way, ending each other.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use backend_sgx_sim::Trick;
use keep_backend::{BackendError, Launched};
use keep_launch::Report;
use sgx_guest::enclu::{Enclu, ErrorCode};
use sgx_guest::exception::vector;
use sgx_guest::page::{Rights, SecInfo};
use sgx_guest::ssa::fault;

use crate::enclave::{AREA, Came, DATA, SHARED, SLOT, Step, THREAD, can, launch_each, sim};
use crate::pages::accept;

/// Words that the threads share.
const WORD: u64 = DATA + 0x3000;
const FLAG: u64 = DATA + 0x3800;
const FOREVER: u64 = u64::MAX;

/// Longest time that any of it takes, by far.
const LIMIT: Duration = Duration::from_secs(100);

/// Runs a Keep, and ends it if it hangs.
fn within(launched: Launched) -> Result<Report, BackendError> {
    let Launched { keep, killer } = launched;
    let (over, is_over) = channel::<()>();
    let watch = std::thread::spawn(move || {
        if is_over.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            killer.kill();
        }
    });
    let result = keep.serve();
    drop(over);
    watch.join().unwrap();
    result
}

/// What came of the steps of two processors, and how it ended.
fn end(tricks: &[Trick], first: Vec<Step>, second: Vec<Step>) -> (Vec<Came>, Vec<Came>, String) {
    let processors = vec![(THREAD, first), (THREAD + SLOT, second)];
    let (launched, all) = launch_each(&sim(), tricks, processors);
    let cause = match within(launched) {
        Err(BackendError::Keep { cause }) => cause,
        other => panic!("{other:?}"),
    };
    let mut all = std::mem::take(&mut *all.lock().unwrap());
    let second = all.pop().unwrap();
    (all.pop().unwrap(), second, cause)
}

/// The same, if the first one does all of its steps and ends the enclave then.
fn both(tricks: &[Trick], first: Vec<Step>, second: Vec<Step>) -> (Vec<Came>, Vec<Came>) {
    let count = first.len();
    let (first, second, cause) = end(tricks, first, second);
    assert!(cause.contains("refused to go on"), "{first:?}, {second:?}: {cause}");
    assert_eq!(first.len(), count, "{first:?}");
    (first, second)
}

#[test]
fn both_run_at_the_same_time() {
    if !can() {
        return;
    }
    // Neither leaves the enclave while it takes its turns.
    let (first, second) = both(
        &[],
        vec![Step::wake(1), Step::Turns(WORD, 100, 0), Step::Until(FLAG, 1), Step::Load(WORD)],
        vec![Step::Turns(WORD, 100, 1), Step::Bases, Step::Store(FLAG, 1)],
    );
    assert_eq!(first[3].value(), 200);
    let block = THREAD + SLOT + 0x8000;
    assert_eq!(second[1], Came::Value([block, block, THREAD + SLOT]));
}

#[test]
fn a_processor_that_nobody_wakes_does_not_run() {
    if !can() {
        return;
    }
    // There are no processors with these numbers.
    let (first, second) = both(
        &[],
        vec![Step::wake(2), Step::wake(1 << 32 | 1), Step::wake(FOREVER), Step::park(1_000_000)],
        vec![Step::Load(DATA)],
    );
    assert!(first.iter().all(|came| came.value() == 0), "{first:?}");
    assert_eq!(second, []);
}

#[test]
fn a_wake_is_not_lost() {
    if !can() {
        return;
    }
    // Before the parking; then whenever it comes, the other way round too.
    let (first, _) = both(
        &[],
        vec![
            Step::wake(0),
            Step::park(FOREVER),
            Step::park(0),
            Step::wake(1),
            Step::park(FOREVER),
            Step::Load(FLAG),
            Step::wake(1),
            Step::Until(FLAG, 2),
        ],
        vec![
            // What has started it is a wake too.
            Step::park(FOREVER),
            Step::Store(FLAG, 1),
            Step::wake(0),
            Step::park(FOREVER),
            Step::Store(FLAG, 2),
        ],
    );
    assert_eq!(first[5].value(), 1, "{first:?}");
    // Many times, in both directions.
    let rounds =
        |count, other| (0..count).flat_map(move |_| [Step::park(FOREVER), Step::wake(other)]);
    let first = std::iter::once(Step::wake(1)).chain(rounds(200, 1)).collect();
    let (_, second) = both(&[], first, rounds(300, 0).collect());
    assert!((399..=402).contains(&second.len()), "{}", second.len());
}

#[test]
fn a_thread_is_entered_once() {
    if !can() {
        return;
    }
    // The first one is inside for good when the third processor enters its thread.
    let processors = vec![
        (THREAD, vec![Step::wake(1), Step::Turns(WORD, 2, 0), Step::Until(FLAG, 1)]),
        (THREAD + SLOT, vec![Step::Turns(WORD, 1, 1), Step::Until(WORD, 3), Step::wake(2)]),
        (THREAD, Vec::new()),
    ];
    let (launched, _) = launch_each(&sim(), &[], processors);
    match within(launched) {
        Err(BackendError::Keep { cause }) => {
            assert!(cause.contains("cannot be entered (exception 13)"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_is_accepted_once() {
    if !can() {
        return;
    }
    const PAGES: u64 = 100;
    // The same pages by both, each with a `SECINFO` of its own.
    let accepts = |info: u64| -> Vec<Step> {
        let info_step = Step::In(info, SecInfo::added().to_bytes().to_vec());
        let pages = (0..PAGES).map(|n| AREA + n * 0x1000);
        let leaf = |page| Step::Leaf(Enclu::Eaccept as u64, [info, page, 0]);
        std::iter::once(info_step).chain(pages.map(leaf)).collect()
    };
    let mut first = vec![Step::wake(1), Step::Turns(WORD, 10, 0)];
    first.extend(accepts(DATA));
    first.push(Step::Until(FLAG, 1));
    let mut second = vec![Step::Turns(WORD, 10, 1)];
    second.extend(accepts(DATA + 0x1000));
    second.push(Step::Store(FLAG, 1));
    let (first, second) = both(&[], first, second);
    let mismatch = ErrorCode::PageAttributesMismatch.number();
    for (one, other) in first[3..].iter().zip(&second[2..]).take(PAGES as usize) {
        let mut answers = [one.value(), other.value()];
        answers.sort_unstable();
        assert_eq!(answers, [0, mismatch]);
    }
}

#[test]
fn rights_are_taken_from_a_thread_that_is_inside() {
    if !can() {
        return;
    }
    let restricted = accept(SecInfo::restricted(Rights::R), AREA);
    let first: Vec<Step> = [
        accept(SecInfo::added(), AREA).to_vec(),
        vec![Step::wake(1), Step::Until(AREA, 7), Step::Exit([3, AREA, 0x1000, 1])],
        restricted.to_vec(),
        vec![Step::Until(FLAG, 1), Step::Load(AREA)],
    ]
    .concat();
    let (first, second) = both(&[], first, vec![Step::Hammer(AREA, 7), Step::Store(FLAG, 1)]);
    assert_eq!((first[4].value(), first[6].value()), (0, 0), "{first:?}");
    let by_map = fault::USER | fault::PRESENT | fault::SGX | fault::WRITE;
    assert_eq!(second[0].fault(), (vector::PF, AREA, by_map));
    assert_eq!(first[8].value(), 7);
}

#[test]
fn exceptions_of_one_are_nothing_to_the_other() {
    if !can() {
        return;
    }
    let faults = [Step::Breakpoint, Step::Divide, Step::Load(8), Step::Syscall];
    let vectors = [vector::BP, vector::DE, vector::PF, vector::UD];
    let mut second: Vec<Step> = (0..100).flat_map(|_| faults.clone()).collect();
    second.push(Step::Store(FLAG, 1));
    let first = vec![Step::wake(1), Step::State(5_000_000), Step::Until(FLAG, 1)];
    let (first, second) = both(&[], first, second);
    assert_eq!(first[1].value(), 0, "state was lost");
    for (came, expected) in second.iter().zip(vectors.into_iter().cycle()).take(400) {
        assert_eq!(came.fault().0, expected);
    }
}

#[test]
fn a_storm_over_both_changes_nothing() {
    if !can() {
        return;
    }
    let storm = [Trick::Storm { within: 20_000, count: 1000 }, Trick::Registers];
    let (first, second) = both(
        &storm,
        vec![Step::wake(1), Step::State(10_000_000), Step::Until(FLAG, 1)],
        vec![Step::State(10_000_000), Step::Store(FLAG, 1)],
    );
    assert_eq!((first[1].value(), second[0].value()), (0, 0), "state was lost");
}

#[test]
fn the_end_of_one_is_the_end_of_both() {
    if !can() {
        return;
    }
    let wait = || vec![Step::wake(1), Step::Until(FLAG, 1)];
    let park = || vec![Step::wake(1), Step::park(FOREVER)];
    for (first, second, says) in [
        (wait(), vec![Step::fatal()], "refused to go on"),
        (park(), vec![Step::fatal()], "refused to go on"),
        (wait(), vec![Step::Exit([99, 0, 0, 0])], "operation 99"),
        (wait(), vec![Step::Astray(SHARED)], "another address"),
        (park(), vec![Step::Call(SHARED)], "outside of its enclave"),
        (vec![Step::wake(1), Step::fatal()], vec![Step::Forever], "refused to go on"),
        (vec![Step::wake(1), Step::Astray(0)], vec![Step::park(FOREVER)], "another address"),
    ] {
        let name = format!("{first:?}, {second:?}");
        let (.., cause) = end(&[], first, second);
        assert!(cause.contains(says), "{name}: {cause}");
    }
}

#[test]
fn whatever_they_do_they_can_be_ended() {
    if !can() {
        return;
    }
    for (first, second) in [(Step::Forever, Step::Forever), (Step::park(FOREVER), Step::Forever)] {
        let processors = vec![(THREAD, vec![Step::wake(1), first]), (THREAD + SLOT, vec![second])];
        let (launched, _) = launch_each(&sim(), &[], processors);
        let thread = std::thread::spawn(move || launched.keep.serve());
        std::thread::sleep(Duration::from_millis(30));
        launched.killer.kill();
        assert!(matches!(thread.join().unwrap(), Err(BackendError::Killed)));
    }
}
