// SPDX-License-Identifier: Apache-2.0

//! Signals: how this process learns what an enclave does that a processor without SGX cannot.
//!
//! The handler runs on a stack of its own, because the enclave's stack pointer says nothing, and first of all
//! takes the bases of FS and GS back, which a signal leaves as they are: until then no compiled code may run.
//! Where FS points outside is different for each thread and cannot be looked up by FS, so it is written at the top
//! of the thread's own handler stack, with what else there is of a logical processor ([`Logical`]); the stack is
//! aligned to its size, so that any address in it leads there. What the handler changes of the stopped thread takes
//! effect when it returns.
//!
//! It allocates, which a handler must not do elsewhere. Here it acts on two occasions only: the thread is in the
//! enclave, or at the one instruction that enters it. Neither is in the middle of anything of this process. What
//! other threads are in the middle of they get out of without this one, for nobody waits for anything but the
//! machine's lock while he holds it.

use std::io;

use sgx_guest::exception::vector;
use sgx_guest::page::Rights;
use sgx_guest::ssa::fault;

use super::frame::{Bases, Interrupted, Registers, STATE, State};
use super::lock::Lock;
use super::memory::Fault;
use super::processor::{Event, Logical, Processor};
use super::{end, enter, tricks};

/// Bytes of the handler's stack, to which it is aligned: the kernel's frame, and compiled code that looks through
/// maps. The lowest page is a guard.
const STACK: usize = 512 << 10;
/// Where the logical processor begins there.
const TOP: usize = STACK - 4096;

/// What is at the top of a handler's stack.
#[repr(C)]
struct Top {
    /// Base of FS outside. GS has none there. The assembly of `entry` reads it, so it is first.
    fs: u64,
    machine: &'static Lock<Processor>,
    logical: Logical,
}

const _: () = assert!(size_of::<Top>() <= STACK - TOP);

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

/// Takes all signals of this thread for a logical processor from now on, for good.
pub(crate) fn install(machine: &'static Lock<Processor>, logical: Logical) -> io::Result<()> {
    let fs: u64;
    // SAFETY: the probe has found FSGSBASE; the instruction only reads.
    unsafe { core::arch::asm!("rdfsbase {}", out(reg) fs, options(nomem, nostack)) };
    let check = |status: libc::c_int| {
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: a new mapping at an address that the kernel chooses, twice as large as the stack, so that there is an
    // aligned one in it; it is never unmapped. Of that the lowest page is taken away, the highest holds a `Top`,
    // which is nobody else's, and the rest is the handler's stack. Plain data for which zero is a value; a handler
    // that keeps what it says above.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let data = libc::PROT_READ | libc::PROT_WRITE;
        let mapped = libc::mmap(std::ptr::null_mut(), 2 * STACK, data, flags, -1, 0);
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = mapped.cast::<u8>().wrapping_add(mapped.cast::<u8>().align_offset(STACK));
        stack.add(TOP).cast::<Top>().write(Top { fs, machine, logical });
        check(libc::mprotect(stack.cast(), 4096, libc::PROT_NONE))?;
        let stack = libc::stack_t { ss_sp: stack.cast(), ss_flags: 0, ss_size: TOP };
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
        "mov r8, rsp",
        "and r8, -{stack}",
        "add r8, {top}",
        "mov rax, [r8]",
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
        stack = const STACK,
        top = const TOP,
        on = sym on_signal,
    )
}

/// The handler.
unsafe extern "C" fn on_signal(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    context: *mut libc::ucontext_t,
    bases: *mut Bases,
    top: *mut Top,
) {
    // SAFETY: the kernel's structures on this very stack, and the assembly's; nobody else has them. What `install`
    // has written at the top of the stack is used by this handler alone, which is not interrupted by itself.
    let (code, context, bases, top) =
        unsafe { ((*info).si_code, &mut *context, &mut *bases, &mut *top) };
    let Top { machine, logical, .. } = top;
    let state = context.uc_mcontext.fpregs.cast::<[u8; STATE]>();
    // SAFETY: the kernel's frame has the extended state there, at least as long as that if there is AVX, which
    // the probe asks for; it is no part of `context`.
    let state = unsafe { state.as_mut() }.and_then(State::new);
    let Some(state) = state else { end("the host's kernel does not save the extended state") };
    let registers = Registers(&mut context.uc_mcontext);
    let mut at = Interrupted { registers, state, bases, handler: enter::handler() };
    let rip = at.registers.rip();
    if !logical.is_inside() {
        // The thread may have the lock.
        if signal == tricks::SIGNAL {
            return;
        }
        if rip == enter::instruction() && matches!(signal, libc::SIGILL | libc::SIGSEGV) {
            return machine.lock().enter(logical, &mut at);
        }
        end(&format!("the machine itself failed: signal {signal} at {rip:#x}"));
    }
    let mut machine = machine.lock();
    if !machine.contains(rip) {
        if signal == tricks::SIGNAL {
            return;
        }
        end(&format!("it ran code outside of its enclave, at {rip:#x}: signal {signal}"));
    }
    if signal == tricks::SIGNAL {
        return machine.leave(logical, &mut at, Event::Interrupt);
    }
    if code <= 0 {
        end(&format!("somebody sent the machine signal {signal}"));
    }
    if let Some(event) = inside(&mut machine, logical, signal, &mut at) {
        machine.leave(logical, &mut at, event);
    }
}

/// What happened in the enclave; `None` if it goes on.
fn inside(
    machine: &mut Processor,
    logical: &mut Logical,
    signal: libc::c_int,
    at: &mut Interrupted<'_>,
) -> Option<Event> {
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
            machine.leaf(logical, at);
            None
        }
        (libc::SIGILL, _) | (libc::SIGSEGV, 13) => {
            let (code, length) = code(machine, rip);
            let code = code.get(..length).unwrap_or_default();
            if code.starts_with(&ENCLU) {
                machine.leaf(logical, at);
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
