// SPDX-License-Identifier: Apache-2.0

//! What is special about a platform: how the Keep leaves, whose its memory is, who vouches for it.
//!
//! There is one kernel for all of them. Which platform it runs on is read from the measured image at
//! the start, and asked again where it makes a difference.
//!
//! | module | job |
//! |---|---|
//! | `processor` | instructions without a name in Rust; what the processor can do |
//! | `own` | the Keep's own memory |
//! | `vm` | how memory of a virtual machine comes, and is forgotten |
//! | `snp` | SEV-SNP: the ways to hypervisor and firmware, validated memory |
//! | `sgx` | SGX: the way out of an enclave, its pages and exceptions |

mod own;
mod processor;
mod sgx;
pub(crate) mod snp;
mod vm;

use alloc::boxed::Box;
use core::arch::asm;

use keep_kernel::frame::{Exception, Frame};
use keep_kernel::kernel::{CLAIM_MAX, Platform};
use keep_layout::{DIRECT_VIRT, PORT_DOORBELL, PORT_FATAL, StartInfo, TABLES_SIZE, TABLES_VIRT};
use keep_mm::{Config, Pages, Source, Space};
use sallyport::{BootInfo, Doorbell, Port, RawWindow};

use crate::HEAP;
use own::Own;
pub(crate) use processor::way_out;
use vm::{Given, c_bit};

/// The platform that the kernel runs on.
#[derive(Debug)]
pub(crate) enum Keep {}

/// Finds out where the Keep runs, and makes the way to the host. To be called first of all: before,
/// there is nobody to tell of an error.
pub(crate) fn start(info: &StartInfo) {
    if sgx::inside() {
        sgx::start();
    } else {
        match c_bit(info.tables_root) {
            0 => {}
            bit => snp::start(bit, info.image_end),
        }
    }
    processor::find_vectors();
}

/// Makes a further processor ready.
pub(crate) fn start_next() {
    if snp::get().is_some() {
        snp::start_next();
    }
}

/// Where the block of a processor is.
pub(crate) fn block(number: usize) -> u64 {
    unsafe extern "C" {
        static PROCESSORS_START: u8;
    }
    if sgx::inside() {
        return sgx::block(number);
    }
    core::ptr::addr_of!(PROCESSORS_START) as u64 + number as u64 * keep_layout::processor::STRIDE
}

/// Leaves the Keep for something that does not need the shared block: see [`keep_layout::PORT_PARK`].
pub(crate) fn tell(port: u16, value: u32) {
    match snp::get() {
        _ if sgx::inside() => sgx::tell(port, value),
        // SAFETY: leaves the Keep and comes back.
        None => unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)) },
        Some(_) => snp::tell(port, value),
    }
}

/// Makes this processor forget where memory was.
pub(crate) fn forget() {
    unsafe extern "C" {
        fn keep_flush();
    }
    // An enclave's processors do so whenever the host changes something, or the change fails.
    if !sgx::inside() {
        // SAFETY: the stub reloads CR3 and changes nothing else.
        unsafe { keep_flush() }
    }
}

/// Serves an exception that only the platform knows the meaning of; whether it was one.
pub(crate) fn serve(exception: &Exception, frame: &mut Frame) -> bool {
    if sgx::inside() {
        sgx::serve(exception, frame)
    } else {
        snp::get().is_some() && snp::serve(exception, frame)
    }
}

/// Takes the memory over that the Keep has been launched with.
pub(crate) fn memory(start: &StartInfo, boot: &BootInfo, config: Config) -> Space<dyn Pages> {
    if sgx::inside() {
        return sgx::memory(start, config);
    }
    let own = Own {
        tables: 0..TABLES_SIZE,
        tables_at: TABLES_VIRT,
        window: DIRECT_VIRT,
        c_bit: c_bit(start.tables_root),
        platform: Given {
            mapped: start.image_end - keep_layout::IMAGE_PHYS,
            ram: boot.ram,
            limit: boot.ram_limit,
        },
    };
    Space::new(Box::new(Source::framed(own, &config)), config)
}

impl Platform for Keep {
    type Window = RawWindow;
    type Doorbell = Bell;

    fn fresh_is_zero() -> bool {
        // The host sees and changes all memory of a plain virtual machine anyhow.
        snp::get().is_none()
    }

    fn claim(report_data: &[u8; 64], into: &mut [u8; CLAIM_MAX]) -> Option<usize> {
        if let Some(snp) = snp::get() {
            return snp.report(report_data, into);
        }
        if sgx::inside() {
            return sgx::claim(report_data, into);
        }
        into[..report_data.len()].copy_from_slice(report_data);
        Some(report_data.len())
    }

    fn sealing_key(into: &mut [u8; 32]) -> Option<()> {
        if sgx::inside() {
            sgx::sealing_key(into);
            return Some(());
        }
        // The host sees all of a plain virtual machine: no key would be a secret there.
        snp::get()?.sealing_key(into)
    }

    fn with_port<R>(use_it: impl FnOnce(&mut Port<RawWindow, Bell>) -> R) -> R {
        use_it(crate::port())
    }

    fn heap_available() -> usize {
        HEAP.available()
    }

    fn heap_add(address: u64, len: u64) {
        // SAFETY: the kernel hands over memory that it has just taken, where it sees it.
        unsafe { HEAP.add(address as usize, len as usize) }
    }
}

/// The doorbell. In a plain virtual machine it is one write to an I/O port, which the program's
/// privilege level may do.
#[derive(Debug)]
pub(crate) struct Bell;

impl Doorbell for Bell {
    fn ring(&mut self) {
        match snp::get() {
            _ if sgx::inside() => sgx::ring(),
            // The host may change the shared block meanwhile, which no Rust reference points into.
            _ => tell(PORT_DOORBELL, 0),
        }
    }

    fn relax(&mut self) {
        core::hint::spin_loop();
    }
}

/// Ends the Keep without another word.
pub(crate) fn fatal() -> ! {
    loop {
        match snp::get() {
            _ if sgx::inside() => sgx::fatal(),
            None => tell(PORT_FATAL, 0),
            Some(_) => snp::terminate(snp_guest::msr::Terminate::GENERAL),
        }
    }
}
