// SPDX-License-Identifier: Apache-2.0

//! The platform of a virtual machine: memory through the direct map, the doorbell, and the few
//! instructions that have no name in Rust.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _fxsave64, _rdtsc};
use core::sync::atomic::{AtomicU32, Ordering};

use keep_kernel::frame::Exception;
use keep_kernel::kernel::Platform;
use keep_kernel::signal::{VECTOR_AREA, VectorArea};
use keep_layout::{DIRECT_VIRT, IMAGE_PHYS, PORT_DOORBELL, PORT_FATAL, TABLES_SIZE, TABLES_VIRT};
use keep_mm::Machine;
use sallyport::{Doorbell, Port, RawWindow};

use crate::HEAP;

/// How often a processor may refuse a random number before it counts as broken (Intel's advice
/// is 10).
const RANDOM_TRIES: usize = 64;

/// A virtual machine.
#[derive(Debug)]
pub(crate) enum Vm {}

impl Platform for Vm {
    type Machine = DirectMap;
    type Window = RawWindow;
    type Doorbell = Bell;

    // This platform is a plain virtual machine: the host sees and changes all of its memory.
    const FRESH_IS_ZERO: bool = true;

    fn with_port<R>(use_it: impl FnOnce(&mut Port<RawWindow, Bell>) -> R) -> R {
        use_it(crate::port())
    }

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
            let last = __cpuid_count(0xd, HIGHEST.ilog2());
            if (last.ebx + last.eax) as usize > VECTOR_AREA {
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
        // SAFETY: as above; the caller has cleared what the processor would refuse. The kernel uses
        // no register that this changes.
        unsafe {
            asm!("xrstor64 [{0}]", in(reg) at, in("eax") states, in("edx") 0, options(nostack))
        }
    }

    fn heap_available() -> usize {
        HEAP.available()
    }

    fn heap_add(address: u64, len: u64) {
        // SAFETY: the kernel hands over chunks that it has just taken, at their place in the
        // direct map.
        unsafe { HEAP.add(address as usize, len as usize) }
    }
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
    fn keep_cpuid_ecx(leaf: u32, subleaf: u32) -> u32;
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
        if keep_cpuid_ecx(1, 0) & BITS != BITS {
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

#[repr(align(16))]
struct Fxsave([u8; 512]);

/// Page tables and private memory, where the image's page tables show them.
#[derive(Debug)]
pub(crate) struct DirectMap {
    /// Bytes that are in the direct map or belong to the image.
    pub(crate) mapped: u64,
    /// Bytes that the host has given so far.
    pub(crate) ram: u64,
    /// The most it may give.
    pub(crate) limit: u64,
}

impl Machine for DirectMap {
    fn read_entry(&self, at: u64) -> u64 {
        // SAFETY: see `entry`.
        unsafe { entry(at).read_volatile() }
    }

    fn write_entry(&mut self, at: u64, value: u64) {
        // SAFETY: see `entry`; that the new entry keeps the kernel's own memory as it is, is what
        // `keep-mm` is there for.
        unsafe { entry(at).write_volatile(value) }
    }

    fn zero(&mut self, phys: u64, len: u64) {
        // SAFETY: `keep-mm` names memory that it has just taken from its free list, and all free
        // memory is in the direct map.
        unsafe { ((DIRECT_VIRT + phys) as *mut u8).write_bytes(0, len as usize) }
    }

    fn copy(&mut self, from: u64, to: u64, len: u64) {
        let (from, to) = ((DIRECT_VIRT + from) as *const u8, (DIRECT_VIRT + to) as *mut u8);
        // SAFETY: as in `zero`; frames are different or the same, never shifted.
        unsafe { from.copy_to(to, len as usize) }
    }

    fn grow(&mut self, len: u64) -> Option<(u64, u64)> {
        let (have, limit) = (self.ram, self.limit);
        // What was given at the start is there without asking.
        if self.mapped < have {
            let start = IMAGE_PHYS + self.mapped;
            self.mapped = have;
            return Some((start, IMAGE_PHYS + have));
        }
        let len = len.min(limit.checked_sub(have)?);
        if len == 0 {
            return None;
        }
        match crate::port().grow(have, len, limit) {
            Ok(Ok(total)) => {
                (self.ram, self.mapped) = (total, total);
                Some((IMAGE_PHYS + have, IMAGE_PHYS + total))
            }
            Ok(Err(_)) => None,
            Err(lie) => panic!("the host lied about memory: {lie}"),
        }
    }

    fn flush(&mut self) {
        unsafe extern "C" {
            fn keep_flush();
        }
        // SAFETY: the stub reloads CR3 and changes nothing else.
        unsafe { keep_flush() }
    }
}

/// A word of a page table.
fn entry(at: u64) -> *mut u64 {
    assert!(at < TABLES_SIZE && at.is_multiple_of(8), "no page table at {at:#x}");
    (TABLES_VIRT + at) as *mut u64
}

/// The doorbell: one write to an I/O port, which the program's privilege level may do.
#[derive(Debug)]
pub(crate) struct Bell;

impl Doorbell for Bell {
    fn ring(&mut self) {
        // SAFETY: leaves the Keep and comes back; the host may change the shared block meanwhile,
        // which no Rust reference points into.
        unsafe { asm!("out dx, al", in("dx") PORT_DOORBELL, in("al") 0_u8, options(nostack)) }
    }

    fn relax(&mut self) {
        core::hint::spin_loop();
    }
}

/// Ends the Keep without another word.
pub(crate) fn fatal() -> ! {
    loop {
        // SAFETY: leaves the Keep; the host does not come back from it.
        unsafe { asm!("out dx, al", in("dx") PORT_FATAL, in("al") 0_u8, options(nostack)) }
    }
}
