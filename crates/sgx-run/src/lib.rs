// SPDX-License-Identifier: Apache-2.0

//! Runs threads of a Keep's enclave from the outside.
//!
//! A thread is entered by a function of the shape of Linux's `__vdso_sgx_enter_enclave`: the kernel's own on
//! hardware, one that plays it in a stand-in. Everything above that is the same for both and is here: what the
//! registers mean at an exit, what is done about an exception, and what ends the Keep.
//!
//! | the thread is back with | what [`run`] does |
//! |---|---|
//! | an operation ([`Operation`]) | has the [`Host`] serve it, enters again with the result |
//! | an exception | enters its handler (`EENTER` while a frame is in use), which leaves by RESUME; then `ERESUME` |
//! | FATAL, an operation that is none, an exception in the handler | [`Broken`] |
//!
//! The processor saves and clears everything at an exception. At an exit that the enclave asked for it clears
//! nothing, and the kernel's function keeps fewer registers than a function of C: so there are a few lines of
//! assembly in between (`call`), and no compiled code ever sees what an enclave left behind in the control
//! registers of the floating-point units.
//!
//! # Processors
//!
//! A Keep has up to seven processors (`keep_layout::PROCESSORS`), and in an enclave each is a thread of the process
//! that the enclave lives in: one [`run`] for each, with a `TCS` of its own. They sleep and wake each other by
//! PARK and WAKE. Each has a token: WAKE sets it, PARK waits until it is set and takes it, and a doorbell that has to
//! wait ends early for it. So a WAKE that comes before its PARK is not lost. The first WAKE of a processor starts it as
//! well.
//!
//! The process is not trusted with anything, since the enclave can write to all of it. So whatever a thread leaves
//! for, beside changes of pages, it asks the host agent for, over a socket of its own:
//!
//! | module | job |
//! |---|---|
//! | [`wire`] | what both say to each other |
//! | [`pass`] | gives a process its sockets |
//! | [`serve`] | the host agent's side: what the process asks for is done there |
//!
//! None of it has run on hardware yet.

mod call;
#[cfg(target_os = "linux")]
pub mod pass;
#[cfg(target_os = "linux")]
pub mod serve;
#[cfg(target_os = "linux")]
pub mod wire;

use core::time::Duration;

pub use call::{Enter, Registers};
use sgx_guest::enclu::Enclu;
use sgx_guest::exception::vector;
use sgx_guest::page::Rights;
use sgx_launch::driver::EnclaveRun;

/// What a Keep leaves its enclave for, by the number in RDI; arguments are in RSI, RDX and R8.
///
/// Addresses and lengths are as the enclave says them, and checked by nobody before the host does what it is
/// asked for: the enclave is an attacker of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Serve the block that Keep and host share.
    Doorbell,
    /// Leave pages these rights at most (`EMODPR`).
    Restrict(Pages, Rights),
    /// Make pages such that they can be removed (`EMODT`).
    Trim(Pages),
    /// Remove pages that the enclave gave up (`EREMOVE`).
    Remove(Pages),
    /// Give pages these rights in the host's page tables.
    Protect(Pages, Rights),
    /// Put the quoting enclave's `TARGETINFO` into the shared block, at [`TARGET`].
    Target,
    /// Wait until the processor's own token is set and take it, or until so much time has passed; `None`: for ever.
    Park(Option<Duration>),
    /// Set the token of the processor with this number; start it, if it was never entered. There may be none.
    Wake(u64),
}

/// Where the quoting enclave's `TARGETINFO` goes in the shared block; 512 bytes.
pub const TARGET: usize = 0x3000;

/// A range of addresses, as the enclave says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// Its first address.
    pub address: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// What is in RDI at an exit, beside the numbers of [`Operation`]s.
const FATAL: u64 = 1;
const RESUME: u64 = 2;

/// Serves a thread.
pub trait Host {
    /// Why a thread is not entered again, the Keep's good end included.
    type End;

    /// Does what the Keep asks for: 0, or an error number of Linux for the Keep.
    ///
    /// # Errors
    ///
    /// If the thread is not to be entered again.
    fn serve(&mut self, operation: Operation) -> Result<u64, Self::End>;

    /// Hears of each entry before it is done, and may change it. An honest host does not.
    fn before(&mut self, _entry: &mut Entry) {}
}

/// How a thread is entered next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// [`Enclu::Eenter`] or [`Enclu::Eresume`].
    pub leaf: Enclu,
    /// Registers at the entry. RDI is the result of an operation.
    pub registers: Registers,
}

