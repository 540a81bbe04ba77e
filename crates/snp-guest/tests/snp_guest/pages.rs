// SPDX-License-Identifier: Apache-2.0

//! Memory that becomes a Keep's own, and what a hypervisor may try then.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proptest::prelude::*;
use sallyport::Window as _;
use snp_guest::LARGE;
use snp_guest::ghcb::{Ghcb, GhcbError};
use snp_guest::host::{Entry, GhcbAnswer, GhcbRequest, HostError, Owner, PageList, read_entry};
use snp_guest::pages::{Pages, PagesError, Pvalidate};

use crate::Page;

const PAGE: u64 = 4096;
const GHCB: u64 = 0x20_0000_3000;

fn with(page: &Page) -> Ghcb<&Page> {
    Ghcb { block: page, start: GHCB, at: 0 }
}

fn done(_: u64, _: bool) -> Pvalidate {
    Pvalidate::DONE
}

fn not_asked() {
    panic!("the hypervisor was asked")
}

fn not_validated(_: u64, _: bool) -> Pvalidate {
    panic!("the instruction was executed")
}

/// Answers a list after up to `at_once` entries of it; gives those.
fn serve(page: &Page, at_once: usize) -> Vec<Entry> {
    let Ok(GhcbRequest::ChangePages(scratch)) = GhcbRequest::read(&page) else { panic!("no list") };
    assert_eq!(PageList::read(&page, GHCB, scratch + 8), Err(HostError::Scratch));
    let mut list = PageList::read(&page, GHCB, scratch).unwrap();
    let entries = (0..at_once).map_while(|_| list.next(&page).unwrap()).collect();
    list.write(&page);
    GhcbAnswer::Done(0).write(&page);
    entries
}

/// The entries of lists, what the instruction was executed for, and how it ended.
type Acquired = (Vec<Entry>, Vec<(u64, bool)>, Result<(), PagesError>);

/// Acquires a range. The hypervisor is honest and as slow as said.
fn acquire(
    pages: &mut Pages,
    range: Range<u64>,
    at_once: usize,
    mut pvalidate: impl FnMut(u64, bool) -> Pvalidate,
) -> Acquired {
    let (page, entries) = (Page::default(), RefCell::new(Vec::new()));
    let mut validated = Vec::new();
    let exit = || entries.borrow_mut().extend(serve(&page, at_once));
    let result = pages.acquire(range, &with(&page), exit, |at, large| {
        validated.push((at, large));
        pvalidate(at, large)
    });
    (entries.into_inner(), validated, result)
}

#[test]
fn memory_is_taken_upwards_and_nothing_is_validated_twice() {
    let mut pages = Pages::new(2 * PAGE);
    let (entries, validated, result) = acquire(&mut pages, 2 * PAGE..4 * PAGE, 1, done);
    assert_eq!(result, Ok(()));
    let small = |address| Entry { address, large: false, to: Owner::Private };
    assert_eq!(entries, [small(2 * PAGE), small(3 * PAGE)]);
    assert_eq!(validated, [(2 * PAGE, false), (3 * PAGE, false)]);
    assert_eq!(pages.end(), 4 * PAGE);
    // What came with the launch, what is validated, what leaves something out, what is none.
    for (start, end) in [
        (0, PAGE),
        (0, 8 * PAGE),
        (2 * PAGE, 4 * PAGE),
        (3 * PAGE, 8 * PAGE),
        (5 * PAGE, 8 * PAGE),
        (4 * PAGE, 4 * PAGE),
        (4 * PAGE, 3 * PAGE),
        (4 * PAGE, 4 * PAGE + 1),
        (4 * PAGE, (1 << 52) + PAGE),
        (4 * PAGE, u64::MAX),
    ] {
        let page = Page::default();
        let result = pages.acquire(start..end, &with(&page), not_asked, not_validated);
        assert_eq!(result, Err(PagesError::Range(start, end)));
    }
    assert!(Pages::new(1).acquire(1..PAGE, &with(&Page::default()), not_asked, done).is_err());
    assert_eq!(acquire(&mut pages, 4 * PAGE..5 * PAGE, 1, done).2, Ok(()));
}

