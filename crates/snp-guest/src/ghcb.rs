// SPDX-License-Identifier: Apache-2.0

//! The protocol of one page: the *guest-hypervisor communication block*.
//!
//! The page is shared. Its first half has the fields of a processor's saved state that are shown
//! to the hypervisor, with a bitmap that says which of them are; then 2032 bytes of buffer, the
//! version and the usage, which is 0 (GHCB specification, "GHCB layout"). The address goes
//! into the MSR before `VMGEXIT`.
//!
//! | offset | field |
//! |---|---|
//! | 0x1f8, 0x318 | `RAX`, `RBX` |
//! | 0x390, 0x398, 0x3a0 | `SW_EXITCODE`, `SW_EXITINFO1`, `SW_EXITINFO2` |
//! | 0x3a8 | `SW_SCRATCH`, the address of what does not fit |
//! | 0x3f0 | `VALID_BITMAP`: bit n for the eight bytes from 8n |
//! | 0x800 | the buffer, up to 0xff0 |
//! | 0xffa, 0xffc | the version of the protocol (16 bits), the usage (32 bits) |
//!
//! Each event is a type with its own answer. All that was in the page before is wiped from the
//! bitmap, and nothing of a register leaves that the event does not need.

use core::ops::Range;

use sallyport::Window;

use crate::PAGE;
#[cfg(feature = "host")]
use crate::msr::Features;
use crate::msr::VERSION;

/// Offsets of the fields, in bytes.
pub(crate) mod field {
    pub(crate) const RAX: usize = 0x1f8;
    #[cfg(feature = "host")]
    pub(crate) const RBX: usize = 0x318;
    pub(crate) const CODE: usize = 0x390;
    pub(crate) const INFO_1: usize = 0x398;
    pub(crate) const INFO_2: usize = 0x3a0;
    pub(crate) const SCRATCH: usize = 0x3a8;
    pub(crate) const BITMAP: usize = 0x3f0;
    pub(crate) const LAST: usize = 0xff8;
}

/// The buffer in the page.
pub const BUFFER: Range<usize> = 0x800..0xff0;

/// Numbers of the events (GHCB specification, "Guest non-automatic exits").
pub mod code {
    #![allow(missing_docs, reason = "the names are those of the specification")]
    pub const IOIO: u64 = 0x7b;
    pub const PAGE_STATE_CHANGE: u64 = 0x8000_0010;
    pub const GUEST_REQUEST: u64 = 0x8000_0011;
    #[cfg(feature = "host")]
    pub const EXTENDED_GUEST_REQUEST: u64 = 0x8000_0012;
    #[cfg(feature = "host")]
    pub const AP_CREATION: u64 = 0x8000_0013;
    #[cfg(feature = "host")]
    pub const HYPERVISOR_FEATURES: u64 = 0x8000_fffd;
}

reasons! {
    /// Why an event came to nothing.
    GhcbError:
    /// The hypervisor did not say that a field is there which the answer needs; its offset.
    Missing(at: u16) = "the hypervisor's answer lacks the field at {at:#x}";
    /// The hypervisor wants an exception raised in the guest; `SW_EXITINFO2`. A Keep raises none
    /// for it.
    Exception(what: u64) = "the hypervisor injects an exception: {what:#x}";
    /// The hypervisor says that the request is malformed; its reason (GHCB specification, `SW_EXITINFO2`
    /// after an error).
    Malformed(why: u64) = "the hypervisor calls a request malformed: {why:#x}";
    /// `SW_EXITINFO1` has a value that means nothing.
    Unknown(info: u64) = "the hypervisor's answer means nothing: {info:#x}";
    /// The event failed; `SW_EXITINFO2`.
    Failed(info: u64) = "the hypervisor's answer is a failure: {info:#x}";
    /// The event's memory is not in the area that is shared, or not on a page; its address and length.
    Scratch(address: u64, length: u64) = "{length:#x} bytes at {address:#x} are not shared";
    /// A number of the event is not one that it can have.
    Argument = "a number of a request is not one that it can have";
}

/// What an event comes to.
pub type Result<T = ()> = core::result::Result<T, GhcbError>;

/// The physical memory that is shared with the hypervisor: nothing else may be named to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedArea {
    start: u64,
    end: u64,
}

