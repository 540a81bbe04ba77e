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
//! | 0x1f8 | `RAX` |
//! | 0x390, 0x398, 0x3a0 | `SW_EXITCODE`, `SW_EXITINFO1`, `SW_EXITINFO2` |
//! | 0x3a8 | `SW_SCRATCH`, the address of what does not fit |
//! | 0x3f0 | `VALID_BITMAP`: bit n for the eight bytes from 8n |
//! | 0x800 | the buffer, up to 0xff0 |
//! | 0xffa, 0xffc | the version of the protocol (16 bits), the usage (32 bits) |
//!
//! Nothing of a register leaves that the event does not need, and of what was in the page before nothing
//! is said to be there. Memory that an event names is named by its offset in the block that is shared, so
//! that nothing private can be.

use sallyport::Window;

use crate::PAGE;
use crate::msr::VERSION;

/// Offsets of the fields, in bytes.
pub(crate) mod field {
    pub(crate) const RAX: usize = 0x1f8;
    pub(crate) const CODE: usize = 0x390;
    pub(crate) const INFO_1: usize = 0x398;
    pub(crate) const INFO_2: usize = 0x3a0;
    pub(crate) const SCRATCH: usize = 0x3a8;
    pub(crate) const BITMAP: usize = 0x3f0;
    pub(crate) const LAST: usize = 0xff8;
}

/// Where the buffer in the page begins.
pub(crate) const BUFFER: usize = 0x800;
/// Where it ends.
pub(crate) const BUFFER_END: usize = 0xff0;

/// Numbers of the events (GHCB specification, "Guest non-automatic exits").
pub(crate) mod code {
    pub(crate) const IOIO: u64 = 0x7b;
    pub(crate) const PAGE_STATE_CHANGE: u64 = 0x8000_0010;
    pub(crate) const GUEST_REQUEST: u64 = 0x8000_0011;
}

/// The size of an I/O instruction in bits 4 to 6 of `SW_EXITINFO1` (APM, `EXITINFO1` of IOIO
/// intercepts).
const FOUR_BYTES: u64 = 4 << 4;

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
}

/// The GHCB of one processor, in the block that is shared with the hypervisor.
#[derive(Debug)]
pub struct Ghcb<W> {
    /// The block.
    pub block: W,
    /// Its physical address.
    pub start: u64,
    /// Where in the block the page is.
    pub at: usize,
}

impl<W: Window> Ghcb<W> {
    /// `out` of four bytes: a Keep's doorbell.
    ///
    /// `exit` writes the page's address to the MSR and executes `VMGEXIT`.
    ///
    /// # Errors
    ///
    /// [`GhcbError`].
    pub fn out(&self, port: u16, value: u32, exit: impl FnOnce()) -> Result<(), GhcbError> {
        let info = [u64::from(port) << 16 | FOUR_BYTES, 0];
        self.event(code::IOIO, info, Some((field::RAX, value.into())), exit).map(|_| ())
    }

    /// Has the hypervisor go on with the list in the buffer; see [`crate::pages`], which drives it. How
    /// far it came, the list says.
    pub(crate) fn change_pages(&self, exit: impl FnOnce()) -> Result<(), GhcbError> {
        let list = Some((field::SCRATCH, self.start + (self.at + BUFFER) as u64));
        match self.event(code::PAGE_STATE_CHANGE, [0, 0], list, exit)?.get(field::INFO_2)? {
            0 => Ok(()),
            info => Err(GhcbError::Failed(info)),
        }
    }

    /// Has the message at `messages` in the block carried to the firmware, and the answer put into the
    /// page behind; gives `SW_EXITINFO2`. If it is zero there is an answer. Whether it is one, the channel
    /// finds out.
    pub(crate) fn carry(&self, messages: usize, exit: impl FnOnce()) -> Result<u64, GhcbError> {
        let request = self.start + messages as u64;
        let pages = [request, request + PAGE as u64];
        self.event(code::GUEST_REQUEST, pages, None, exit)?.get(field::INFO_2)
    }

    /// Does an event, which may need one more field. That the answer is none but an error was looked at
    /// then (GHCB specification, `SW_EXITINFO1`).
    fn event(
        &self,
        code: u64,
        [info_1, info_2]: [u64; 2],
        more: Option<(usize, u64)>,
        exit: impl FnOnce(),
    ) -> Result<Fields<'_, W>, GhcbError> {
        let fields = [(field::CODE, code), (field::INFO_1, info_1), (field::INFO_2, info_2)];
        show(&self.block, self.at, fields.into_iter().chain(more));
        exit();
        let answer = Fields::of(&self.block, self.at);
        // The upper half is not defined.
        match answer.get(field::INFO_1)? & 0xffff_ffff {
            0 => Ok(answer),
            1 => Err(GhcbError::Exception(answer.get(field::INFO_2)?)),
            2 => Err(GhcbError::Malformed(answer.get(field::INFO_2)?)),
            other => Err(GhcbError::Unknown(other)),
        }
    }
}

/// Fills the page at `at` in a block: with fields, and with what says that they are there.
pub(crate) fn show<W: Window>(
    block: &W,
    at: usize,
    fields: impl IntoIterator<Item = (usize, u64)>,
) {
    let mut valid: u128 = 0b11 << (field::BITMAP / 8);
    for (field, word) in fields {
        block.store(at + field, word);
        valid |= 1 << (field / 8);
    }
    block.store(at + field::BITMAP, valid as u64);
    block.store(at + field::BITMAP + 8, (valid >> 64) as u64);
    // Two reserved bytes, the version, and usage 0.
    block.store(at + field::LAST, u64::from(VERSION) << 16);
}

/// The fields of the page at `at` in a block, which the other side has filled.
#[derive(Debug)]
pub(crate) struct Fields<'a, W> {
    block: &'a W,
    at: usize,
    valid: u128,
}

impl<'a, W: Window> Fields<'a, W> {
    /// Reads the bitmap, once.
    pub(crate) fn of(block: &'a W, at: usize) -> Self {
        let [low, high] = [0, 8].map(|half| block.load(at + field::BITMAP + half));
        Self { block, at, valid: u128::from(low) | u128::from(high) << 64 }
    }

    /// The word of a field, read once.
    pub(crate) fn get(&self, field: usize) -> Result<u64, GhcbError> {
        if self.valid >> (field / 8) & 1 == 0 {
            return Err(GhcbError::Missing(field as u16));
        }
        Ok(self.block.load(self.at + field))
    }
}