#[test]
fn moved_memory_is_found() {
    let mut pages = Pages::new(0);
    let unchanged = Pvalidate { code: 0, unchanged: true };
    let moved = |at, _| if at == 3 * PAGE { unchanged } else { Pvalidate::DONE };
    let (_, _, result) = acquire(&mut pages, 0..8 * PAGE, 100, moved);
    assert_eq!(result, Err(PagesError::Unchanged(3 * PAGE)));
    // What came before is validated, and stays so.
    assert_eq!(pages.end(), 3 * PAGE);
    let (_, validated, result) = acquire(&mut pages, 3 * PAGE..8 * PAGE, 100, |_, _| Pvalidate {
        code: 1,
        unchanged: false,
    });
    assert_eq!(validated, [(3 * PAGE, false)]);
    assert_eq!(result, Err(PagesError::Refused(3 * PAGE, 1)));
    // A small page has no other size; and of a large one, too, it is an attack that it did not
    // change.
    let mismatch = Pvalidate { code: Pvalidate::SIZE_MISMATCH, unchanged: false };
    let (_, _, result) = acquire(&mut pages, 3 * PAGE..8 * PAGE, 100, |_, _| mismatch);
    assert_eq!(result, Err(PagesError::Refused(3 * PAGE, 6)));
    let both = Pvalidate { unchanged: true, ..mismatch };
    let (_, validated, result) = acquire(&mut Pages::new(LARGE), LARGE..2 * LARGE, 1, |_, _| both);
    assert_eq!((validated, result), (vec![(LARGE, true)], Err(PagesError::Unchanged(LARGE))));
}

#[test]
fn large_pages_are_validated_whole_where_the_hypervisor_has_them_whole() {
    let range = LARGE - PAGE..4 * LARGE + PAGE;
    let mut pages = Pages::new(range.start);
    let (_, validated, result) = acquire(&mut pages, range, 1000, |at, large| {
        let code = if large && at == 2 * LARGE { Pvalidate::SIZE_MISMATCH } else { 0 };
        Pvalidate { code, unchanged: false }
    });
    assert_eq!(result, Ok(()));
    let mut expected = vec![(LARGE - PAGE, false), (LARGE, true), (2 * LARGE, true)];
    expected.extend((2 * LARGE..3 * LARGE).step_by(4096).map(|at| (at, false)));
    expected.extend([(3 * LARGE, true), (4 * LARGE, false)]);
    assert_eq!(validated, expected);
}

#[test]
fn lists_of_pages_get_through() {
    // 511 small pages, two large ones, three small ones; 253 to a list, 100 to an exit.
    let range = 0x1000..0x60_3000;
    for at_once in [1, 100, 1000] {
        let mut pages = Pages::new(range.start);
        let (entries, _, result) = acquire(&mut pages, range.clone(), at_once, done);
        assert_eq!(result, Ok(()));
        assert_eq!(entries.len(), 511 + 2 + 3);
        let mut at = range.start;
        for entry in &entries {
            assert_eq!((entry.address, entry.to), (at, Owner::Private));
            at += entry.size();
        }
        assert_eq!(at, range.end);
        assert_eq!(entries.iter().filter(|entry| entry.large).count(), 2);
    }
}

/// Words by hand from the specification's table.
#[test]
fn a_list_is_what_the_specification_says() {
    let page = Page::default();
    let exit = || {
        assert_eq!(page.load(0x390), 0x8000_0010);
        assert_eq!(page.load(0x3a8), GHCB + 0x800);
        let words = [0x800, 0x808, 0x810, 0x818].map(|at| page.load(at));
        let (small, large) = (0x0010_0000_001f_f000, 0x0110_0000_0020_0000);
        assert_eq!(words, [0x2_0000, small, large, 0x0010_0000_0040_0000]);
        page.store(0x800, 0x2_0003);
        GhcbAnswer::Done(0).write(&&page);
    };
    let range = LARGE - PAGE..2 * LARGE + PAGE;
    Pages::new(range.start).acquire(range, &with(&page), exit, done).unwrap();
    let shared = Entry { address: 0x20_0000, large: true, to: Owner::Shared };
    assert_eq!(read_entry(0x0120_0000_0020_0000), Some(shared));
}

#[test]
fn a_hypervisor_that_breaks_a_list_is_refused_before_anything_is_validated() {
    let acquire = |page: &Page, exit: &mut dyn FnMut()| {
        let mut pages = Pages::new(0);
        let result = pages.acquire(0..0x3000, &with(page), exit, not_validated);
        assert_eq!(pages.end(), 0);
        result
    };
    let page = Page::default();
    // Beyond the end, another end, reserved bits.
    for header in [0x2_0004, 0x1_0001, 0x3_0001, 1 << 32 | 0x2_0003] {
        let result = acquire(&page, &mut || {
            page.store(0x800, header);
            GhcbAnswer::Done(0).write(&&page);
        });
        assert_eq!(result, Err(PagesError::Header(header)));
    }
    // Back again.
    let mut headers = [0x2_0002, 0x2_0001].into_iter();
    let result = acquire(&page, &mut || {
        page.store(0x800, headers.next().unwrap());
        GhcbAnswer::Done(0).write(&&page);
    });
    assert_eq!(result, Err(PagesError::Header(0x2_0001)));
    // On the spot, for ever.
    let exits = Cell::new(0);
    let result = acquire(&page, &mut || {
        exits.set(exits.get() + 1);
        GhcbAnswer::Done(0).write(&&page);
    });
    assert_eq!((result, exits.get()), (Err(PagesError::Stuck), 512));
    // A failure.
    let result = acquire(&page, &mut || GhcbAnswer::Done(1 << 32).write(&&page));
    assert_eq!(result, Err(PagesError::Ghcb(GhcbError::Failed(1 << 32))));
}

