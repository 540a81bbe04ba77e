// SPDX-License-Identifier: Apache-2.0

//! A question to the firmware, all the way: sealed, carried by the hypervisor, opened.
//!
//! What may be tried again is decided here, once. A hypervisor that says that it is busy, or that the
//! firmware is, gets the very same bytes again, from private memory: nothing is encrypted twice.
//! Everything else that is no answer ends the channel, for nobody knows whether the firmware has seen
//! the message.

use sallyport::Window;

use crate::PAGE;
use crate::ghcb::Ghcb;
use crate::message::{Channel, ChannelError, Kind};

/// How often a busy hypervisor is asked again: it throttles guests for seconds at most.
const PATIENCE: u32 = 100_000;
/// In `SW_EXITINFO2`: not now.
const BUSY: u64 = 2 << 32;

/// Asks the firmware; gives the payload of the answer. `page` is private memory to work in; at
/// `messages` in the block that is shared are a page for the message and one for the answer; `exit` as
/// in [`Ghcb::out`].
///
/// # Errors
///
/// [`ChannelError`]; the channel is at its end then.
pub fn ask<'a, W: Window>(
    channel: &mut Channel,
    (kind, payload): (Kind, &[u8]),
    page: &'a mut [u8; PAGE],
    ghcb: &Ghcb<W>,
    messages: usize,
    mut exit: impl FnMut(),
) -> Result<&'a mut [u8], ChannelError> {
    channel.ask(kind, payload, page, |page| {
        for _ in 0..PATIENCE {
            ghcb.block.write(messages, page);
            match ghcb.carry(messages, &mut exit).map_err(ChannelError::Ghcb)? {
                0 => {
                    // Each byte is read once; what the channel checks is what it decrypts.
                    ghcb.block.read(messages + PAGE, page);
                    return Ok(());
                }
                BUSY => {}
                code => return Err(ChannelError::Refused(code)),
            }
        }
        Err(ChannelError::Busy)
    })
}
