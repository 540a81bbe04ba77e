// SPDX-License-Identifier: Apache-2.0

//! Signals: how this process learns what an enclave does that a processor without SGX cannot.
//!
//! The handler runs on a stack of its own, because the enclave's stack pointer says nothing, and first of all
//! takes the bases of FS and GS back, which a signal leaves as they are: until then no compiled code may run.
//! What it changes of the stopped thread takes effect when it returns.
//!
//! It allocates, which a handler must not do elsewhere. Here it acts on two occasions only: the thread is in the
//! enclave, or at the one instruction that enters it. Neither is in the middle of anything of this process.

use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use sgx_guest::exception::vector;
use sgx_guest::page::Rights;
use sgx_guest::ssa::fault;

use super::frame::{Bases, Interrupted, Registers, STATE, State};
use super::memory::Fault;
use super::processor::{Event, Processor};
use super::{end, enter, tricks};

/// The machine, for the handler.
static MACHINE: AtomicPtr<Processor> = AtomicPtr::new(std::ptr::null_mut());
/// Base of FS outside. GS has none there.
static HOST_FS: AtomicU64 = AtomicU64::new(0);

/// Bytes of the handler's stack: the kernel's frame, and compiled code that looks through maps.
const STACK: usize = 512 << 10;

const ENCLU: [u8; 3] = [0x0f, 0x01, 0xd7];
const CPUID: [u8; 2] = [0x0f, 0xa2];

/// Signals that an enclave causes, and that of a storm.
const SIGNALS: [libc::c_int; 7] = [
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
    tricks::SIGNAL,
];

/// Takes all signals of this thread for the machine from now on.
///
/// # Safety
///
/// The machine lives as long as the process, and whoever uses it otherwise does so on this thread while no
/// enclave is being entered.
pub(crate) unsafe fn install(machine: *mut Processor) -> io::Result<()> {
    let fs: u64;
    // SAFETY: the probe has found FSGSBASE; the instruction only reads.
    unsafe { core::arch::asm!("rdfsbase {}", out(reg) fs, options(nomem, nostack)) };
    HOST_FS.store(fs, Ordering::Relaxed);
    MACHINE.store(machine, Ordering::Relaxed);
    let check = |status: libc::c_int| {
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: a new mapping at an address that the kernel chooses, of which the handler's stack is all but the
    // lowest page; plain data for which zero is a value; a handler that keeps what it says above.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let data = libc::PROT_READ | libc::PROT_WRITE;
        let stack = libc::mmap(std::ptr::null_mut(), STACK, data, flags, -1, 0);
        if stack == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        check(libc::mprotect(stack, 4096, libc::PROT_NONE))?;
        let stack = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: STACK };
        check(libc::sigaltstack(&stack, std::ptr::null_mut()))?;
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = entry as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigfillset(&mut action.sa_mask);
        for signal in SIGNALS {
            check(libc::sigaction(signal, &action, std::ptr::null_mut()))?;
        }
    }
    Ok(())
}

/// What the kernel calls: keeps the bases of the stopped thread, and gives it those that are left there.
#[unsafe(naked)]
unsafe extern "C" fn entry(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 16",
        "rdfsbase rax",
        "mov [rsp], rax",
        "rdgsbase rax",
        "mov [rsp + 8], rax",
        "mov rax, [rip + {fs}]",
        "wrfsbase rax",
        "xor eax, eax",
        "wrgsbase rax",
        // The kernel leaves the alignment check on.
        "push 2",
        "popfq",
        "mov rcx, rsp",
        "call {on}",
        "mov rax, [rsp]",
        "wrfsbase rax",
        "mov rax, [rsp + 8]",
        "wrgsbase rax",
        "leave",
        "ret",
        fs = sym HOST_FS,
        on = sym on_signal,
    )
}

