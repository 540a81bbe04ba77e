// SPDX-License-Identifier: Apache-2.0

//! A question to the firmware, all the way: sealed, carried by the hypervisor, opened.
//!
//! What may be tried again and what ends the channel is decided here, once. A hypervisor that says
//! that it is busy, or that the firmware is, gets the very same bytes again, from private memory:
//! nothing is encrypted twice. Everything else that is no answer ends the channel, for nobody knows
//! whether the firmware has seen the message.

use core::fmt;

use sallyport::Window;

use crate::PAGE;
use crate::ghcb::{Ghcb, GhcbError, GuestRequest, Outcome};
use crate::message::{Channel, ChannelError, Kind};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The channel refuses, or the answer is none.
    Channel(ChannelError),
    /// The event failed. The channel is at its end.
    Ghcb(GhcbError),
    /// Firmware or hypervisor refused; the firmware's code is in the lower half, the hypervisor's in
    /// the upper. The channel is at its end.
    Refused(u64),
    /// The hypervisor was busy for as long as the caller would wait. The channel is at its end.
    Busy,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(error) => error.fmt(f),
            Self::Ghcb(error) => error.fmt(f),
            Self::Refused(code) => write!(f, "firmware or hypervisor refuse: {code:#x}"),
            Self::Busy => f.write_str("the hypervisor is busy and remains so"),
        }
    }
}

impl core::error::Error for AskError {}

/// A page that is shared: how it is seen, and its physical address.
#[derive(Debug, Clone, Copy)]
pub struct SharedPage<W> {
    /// Offsets of the window are those in the page.
    pub window: W,
    /// Physical address.
    pub address: u64,
}

/// How messages reach the firmware.
#[derive(Debug)]
pub struct Courier<'a, W, P> {
    /// The GHCB of this processor.
    pub ghcb: &'a Ghcb<W>,
    /// A page for the message.
    pub request: SharedPage<P>,
    /// A page for the answer.
    pub answer: SharedPage<P>,
}

impl<W: Window, P: Window> Courier<'_, W, P> {
    /// Asks the firmware; gives the length of the answer in `into`. `page` is private memory to work
    /// in, `exit` as in [`Ghcb::call`]; `wait` is called when the hypervisor is busy and says
    /// whether to go on.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub fn ask(
        &self,
        channel: &mut Channel,
        (kind, version, payload): (Kind, u8, &[u8]),
        page: &mut [u8; PAGE],
        into: &mut [u8],
        mut exit: impl FnMut(),
        mut wait: impl FnMut() -> bool,
    ) -> Result<usize, AskError> {
        channel.seal(kind, version, payload, page).map_err(AskError::Channel)?;
        let carried = self.carry(page, &mut exit, &mut wait);
        if carried.is_err() {
            channel.end();
        }
        carried?;
        // Each byte is read once; what the channel checks is what it decrypts.
        self.answer.window.read(0, page);
        let opened = channel.open(page, into);
        if opened.is_err() {
            channel.end();
        }
        opened.map_err(AskError::Channel)
    }

    fn carry(
        &self,
        page: &[u8; PAGE],
        exit: &mut impl FnMut(),
        wait: &mut impl FnMut() -> bool,
    ) -> Result<(), AskError> {
        let event = GuestRequest { request: self.request.address, answer: self.answer.address };
        loop {
            self.request.window.write(0, page);
            match self.ghcb.call(&event, &mut *exit).map_err(AskError::Ghcb)? {
                Outcome::Answered => return Ok(()),
                Outcome::Busy if wait() => {}
                Outcome::Busy => return Err(AskError::Busy),
                Outcome::NeedsPages(pages) => return Err(AskError::Refused(pages)),
                Outcome::Refused(code) => return Err(AskError::Refused(code)),
            }
        }
    }
}
