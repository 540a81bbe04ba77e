// SPDX-License-Identifier: Apache-2.0

//! The few instructions that have no name in Rust, and what the processor is said to be able to do.

use core::arch::asm;
use core::arch::x86_64::{_fxsave64, _rdtsc};
use core::sync::atomic::{AtomicU32, Ordering};

use keep_kernel::frame::{Exception, Frame};
use keep_kernel::kernel::Instructions;
use keep_kernel::signal::{VECTOR_AREA, VectorArea};

use super::Keep;

/// How often a processor may refuse a random number before it counts as broken (Intel's advice
/// is 10).
const RANDOM_TRIES: usize = 64;

impl Instructions for Keep {
    fn tsc() -> u64 {
        // SAFETY: reads a counter.
        unsafe { _rdtsc() }
    }

    fn random() -> Option<u64> {
        for _ in 0..RANDOM_TRIES {
            let (value, valid): (u64, u8);
            // SAFETY: reads the random number generator; each processor with a TEE has it.
            unsafe {
                asm!("rdrand {0}", "setc {1}", out(reg) value, out(reg_byte) valid, options(nomem, nostack));
            }
            // Some processors, after sleep, gave nothing but ones and called it random.
            if valid == 1 && value != u64::MAX && value != 0 {
                return Some(value);
            }
        }
        None
    }

    fn set_thread_pointer(address: u64) {
        // SAFETY: nothing in the kernel uses FS.
        unsafe { asm!("wrfsbase {0}", in(reg) address, options(nomem, nostack, preserves_flags)) }
    }

    fn mxcsr() -> u32 {
        let mut area = Fxsave([0; 512]);
        // SAFETY: the area has the size and alignment that the instruction wants.
        unsafe { _fxsave64(area.0.as_mut_ptr()) };
        u32::from_le_bytes([area.0[24], area.0[25], area.0[26], area.0[27]])
    }

    fn set_mxcsr(to: u32) {
        // SAFETY: the reserved bits were cleared by the caller.
        unsafe { asm!("ldmxcsr [{0}]", in(reg) &to, options(nostack, preserves_flags, readonly)) }
    }

    fn vectors() -> u32 {
        let states = VECTORS.load(Ordering::Relaxed);
        // Where the last of them lies is asked only if somebody wants to save them.
        if states & HIGHEST != 0 {
            let [size, at, ..] = cpuid(0xd, HIGHEST.ilog2());
            if size.saturating_add(at) as usize > VECTOR_AREA {
                return states & AVX;
            }
        }
        states
    }

    fn save_vectors(area: &mut VectorArea, states: u32) {
        let at = area.0.as_mut_ptr();
        // SAFETY: the area is aligned and large enough for these states, see `vectors`.
        unsafe {
            asm!("xsave64 [{0}]", in(reg) at, in("eax") states, in("edx") 0, options(nostack))
        }
    }

    fn restore_vectors(area: &VectorArea, states: u32) {
        let at = area.0.as_ptr();
        // SAFETY: as above; the caller has cleared what the processor would refuse. The kernel uses no
        // register that this changes.
        unsafe {
            asm!("xrstor64 [{0}]", in(reg) at, in("eax") states, in("edx") 0, options(nostack))
        }
    }
}

#[repr(align(16))]
struct Fxsave([u8; 512]);

/// Registers after `cpuid`: EAX, EBX, ECX, EDX.
pub(crate) type Answer = [u32; 4];

/// What the program is told when it asks `cpuid`: the processor's answer, remembered, or what was
/// laid down by [`cpuid_is`].
pub(super) fn cpuid(leaf: u32, subleaf: u32) -> Answer {
    let mut answer = [0; 4];
    // SAFETY: the function is in `entry.s`, keeps to the rules of C, and writes four words.
    unsafe { keep_cpuid_to(leaf, subleaf, &mut answer) };
    answer
}

/// Does what a `cpuid` in the program's code would have done.
pub(super) fn serve_cpuid(frame: &mut Frame) {
    let answer = cpuid(frame.rax as u32, frame.rcx as u32).map(u64::from);
    [frame.rax, frame.rbx, frame.rcx, frame.rdx] = answer;
    // The instruction has two bytes.
    frame.rip += 2;
}

/// Lays an answer down. From the first one on the processor is asked no more, and what was not laid
/// down is zero.
pub(super) fn cpuid_is(leaf: u32, subleaf: u32, answer: &Answer) {
    // SAFETY: as above; there is room for more answers than any platform has to give, and the
    // function ignores those that do not fit.
    unsafe { keep_cpuid_is(leaf, subleaf, answer) }
}

/// States of registers that the kernel never touches and a signal handler may: AVX, and the three
/// parts of AVX-512 (Intel SDM volume 1, §13.1).
static VECTORS: AtomicU32 = AtomicU32::new(0);
const AVX: u32 = 0b100;
const HIGHEST: u32 = 1 << 7;
const KNOWN: u32 = AVX | 0b1110_0000;

unsafe extern "C" {
    fn keep_xgetbv() -> u32;
    fn keep_xgetbv_at();
    fn keep_xgetbv_failed();
    fn keep_cpuid_to(leaf: u32, subleaf: u32, answer: *mut Answer);
    fn keep_cpuid_is(leaf: u32, subleaf: u32, answer: *const Answer);
    fn keep_cpuid_withdraw(bits: u32);
}

/// Finds out which vector registers there really are. The host shows what it believes; if the
/// processor knows better, the program is told so. To be called first of all.
pub(crate) fn find_vectors() {
    /// CPUID 1, ECX: XSAVE, OSXSAVE and AVX. Without them nobody looks at any other bit.
    const BITS: u32 = 1 << 26 | 1 << 27 | 1 << 28;
    // SAFETY: the functions are in `entry.s` and keep to the rules of C; an exception in the second
    // one is caught by `way_out`. The question is the first one that is asked.
    unsafe {
        if cpuid(1, 0)[2] & BITS != BITS {
            return;
        }
        let states = keep_xgetbv();
        if states & AVX == 0 {
            keep_cpuid_withdraw(BITS);
        }
        VECTORS.store(states & KNOWN, Ordering::Relaxed);
    }
}

/// Where to go on after an exception of the kernel's own that is no accident.
pub(crate) fn way_out(exception: &Exception) -> Option<u64> {
    const INVALID_OPCODE: u64 = 6;
    const PROTECTION: u64 = 13;
    let expected = exception.rip == keep_xgetbv_at as *const () as u64
        && matches!(exception.vector, INVALID_OPCODE | PROTECTION);
    expected.then_some(keep_xgetbv_failed as *const () as u64)
}