/// The handler.
unsafe extern "C" fn on_signal(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    context: *mut libc::ucontext_t,
    bases: *mut Bases,
) {
    // SAFETY: `install` was given a machine that lives on, and the thread that uses it is stopped at a place
    // where it has no reference to it (or we return before we use it).
    let machine = unsafe { MACHINE.load(Ordering::Relaxed).as_mut() };
    // SAFETY: the kernel's structures on this very stack, and the assembly's; nobody else has them.
    let (code, context, bases) = unsafe { ((*info).si_code, &mut *context, &mut *bases) };
    let Some(machine) = machine else { return };
    let state = context.uc_mcontext.fpregs.cast::<[u8; STATE]>();
    // SAFETY: the kernel's frame has the extended state there, at least as long as that if there is AVX, which
    // the probe asks for; it is no part of `context`.
    let state = unsafe { state.as_mut() }.and_then(State::new);
    let Some(state) = state else { end("the host's kernel does not save the extended state") };
    let registers = Registers(&mut context.uc_mcontext);
    let mut at = Interrupted { registers, state, bases, handler: enter::handler() };
    let rip = at.registers.rip();
    if !machine.is_inside() {
        if signal == tricks::SIGNAL {
            return;
        }
        if rip == enter::instruction() && matches!(signal, libc::SIGILL | libc::SIGSEGV) {
            return machine.enter(&mut at);
        }
        end(&format!("the machine itself failed: signal {signal} at {rip:#x}"));
    }
    if !machine.contains(rip) {
        if signal == tricks::SIGNAL {
            return;
        }
        end(&format!("it ran code outside of its enclave, at {rip:#x}: signal {signal}"));
    }
    if signal == tricks::SIGNAL {
        return machine.leave(&mut at, Event::Interrupt);
    }
    if code <= 0 {
        end(&format!("somebody sent the machine signal {signal}"));
    }
    if let Some(event) = inside(machine, signal, &mut at) {
        machine.leave(&mut at, event);
    }
}

/// What happened in the enclave; `None` if it goes on.
fn inside(machine: &mut Processor, signal: libc::c_int, at: &mut Interrupted<'_>) -> Option<Event> {
    let undefined = Some(Event::Exception(vector::UD));
    let rip = at.registers.rip();
    let trap = at.registers.get(libc::REG_TRAPNO);
    match (signal, trap) {
        // The kernel was reached, and would not have it; the instruction has two bytes.
        (libc::SIGSYS, _) => {
            at.registers.set_rip(rip.wrapping_sub(2));
            undefined
        }
        // A processor that has SGX looks for a thread of its own when it is asked to enter an enclave.
        (libc::SIGSEGV, 14)
            if matches!(at.registers.rax(), 2 | 3) && code(machine, rip) == (ENCLU, 3) =>
        {
            machine.leaf(at);
            None
        }
        (libc::SIGILL, _) | (libc::SIGSEGV, 13) => {
            let (code, length) = code(machine, rip);
            let code = code.get(..length).unwrap_or_default();
            if code.starts_with(&ENCLU) {
                machine.leaf(at);
                None
            } else if signal == libc::SIGILL || code.starts_with(&CPUID) {
                undefined
            } else {
                Some(Event::Fault(Fault::Protection))
            }
        }
        (libc::SIGSEGV | libc::SIGBUS, 14) => {
            let address = at.registers.get(libc::REG_CR2);
            let error = at.registers.get(libc::REG_ERR) as u32;
            if !machine.contains(address) {
                return Some(Event::Fault(Fault::Page { address, error }));
            }
            let wanted = match (error & fault::FETCH != 0, error & fault::WRITE != 0) {
                (true, _) => Rights::from_bits(4),
                (false, true) => Rights::from_bits(2),
                (false, false) => Rights::R,
            };
            machine.memory.touch_again(address, wanted).err().map(Event::Fault)
        }
        (libc::SIGTRAP, 3) => {
            at.registers.set_rip(rip.wrapping_sub(1));
            Some(Event::Exception(vector::BP))
        }
        // Numbers of exceptions have eight bits.
        (_, trap) => Some(Event::Exception(trap as u8)),
    }
}

/// The first bytes of an instruction, as far as it can be executed.
fn code(machine: &mut Processor, rip: u64) -> ([u8; 3], usize) {
    let mut bytes = [0; 3];
    for (n, byte) in bytes.iter_mut().enumerate() {
        let address = rip.wrapping_add(n as u64);
        if machine.memory.touch(address, Rights::RX).is_err() {
            return (bytes, n);
        }
        // SAFETY: the enclave can read and execute this byte, and so can this process.
        *byte = unsafe { (address as *const u8).read() };
    }
    (bytes, 3)
}
