// SPDX-License-Identifier: Apache-2.0

//! The protocol of one page, and lists of page state changes.

use std::cell::RefCell;

use proptest::prelude::*;
use sallyport::Window as _;
use snp_guest::ghcb::{
    AskFeatures, CreateProcessor, DestroyProcessor, Event, ExtendedGuestRequest, Ghcb, GhcbError,
    GuestRequest, In, Out, Outcome, SharedArea, Width,
};
use snp_guest::host::{GhcbAnswer, GhcbRequest, HostError, PageList};
use snp_guest::msr::{Features, Owner};
use snp_guest::psc::{Entries, Entry, ListError};

use crate::Page;

const SHARED: u64 = 0x20_0000_0000;
const GHCB: u64 = SHARED + 0x3000;

fn area() -> SharedArea {
    SharedArea::new(SHARED, 2 << 20).unwrap()
}

fn with(page: &Page) -> Ghcb<&Page> {
    Ghcb::new(page, GHCB, area()).unwrap()
}

/// What the hypervisor saw, and what the guest made of its answer.
fn ask<E: Event>(event: &E, answer: GhcbAnswer) -> (GhcbRequest, Result<E::Answer, GhcbError>) {
    let page = Page::default();
    let mut seen = None;
    let result = with(&page).call(event, || {
        seen = Some(GhcbRequest::read(&&page).unwrap());
        answer.write(&&page);
    });
    (seen.unwrap(), result)
}

