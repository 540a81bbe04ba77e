// SPDX-License-Identifier: Apache-2.0

//! A question to the firmware, all the way: sealed, carried by the hypervisor, opened.
//!
//! What may be tried again and what ends the channel is decided here, once. A hypervisor that says
//! that it is busy, or that the firmware is, gets the very same bytes again, from private memory:
//! nothing is encrypted twice. Everything else that is no answer ends the channel, for nobody knows
//! whether the firmware has seen the message.

use sallyport::Window;

use crate::PAGE;
use crate::ghcb::{Ghcb, GhcbError, GuestRequest, Outcome};
use crate::message::{Channel, ChannelError, Kind, PAYLOAD};

reasons! {
    /// Why there is no answer. But for a channel that refused the question, it is at its end.
    AskError:
    /// The channel refuses, or the answer is none.
    Channel(error: ChannelError) = "{error}";
    /// The event failed.
    Ghcb(error: GhcbError) = "{error}";
    /// Firmware or hypervisor refused; the firmware's code is in the lower half, the hypervisor's in
    /// the upper.
    Refused(code: u64) = "firmware or hypervisor refuse: {code:#x}";
    /// The hypervisor was busy for as long as the caller would wait.
    Busy = "the hypervisor is busy and remains so";
}

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
        into: &mut [u8; PAYLOAD],
        exit: impl FnMut(),
        wait: impl FnMut() -> bool,
    ) -> Result<usize, AskError> {
        channel.seal(kind, version, payload, page).map_err(AskError::Channel)?;
        let answered = self.carry(page, exit, wait).and_then(|()| {
            // Each byte is read once; what the channel checks is what it decrypts.
            self.answer.window.read(0, page);
            channel.open(page, into).map_err(AskError::Channel)
        });
        if answered.is_err() {
            channel.end();
        }
        answered
    }

    fn carry(
        &self,
        page: &[u8; PAGE],
        mut exit: impl FnMut(),
        mut wait: impl FnMut() -> bool,
    ) -> Result<(), AskError> {
        let event = GuestRequest { request: self.request.address, answer: self.answer.address };
        loop {
            self.request.window.write(0, page);
            match self.ghcb.call(&event, &mut exit).map_err(AskError::Ghcb)? {
                Outcome::Answered => return Ok(()),
                Outcome::Busy if wait() => {}
                Outcome::Busy => return Err(AskError::Busy),
                Outcome::Refused(code) => return Err(AskError::Refused(code)),
            }
        }
    }
}