/// What the processor keeps of memory, page by page.
#[derive(Default)]
struct Memory {
    /// Pages that the hypervisor made the guest's, and whether what is there now is validated.
    pages: BTreeMap<u64, bool>,
    /// What the guest was told that it has validated.
    told: BTreeSet<u64>,
}

impl Memory {
    /// Plays the instruction. Large pages are there whole, or not at all.
    fn pvalidate(&mut self, range: Range<u64>, whole: bool) -> Pvalidate {
        if range.end - range.start == LARGE && !whole {
            return Pvalidate { code: Pvalidate::SIZE_MISMATCH, unchanged: false };
        }
        let mut unchanged = false;
        for at in range.clone().step_by(4096) {
            let validated = self.pages.get_mut(&at).expect("it was asked for before");
            unchanged |= *validated;
            *validated = true;
            assert!(!self.told.contains(&at), "{at:#x} is validated twice");
        }
        if !unchanged {
            self.told.extend(range.step_by(4096));
        }
        Pvalidate { code: 0, unchanged }
    }
}

/// What a hypervisor does at an exit, or at an instruction.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// What it shall; at most so many entries at once.
    Honest(usize),
    /// Puts a page that is validated already in the place of one of the list's.
    Move,
    /// Writes anything into the list's header.
    Header(u64),
    /// Exchanges a page that the guest relies on for one that was not validated.
    TakeBack,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        6 => (1_usize..300).prop_map(Deed::Honest),
        1 => Just(Deed::Move),
        1 => any::<u64>().prop_map(Deed::Header),
        1 => (0_u64..0x1_0001_0001).prop_map(Deed::Header),
        1 => Just(Deed::TakeBack),
    ];
    prop::collection::vec(deed, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the hypervisor does: each page up to the end is validated once, after it was asked
    /// for, and none behind.
    #[test]
    fn nothing_is_validated_twice_whatever_the_hypervisor_does(
        start in 0_u64..2,
        ranges in prop::collection::vec((0_u64..3, 1_u64..700), 1..6),
        deeds in deeds(),
        whole: bool,
    ) {
        let start = LARGE - start * PAGE;
        let (page, memory) = (Page::default(), RefCell::new(Memory::default()));
        let mut pages = Pages::new(start);
        let mut deeds = deeds.into_iter();
        let mut exit = || {
            let mut memory = memory.borrow_mut();
            let deed = deeds.next().unwrap_or(Deed::Honest(300));
            let at_once = if let Deed::Honest(count) = deed { count } else { 300 };
            let entries = serve(&page, at_once);
            for entry in &entries {
                for at in (entry.address..entry.address + entry.size()).step_by(4096) {
                    memory.pages.insert(at, false);
                }
            }
            match (deed, entries.last()) {
                (Deed::Move, Some(entry)) => {
                    memory.pages.insert(entry.address, true);
                }
                (Deed::Header(word), _) => page.store(0x800, word),
                (Deed::TakeBack, _) => {
                    let first = memory.told.first().copied();
                    first.map(|at| memory.pages.insert(at, false));
                }
                _ => {}
            }
        };
        for (skip, count) in ranges {
            // The guest's own mistakes: again from before the end, or with a gap.
            let from = (pages.end() + skip * PAGE).saturating_sub(PAGE);
            let before = pages.end();
            let validate = |at, large| {
                let size = if large { LARGE } else { PAGE };
                memory.borrow_mut().pvalidate(at..at + size, whole)
            };
            let range = from..from + count * PAGE;
            let result = pages.acquire(range.clone(), &with(&page), &mut exit, validate);
            if from != before {
                prop_assert_eq!(result, Err(PagesError::Range(range.start, range.end)));
                prop_assert_eq!(pages.end(), before);
            } else if result.is_ok() {
                prop_assert_eq!(pages.end(), range.end);
            }
            let told: Vec<u64> = memory.borrow().told.iter().copied().collect();
            let expected: Vec<u64> = (start..pages.end()).step_by(4096).collect();
            prop_assert_eq!(told, expected);
        }
    }
}
