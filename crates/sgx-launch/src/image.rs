// SPDX-License-Identifier: Apache-2.0

//! How the image of a Keep becomes an enclave: the plan of its pages.
//!
//! The image builder (`keep-image`) lays a kernel and a program out for a virtual machine: physical runs of
//! pages of three kinds, page tables, descriptor tables, a processor's state. An enclave needs less. Its plan
//! ([`Enclave::plan`]) is made from the same image, so that the bytes of kernel and program that are measured are
//! the same on each backend.
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
//! | – | – | kernel's own memory from [`MMAP_END`] on, threads at [`THREADS`] |
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
//! | `Start` (`cpu.rs`) | the threads' `TCS`; of the registers only RIP counts, for the host chooses all others at each entry |
//! | `blob.rs` | unchanged: the plan is made from the decoded image |
//!
//! The kernel's text has no constants of its own page: they are readable and executable on each backend.
//!
//! # Threads
//!
//! [`keep_layout::enclave`] has the map of a thread's slot. All slots are in the plan, measured, after text and
//! data ([`thread`], [`block`]), as many as a Keep can have processors: which of them the host ever enters is
//! not measured.
//!
//! # Sizes
//!
//! A page costs one `EADD` and sixteen `EEXTEND`s. What is not in the image is not measured, so a Keep of 4 MiB
//! is about a thousand pages and 5.3 MB of SHA-256.

use keep_image::{Image, PageKind};
use keep_layout::enclave::{BLOCK, FRAMES, SSA, STACK};
pub use keep_layout::enclave::{MMAP_END, SIZE, SLOT, THREADS};
use keep_layout::processor::{NUMBER, SELF};
use keep_layout::{KERNEL_TEXT, MMAP_START, PROCESSORS, PROGRAM_START, SHARED_SIZE, SHARED_VIRT};
use sgx_guest::attributes::{KEEP_MISC, KEEP_XFRM};
use sgx_guest::page::{PAGE, Rights, SecInfo, Tcs};
use sgx_guest::range::Elrange;
use sgx_guest::ssa::Frame;

use crate::plan::{Content, Plan, PlanError, Region};
use crate::secs::Secs;

/// First address of a Keep's enclave.
pub const BASE: u64 = 0;
/// First address behind the threads' slots.
pub const THREADS_END: u64 = THREADS + PROCESSORS * SLOT;

const _: () = {
    // The kernel's map of a thread has one page for each frame.
    assert!(matches!(Frame::smallest(KEEP_XFRM, KEEP_MISC), Some(Frame { pages: 1 })));
    let elrange = Elrange::new(BASE, SIZE);
    assert!(matches!(elrange, Some(range) if range.outside_words(SHARED_VIRT, SHARED_SIZE)));
    assert!(BASE < PROGRAM_START && PROGRAM_START < KERNEL_TEXT && KERNEL_TEXT < MMAP_START);
    assert!(MMAP_START < MMAP_END && MMAP_END <= THREADS);
    assert!(THREADS_END <= BASE + SIZE);
    assert!(SHARED_VIRT + SHARED_SIZE <= 1 << 46);
};

/// A thread of a Keep, as its `TCS` describes it. `entry` is [`Image::enclave_entry`].
#[must_use]
pub const fn thread(entry: u64, number: u64) -> Tcs {
    let slot = (THREADS - BASE).saturating_add(number.saturating_mul(SLOT));
    let block = slot.saturating_add(BLOCK);
    Tcs {
        flags: 0,
        ssa: slot.saturating_add(SSA),
        ssa_count: FRAMES as u32,
        entry: entry.wrapping_sub(BASE),
        fs: block,
        gs: block,
    }
}

/// The block of a thread as it is at the launch: where it is itself, where the start information is if it is the
/// first one, and its number.
#[must_use]
pub fn block(start_info: u64, number: u64) -> [u8; PAGE as usize] {
    let mut page = [0; PAGE as usize];
    let address = BASE.saturating_add(thread(0, number).fs);
    let start_info = if number == 0 { start_info } else { 0 };
    for (at, value) in [(SELF, address), (8, start_info), (NUMBER, number)] {
        if let Some(word) = page.as_chunks_mut::<8>().0.get_mut(at as usize / 8) {
            *word = value.to_le_bytes();
        }
    }
    page
}

/// `CONFIGID` of a Keep for a workload: the workload's digest, and zeros.
#[must_use]
pub fn config_id(workload: [u8; 32]) -> [u8; 64] {
    std::array::from_fn(|index| workload.get(index).copied().unwrap_or_default())
}

/// An image with the pages that an enclave needs besides.
#[derive(Debug, Clone)]
pub struct Enclave<'a> {
    image: &'a Image<'a>,
    /// `TCS` and block of each thread.
    threads: Vec<([u8; Tcs::SIZE], [u8; PAGE as usize])>,
}

impl<'a> Enclave<'a> {
    /// Of this image.
    #[must_use]
    pub fn new(image: &'a Image<'a>) -> Self {
        let made = |number| {
            let tcs = thread(image.enclave_entry(), number).to_bytes();
            (tcs, block(image.start().rdi, number))
        };
        Self { image, threads: (0..PROCESSORS).map(made).collect() }
    }

    /// The plan of a Keep for a workload, whose digest is `config_id`.
    ///
    /// # Errors
    ///
    /// [`PlanError::Thread`] if the kernel cannot live in an enclave; the others: no image of the builder's has
    /// one.
    pub fn plan(&self, config_id: [u8; 64]) -> Result<Plan<'_>, PlanError> {
        if self.image.enclave_entry() == 0 {
            return Err(PlanError::Thread(THREADS - BASE));
        }
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
        let data = SecInfo::reg(Rights::RW);
        let frames = plan.secs().frame.size() * FRAMES;
        for (slot, (tcs, block)) in (THREADS - BASE..).step_by(SLOT as usize).zip(&self.threads) {
            for region in [
                Region::measured(slot, SecInfo::tcs(), Content::Bytes(tcs)),
                Region::measured(slot + SSA, data, Content::Zeros(frames)),
                Region::measured(slot + STACK, data, Content::Zeros(BLOCK - STACK)),
                Region::measured(slot + BLOCK, data, Content::Bytes(block)),
            ] {
                plan.push(region)?;
            }
        }
        Ok(plan)
    }
}