/// Why a thread is not entered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken<E> {
    /// The host's reason.
    #[error("the host ended it")]
    Ended(E),
    /// The Keep's kernel gave up.
    #[error("its kernel refused to go on")]
    Fatal,
    /// An exit for something that does not exist, or not now.
    #[error("it left its enclave for operation {0}, which it cannot ask for there")]
    Operation(u64),
    /// An exception while one was handled, or one that an enclave is not told of.
    #[error("exception {vector} at page {address:#x} cannot be handled")]
    Exception {
        /// Its number.
        vector: u16,
        /// Page of the address that belongs to it, if any.
        address: u64,
    },
    /// The processor refused to enter.
    #[error("the enclave cannot be entered (exception {0})")]
    Lost(u16),
    /// The function that enters refused its arguments.
    #[error("the enclave cannot be entered (error {0})")]
    Entry(i32),
}

/// Runs a thread of the enclave on this one until it must not be entered again, and says why.
///
/// # Safety
///
/// `enter` is what Linux offers as `__vdso_sgx_enter_enclave`, or keeps its contract; `tcs` is the address of a
/// thread of an enclave of this process. If it is inside already, the processor refuses. An enclave can write to all memory of its
/// process: it has to be one that the caller is ready to share it with.
pub unsafe fn run<H: Host>(enter: Enter, tcs: u64, host: &mut H) -> Broken<H::End> {
    let mut context = EnclaveRun::new(tcs);
    let mut next = Entry { leaf: Enclu::Eenter, registers: Registers::default() };
    // Whether the handler of exceptions is what runs.
    let mut handles = false;
    loop {
        host.before(&mut next);
        if next.leaf == Enclu::Eresume {
            handles = false;
        }
        let mut registers = next.registers;
        // SAFETY: as our caller promises; `registers` and `context` are ours alone.
        let status = unsafe { call::call(enter, &mut registers, &mut context, next.leaf.number()) };
        if status != 0 {
            return Broken::Entry(status);
        }
        let mut registers_next = Registers::default();
        let leaf = match Enclu::from_number(context.function) {
            Some(Enclu::Eexit) => match (registers.rdi, handles) {
                (FATAL, _) => return Broken::Fatal,
                (RESUME, true) => Enclu::Eresume,
                (number, true) => return Broken::Operation(number),
                (number, false) => {
                    let Some(operation) = operation(&registers) else {
                        return Broken::Operation(number);
                    };
                    match host.serve(operation) {
                        Ok(result) => registers_next.rdi = result,
                        Err(end) => return Broken::Ended(end),
                    }
                    Enclu::Eenter
                }
            },
            // The registers of a thread that was interrupted say that it is to be resumed.
            Some(Enclu::Eresume) => {
                let vector = context.exception_vector;
                if handles || !is_told(vector) {
                    return Broken::Exception { vector, address: context.exception_addr };
                }
                handles = true;
                Enclu::Eenter
            }
            _ => return Broken::Lost(context.exception_vector),
        };
        next = Entry { leaf, registers: registers_next };
    }
}

/// What an enclave leaves for; none if that does not exist.
fn operation(registers: &Registers) -> Option<Operation> {
    let pages = Pages { address: registers.rsi, length: registers.rdx };
    let rights = Rights::from_bits(registers.r8);
    let rights = (rights.bits() == registers.r8).then_some(rights);
    Some(match registers.rdi {
        0 => Operation::Doorbell,
        3 => Operation::Restrict(pages, rights?),
        4 => Operation::Trim(pages),
        5 => Operation::Remove(pages),
        6 => Operation::Protect(pages, rights?),
        7 => Operation::Target,
        8 => Operation::Park(
            (registers.rsi != u64::MAX).then(|| Duration::from_nanos(registers.rsi)),
        ),
        9 => Operation::Wake(registers.rsi),
        _ => return None,
    })
}

/// Whether an enclave hears of an exception. If not, its handler would find nothing, and the thread would run
/// into the same exception for ever.
fn is_told(number: u16) -> bool {
    use vector::{AC, BP, BR, CP, DB, DE, GP, MF, PF, UD, XM};
    // Numbers from 32 on are interrupts, which no honest kernel shows.
    number >= 32 || [DE, DB, BP, BR, UD, GP, PF, MF, AC, XM, CP].contains(&(number as u8))
}
