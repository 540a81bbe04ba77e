// SPDX-License-Identifier: Apache-2.0

//! The hypervisor: what a guest's exits ask for, and what they get.
//!
//! To the hypervisor the guest is an attacker. What it asks for is decoded in full or refused, and it
//! gets no more memory than it was given.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backend_kvm::machine::{Mapping, Slots};
use keep_layout::snp::GHCB_PHYS;
use keep_layout::{IMAGE_PHYS, PORT_DOORBELL, PORTS, SHARED_PHYS, SHARED_SIZE};
use sallyport::{RawWindow, Window};
use snp_guest::PAGE;
use snp_guest::host::{
    GhcbAnswer, GhcbRequest, GuestRequest, HostError, MsrAnswer, MsrRequest, Owner, PageList,
    SevInfo, Width,
};
use snp_guest::msr::VERSION;
use snp_guest::pages::Pvalidate;
use snp_launch::Options;

use crate::firmware::Firmware;
use crate::pages::{Pages, Validated};

/// The mask of the bit that makes memory private.
pub(crate) const C_BIT: u64 = 1 << Options::C_BIT;

/// `GHCB` features (GHCB specification, "Hypervisor features"): SEV-SNP.
const FEATURES: u64 = 1;
/// The firmware does not take the message (`SW_EXITINFO2`, lower half): it is malformed.
const INVALID_MESSAGE: u64 = 0x16;

/// What comes after an exit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The guest goes on.
    Resume,
    /// The guest's submissions are to be looked at first.
    Doorbell,
    /// The guest wrote to one of its other ports.
    Port(u16, u32),
    /// The guest is at its end.
    Dead(String),
}

