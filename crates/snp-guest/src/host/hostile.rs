// SPDX-License-Identifier: Apache-2.0

//! A hypervisor that does what bytes say, for tests and fuzzing.

use core::cell::{Cell, RefCell};

use sallyport::Window;
use zeroize::Zeroizing;

use crate::PAGE;
use crate::cpuid::Table;
use crate::firmware::ask;
use crate::ghcb::Ghcb;
use crate::host::{GhcbRequest, MsrRequest, PageList};
use crate::message::{Channel, Kind};
use crate::msr::{negotiate, register};
use crate::pages::{Pages, Pvalidate};
use crate::request::{ReportRequest, SEALING_REQUEST, take_derived};
use crate::secrets::take_key;
use crate::vmsa::Vmsa;

const SHARED: u64 = 0x20_0000_0000;

/// A page in ordinary memory. Offsets outside of it read as zero.
#[derive(Debug)]
pub struct HostPage(RefCell<[u8; PAGE]>);

impl Default for HostPage {
    fn default() -> Self {
        Self(RefCell::new([0; PAGE]))
    }
}

impl Window for HostPage {
    fn load(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        self.read(at, &mut word);
        u64::from_le_bytes(word)
    }

    fn store(&self, at: usize, word: u64) {
        self.write(at, &word.to_le_bytes());
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        if let Some(from) = self.0.borrow().get(at..).and_then(|rest| rest.get(..into.len())) {
            into.copy_from_slice(from);
        }
    }

    fn write(&self, at: usize, from: &[u8]) {
        let mut page = self.0.borrow_mut();
        if let Some(into) = page.get_mut(at..).and_then(|rest| rest.get_mut(..from.len())) {
            into.copy_from_slice(from);
        }
    }
}

/// Decisions that bytes make; zeros follow at the end.
struct Decisions<'a>(Cell<&'a [u8]>);

impl Decisions<'_> {
    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        let (now, rest) = self.0.get().split_at(self.0.get().len().min(N));
        out.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
        self.0.set(rest);
        out
    }

    fn word(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// Changes a few words of a page; often those that say that all is well.
    fn scribble(&self, page: &HostPage) {
        let [what, count] = self.bytes();
        if what & 1 != 0 {
            [(0x398, 0), (0x3a0, 0), (0x3f0, u64::MAX), (0x3f8, u64::MAX)]
                .into_iter()
                .for_each(|(at, word)| page.store(at, word));
        }
        for _ in 0..count % 8 {
            let place = u16::from_le_bytes(self.bytes());
            page.store(usize::from(place % 512) * 8, self.word());
        }
        if what & 2 != 0 {
            // On with a list, honestly or nearly so.
            let header = page.load(0x800);
            page.store(0x800, header.wrapping_add(u64::from(what >> 4)));
        }
    }

    fn page(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let rest = self.0.get();
        page.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        page
    }
}

/// Plays a hypervisor, and a guest against a stand-in's hypervisor, as `input` says.
///
/// # Panics
///
/// If a page is validated twice, or a guest accepts a message that nobody sealed.
pub fn hostile(input: &[u8]) {
    let decisions = Decisions(Cell::new(input));
    words(&decisions);
    let page = HostPage::default();
    events(&decisions, &page, &Ghcb { block: &page, start: SHARED, at: 0 });
    contents(&decisions.page());
}

fn words(decisions: &Decisions<'_>) {
    let exit = |_| decisions.word();
    let _ = negotiate(1 << 51, exit);
    let _ = register(SHARED, exit);
    let _ = MsrRequest::read(decisions.word());
}

fn events(decisions: &Decisions<'_>, page: &HostPage, ghcb: &Ghcb<&HostPage>) {
    let exit = || decisions.scribble(page);
    let _ = ghcb.out(1, 2, exit);
    // The messages lie behind the page that there is: the guest's own comes back.
    let mut channel = Channel::new(Zeroizing::new([0x5c; 32]));
    let question = (Kind::KeyRequest, &SEALING_REQUEST[..]);
    let is_none = ask(&mut channel, question, &mut [0; PAGE], ghcb, PAGE, exit).is_err();
    assert!(is_none, "the guest believes itself");

    // Three large pages, or nearly so.
    let start = u64::from(decisions.bytes::<1>()[0] & 1) * PAGE as u64;
    let end = start + 3 * crate::LARGE;
    let mut pages = Pages::new(start);
    // The end of what was validated: the guest goes through memory upwards.
    let validated = Cell::new(start);
    for _ in 0..3 {
        let next = pages.end()..end;
        let _ = pages.acquire(next, ghcb, exit, |at, large| {
            assert!(at >= validated.get(), "{at:#x} is validated twice");
            let [code, unchanged] = decisions.bytes();
            let answer = Pvalidate { code: u32::from(code % 7), unchanged: unchanged & 15 == 15 };
            if answer == Pvalidate::DONE {
                validated.set(at + if large { crate::LARGE } else { PAGE as u64 });
            }
            answer
        });
        assert_eq!(pages.end(), validated.get(), "the guest touches what is not validated");
    }

    decisions.scribble(page);
    let _ = GhcbRequest::read(page);
    if let Ok(mut list) = PageList::read(page, SHARED, SHARED + 0x800) {
        while let Ok(Some(_)) = list.next(page) {}
    }
}

fn contents(page: &[u8; PAGE]) {
    if let Ok(table) = Table::new(page) {
        let _ = table.check(1 << 51);
    }
    let _ = Vmsa::read(page);
    let _ = take_key(&mut page.clone());
    let request = ReportRequest { report_data: [0; 64], vmpl: 0 };
    let _ = request.read(page);
    let _ = take_derived(&mut page.clone());
    // Nobody who has not the key makes an answer.
    let mut channel = Channel::new(Zeroizing::new([0x5c; 32]));
    let carry = |sent: &mut [u8; PAGE]| {
        *sent = *page;
        Ok(())
    };
    let asked =
        channel.ask(Kind::ReportRequest, &request.to_bytes(), &mut [0; PAGE], carry).is_ok();
    assert!(!asked, "a forged answer was accepted");
}
