// SPDX-License-Identifier: Apache-2.0

//! How the image of a Keep becomes an enclave: a proposal, and the plan that follows from it.
//!
//! The image builder (`keep-image`) lays a kernel and a program out for a virtual machine: physical runs of
//! pages of three kinds, page tables, descriptor tables, a processor's state. An enclave needs less. Its plan
//! ([`Enclave::plan`]) is made from the same image, so that the bytes of kernel and program that are measured are
//! the same on each backend. What the kernel lacks yet to run in such an enclave is listed below.
//!
//! # Addresses
//!
//! The image is linked for fixed addresses and stays there: an enclave's addresses are `[0, 2^45)`
//! ([`BASE`], [`SIZE`]). Everything that a Keep maps lies in it, from the text at `0x1000_0000` on; so does
//! address 0, which makes a null pointer one into the enclave, where the host cannot put anything. A process of
//! Linux has its own mappings above `2^46`, where they do not meet the enclave's, if its program is
//! position-independent, as `enarx` is.
//!
//! The processor has to offer enclaves that large (`CPUID.12H.0:EDX[15:8]` at least 45), which
//! [`Secs::check`] says before anything is tried; where it does not, `SIZE` and `MMAP_END` have to shrink
//! together. Only pages that exist take memory. None of this was tried on hardware.
//!
//! | `keep-layout` | in a virtual machine | in an enclave |
//! |---|---|---|
//! | text, `PROGRAM_START` to `KERNEL_DATA` | R+X, 2 MiB pages | pages R+X at the same addresses, measured |
//! | data, from `KERNEL_DATA` | R+W, 2 MiB pages | pages R+W at the same addresses, measured |
//! | rest of the last data chunk, `.bss`, break | fresh memory | not in the plan: awaited (`EAUG`, `EACCEPT`) |
//! | mmap area, `MMAP_START` to `MMAP_END` | mapped chunk by chunk | up to [`MMAP_END`] only; awaited page by page |
//! | page tables at `TABLES_VIRT` | R+W | none: the host's kernel has them, and the map of pages guards them |
//! | shared block at `SHARED_VIRT` | R+W | the same address, **outside**: above `2^45`; the host maps it before the launch |
//! | direct map at `DIRECT_VIRT` | R+W | none: there are no physical addresses |
//! | – | – | threads at [`THREADS`] |
//!
//! # Pages
//!
//! `Image::load` gives runs by physical address. With `StartInfo`, a text or data page at physical `p` is at
//! `text_start + (p - text_phys)`, since both regions are contiguous (`place.rs`, `Place::phys`). Then:
//!
//! | run or state | becomes |
//! |---|---|
//! | `PageKind::Tables` (`tables.rs`) | nothing |
//! | `PageKind::Text` | a region of `SecInfo::reg(Rights::RX)`, measured |
//! | `PageKind::Data` | a region of `SecInfo::reg(Rights::RW)`, measured |
//! | page of start information (`cpu.rs`, `info_page`) | as it is, among the data; GDT, TSS and IDT in it are dead bytes there |
//! | `Start` (`cpu.rs`) | the first thread's `TCS`; of the registers only RIP counts, for the host chooses all others at each entry |
//! | `blob.rs` | unchanged: the plan is made from the decoded image |
//!
//! The kernel's text has no constants of its own page: they are readable and executable on each backend.
//!
//! # Threads
//!
//! A thread has a slot of [`SLOT`] bytes at `THREADS + n · SLOT`:
//!
//! | offset | pages | what | rights |
//! |---|---|---|---|
//! | 0 | 1 | `TCS`: entry at the kernel's enclave entry, FS at the thread block, two frames | none |
//! | 1 | 2 | state save areas, one page each ([`sgx_guest::ssa::Frame`] of a Keep's attributes) | R+W |
//! | 3 | 1 | nothing: a guard | – |
//! | 4 | 4 | stack of entry and handler | R+W |
//! | 8 | 1 | thread block: its own address, saved stack pointers, whether the handler may run | R+W |
//! | 9 | 7 | nothing | – |
//!
//! The first slot is in the plan, measured, after text and data ([`thread`]). Further ones come while the Keep runs: the
//! enclave awaits and accepts the pages, writes the `TCS`, asks for `EMODT` and accepts that.
//!
//! # What the kernel has to have for it
//!
//! - a word in `KernelHeader` with the enclave's entry (offset of `OENTRY`): it tells a first entry, a return of
//!   a host call and an exception apart by `CSSA` in RAX and by the thread block, never by what else the host
//!   left in registers; it loads RSP from the thread block, clears the direction and alignment flags and
//!   loads MXCSR and the x87 control word;
//! - an end of the mmap area that depends on the platform ([`MMAP_END`] here);
//! - a map of which pages are awaited, for [`sgx_guest::exception::decide`];
//! - the shared block's address checked by [`sgx_guest::range::Elrange::outside_words`], once, at the start.
//!
//! # Sizes
//!
//! A page costs one `EADD` and sixteen `EEXTEND`s. What is not in the image is not measured, so a Keep of 4 MiB
//! is about a thousand pages and 5.3 MB of SHA-256.

