// SPDX-License-Identifier: Apache-2.0

//! The kernel as an image of its own: assembly, statics, and the platform of a virtual machine.
//!
//! All `unsafe` that the hardware makes necessary is in this folder.

#![no_std]
#![no_main]
#![cfg_attr(not(panic = "abort"), allow(unused, reason = "built with panic = abort only"))]

extern crate alloc;

mod memory;
mod platform;
mod processors;

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt::Write as _;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use keep_kernel::frame::{Exception, Frame};
use keep_kernel::heap::Heap;
use keep_kernel::kernel::{Instructions as _, Kernel, Message, Resume};
use keep_layout::processor::BUSY;
use keep_layout::{SHARED_VIRT, StartInfo};
use sallyport::{ExitKind, Port, RawWindow};

use crate::platform::{Bell, Keep};

global_asm!(include_str!("stub.s"), options(att_syntax, raw));
global_asm!(include_str!("entry.s"), options(att_syntax, raw));
global_asm!(include_str!("enclave.s"), options(att_syntax, raw));

#[global_allocator]
static HEAP: Heap = Heap::new();

/// Memory of the heap until the first chunk is taken.
const FIRST_HEAP: usize = 128 << 10;

#[repr(align(4096))]
struct Once<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: each value is used by the kernel's entry points alone, of which one runs at a time: one
// processor is in the kernel (`processors::enter`), and there only one at a time (`BUSY`).
unsafe impl<T> Sync for Once<T> {}

static KERNEL: Once<Kernel<Keep>> = Once(UnsafeCell::new(MaybeUninit::uninit()));
/// The one way to the host.
static PORT: Once<Port<RawWindow, Bell>> = Once(UnsafeCell::new(MaybeUninit::uninit()));
static HEAP_START: Once<[u8; FIRST_HEAP]> = Once(UnsafeCell::new(MaybeUninit::uninit()));

/// Whose last words the kernel's are: a processor's number and 1, or 0 while it lives.
static DYING: AtomicU64 = AtomicU64::new(0);

/// The first Rust code of a Keep.
#[unsafe(no_mangle)]
extern "C" fn keep_start(start: *const StartInfo) -> ! {
    processors::own(BUSY).store(1, Relaxed);
    // SAFETY: the image builder put one there, and any words are one.
    let start = unsafe { *start };
    // SAFETY: nobody else knows that memory, and it is aligned to a page.
    unsafe { HEAP.add(HEAP_START.0.get() as usize, FIRST_HEAP) };
    // SAFETY: nobody has seen the port before.
    unsafe { (*PORT.0.get()).write(Port::new(window(), Bell)) };
    platform::start(&start);
    processors::enter();
    let kernel =
        Kernel::boot(start, |boot, config| platform::memory(&start, boot, config), window());
    // SAFETY: nobody else uses the kernel before the program is entered.
    let kernel = unsafe { (*KERNEL.0.get()).write(kernel) };
    let stack = kernel.first_stack();
    processors::leave();
    processors::own(BUSY).store(0, Relaxed);
    // SAFETY: the program's entry and the stack that it expects there; nothing of this call is
    // needed again.
    unsafe {
        core::arch::asm!(
            "mov rsp, {stack}",
            "xor edx, edx",
            "xor ebp, ebp",
            "jmp {entry}",
            stack = in(reg) stack,
            entry = in(reg) start.program_entry,
            options(noreturn),
        )
    }
}

/// The first Rust code of all processors but the first.
#[unsafe(no_mangle)]
extern "C" fn keep_start_next() -> ! {
    platform::start_next();
    processors::enter();
    idle()
}

/// Has a processor wait for threads to run, from inside of the kernel.
fn idle() -> ! {
    unsafe extern "C" {
        fn keep_resume(frame: *const Frame) -> !;
    }
    loop {
        if let Some((frame, tls)) = kernel().threads.at(processors::number()).begin.take() {
            Keep::set_thread_pointer(tls);
            processors::leave();
            processors::own(BUSY).store(0, Relaxed);
            // SAFETY: the frame is on this stack, above all that is still needed of it, and the program
            // wants a thread to begin like that.
            unsafe { keep_resume(&raw const frame) }
        }
        processors::park(u64::MAX);
    }
}

/// Called from `entry.s` with what a system call found. Non-zero: resume with all registers.
#[unsafe(no_mangle)]
extern "C" fn keep_handle_syscall(frame: &mut Frame) -> u32 {
    processors::own(BUSY).store(1, Relaxed);
    processors::enter();
    let everything = loop {
        match kernel().system_call(frame) {
            Resume::Return => break false,
            Resume::Everything => break true,
            Resume::Later(nanoseconds) => processors::park(nanoseconds),
            Resume::Never => idle(),
        }
    };
    processors::leave();
    processors::own(BUSY).store(0, Relaxed);
    u32::from(everything)
}

/// Called from `entry.s` with what an exception found.
#[unsafe(no_mangle)]
extern "C" fn keep_handle_exception(frame: &mut Frame, exception: &Exception) {
    let exception = *exception;
    if let Some(rip) = platform::way_out(&exception) {
        frame.rip = rip;
        return;
    }
    if processors::own(BUSY).swap(1, Relaxed) != 0 || exception.cs & 3 == 0 {
        panic!(
            "exception {} (code {:#x}) in the kernel at {:#x}, address {:#x}, stack {:#x}",
            exception.vector, exception.code, exception.rip, exception.cr2, exception.rsp
        );
    }
    processors::enter();
    if !platform::serve(&exception, frame) {
        kernel().exception(&exception, frame);
    }
    processors::leave();
    processors::own(BUSY).store(0, Relaxed);
}

fn kernel() -> &'static mut Kernel<Keep> {
    // SAFETY: `keep_start` has written it before the program, and so any caller, runs; and callers
    // run one at a time.
    unsafe { (*KERNEL.0.get()).assume_init_mut() }
}

fn window() -> RawWindow {
    // SAFETY: the image's page tables map the shared block there, for good, and nothing else in
    // the kernel refers to it.
    unsafe { RawWindow::new(SHARED_VIRT as *mut u8) }
}

/// The way to the host.
fn port() -> &'static mut Port<RawWindow, Bell> {
    // SAFETY: `keep_start` writes it before anything else. Nothing that uses the port calls back
    // into the kernel; only a panic can come in between, and that never returns.
    unsafe { (*PORT.0.get()).assume_init_mut() }
}

/// Ends the Keep with a message that names the cause.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let me = processors::number() as u64 + 1;
    match DYING.compare_exchange(0, me, Relaxed, Relaxed) {
        Ok(_) => {}
        Err(other) if other == me => platform::fatal(),
        Err(_) => loop {
            core::hint::spin_loop();
        },
    }
    processors::own(BUSY).store(1, Relaxed);
    if !processors::is_owner() {
        processors::enter();
    }
    let mut text = Message::new();
    // A message cannot fail to be written: what does not fit is cut.
    let _ = write!(text, "{}", info.message());
    if let Some(location) = info.location() {
        let _ = write!(text, " ({}:{})", location.file(), location.line());
    }
    port().exit(ExitKind::Panic, text.as_bytes())
}