impl SharedArea {
    /// `length` bytes at a physical address; none if that goes beyond the end of all addresses.
    #[must_use]
    pub fn new(start: u64, length: u64) -> Option<Self> {
        Some(Self { start, end: start.checked_add(length)? })
    }

    /// Checks that memory lies in the area, all of it.
    ///
    /// # Errors
    ///
    /// [`GhcbError::Scratch`].
    pub fn check(&self, address: u64, length: u64) -> Result {
        match address.checked_add(length) {
            Some(end) if address >= self.start && end <= self.end && length != 0 => Ok(()),
            _ => Err(GhcbError::Scratch(address, length)),
        }
    }

    /// As [`SharedArea::check`], for whole pages.
    ///
    /// # Errors
    ///
    /// [`GhcbError::Scratch`].
    pub fn check_pages(&self, address: u64, pages: u64) -> Result {
        let length = pages.saturating_mul(PAGE as u64);
        if address.is_multiple_of(PAGE as u64) {
            self.check(address, length)
        } else {
            Err(GhcbError::Scratch(address, length))
        }
    }
}

/// An event, and how to read its answer.
pub trait Event {
    /// What comes back.
    type Answer;

    /// Fills in a page that is empty.
    ///
    /// # Errors
    ///
    /// [`GhcbError::Scratch`], [`GhcbError::Argument`]: then the page must not be shown.
    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, shared: &SharedArea) -> Result;

    /// Reads the answer. That it is no error was looked at before.
    ///
    /// # Errors
    ///
    /// [`GhcbError`].
    fn read<W: Window>(&self, page: &Fields<'_, W>) -> Result<Self::Answer>;
}

/// The GHCB of one processor.
#[derive(Debug)]
pub struct Ghcb<W> {
    page: W,
    address: u64,
    shared: SharedArea,
}

impl<W: Window> Ghcb<W> {
    /// Of the page at a physical address; offsets of the window are those in the page. Memory that
    /// events name has to lie in `shared`, and so has the page itself.
    ///
    /// # Errors
    ///
    /// [`GhcbError::Scratch`].
    pub fn new(page: W, address: u64, shared: SharedArea) -> Result<Self> {
        shared.check_pages(address, 1)?;
        Ok(Self { page, address, shared })
    }

    /// Physical address of the page.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Does an event: `exit` writes the page's address to the MSR and executes `VMGEXIT`.
    ///
    /// # Errors
    ///
    /// [`GhcbError`].
    pub fn call<E: Event>(&self, event: &E, exit: impl FnOnce()) -> Result<E::Answer> {
        let mut fields = Fields { page: &self.page, valid: 0 };
        event.fill(&mut fields, &self.shared)?;
        fields.finish();
        exit();
        let fields = Fields::of(&self.page);
        fields.check()?;
        event.read(&fields)
    }

    /// The page, to use the buffer.
    pub fn page(&self) -> &W {
        &self.page
    }
}

/// The fields of a page, and which of them are there.
#[derive(Debug)]
pub struct Fields<'a, W> {
    page: &'a W,
    valid: u128,
}

impl<'a, W: Window> Fields<'a, W> {
    /// Of a page that the other side has filled. The bitmap is read once.
    pub(crate) fn of(page: &'a W) -> Self {
        let [low, high] = [page.load(field::BITMAP), page.load(field::BITMAP + 8)];
        Self { page, valid: u128::from(low) | u128::from(high) << 64 }
    }

    /// Of a page that this side fills.
    #[cfg(feature = "host")]
    pub(crate) fn empty(page: &'a W) -> Self {
        Self { page, valid: 0 }
    }

    pub(crate) fn set(&mut self, at: usize, word: u64) {
        self.page.store(at, word);
        self.valid |= 1 << (at / 8);
    }

    /// The word at `at`, read once.
    ///
    /// # Errors
    ///
    /// [`GhcbError::Missing`].
    pub(crate) fn get(&self, at: usize) -> Result<u64> {
        if self.valid >> (at / 8) & 1 == 0 {
            return Err(GhcbError::Missing(at as u16));
        }
        Ok(self.page.load(at))
    }

    fn event(&mut self, code: u64, info_1: u64, info_2: u64) {
        self.set(field::CODE, code);
        self.set(field::INFO_1, info_1);
        self.set(field::INFO_2, info_2);
    }

