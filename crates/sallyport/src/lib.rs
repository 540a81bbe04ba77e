// SPDX-License-Identifier: Apache-2.0

//! The host-call protocol between a Keep and its host.
//!
//! Keep and host share one block of [`SHARED_SIZE`] bytes and nothing else. The Keep asks by
//! writing a [`Request`] into the submission ring, the host answers in the completion ring; each
//! side takes the other for an attacker. This crate holds both ends of the rings, so that they
//! can be tested against each other, and what each end must check:
//!
//! - Each shared byte is read at most once per use, into private memory, and checked there. What
//!   changes in the block afterwards is never seen.
//! - Indices are private to the side that advances them; the block holds only copies for the
//!   other side to look at.
//! - An answer leaves the Keep's end only through a check ([`Unchecked`]), and an answer that no
//!   honest host gives is a [`Lie`], after which the Keep stops.
//! - Calls are answered in the order in which they were asked. That leaves a host no choice of
//!   which call it answers, and makes write-behind keep its order for free.
//!
//! # The block, byte for byte
//!
//! All words are 64 bits, little endian, aligned.
//!
//! ```text
//! 0x00000  header, written by the host before the Keep starts, read once by the Keep
//!   +0x00    magic           0x74726f70796c6c61 ("allyport")
//!   +0x08    version         4
//!   +0x10    ram             bytes of private memory at the start, a multiple of 2 MiB
//!   +0x18    ram_limit       bytes of private memory that GROW may reach, likewise
//!   +0x20    tsc_khz         frequency of the time stamp counter, 0: do not use it
//!   +0x28    input_len       bytes that can be read from the stream `input`
//!   +0x30    launch_len      bytes that can be read from the stream `launch`
//!   +0x38    flags           there are: bit 0: seeds to read; 1: an output; 2: a reader of events;
//!                            3: a source of evidence; 4: sockets
//!   +0x40    processors      how many processors the Keep may use, 1 to 7
//! 0x01000  heads of the rings
//!   +0x000   submitted       how many requests the Keep has made, ever (Keep writes)
//!   +0x040   host_awake      1 while a host thread watches `submitted`, else 0 (host writes)
//! 0x02000
//!   +0x000   completed       how many requests the host has answered, ever (host writes)
//! 0x04000  submissions: 128 entries of 64 bytes; request n is in entry n modulo 128 (Keep writes)
//!     +0x00    call            see [`Call`]
//!     +0x08    object          a [`Stream`] or a socket's [`Handle`]; 0 where the call has none
//!     +0x10    a, +0x18 b, ... +0x38 f   arguments, see [`Request`]; zero where there are none
//! 0x06000  completions: 128 entries of 32 bytes; the answer to request n is in entry n modulo 128
//!     +0x00    sequence        n
//!     +0x08    status          0, or why it failed: see [`HostErrno`]
//!     +0x10    value           the answer; if WRITE failed, bytes written before that
//!     +0x18    zero
//! 0x07000  not of this protocol, like 0x03000: see `keep_layout::{snp, enclave}`
//! 0x10000  data: the only place where the arguments of a call may point
//!   0x010000  16 KiB          message of EXIT
//!   0x014000  16 KiB          grants of POLL: see [`Grant`]
//!   0x020000  896 KiB         buffer of the one call that is waited for; events of POLL
//!   0x100000  1 MiB           outbox: bytes of writes and sends that are not waited for
//! 0x200000  end
//! ```
//!
//! How the data area is divided is the Keep's own affair; a host only checks that a request stays
//! inside it.
//!
//! # Who wakes whom
//!
//! A Keep publishes `submitted` (release), issues a full fence, and loads `host_awake`. If that is
//! 0 it rings the [`Doorbell`], which returns after the host has answered all that was submitted.
//! A host thread that stops watching stores 0 to `host_awake`, issues a full fence, and looks at
//! `submitted` once more. So one of the two sees the other's store, and no request is left lying.

#![no_std]

#[cfg(any(test, feature = "testing"))]
extern crate std;

mod boot;
mod call;
mod host;
mod keep;
mod reply;
mod socket;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
mod window;

pub use boot::{BootInfo, MAX_INPUT, MAX_LAUNCH, MAX_RAM};
pub use call::{Call, ClockId, ExitKind, FOREVER, HostErrno, Request, SocketOption, Stream};
pub use host::{Breach, HostEnd, Watch};
pub use keep::{Doorbell, Outcome, Port};
pub use reply::{Lie, Unchecked};
pub use socket::{
    Events, FIRST_GRANT, Grant, HANDLES, Handle, MAX_ACCEPT, MAX_DATAGRAM, MAX_GRANT, MAX_SOCKETS,
    SEND_WINDOW, SocketEvent, SocketFlags, SocketKind,
};
pub use window::{RawWindow, Window};

/// Bytes in the shared block.
pub const SHARED_SIZE: usize = keep_layout::SHARED_SIZE as usize;
/// Entries in each ring, and so the most requests that can be unanswered at a time.
pub const ENTRIES: u64 = 128;
/// First byte of the data area; it ends with the block.
pub const DATA: usize = 0x10000;

/// Most bytes that one [`Port::read`] or [`Port::write`] moves.
pub const MAX_TRANSFER: usize = OUTBOX - BULK;
/// Longest message of [`Port::exit`]; the rest is cut off.
pub const MAX_MESSAGE: usize = 4096;

// The places in the block, as in the table above.
const SUBMITTED: usize = 0x1000;
const HOST_AWAKE: usize = 0x1040;
const REQUESTS: usize = 0x4000;
const REQUEST_WORDS: usize = 8;
const COMPLETED: usize = 0x2000;
const ANSWERS: usize = 0x6000;
const ANSWER_WORDS: usize = 4;
const MESSAGE: usize = DATA;
const GRANTS: usize = 0x14000;
const BULK: usize = 0x20000;
const OUTBOX: usize = 0x100000;

/// Where entry `n` of a ring is.
fn entry(ring: usize, words: usize, n: u64) -> usize {
    // The remainder is below 128, so nothing is lost by the conversion.
    ring + (n % ENTRIES) as usize * words * 8
}
