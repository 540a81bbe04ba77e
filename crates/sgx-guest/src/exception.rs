// SPDX-License-Identifier: Apache-2.0

//! What an exception in an enclave means: one table, from what the processor vouches for to what the Keep does.
//!
//! When a thread faults in an enclave, the processor saves its state in a frame of the enclave and leaves. The
//! host then enters the enclave a second time on the same thread, with `CSSA` 1, and its handler looks at that
//! frame. The host decides *whether and when* it enters so, and it makes page faults at will; it cannot write to
//! the frame. Where no exception is in the frame (`EXITINFO.VALID` 0), there was an interrupt, or the host called
//! without reason, and nothing is done. Where more than one frame is in use, the handler itself was interrupted and
//! entered again, and the Keep ends. Both come before this table:
//!
//! | in the frame | decision |
//! |---|---|
//! | RIP in the code for entry and exit | [`Refusal::InStub`]: registers and stack are not the program's there (this is how SmashEx, CVE-2021-0186, gets in) |
//! | #UD, `cpuid` | [`Decision::Cpuid`]: answered from what was measured |
//! | #UD, `syscall` that was not rewritten | [`Decision::Syscall`] |
//! | #PF where the map has an accepted page with these rights | [`Refusal::PageTaken`]: the host removed, replaced or blocked it |
//! | #PF outside of the enclave, in the block shared with the host | [`Refusal::SharedTaken`] |
//! | any other #PF: where the map waits for a page, or has nothing, or not these rights | [`Decision::Usual`] |
//! | any other #UD, #GP, #DE, #MF, #XM, #BR, #AC, #DB, #BP, #CP | [`Decision::Usual`] |
//! | another number | [`Refusal::Unknown`] |
//!
//! `rdtsc` and `rdtscp` are not among them: where an enclave can be given pages, which no Keep does without, they
//! work in it (Intel SDM volume 3, illegal instructions inside an enclave: SGX2).
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
use crate::ssa::{ExInfo, ExitInfo, ExitType, fault};

/// What the decision needs to know of the Keep.
pub trait View {
    /// Whether an address is in the enclave.
    fn is_inside(&self, address: u64) -> bool;

    /// The rights of the page at an address in the enclave: measured at the launch, or accepted since.
    fn accepted(&self, address: u64) -> Option<Rights>;

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
    /// `EXITINFO`.
    pub info: ExitInfo,
    /// `EXINFO`.
    pub more: ExInfo,
    /// RIP of the frame.
    pub rip: u64,
}

/// Why the Keep ends: the host did what no honest host does, or what cannot be went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
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
    /// Answers `cpuid` and goes on behind its two bytes.
    Cpuid,
    /// Runs a system call and goes on behind the two bytes of `syscall`.
    Syscall,
    /// What the kernel does on every platform.
    Usual,
    /// Ends the Keep.
    Refuse(Refusal),
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
    let info = exit.info;
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
    let wanted = match (fetch, more.error & fault::WRITE != 0) {
        (true, _) => Rights::from_bits(4),
        (false, true) => Rights::from_bits(2),
        (false, false) => Rights::R,
    };
    if !view.is_inside(address) {
        // Code is never fetched from there.
        if view.is_shared(address) && !fetch {
            return Decision::Refuse(Refusal::SharedTaken(address));
        }
    } else if view.accepted(address).is_some_and(|rights| wanted.within(rights)) {
        return Decision::Refuse(Refusal::PageTaken(address));
    }
    Decision::Usual
}
