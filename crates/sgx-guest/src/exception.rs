// SPDX-License-Identifier: Apache-2.0

//! What an exception in an enclave means: one table, from what the processor vouches for to what the Keep does.
//!
//! When a thread faults in an enclave, the processor saves its state in a frame of the enclave and leaves. The
//! host then enters the enclave a second time on the same thread, with `CSSA` 1, and its handler looks at that
//! frame. The host decides *whether and when* it enters so, and it makes page faults at will; it cannot write to
//! the frame. Hence the rules:
//!
//! | in the frame | decision |
//! |---|---|
//! | no exception (`EXITINFO.VALID` 0): an interrupt, or the host called without reason | [`Decision::Resume`]: nothing is done |
//! | more than one frame in use | [`Refusal::Nested`]: the handler itself was interrupted and entered again |
//! | RIP in the code for entry and exit | [`Refusal::InStub`]: registers and stack are not the program's there (this is how SmashEx, CVE-2021-0186, gets in) |
//! | #UD, `cpuid` | [`Decision::Cpuid`]: answered from what was measured |
//! | #UD, `syscall` that was not rewritten | [`Decision::Syscall`] |
//! | #PF where the map has an accepted page with these rights | [`Refusal::PageTaken`]: the host removed, replaced or blocked it |
//! | #PF outside of the enclave, in the block shared with the host | [`Refusal::SharedTaken`] |
//! | any other #PF: where the map waits for a page, or has nothing, or not these rights | [`Decision::Usual`] |
//! | any other #UD, #GP, #DE, #MF, #XM, #BR, #AC, #DB, #BP, #CP | [`Decision::Usual`] |
//! | another number | [`Refusal::Unknown`] |
//!
//! What is usual is the same on every platform: the kernel brings a page in that its map waits for, makes a signal
//! of what a program can bring about, and ends the Keep otherwise.
//!
//! A page is accepted **only where the map waits for one**, and never twice. An accepted page that faults must
//! not be accepted again: a host can remove it while no thread is inside and add an empty one in its place, and
//! an enclave that accepts whatever is pending would go on with zeros instead of its data.
//!
//! A refusal ends the Keep.

use crate::page::Rights;
use crate::range::Elrange;
use crate::ssa::{ExInfo, ExitInfo, ExitType, fault};

/// What the kernel's map has at an address in the enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapped {
    /// Nothing that can be touched.
    Nothing,
    /// A page that is to be added when it is touched, and these rights for it.
    Awaited(Rights),
    /// A page with these rights: measured at the launch, or accepted since.
    Accepted(Rights),
}

/// What the decision needs to know of the Keep.
pub trait View {
    /// The enclave's addresses.
    fn enclave(&self) -> Elrange;

    /// What the map has at an address in the enclave.
    fn mapped(&self, address: u64) -> Mapped;

    /// Whether an address outside of the enclave is in the block shared with the host.
    fn is_shared(&self, address: u64) -> bool;

    /// Whether an instruction belongs to entry, exit or handler.
    fn is_stub(&self, rip: u64) -> bool;

    /// The first bytes of an instruction, three at most; fewer at the end of what can be executed.
    fn code(&self, rip: u64) -> &[u8];
}

/// What a handler finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Frames in use: `CSSA` at the entry.
    pub frames: u32,
    /// `EXITINFO`, if it reports something.
    pub info: Option<ExitInfo>,
    /// `EXINFO`.
    pub more: ExInfo,
    /// RIP of the frame.
    pub rip: u64,
}

/// Why the Keep ends: the host did what no honest host does, or what cannot be went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The handler was entered while it ran.
    Nested,
    /// The code for entry and exit faulted, or was interrupted by a fault.
    InStub,
    /// A page that was there with the right to do this is not.
    PageTaken(u64),
    /// The block shared with the host is not there.
    SharedTaken(u64),
    /// The processor reports no such thing.
    Unknown(u8),
}

/// What the handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the thread goes on where it was.
    Resume,
    /// Answers `cpuid` and goes on behind its two bytes.
    Cpuid,
    /// Runs a system call and goes on behind the two bytes of `syscall`.
    Syscall,
    /// What the kernel does on every platform.
    Usual,
    /// Ends the Keep.
    Refuse(Refusal),
}

impl Decision {
    /// By how many bytes RIP goes on before the thread does.
    #[must_use]
    pub const fn skip(self) -> u64 {
        match self {
            Self::Cpuid | Self::Syscall => 2,
            _ => 0,
        }
    }
}

/// Exceptions that a processor reports to an enclave.
pub mod vector {
    #[cfg(feature = "host")]
    pub use crate::host::numbers::vector::*;

    /// Breakpoint.
    pub const BP: u8 = 3;
    /// Undefined instruction, or one that is not for enclaves.
    pub const UD: u8 = 6;
    /// General protection; with `EXINFO` only.
    pub const GP: u8 = 13;
    /// Page fault; with `EXINFO` only.
    pub const PF: u8 = 14;
}

/// #DE, #DB, #BP, #BR, #UD, #GP, #PF, #MF, #AC, #XM and #CP: all that a processor reports.
const REPORTED: [u8; 11] = [0, 1, 3, 5, 6, 13, 14, 16, 17, 19, 21];

/// The table.
#[must_use]
pub fn decide(exit: &Exit, view: &impl View) -> Decision {
    if exit.frames > 1 {
        return Decision::Refuse(Refusal::Nested);
    }
    let (1, Some(info)) = (exit.frames, exit.info) else { return Decision::Resume };
    if view.is_stub(exit.rip) {
        return Decision::Refuse(Refusal::InStub);
    }
    // `int3` is the one instruction that raises an exception on purpose and is reported.
    if (info.kind == ExitType::Software) != (info.vector == vector::BP)
        || !REPORTED.contains(&info.vector)
    {
        return Decision::Refuse(Refusal::Unknown(info.vector));
    }
    match info.vector {
        vector::UD => undefined(view.code(exit.rip)),
        vector::PF => page_fault(&exit.more, view),
        _ => Decision::Usual,
    }
}

/// The instructions that are known, exactly as compilers write them: without prefixes.
fn undefined(code: &[u8]) -> Decision {
    match code {
        [0x0f, 0xa2, ..] => Decision::Cpuid,
        [0x0f, 0x05, ..] => Decision::Syscall,
        _ => Decision::Usual,
    }
}

fn page_fault(more: &ExInfo, view: &impl View) -> Decision {
    let (address, fetch) = (more.address, more.error & fault::FETCH != 0);
    if !view.enclave().contains(address) {
        // Code is never fetched from there.
        let taken = view.is_shared(address) && !fetch;
        return if taken {
            Decision::Refuse(Refusal::SharedTaken(address))
        } else {
            Decision::Usual
        };
    }
    let wanted = match (fetch, more.error & fault::WRITE != 0) {
        (true, _) => Rights::from_bits(4),
        (false, true) => Rights::from_bits(2),
        (false, false) => Rights::R,
    };
    match view.mapped(address) {
        Mapped::Accepted(rights) if wanted.within(rights) => {
            Decision::Refuse(Refusal::PageTaken(address))
        }
        _ => Decision::Usual,
    }
}
