// SPDX-License-Identifier: Apache-2.0

//! The protocol of one page.

use proptest::prelude::*;
use sallyport::Window as _;
use snp_guest::ghcb::{Ghcb, GhcbError};
use snp_guest::host::{GhcbAnswer, GhcbRequest, GuestRequest, HostError, PageList, Width};
use snp_guest::pages::{Pages, Pvalidate};

use crate::Page;

const GHCB: u64 = 0x20_0000_3000;

fn with(page: &Page) -> Ghcb<&Page> {
    Ghcb { block: page, start: GHCB, at: 0 }
}

/// What the hypervisor saw, and what the guest made of its answer.
fn ask(port: u16, value: u32, answer: GhcbAnswer) -> (GhcbRequest, Result<(), GhcbError>) {
    let page = Page::default();
    let mut seen = None;
    let result = with(&page).out(port, value, || {
        seen = Some(GhcbRequest::read(&&page).unwrap());
        answer.write(&&page);
    });
    (seen.unwrap(), result)
}

/// What the hypervisor sees of an event that no Keep has: these fields, and what must be there.
fn read(fields: &[(usize, u64)]) -> Result<GhcbRequest, HostError> {
    let page = Page::default();
    page.store(0xff8, 2 << 16);
    for (at, word) in [(0x398, 0), (0x3a0, 0)].iter().chain(fields) {
        page.store(*at, *word);
        let map = 0x3f0 + at / 512 * 8;
        page.store(map, page.load(map) | 1 << (at / 8 % 64));
    }
    GhcbRequest::read(&page)
}

#[test]
fn an_event_is_what_the_specification_says_byte_for_byte() {
    let page = Page::default();
    page.write(0, &[0xee; 4096]);
    with(&page)
        .out(0x510, 0xab, || {
            assert_eq!(page.load(0x390), 0x7b);
            assert_eq!(page.load(0x398), 0x0510_0040);
            assert_eq!(page.load(0x3a0), 0);
            assert_eq!(page.load(0x1f8), 0xab);
            // RAX is bit 63; code, two infos, the bitmap itself: 0x72 to 0x74, 0x7e, 0x7f.
            assert_eq!(page.load(0x3f0), 1 << 63);
            assert_eq!(page.load(0x3f8), 0b111 << (0x72 - 0x40) | 0b11 << (0x7e - 0x40));
            assert_eq!(page.load(0xff8), 0x0002_0000);
            GhcbAnswer::Done(0).write(&&page);
        })
        .unwrap();
}

#[test]
fn both_sides_agree_on_events() {
    let (seen, result) = ask(0x511, 0x45, GhcbAnswer::Done(0));
    assert_eq!(seen, GhcbRequest::Out { port: 0x511, width: Width::Four, value: 0x45 });
    assert_eq!(result, Ok(()));
}

/// Lists and messages are in `pages` and `firmware`. These are what a Keep could say and does not.
#[test]
fn a_hypervisor_understands_all_events() {
    let message = GuestRequest { request: 0x1000, answer: 0x2000 };
    for (fields, request) in [
        (
            &[(0x390, 0x7b), (0x398, 0x60_0011)][..],
            GhcbRequest::In { port: 0x60, width: Width::One },
        ),
        (&[(0x390, 0x8000_fffd)], GhcbRequest::Features),
        (&[(0x390, 0x8000_0011), (0x398, 0x1000), (0x3a0, 0x2000)], GhcbRequest::Guest(message)),
        (
            &[(0x390, 0x8000_0012), (0x398, 0x1000), (0x3a0, 0x2000), (0x1f8, 0x4000), (0x318, 4)],
            GhcbRequest::ExtendedGuest { message, data: 0x4000, pages: 4 },
        ),
        (
            &[(0x390, 0x8000_0013), (0x398, 3 << 32 | 1), (0x3a0, 0x40_0000), (0x1f8, 1)],
            GhcbRequest::CreateProcessor { apic_id: 3, vmsa: 0x40_0000, sev_features: 1 },
        ),
        (
            &[(0x390, 0x8000_0013), (0x398, 3 << 32 | 2)],
            GhcbRequest::DestroyProcessor { apic_id: 3 },
        ),
    ] {
        assert_eq!(read(fields), Ok(request));
    }
    assert_eq!(read(&[(0x390, 0x8000_0013), (0x398, 3)]), Err(HostError::Invalid));
    // A field that the event needs.
    assert_eq!(read(&[(0x390, 0x8000_0012)]), Err(HostError::Missing));

    let page = Page::default();
    GhcbAnswer::In(0x1ff).write(&&page);
    assert_eq!([0x398, 0x3a0, 0x1f8].map(|at| page.load(at)), [0, 0, 0x1ff]);
    GhcbAnswer::NeedsPages(6).write(&&page);
    assert_eq!([0x398, 0x3a0, 0x318].map(|at| page.load(at)), [0, 1 << 32, 6]);
}

