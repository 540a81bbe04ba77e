// SPDX-License-Identifier: Apache-2.0

//! Pages over time: the ways that are possible, the ones that are not, and what holds on any way.

use proptest::prelude::*;
use sgx_guest::enclu::ErrorCode::{
    EnclaveActive, NotTracked, PageAttributesMismatch, PageNotModifiable, PreviousTrackIncomplete,
};
use sgx_guest::page::{PageType, Rights, SecInfo};
use sgx_launch::epcm::{Epcm, Refused};

const TCS: u64 = 0;
const OTHER_TCS: u64 = 0x1000;
const TEXT: u64 = 0x2000;
const DATA: u64 = 0x3000;
const NEW: u64 = 0x4000;

fn error(code: sgx_guest::enclu::ErrorCode) -> Result<(), Refused> {
    Err(Refused::Error(code))
}

const FAULT: Result<(), Refused> = Err(Refused::PageFault);
const PROTECTION: Result<(), Refused> = Err(Refused::Protection);

/// A running enclave with two threads, of which none is inside.
fn running() -> Epcm {
    let mut epcm = Epcm::new(0x10000);
    epcm.eadd(TCS, SecInfo::tcs()).unwrap();
    epcm.eadd(OTHER_TCS, SecInfo::tcs()).unwrap();
    epcm.eadd(TEXT, SecInfo::reg(Rights::RX)).unwrap();
    epcm.eadd(DATA, SecInfo::reg(Rights::RW)).unwrap();
    assert_eq!(epcm.enter(TCS), PROTECTION, "not before it is initialised");
    epcm.einit();
    epcm
}

#[test]
fn pages_are_added_before_the_start_and_augmented_after_it() {
    let mut epcm = Epcm::new(0x10000);
    assert_eq!(epcm.eaug(NEW), PROTECTION);
    assert_eq!(epcm.eadd(0x10000, SecInfo::tcs()), PROTECTION);
    assert_eq!(epcm.eadd(5, SecInfo::tcs()), PROTECTION);
    for info in [
        SecInfo::added(),
        SecInfo::modified(PageType::Tcs),
        SecInfo::restricted(Rights::R),
        SecInfo::reg(Rights::from_bits(2)),
        SecInfo { page_type: PageType::Trim, ..SecInfo::reg(Rights::R) },
    ] {
        assert_eq!(epcm.eadd(NEW, info), PROTECTION, "{info:?}");
    }
    epcm.eadd(NEW, SecInfo { rights: Rights::RW, ..SecInfo::tcs() }).unwrap();
    assert_eq!(epcm.page(NEW).unwrap().info, SecInfo::tcs(), "rights of threads are taken");
    assert_eq!(epcm.eadd(NEW, SecInfo::tcs()), FAULT);
    let mut epcm = running();
    assert_eq!(epcm.eadd(NEW, SecInfo::reg(Rights::R)), PROTECTION);
    assert_eq!(epcm.eaug(DATA), FAULT);
    assert_eq!(epcm.touch(TEXT + 9, Rights::RX), Ok(()));
    assert_eq!(epcm.touch(TEXT, Rights::RW), FAULT);
    assert_eq!(epcm.touch(TCS, Rights::R), FAULT, "threads are the processor's");
    assert_eq!(epcm.touch(NEW, Rights::R), FAULT);
}

#[test]
fn an_augmented_page_is_accepted_once() {
    let mut epcm = running();
    epcm.enter(TCS).unwrap();
    assert_eq!(epcm.eaccept(NEW, SecInfo::added()), FAULT, "there is no page yet");
    epcm.eaug(NEW).unwrap();
    assert_eq!(epcm.touch(NEW, Rights::R), FAULT, "a missed acceptance is a fault");
    assert_eq!(epcm.emodpe(NEW, Rights::RX), FAULT);
    assert_eq!(epcm.emodpr(NEW, Rights::R), error(PageNotModifiable));
    assert_eq!(epcm.emodt(NEW, PageType::Trim), error(PageNotModifiable));
    // What it is not.
    for info in [
        SecInfo { rights: Rights::R, ..SecInfo::added() },
        SecInfo { rights: Rights::RWX, ..SecInfo::added() },
        SecInfo::restricted(Rights::RW),
        SecInfo::modified(PageType::Trim),
    ] {
        assert_eq!(epcm.eaccept(NEW, info), error(PageAttributesMismatch), "{info:?}");
    }
    // What nothing can be.
    for info in [
        SecInfo::reg(Rights::RW),
        SecInfo::tcs(),
        SecInfo { modified: true, ..SecInfo::added() },
        SecInfo { pending: true, ..SecInfo::modified(PageType::Tcs) },
        SecInfo { page_type: PageType::Va, ..SecInfo::added() },
    ] {
        assert_eq!(epcm.eaccept(NEW, info), PROTECTION, "{info:?}");
    }
    assert_eq!(epcm.eaccept(NEW, SecInfo::added()), Ok(()));
    assert_eq!(epcm.touch(NEW + 0xfff, Rights::RW), Ok(()));
    assert_eq!(epcm.touch(NEW, Rights::RX), FAULT);
    let stale = epcm.eaccept(NEW, SecInfo::added());
    assert_eq!(stale, error(PageAttributesMismatch), "a stale acceptance is an error");
    epcm.emodpe(NEW, Rights::RX).unwrap();
    assert_eq!(epcm.page(NEW).unwrap().info.rights, Rights::RWX);
}