#[test]
fn an_event_is_what_the_specification_says_byte_for_byte() {
    let page = Page::default();
    page.write(0, &[0xee; 4096]);
    let out = Out { port: 0x510, width: Width::Four, value: 0xabcd_1234 };
    with(&page)
        .call(&out, || {
            assert_eq!(page.load(0x390), 0x7b);
            assert_eq!(page.load(0x398), 0x0510_0040);
            assert_eq!(page.load(0x3a0), 0);
            assert_eq!(page.load(0x1f8), 0xabcd_1234);
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
    let out = Out { port: 0x511, width: Width::Two, value: 0x1_2345 };
    let (seen, result) = ask(&out, GhcbAnswer::Done(0));
    assert_eq!(seen, GhcbRequest::Out(Out { value: 0x2345, ..out }));
    assert_eq!(result, Ok(()));
    let input = In { port: 0x60, width: Width::One };
    assert_eq!(ask(&input, GhcbAnswer::In(0x1ff)), (GhcbRequest::In(input), Ok(0xff)));
    assert_eq!(ask(&AskFeatures, GhcbAnswer::Done(3)), (GhcbRequest::Features, Ok(Features(3))));
    let message = GuestRequest { request: SHARED + 0x1000, answer: SHARED + 0x2000 };
    let guest = GhcbRequest::Guest(message);
    assert_eq!(ask(&message, GhcbAnswer::Done(0)), (guest, Ok(Outcome::Answered)));
    assert_eq!(ask(&message, GhcbAnswer::Done(2 << 32)).1, Ok(Outcome::Busy));
    assert_eq!(ask(&message, GhcbAnswer::Done(0x16)).1, Ok(Outcome::Refused(0x16)));
    // Too few pages is no answer to a request without any.
    assert_eq!(ask(&message, GhcbAnswer::Done(1 << 32)).1, Ok(Outcome::Refused(1 << 32)));
    let extended = ExtendedGuestRequest { message, data: SHARED + 0x4000, pages: 4 };
    let (seen, result) = ask(&extended, GhcbAnswer::NeedsPages(6));
    assert_eq!(seen, GhcbRequest::ExtendedGuest(extended));
    assert_eq!(result, Ok(Outcome::NeedsPages(6)));
    assert_eq!(ask(&extended, GhcbAnswer::Done(0)).1, Ok(Outcome::Answered));
    let create = CreateProcessor { apic_id: 3, vmsa: 0x40_0000, sev_features: 1 };
    assert_eq!(ask(&create, GhcbAnswer::Done(0)), (GhcbRequest::CreateProcessor(create), Ok(())));
    assert_eq!(ask(&create, GhcbAnswer::Done(5)).1, Err(GhcbError::Failed(5)));
    let destroy = DestroyProcessor { apic_id: 3 };
    assert_eq!(
        ask(&destroy, GhcbAnswer::Done(0)),
        (GhcbRequest::DestroyProcessor(destroy), Ok(()))
    );
}

#[test]
fn errors_are_not_answers() {
    let out = Out { port: 1, width: Width::One, value: 0 };
    assert_eq!(ask(&out, GhcbAnswer::Exception(13)).1, Err(GhcbError::Exception(13)));
    let malformed = GhcbAnswer::Malformed(HostError::Scratch);
    assert_eq!(ask(&out, malformed).1, Err(GhcbError::Malformed(3)));
    let input = In { port: 1, width: Width::One };
    // A port's content that is not said to be there.
    assert_eq!(ask(&input, GhcbAnswer::Done(0)).1, Err(GhcbError::Missing(0x1f8)));

    let page = Page::default();
    let unknown = with(&page).call(&out, || page.store(0x398, 7));
    assert_eq!(unknown, Err(GhcbError::Unknown(7)));
    let nothing = with(&page).call(&out, || page.store(0x3f8, 0));
    assert_eq!(nothing, Err(GhcbError::Missing(0x398)));
}

#[test]
fn nothing_private_is_named() {
    let good = GuestRequest { request: SHARED, answer: SHARED + 0x1000 };
    let refused = |message: GuestRequest| {
        let page = Page::default();
        let result = with(&page).call(&message, || panic!("the hypervisor was asked"));
        assert!(
            matches!(result, Err(GhcbError::Scratch { .. } | GhcbError::Argument)),
            "{result:?}"
        );
    };
    refused(GuestRequest { request: 0x5000, ..good });
    refused(GuestRequest { answer: 0x5000, ..good });
    refused(GuestRequest { answer: SHARED + 0x1001, ..good });
    refused(GuestRequest { answer: SHARED + (2 << 20), ..good });
    refused(GuestRequest { answer: good.request, ..good });
    refused(GuestRequest { answer: !0xfff, ..good });
    let page = Page::default();
    let extended = ExtendedGuestRequest { message: good, data: SHARED + 0x10_0000, pages: 257 };
    for pages in [0, 257, u64::MAX] {
        let event = ExtendedGuestRequest { pages, ..extended };
        assert!(with(&page).call(&event, || panic!("the hypervisor was asked")).is_err());
    }
    let create = CreateProcessor { apic_id: 1, vmsa: SHARED, sev_features: 1 };
    for vmsa in [SHARED, SHARED + 0x5000, 0x1234] {
        let event = CreateProcessor { vmsa, ..create };
        let result = with(&page).call(&event, || panic!("the hypervisor was asked"));
        assert_eq!(result, Err(GhcbError::Argument));
    }
    assert!(Ghcb::new(&page, 0x5000, area()).is_err());
    assert!(Ghcb::new(&page, GHCB + 8, area()).is_err());
    assert!(SharedArea::new(u64::MAX, 1).is_none());
}

#[test]
fn a_guest_that_lies_is_told_so() {
    let page = Page::default();
    let out = Out { port: 1, width: Width::One, value: 0 };
    let read_after = |change: &dyn Fn()| {
        let mut seen = None;
        let _ = with(&page).call(&out, || {
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
    assert_eq!(read_after(&|| page.store(0x3f0, 0)), Err(HostError::Missing));
}

/// Pages that a hypervisor changed.
fn change(range: std::ops::Range<u64>, to: Owner, at_once: usize) -> Vec<Entry> {
    let page = Page::default();
    let done = RefCell::new(Vec::new());
    let exits = RefCell::new(0);
    let entries = Entries::new(range, to).unwrap();
    with(&page)
        .change_pages(entries, || {
            *exits.borrow_mut() += 1;
            let Ok(GhcbRequest::ChangePages(scratch)) = GhcbRequest::read(&&page) else {
                panic!("no list");
            };
            assert_eq!(PageList::read(&&page, GHCB, scratch + 8), Err(HostError::Scratch));
            let mut list = PageList::read(&&page, GHCB, scratch).unwrap();
            for _ in 0..at_once {
                let Some(entry) = list.next(&&page).unwrap() else { break };
                done.borrow_mut().push(entry);
            }
            list.write(&&page);
            GhcbAnswer::Done(0).write(&&page);
        })
        .unwrap();
    done.into_inner()
}

#[test]
fn lists_of_pages_get_through() {
    // 511 small pages, two large ones, three small ones; 253 to a list, 100 to an exit.
    let range = 0x1000..0x60_3000;
    for at_once in [1, 100, 1000] {
        let done = change(range.clone(), Owner::Private, at_once);
        assert_eq!(done.len(), 511 + 2 + 3);
        let mut at = range.start;
        for entry in &done {
            assert_eq!((entry.address, entry.to), (at, Owner::Private));
            at += entry.size();
        }
        assert_eq!(at, range.end);
        assert_eq!(done.iter().filter(|entry| entry.large).count(), 2);
    }
    let word = Entry { address: 0x20_0000, large: true, to: Owner::Shared }.word();
    assert_eq!(word, 0x0120_0000_0020_0000);
    for range in [0..0, 1..4096, 0..4097, (1 << 52) - 4096..(1 << 52) + 4096] {
        assert_eq!(Entries::new(range, Owner::Private).err(), Some(ListError::Range));
    }
}

#[test]
fn a_hypervisor_that_breaks_a_list_is_refused() {
    let entries = || Entries::new(0..0x3000, Owner::Private).unwrap();
    // Beyond the end, another end, reserved bits.
    for header in [0x2_0004, 0x1_0001, 0x3_0001, 1 << 32 | 0x2_0003] {
        let page = Page::default();
        let result = with(&page).change_pages(entries(), || {
            page.store(0x800, header);
            GhcbAnswer::Done(0).write(&&page);
        });
        assert_eq!(result, Err(ListError::Header(header)));
    }
    // Back again.
    let page = Page::default();
    let mut headers = [0x2_0002, 0x2_0001].into_iter();
    let result = with(&page).change_pages(entries(), || {
        page.store(0x800, headers.next().unwrap());
        GhcbAnswer::Done(0).write(&&page);
    });
    assert_eq!(result, Err(ListError::Header(0x2_0001)));
    // On the spot, for ever.
    let mut exits = 0;
    let result = with(&page).change_pages(entries(), || {
        exits += 1;
        GhcbAnswer::Done(0).write(&&page);
    });
    assert_eq!((result, exits), (Err(ListError::Stuck), 512));
    // A failure.
    let result = with(&page).change_pages(entries(), || GhcbAnswer::Done(1 << 32).write(&&page));
    assert_eq!(result, Err(ListError::Ghcb(GhcbError::Failed(1 << 32))));
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
        let _ = ghcb.call(&In { port: 1, width: Width::Four }, scribble);
        let message = GuestRequest { request: SHARED, answer: SHARED + 0x1000 };
        let event = ExtendedGuestRequest { message, data: SHARED + 0x4000, pages: 4 };
        let _ = ghcb.call(&event, scribble);
        let entries = Entries::new(0..0x60_3000, Owner::Private).unwrap();
        let _ = ghcb.change_pages(entries, scribble);
    }

    #[test]
    fn an_area_holds_what_lies_in_it(start: u64, length: u64, at: u64, size: u64) {
        let Some(area) = SharedArea::new(start, length) else {
            prop_assert!(u128::from(start) + u128::from(length) > u64::MAX.into());
            return Ok(());
        };
        let inside = at >= start
            && u128::from(at) + u128::from(size) <= u128::from(start) + u128::from(length)
            && size != 0;
        prop_assert_eq!(area.check(at, size).is_ok(), inside);
    }
}