    /// Writes what says that the rest is there.
    pub(crate) fn finish(&mut self) {
        self.valid |= 0b11 << (field::BITMAP / 8);
        self.page.store(field::BITMAP, self.valid as u64);
        self.page.store(field::BITMAP + 8, (self.valid >> 64) as u64);
        // Two reserved bytes, the version, and usage 0.
        self.page.store(field::LAST, u64::from(VERSION) << 16);
    }

    /// Whether the answer is none but an error (GHCB specification, `SW_EXITINFO1`).
    fn check(&self) -> Result {
        // The upper half is not defined.
        match self.get(field::INFO_1)? & 0xffff_ffff {
            0 => Ok(()),
            1 => Err(GhcbError::Exception(self.get(field::INFO_2)?)),
            2 => Err(GhcbError::Malformed(self.get(field::INFO_2)?)),
            other => Err(GhcbError::Unknown(other)),
        }
    }

    /// `SW_EXITINFO2`, which has to be zero.
    fn success(&self) -> Result {
        match self.get(field::INFO_2)? {
            0 => Ok(()),
            info => Err(GhcbError::Failed(info)),
        }
    }
}

/// `out` of one byte: a Keep's doorbell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Out {
    /// The port.
    pub port: u16,
    /// What is written, all 32 bits.
    pub value: u32,
}

impl Event for Out {
    type Answer = ();

    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, _: &SharedArea) -> Result {
        page.event(code::IOIO, u64::from(self.port) << 16 | FOUR_BYTES, 0);
        page.set(field::RAX, self.value.into());
        Ok(())
    }

    fn read<W: Window>(&self, _: &Fields<'_, W>) -> Result {
        Ok(())
    }
}

/// The size in bits 4 to 6 of `SW_EXITINFO1` (APM, `EXITINFO1` of IOIO intercepts).
const FOUR_BYTES: u64 = 1 << 6;

#[cfg(feature = "host")]
/// How many bytes an I/O instruction moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Width {
    One = 1,
    Two = 2,
    Four = 4,
}

#[cfg(feature = "host")]
impl Width {
    /// Size in bits 4 to 6 of `SW_EXITINFO1` (APM, `EXITINFO1` of IOIO intercepts).
    fn info(self, port: u16) -> u64 {
        u64::from(port) << 16 | (self as u64) << 4
    }

    pub(crate) fn mask(self) -> u64 {
        match self {
            Self::One => 0xff,
            Self::Two => 0xffff,
            Self::Four => 0xffff_ffff,
        }
    }
}

#[cfg(feature = "host")]
/// `in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct In {
    /// The port.
    pub port: u16,
    /// How much is read.
    pub width: Width,
}

#[cfg(feature = "host")]
impl Event for In {
    type Answer = u32;

    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, _: &SharedArea) -> Result {
        page.event(code::IOIO, self.width.info(self.port) | 1, 0);
        // The specification wants the register's old value for widths below four; a Keep has none
        // to show.
        page.set(field::RAX, 0);
        Ok(())
    }

    fn read<W: Window>(&self, page: &Fields<'_, W>) -> Result<u32> {
        Ok((page.get(field::RAX)? & self.width.mask()) as u32)
    }
}

#[cfg(feature = "host")]
/// Asks what the hypervisor can do, as [`crate::msr::AskFeatures`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskFeatures;

#[cfg(feature = "host")]
impl Event for AskFeatures {
    type Answer = Features;

    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, _: &SharedArea) -> Result {
        page.event(code::HYPERVISOR_FEATURES, 0, 0);
        Ok(())
    }

    fn read<W: Window>(&self, page: &Fields<'_, W>) -> Result<Features> {
        page.get(field::INFO_2).map(Features)
    }
}

/// A list of page state changes: see [`crate::pages`], which drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangePages {
    /// Physical address of the list.
    pub list: u64,
    /// Its length in bytes.
    pub length: u64,
}

impl Event for ChangePages {
    /// Not yet that the pages were changed: the list says how far the hypervisor came.
    type Answer = ();

    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, shared: &SharedArea) -> Result {
        shared.check(self.list, self.length)?;
        page.event(code::PAGE_STATE_CHANGE, 0, 0);
        page.set(field::SCRATCH, self.list);
        Ok(())
    }

    fn read<W: Window>(&self, page: &Fields<'_, W>) -> Result {
        page.success()
    }
}

/// Where a message to the firmware is, and where the answer shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestRequest {
    /// Physical address of a page with the message.
    pub request: u64,
    /// Physical address of a page for the answer.
    pub answer: u64,
}