#[test]
fn an_augmented_page_is_filled_once() {
    let mut epcm = running();
    epcm.eaug(NEW).unwrap();
    assert_eq!(epcm.eacceptcopy(NEW, DATA, Rights::from_bits(2)), PROTECTION);
    assert_eq!(epcm.eacceptcopy(NEW, TCS, Rights::RX), FAULT);
    assert_eq!(epcm.eacceptcopy(NEW, NEW, Rights::RX), FAULT);
    epcm.eacceptcopy(NEW, DATA, Rights::RX).unwrap();
    assert_eq!(epcm.touch(NEW, Rights::RX), Ok(()));
    assert_eq!(epcm.eacceptcopy(NEW, DATA, Rights::RX), error(PageAttributesMismatch));
}

#[test]
fn rights_are_taken_when_no_thread_can_have_the_old_ones() {
    let mut epcm = running();
    epcm.enter(TCS).unwrap();
    epcm.enter(OTHER_TCS).unwrap();
    epcm.emodpr(DATA, Rights::RX).unwrap();
    // Only less, never more.
    assert_eq!(epcm.page(DATA).unwrap().info.rights, Rights::R);
    assert_eq!(epcm.touch(DATA, Rights::RW), FAULT);
    let accept = SecInfo::restricted(Rights::R);
    assert_eq!(epcm.eaccept(DATA, SecInfo::restricted(Rights::RW)), error(PageAttributesMismatch));
    assert_eq!(epcm.eaccept(DATA, accept), error(NotTracked), "the host did not track");
    epcm.etrack().unwrap();
    assert_eq!(epcm.eaccept(DATA, accept), error(NotTracked), "both are inside since before");
    assert_eq!(epcm.etrack(), error(PreviousTrackIncomplete));
    assert!(epcm.leave(OTHER_TCS) && !epcm.leave(OTHER_TCS));
    assert_eq!(epcm.eaccept(DATA, accept), error(NotTracked), "one still is");
    assert!(epcm.leave(TCS));
    epcm.enter(TCS).unwrap();
    assert_eq!(epcm.eaccept(DATA, accept), Ok(()));
    assert_eq!(epcm.touch(DATA, Rights::R), Ok(()));
    assert_eq!(epcm.emodpr(TCS, Rights::R), FAULT);
    assert_eq!(epcm.emodpr(DATA, Rights::from_bits(2)), PROTECTION);
}

#[test]
fn a_page_is_given_up_before_it_is_removed() {
    let mut epcm = running();
    epcm.enter(TCS).unwrap();
    assert_eq!(epcm.eremove(DATA), error(EnclaveActive));
    assert_eq!(epcm.remove(DATA), PROTECTION);
    epcm.emodt(DATA, PageType::Trim).unwrap();
    assert_eq!(epcm.touch(DATA, Rights::R), FAULT);
    assert_eq!(epcm.emodt(DATA, PageType::Trim), FAULT);
    assert_eq!(epcm.eremove(DATA), error(EnclaveActive));
    assert_eq!(epcm.remove(DATA), PROTECTION, "not accepted yet");
    epcm.etrack().unwrap();
    assert!(epcm.leave(TCS));
    epcm.enter(TCS).unwrap();
    epcm.eaccept(DATA, SecInfo::modified(PageType::Trim)).unwrap();
    assert_eq!(epcm.touch(DATA, Rights::R), FAULT, "given up is given up");
    let stale = epcm.eaccept(DATA, SecInfo::modified(PageType::Trim));
    assert_eq!(stale, error(PageAttributesMismatch));
    assert_eq!(epcm.remove(DATA), Ok(()), "whoever is inside");
    assert_eq!(epcm.remove(DATA), FAULT);
    assert_eq!(epcm.touch(DATA, Rights::R), FAULT);
    // Then there is room again, and it is empty, and has to be accepted.
    epcm.eaug(DATA).unwrap();
    assert_eq!(epcm.touch(DATA, Rights::R), FAULT);
}

