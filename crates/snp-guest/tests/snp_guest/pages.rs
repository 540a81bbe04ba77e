// SPDX-License-Identifier: Apache-2.0

//! Page states against a model that has a state for each page.

use std::ops::Range;

use proptest::prelude::*;
use snp_guest::LARGE;
use snp_guest::pages::{Pages, PagesError, Pvalidate, State};

const PAGE: u64 = 4096;

fn never(_: u64, _: bool) -> Pvalidate {
    panic!("the instruction was executed")
}

#[test]
fn nothing_is_validated_twice() {
    let mut pages = Pages::<8>::new();
    pages.declare(0..16 * PAGE, State::Shared).unwrap();
    let done = |_: Range<u64>| Ok::<(), PagesError>(());
    assert_eq!(
        pages.validate(0..PAGE, never),
        Err(PagesError::State { address: 0, is: Some(State::Shared) })
    );
    pages.assign(0..8 * PAGE, done).unwrap();
    let mut seen = Vec::new();
    pages
        .validate(2 * PAGE..4 * PAGE, |at, large| {
            seen.push((at, large));
            Pvalidate::DONE
        })
        .unwrap();
    assert_eq!(seen, [(2 * PAGE, false), (3 * PAGE, false)]);
    let again = pages.validate(0..8 * PAGE, never);
    assert_eq!(again, Err(PagesError::State { address: 2 * PAGE, is: Some(State::Validated) }));
    // What is validated cannot be shared, what is shared not be rescinded.
    let shared = pages.share(2 * PAGE..3 * PAGE, |_| -> Result<(), PagesError> { panic!("asked") });
    assert!(matches!(shared, Err(PagesError::State { is: Some(State::Validated), .. })));
    assert!(pages.rescind(8 * PAGE..9 * PAGE, never).is_err());
    pages.rescind(2 * PAGE..3 * PAGE, |_, _| Pvalidate::DONE).unwrap();
    pages.share(2 * PAGE..3 * PAGE, done).unwrap();
    let spans: Vec<_> = pages.iter().collect();
    assert_eq!(
        spans,
        [
            (0..2 * PAGE, State::Assigned),
            (2 * PAGE..3 * PAGE, State::Shared),
            (3 * PAGE..4 * PAGE, State::Validated),
            (4 * PAGE..8 * PAGE, State::Assigned),
            (8 * PAGE..16 * PAGE, State::Shared),
        ]
    );
    // What nobody knows is refused, and so is what is known already.
    assert_eq!(
        pages.validate(15 * PAGE..17 * PAGE, never),
        Err(PagesError::State { address: 15 * PAGE, is: Some(State::Shared) })
    );
    assert_eq!(
        pages.check(&(8 * PAGE..17 * PAGE), State::Shared),
        Err(PagesError::State { address: 16 * PAGE, is: None })
    );
    assert!(pages.declare(15 * PAGE..17 * PAGE, State::Shared).is_err());
    for range in [0..0, 0..1, 1..PAGE] {
        assert_eq!(pages.validate(range, never), Err(PagesError::Range));
    }
}

#[test]
fn moved_memory_is_found() {
    let mut pages = Pages::<8>::new();
    pages.declare(0..8 * PAGE, State::Assigned).unwrap();
    let unchanged = Pvalidate { code: 0, unchanged: true };
    let result = pages
        .validate(0..8 * PAGE, |at, _| if at == 3 * PAGE { unchanged } else { Pvalidate::DONE });
    assert_eq!(result, Err(PagesError::Unchanged(3 * PAGE)));
    // What came before is known to be validated.
    assert_eq!(pages.state(2 * PAGE), Some(State::Validated));
    assert_eq!(pages.state(3 * PAGE), Some(State::Assigned));
    let result = pages.validate(3 * PAGE..8 * PAGE, |_, _| Pvalidate { code: 1, unchanged: false });
    assert_eq!(result, Err(PagesError::Refused(3 * PAGE, 1)));
    // A small page has no other size.
    let mismatch = Pvalidate { code: Pvalidate::SIZE_MISMATCH, unchanged: false };
    let result = pages.validate(3 * PAGE..8 * PAGE, |_, _| mismatch);
    assert_eq!(result, Err(PagesError::Refused(3 * PAGE, 6)));
}