use keep_image::{Image, PageKind, Start};
use keep_layout::{KERNEL_TEXT, MMAP_START, PROGRAM_START, SHARED_SIZE, SHARED_VIRT};
use sgx_guest::page::{PAGE, Rights, SecInfo, Tcs};
use sgx_guest::range::Elrange;

use crate::plan::{Content, Plan, PlanError, Region};
use crate::secs::Secs;

/// First address of a Keep's enclave.
pub const BASE: u64 = 0;
/// Size of a Keep's enclave.
pub const SIZE: u64 = 1 << 45;
/// End of the mmap area in an enclave.
pub const MMAP_END: u64 = 0x1f00_0000_0000;
/// The first thread's slot.
pub const THREADS: u64 = 0x1f00_0000_0000;
/// Bytes of a thread's slot.
pub const SLOT: u64 = 16 * PAGE;
/// More threads than that an enclave has no slots for.
pub const MAX_THREADS: u64 = 4096;

/// State save areas of a thread: for what is interrupted, and for a handler that is.
const FRAMES: u32 = 2;
/// Where they begin in a slot.
const SSA: u64 = PAGE;
/// Where the stack of entry and handler begins in a slot.
const STACK: u64 = 4 * PAGE;
/// Where it ends, and the thread block begins.
const BLOCK: u64 = 8 * PAGE;

const _: () = {
    assert!(Elrange::new(BASE, SIZE).is_some());
    assert!(BASE < PROGRAM_START && PROGRAM_START < KERNEL_TEXT && KERNEL_TEXT < MMAP_START);
    assert!(MMAP_START < MMAP_END && MMAP_END <= THREADS);
    assert!(THREADS + MAX_THREADS * SLOT <= BASE + SIZE);
    assert!(BASE + SIZE <= SHARED_VIRT && SHARED_VIRT + SHARED_SIZE <= 1 << 46);
};

/// A thread of a Keep, as its `TCS` describes it.
///
/// The entry is the one that the processor's state names, until the kernel has one for enclaves.
#[must_use]
pub const fn thread(start: &Start, number: u64) -> Tcs {
    let slot = (THREADS - BASE).saturating_add(number.saturating_mul(SLOT));
    Tcs {
        flags: 0,
        ssa: slot.saturating_add(SSA),
        ssa_count: FRAMES,
        entry: start.rip.wrapping_sub(BASE),
        fs: slot.saturating_add(BLOCK),
        gs: 0,
    }
}

/// An image with the pages that an enclave needs besides.
#[derive(Debug, Clone)]
pub struct Enclave<'a> {
    image: &'a Image<'a>,
    thread: [u8; Tcs::SIZE],
}

impl<'a> Enclave<'a> {
    /// Of this image.
    #[must_use]
    pub fn new(image: &'a Image<'a>) -> Self {
        Self { image, thread: thread(image.start(), 0).to_bytes() }
    }

    /// The plan of a Keep for a workload, whose digest is `config_id`.
    ///
    /// # Errors
    ///
    /// [`PlanError`]: no image of the builder's has one.
    pub fn plan(&self, config_id: [u8; 64]) -> Result<Plan<'_>, PlanError> {
        let mut plan = Plan::new(Secs::keep(BASE, SIZE, config_id)?);
        let info = self.image.info();
        for (run, bytes) in self.image.runs() {
            let rights = match run.kind {
                PageKind::Tables => continue,
                PageKind::Text => Rights::RX,
                PageKind::Data => Rights::RW,
            };
            let virt = info.text_start.wrapping_add(run.phys.wrapping_sub(info.text_phys));
            let offset = virt.wrapping_sub(BASE);
            plan.push(Region::measured(offset, SecInfo::reg(rights), Content::Bytes(bytes)))?;
        }
        let slot = THREADS - BASE;
        let data = SecInfo::reg(Rights::RW);
        let frames = plan.secs().frame.size() * u64::from(FRAMES);
        for region in [
            Region::measured(slot, SecInfo::tcs(), Content::Bytes(&self.thread)),
            Region::measured(slot + SSA, data, Content::Zeros(frames)),
            Region::measured(slot + STACK, data, Content::Zeros(BLOCK - STACK)),
            Region::measured(slot + BLOCK, data, Content::Zeros(PAGE)),
        ] {
            plan.push(region)?;
        }
        Ok(plan)
    }
}