/// When an attack may strike, and at what.
#[cfg(feature = "testing")]
#[derive(Debug)]
#[non_exhaustive]
pub enum Moment<'a> {
    /// The launch makes the CPUID page.
    CpuidPage(&'a mut Vec<snp_guest::cpuid::Entry>),
    /// The hypervisor answers by the GHCB's register.
    Register(&'a mut u64),
    /// The hypervisor has answered in the GHCB, which is 0x7000 bytes into this block.
    Answered(RawWindow),
    /// The guest's message and the firmware's answer, before it is delivered.
    Message(&'a [u8; PAGE], &'a mut [u8; PAGE]),
    /// What `PVALIDATE` comes to for a page. A hypervisor has no say in it, but for what it did to
    /// the page before: see [`Pvalidate`].
    Validated(u64, &'a mut Pvalidate),
    /// The Keep rings: physical addresses of pages that are taken away, or replaced.
    Doorbell(&'a mut Vec<Range<u64>>),
}

/// What an attack does.
#[cfg(feature = "testing")]
pub type Attack = Box<dyn FnMut(Moment<'_>) + Send>;

/// A page of the shared block.
struct At(RawWindow, usize);

impl Window for At {
    fn load(&self, at: usize) -> u64 {
        self.0.load(self.1 + at)
    }
    fn store(&self, at: usize, word: u64) {
        self.0.store(self.1 + at, word);
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        self.0.read(self.1 + at, into);
    }
    fn write(&self, at: usize, from: &[u8]) {
        self.0.write(self.1 + at, from);
    }
}

/// What the hypervisor knows of one processor.
#[derive(Debug, Default)]
pub(crate) struct Register {
    /// The GHCB's register.
    pub(crate) msr: u64,
    /// The GHCB that the guest has registered.
    registered: Option<u64>,
}

/// One guest's hypervisor.
pub(crate) struct Hypervisor {
    pub(crate) window: RawWindow,
    pub(crate) slots: Slots,
    pub(crate) private: Arc<Mapping>,
    pub(crate) pages: Pages,
    pub(crate) firmware: Firmware,
    /// Bytes of memory behind the page tables that the guest may have by now.
    pub(crate) given: Arc<AtomicU64>,
    #[cfg(feature = "testing")]
    pub(crate) attack: Option<Attack>,
}

impl Hypervisor {
    #[cfg(feature = "testing")]
    fn strike(&mut self, moment: Moment<'_>) {
        if let Some(attack) = &mut self.attack {
            attack(moment);
        }
    }

    /// Serves `VMGEXIT`.
    pub(crate) fn exit(&mut self, register: &mut Register) -> After {
        let answer = match MsrRequest::read(register.msr) {
            Some(MsrRequest::Ghcb(address)) => return self.page(register.registered, address),
            Some(MsrRequest::SevInfo) => {
                MsrAnswer::SevInfo(SevInfo { max: VERSION, min: 1, c_bit: Options::C_BIT })
            }
            Some(MsrRequest::Features) => MsrAnswer::Features(FEATURES),
            Some(MsrRequest::Preferred) => MsrAnswer::Preferred(Some(GHCB_PHYS)),
            Some(MsrRequest::Register(address)) => {
                let known = place(address).is_some();
                register.registered = known.then_some(address);
                MsrAnswer::Registered(register.registered)
            }
            Some(MsrRequest::ChangePage { address, to }) => {
                let changed = self.change(address..address + PAGE as u64, to);
                MsrAnswer::PageChanged(u32::from(!changed))
            }
            Some(MsrRequest::Terminate { set, code }) => {
                return After::Dead(terminated(set, code));
            }
            Some(MsrRequest::Cpuid { .. } | MsrRequest::ResetHold) | None => {
                return After::Dead(format!("it asks what no Keep asks: {:#x}", register.msr));
            }
        };
        register.msr = answer.word();
        #[cfg(feature = "testing")]
        self.strike(Moment::Register(&mut register.msr));
        After::Resume
    }

    /// Serves an exit with a page.
    fn page(&mut self, registered: Option<u64>, address: u64) -> After {
        let page = match place(address) {
            Some(at) if registered == Some(address) => At(self.window, at),
            _ => return After::Dead(format!("its GHCB at {address:#x} is not registered")),
        };
        let request = GhcbRequest::read(&page);
        let mut after = After::Resume;
        let answer = match request {
            Ok(GhcbRequest::Out { port: PORT_DOORBELL, .. }) => {
                after = After::Doorbell;
                GhcbAnswer::Done(0)
            }
            Ok(GhcbRequest::Out { port, width: Width::Four, value }) if PORTS.contains(&port) => {
                after = After::Port(port, value);
                GhcbAnswer::Done(0)
            }
            Ok(GhcbRequest::Features) => GhcbAnswer::Done(FEATURES),
            Ok(GhcbRequest::ChangePages(scratch)) => match self.list(&page, address, scratch) {
                Ok(()) => GhcbAnswer::Done(0),
                Err(wrong) => GhcbAnswer::Malformed(wrong),
            },
            Ok(GhcbRequest::Guest(request)) => match self.message(request) {
                Ok(status) => GhcbAnswer::Done(status),
                Err(wrong) => GhcbAnswer::Malformed(wrong),
            },
            Ok(_) => GhcbAnswer::Malformed(HostError::Event),
            Err(wrong) => GhcbAnswer::Malformed(wrong),
        };
        answer.write(&page);
        #[cfg(feature = "testing")]
        self.strike(Moment::Answered(self.window));
        #[cfg(feature = "testing")]
        if after == After::Doorbell {
            let mut taken = Vec::new();
            self.strike(Moment::Doorbell(&mut taken));
            for range in taken {
                let private = range.start | C_BIT..range.end | C_BIT;
                if let Err(error) = self.slots.hide(&private) {
                    return After::Dead(format!("the host cannot take memory away: {error}"));
                }
                self.pages.take(range);
            }
        }
        after
    }

    /// Changes the pages of a list; what cannot be changed ends it, and the guest sees where.
    fn list(&mut self, page: &At, address: u64, scratch: u64) -> Result<(), HostError> {
        let mut list = PageList::read(page, address, scratch)?;
        loop {
            let before = list;
            let Some(entry) = list.next(page)? else { break };
            let size = entry.size();
            if !self.change(entry.address..entry.address.saturating_add(size), entry.to) {
                before.write(page);
                return Ok(());
            }
        }
        list.write(page);
        Ok(())
    }

    fn change(&mut self, range: Range<u64>, to: Owner) -> bool {
        let given = IMAGE_PHYS + self.given.load(Ordering::Relaxed);
        // A Keep never gives memory back.
        to == Owner::Private
            && range.start >= IMAGE_PHYS
            && range.end <= given
            && self.pages.assign(range)
    }

    /// Carries a message to the firmware; gives `SW_EXITINFO2`.
    fn message(&mut self, event: GuestRequest) -> Result<u64, HostError> {
        let request = place(event.request).ok_or(HostError::Invalid)?;
        let answer = place(event.answer).ok_or(HostError::Invalid)?;
        let (mut message, mut reply) = ([0; PAGE], [0; PAGE]);
        self.window.read(request, &mut message);
        if self.firmware.serve(&message, &mut reply).is_err() {
            return Ok(INVALID_MESSAGE);
        }
        #[cfg(feature = "testing")]
        self.strike(Moment::Message(&message, &mut reply));
        self.window.write(answer, &reply);
        Ok(0)
    }

    /// Plays `PVALIDATE` for pages at a physical address.
    pub(crate) fn validate(&mut self, phys: u64, len: u64) -> Result<Pvalidate, String> {
        let mut done = match self.pages.validate(phys..phys + len) {
            Validated::Now => Pvalidate::DONE,
            Validated::Before => Pvalidate { code: 0, unchanged: true },
            Validated::NotAssigned => {
                return Err(format!("it validates memory at {phys:#x} that it does not have"));
            }
        };
        #[cfg(feature = "testing")]
        self.strike(Moment::Validated(phys, &mut done));
        #[cfg(not(feature = "testing"))]
        let _ = &mut done;
        for range in self.pages.fresh() {
            let len = range.end - range.start;
            self.slots
                .add(range.start | C_BIT, &self.private, range.start, len)
                .map_err(|error| format!("the host cannot give it memory: {error}"))?;
        }
        Ok(done)
    }
}

/// Where a page of the shared block is in it.
fn place(address: u64) -> Option<usize> {
    let at = address.checked_sub(SHARED_PHYS)?;
    let page = PAGE as u64;
    (at.is_multiple_of(page) && at <= SHARED_SIZE - page).then_some(at as usize)
}

fn terminated(set: u8, code: u8) -> String {
    let why = match (set, code) {
        (0, 1) => "it does not speak this version of the GHCB's protocol",
        (0, 2) => "the hypervisor lacks features of SEV-SNP",
        _ => "it gave no reason",
    };
    format!("it asked for its end ({set}, {code}): {why}")
}