#[test]
fn large_pages_are_validated_whole_where_the_hypervisor_has_them_whole() {
    let mut pages = Pages::<8>::new();
    let range = LARGE - PAGE..3 * LARGE + PAGE;
    pages.declare(range.clone(), State::Assigned).unwrap();
    let mut seen = Vec::new();
    pages
        .validate(range, |at, large| {
            seen.push((at, large));
            let code = if large && at == 2 * LARGE { Pvalidate::SIZE_MISMATCH } else { 0 };
            Pvalidate { code, unchanged: false }
        })
        .unwrap();
    let small = (2 * LARGE..3 * LARGE + PAGE).step_by(4096).map(|at| (at, false));
    let mut expected = vec![(LARGE - PAGE, false), (LARGE, true), (2 * LARGE, true)];
    expected.extend(small);
    assert_eq!(seen, expected);
}

#[test]
fn memory_in_too_many_pieces_is_refused_before_anything_is_done() {
    let mut pages = Pages::<4>::new();
    pages.declare(0..64 * PAGE, State::Assigned).unwrap();
    pages.validate(8 * PAGE..9 * PAGE, |_, _| Pvalidate::DONE).unwrap();
    assert_eq!(pages.iter().count(), 3);
    assert_eq!(pages.validate(20 * PAGE..21 * PAGE, never), Err(PagesError::Full));
}

#[derive(Debug, Clone)]
enum Step {
    Declare(State),
    Assign,
    Share,
    Validate,
    Rescind,
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64, u64)>> {
    let state = prop::sample::select(vec![State::Shared, State::Assigned, State::Validated]);
    let step = prop_oneof![
        state.prop_map(Step::Declare),
        Just(Step::Assign),
        Just(Step::Share),
        Just(Step::Validate),
        Just(Step::Rescind),
    ];
    prop::collection::vec((step, 0_u64..40, 1_u64..12), 0..80)
}

proptest! {
    #[test]
    fn states_are_those_of_a_model(steps in steps()) {
        let mut pages = Pages::<64>::new();
        let mut model = [None; 64];
        for (step, start, count) in steps {
            let range = start * PAGE..(start + count) * PAGE;
            let slots = start as usize..(start + count) as usize;
            let all = |state| model[slots.clone()].iter().all(|is| *is == state);
            let done = |_: Range<u64>| Ok::<(), PagesError>(());
            let (allowed, to, result) = match step {
                Step::Declare(to) => (all(None), to, pages.declare(range, to)),
                Step::Assign => {
                    let allowed = all(Some(State::Shared));
                    (allowed, State::Assigned, pages.assign(range, done))
                }
                Step::Share => {
                    let allowed = all(Some(State::Assigned));
                    (allowed, State::Shared, pages.share(range, done))
                }
                Step::Validate => {
                    let allowed = all(Some(State::Assigned));
                    let result = pages.validate(range, |_, _| Pvalidate::DONE);
                    (allowed, State::Validated, result)
                }
                Step::Rescind => {
                    let allowed = all(Some(State::Validated));
                    let result = pages.rescind(range, |_, _| Pvalidate::DONE);
                    (allowed, State::Assigned, result)
                }
            };
            prop_assert_eq!(result.is_ok(), allowed, "{:?}", result);
            if allowed {
                model[slots].fill(Some(to));
            }
            for (slot, is) in model.iter().enumerate() {
                prop_assert_eq!(pages.state(slot as u64 * PAGE), *is);
            }
            // Spans are in order, and no two that touch are alike.
            let spans: Vec<_> = pages.iter().collect();
            for pair in spans.windows(2) {
                let [(a, one), (b, other)] = pair else { unreachable!() };
                prop_assert!(a.end < b.start || (a.end == b.start && one != other));
            }
        }
    }
}