#[test]
fn errors_are_not_answers() {
    assert_eq!(ask(1, 0, GhcbAnswer::Exception(13)).1, Err(GhcbError::Exception(13)));
    let malformed = GhcbAnswer::Malformed(HostError::Scratch);
    assert_eq!(ask(1, 0, malformed).1, Err(GhcbError::Malformed(3)));

    let page = Page::default();
    let unknown = with(&page).out(1, 0, || page.store(0x398, 7));
    assert_eq!(unknown, Err(GhcbError::Unknown(7)));
    let nothing = with(&page).out(1, 0, || page.store(0x3f8, 0));
    assert_eq!(nothing, Err(GhcbError::Missing(0x398)));
    // An error whose reason is not said to be there.
    let silent = with(&page).out(1, 0, || {
        page.store(0x398, 1);
        page.store(0x3f8, 1 << (0x73 - 0x40));
    });
    assert_eq!(silent, Err(GhcbError::Missing(0x3a0)));
}

#[test]
fn a_guest_that_lies_is_told_so() {
    let page = Page::default();
    let read_after = |change: &dyn Fn()| {
        let mut seen = None;
        let _ = with(&page).out(1, 0, || {
            change();
            seen = Some(GhcbRequest::read(&&page));
            GhcbAnswer::Done(0).write(&&page);
        });
        seen.unwrap()
    };
    assert!(read_after(&|| ()).is_ok());
    assert_eq!(read_after(&|| page.store(0xff8, 1 << 16)), Err(HostError::Usage));
    assert_eq!(read_after(&|| page.store(0xff8, 2 << 16 | 1 << 32)), Err(HostError::Usage));
    assert_eq!(read_after(&|| page.store(0x390, 0x72)), Err(HostError::Event));
    assert_eq!(read_after(&|| page.store(0x398, 0x44)), Err(HostError::Invalid));
    assert_eq!(read_after(&|| page.store(0x398, 0x30)), Err(HostError::Invalid));
    // No lie: a width that a Keep does not use.
    let wide = || {
        page.store(0x398, 0x0510_0020);
        page.store(0x1f8, 0x1_2345);
    };
    let seen = GhcbRequest::Out { port: 0x510, width: Width::Two, value: 0x2345 };
    assert_eq!(read_after(&wide), Ok(seen));
    assert_eq!(read_after(&|| page.store(0x3f0, 0)), Err(HostError::Missing));
}

proptest! {
    /// Neither side falls over whatever the other one writes.
    #[test]
    fn any_page_is_read_without_a_panic(
        words in prop::collection::vec((0_usize..512, any::<u64>()), 0..40),
        known in prop::sample::select(vec![0x7b_u64, 0x8000_0010, 0x8000_0011, 0x8000_0013]),
    ) {
        let page = Page::default();
        page.store(0x3f0, u64::MAX);
        page.store(0x3f8, u64::MAX);
        page.store(0xff8, 2 << 16);
        page.store(0x390, known);
        for (at, word) in &words {
            page.store(at * 8, *word);
        }
        let _ = GhcbRequest::read(&&page);
        if let Ok(mut list) = PageList::read(&&page, GHCB, GHCB + 0x800) {
            while let Ok(Some(_)) = list.next(&&page) {}
        }
        let scribble = || words.iter().for_each(|(at, word)| page.store(at * 8, *word));
        let ghcb = with(&page);
        let _ = ghcb.out(1, 2, scribble);
        let _ = Pages::new(0).acquire(0..0x60_3000, &ghcb, scribble, |_, _| Pvalidate::DONE);
    }
}