#[test]
fn a_page_becomes_a_thread() {
    let mut epcm = running();
    epcm.emodt(DATA, PageType::Tcs).unwrap();
    assert_eq!(epcm.enter(DATA), FAULT, "not accepted yet");
    let untracked = epcm.eaccept(DATA, SecInfo::modified(PageType::Tcs));
    assert_eq!(untracked, error(NotTracked), "though no thread is inside");
    epcm.etrack().unwrap();
    epcm.eaccept(DATA, SecInfo::modified(PageType::Tcs)).unwrap();
    epcm.enter(DATA).unwrap();
    assert_eq!(epcm.enter(DATA), PROTECTION, "one thread at a time");
    assert_eq!(epcm.enter(TEXT), FAULT);
    assert_eq!(epcm.emodt(DATA, PageType::Tcs), FAULT);
    assert_eq!(epcm.emodt(TEXT, PageType::Va), PROTECTION);
    epcm.emodt(DATA, PageType::Trim).unwrap();
}

/// The attack that the processor allows, and what is left of it for the enclave to see.
#[test]
fn a_host_can_replace_a_page_but_not_unseen() {
    let mut epcm = running();
    epcm.eremove(DATA).unwrap();
    epcm.eaug(DATA).unwrap();
    epcm.enter(TCS).unwrap();
    assert_eq!(epcm.touch(DATA, Rights::R), FAULT);
}

/// One step of somebody.
#[derive(Debug, Clone, Copy)]
enum Step {
    Aug(u64),
    Restrict(u64, Rights),
    Type(u64, PageType),
    Track,
    Remove(u64),
    Enter(u64),
    Leave(u64),
    Accept(u64, SecInfo),
    Copy(u64, u64, Rights),
    Extend(u64, Rights),
}

fn step() -> impl Strategy<Value = Step> {
    let page = || (0_u64..6).prop_map(|page| page * 4096);
    let rights = || (0_u64..8).prop_map(Rights::from_bits);
    let types = prop::sample::select(vec![PageType::Tcs, PageType::Trim]);
    let info = prop_oneof![
        3 => Just(SecInfo::added()),
        2 => rights().prop_map(SecInfo::restricted),
        2 => types.clone().prop_map(SecInfo::modified),
    ];
    prop_oneof![
        1 => page().prop_map(Step::Aug),
        1 => (page(), rights()).prop_map(|(page, rights)| Step::Restrict(page, rights)),
        1 => (page(), types).prop_map(|(page, kind)| Step::Type(page, kind)),
        1 => Just(Step::Track),
        1 => page().prop_map(Step::Remove),
        1 => page().prop_map(Step::Enter),
        1 => page().prop_map(Step::Leave),
        3 => (page(), info).prop_map(|(page, info)| Step::Accept(page, info)),
        1 => (page(), page(), rights()).prop_map(|(to, from, rights)| Step::Copy(to, from, rights)),
        1 => (page(), rights()).prop_map(|(page, rights)| Step::Extend(page, rights)),
    ]
}

fn run(epcm: &mut Epcm, step: Step) -> Result<(), Refused> {
    match step {
        Step::Aug(page) => epcm.eaug(page),
        Step::Restrict(page, rights) => epcm.emodpr(page, rights),
        Step::Type(page, kind) => epcm.emodt(page, kind),
        Step::Track => epcm.etrack(),
        Step::Remove(page) => epcm.eremove(page),
        Step::Enter(page) => epcm.enter(page),
        Step::Leave(page) => {
            epcm.leave(page);
            Ok(())
        }
        Step::Accept(page, info) => epcm.eaccept(page, info),
        Step::Copy(to, from, rights) => epcm.eacceptcopy(to, from, rights),
        Step::Extend(page, rights) => epcm.emodpe(page, rights),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// On any way: a step that is refused changes nothing; the host alone never makes a page usable, or usable
    /// for more; acceptances come once for each change.
    #[test]
    fn the_host_gains_nothing_without_the_enclave(steps in prop::collection::vec(step(), 0..60)) {
        let mut epcm = running();
        for step in steps {
            let before = epcm.clone();
            let done = run(&mut epcm, step);
            if done.is_err() {
                prop_assert_eq!(&epcm, &before, "{:?}", step);
                continue;
            }
            for page in (0..6).map(|page| page * 4096) {
                for bits in [1, 2, 4] {
                    let wanted = Rights::from_bits(bits);
                    let (was, is) = (before.touch(page, wanted), epcm.touch(page, wanted));
                    let by_the_enclave = match step {
                        Step::Accept(at, _) | Step::Copy(at, ..) | Step::Extend(at, _) => at == page,
                        _ => false,
                    };
                    prop_assert!(was.is_ok() || is.is_err() || by_the_enclave, "{:?}", step);
                }
            }
            if let Step::Accept(page, info) = step && (info.pending || info.modified) {
                let again = epcm.clone().eaccept(page, info);
                prop_assert_eq!(again, Err(Refused::Error(PageAttributesMismatch)));
            }
            for (_, page) in epcm.pages() {
                prop_assert!(page.info.rights.is_possible());
            }
        }
    }
}