/// What became of a message to the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is an answer. Whether it is one, the channel finds out.
    Answered,
    /// The hypervisor has not handed it over: the very same message may be sent again.
    Busy,
    /// Firmware or hypervisor refused; `SW_EXITINFO2`. Whether the firmware has seen the message is
    /// not known, so the channel is at its end.
    Refused(u64),
}

impl GuestRequest {
    fn check(&self, shared: &SharedArea) -> Result {
        shared.check_pages(self.request, 1)?;
        shared.check_pages(self.answer, 1)?;
        if self.request == self.answer { Err(GhcbError::Argument) } else { Ok(()) }
    }
}

impl Event for GuestRequest {
    type Answer = Outcome;

    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, shared: &SharedArea) -> Result {
        self.check(shared)?;
        page.event(code::GUEST_REQUEST, self.request, self.answer);
        Ok(())
    }

    fn read<W: Window>(&self, page: &Fields<'_, W>) -> Result<Outcome> {
        Ok(match page.get(field::INFO_2)? {
            0 => Outcome::Answered,
            BUSY => Outcome::Busy,
            info => Outcome::Refused(info),
        })
    }
}

#[cfg(feature = "host")]
/// In `SW_EXITINFO2`: too little room for the certificates.
pub(crate) const INVALID_LENGTH: u64 = 1 << 32;
/// In `SW_EXITINFO2`: not now.
pub(crate) const BUSY: u64 = 2 << 32;

#[cfg(feature = "host")]
/// A guest request that brings the host's certificates along, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedGuestRequest {
    /// The message.
    pub message: GuestRequest,
    /// Physical address of pages for the certificates.
    pub data: u64,
    /// How many pages.
    pub pages: u64,
}

#[cfg(feature = "host")]
impl Event for ExtendedGuestRequest {
    /// As for a plain request, or how many pages the certificates need: then the very same message
    /// may be sent again.
    type Answer = core::result::Result<Outcome, u64>;

    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, shared: &SharedArea) -> Result {
        self.message.check(shared)?;
        shared.check_pages(self.data, self.pages)?;
        page.event(code::EXTENDED_GUEST_REQUEST, self.message.request, self.message.answer);
        page.set(field::RAX, self.data);
        page.set(field::RBX, self.pages);
        Ok(())
    }

    fn read<W: Window>(&self, page: &Fields<'_, W>) -> Result<Self::Answer> {
        match page.get(field::INFO_2)? {
            INVALID_LENGTH => page.get(field::RBX).map(Err),
            _ => self.message.read(page).map(Ok),
        }
    }
}

#[cfg(feature = "host")]
/// Starts another processor from a VMSA that the Keep made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateProcessor {
    /// The processor's APIC id.
    pub apic_id: u32,
    /// Physical address of the page with its [`crate::vmsa::Vmsa`]: a private page.
    pub vmsa: u64,
    /// `SEV_FEATURES` in that page.
    pub sev_features: u64,
}

#[cfg(feature = "host")]
impl Event for CreateProcessor {
    type Answer = ();

    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, shared: &SharedArea) -> Result {
        // A state that the hypervisor can write is none to start from.
        let is_shared = shared.check(self.vmsa, 1).is_ok();
        if is_shared || !self.vmsa.is_multiple_of(PAGE as u64) {
            return Err(GhcbError::Argument);
        }
        // The operation: create, at VMPL 0.
        page.event(code::AP_CREATION, u64::from(self.apic_id) << 32 | 1, self.vmsa);
        page.set(field::RAX, self.sev_features);
        Ok(())
    }

    fn read<W: Window>(&self, page: &Fields<'_, W>) -> Result {
        page.success()
    }
}

#[cfg(feature = "host")]
/// Stops a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestroyProcessor {
    /// The processor's APIC id.
    pub apic_id: u32,
}

#[cfg(feature = "host")]
impl Event for DestroyProcessor {
    type Answer = ();

    fn fill<W: Window>(&self, page: &mut Fields<'_, W>, _: &SharedArea) -> Result {
        page.event(code::AP_CREATION, u64::from(self.apic_id) << 32 | 2, 0);
        Ok(())
    }

    fn read<W: Window>(&self, page: &Fields<'_, W>) -> Result {
        page.success()
    }
}
