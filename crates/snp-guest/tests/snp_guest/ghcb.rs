// SPDX-License-Identifier: Apache-2.0

//! The protocol of one page.

use proptest::prelude::*;
use sallyport::Window as _;
use snp_guest::ghcb::{
    AskFeatures, CreateProcessor, DestroyProcessor, Event, ExtendedGuestRequest, Ghcb, GhcbError,
    GuestRequest, In, Out, Outcome, SharedArea, Width,
};
use snp_guest::host::{GhcbAnswer, GhcbRequest, HostError, PageList};
use snp_guest::msr::Features;
use snp_guest::pages::{Pages, Pvalidate};

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
    let out = Out { port: 0x510, value: 0xab };
    with(&page)
        .call(&out, || {
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
    let (seen, result) = ask(&Out { port: 0x511, value: 0x45 }, GhcbAnswer::Done(0));
    assert_eq!(seen, GhcbRequest::Out { port: 0x511, width: Width::Four, value: 0x45 });
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
    assert_eq!(result, Ok(Err(6)));
    assert_eq!(ask(&extended, GhcbAnswer::Done(0)).1, Ok(Ok(Outcome::Answered)));
    assert_eq!(ask(&extended, GhcbAnswer::Done(2 << 32)).1, Ok(Ok(Outcome::Busy)));
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
    let out = Out { port: 1, value: 0 };
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
        assert!(matches!(result, Err(GhcbError::Scratch(..) | GhcbError::Argument)), "{result:?}");
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
    let out = Out { port: 1, value: 0 };
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
        let _ = ghcb.call(&In { port: 1, width: Width::Four }, scribble);
        let message = GuestRequest { request: SHARED, answer: SHARED + 0x1000 };
        let event = ExtendedGuestRequest { message, data: SHARED + 0x4000, pages: 4 };
        let _ = ghcb.call(&event, scribble);
        let _ = Pages::new(0).acquire(0..0x60_3000, &ghcb, scribble, |_, _| Pvalidate::DONE);
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
