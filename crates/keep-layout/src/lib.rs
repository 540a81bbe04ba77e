// SPDX-License-Identifier: Apache-2.0

//! The map of addresses in a Keep: one place for image builder, VMM and kernel.
//!
//! The map is the same for each program and each amount of memory, so it is part of what is
//! measured. Two rules shape it. The first touch of a page is the dearest thing a Keep does, so
//! memory is mapped by 2 MiB pages, and parts with the same protection share them: the text and
//! constants of kernel and program are one read-and-execute region, their data one
//! read-and-write region. And pages that hold page tables live apart from all else, because a
//! hypervisor that shadows page tables write-protects whole large pages that hold one.
//!
//! ```text
//! virtual                              physical         what
//! 0x0000_0000_0000                     -                nothing: null pointers fault
//! 0x0000_1000_0000 .. 0x0000_1478_0000 image chunks     program: text, constants (R+X), at its end
//! 0x0000_1478_0000 .. 0x0000_1480_0000 image chunks     stub, kernel: text, constants (R+X)
//! 0x0000_1480_0000 ..                  image chunks     kernel data, program data, brk area (RW)
//! 0x0100_0000_0000 .. 0x3f00_0000_0000 any              mmap area
//! 0x3f00_0000_0000 .. +4 MiB           0x0000_0000      page tables (RW), 4 KiB pages
//! 0x3f80_0000_0000 .. +2 MiB           0x20_0000_0000   block shared with the host (RW)
//! 0x4000_0000_0000 ..                  0x0040_0000 ..   all private memory (RW): the direct map
//! ```
//!
//! The direct map leaves out the physical chunks that hold read-and-execute parts of the image, so
//! that nothing executable can be written through it.
//!
//! What the kernel itself has no use for, only those who build images and run Keeps, comes with the
//! feature `host`.

#![no_std]
#![forbid(unsafe_code)]

pub mod enclave;
pub mod processor;
pub mod snp;
mod start;

pub use start::StartInfo;
#[cfg(feature = "host")]
pub use start::{KernelHeader, VECTORS};

/// A large page: the unit in which memory is handed out.
pub const CHUNK: u64 = 2 << 20;
/// A small page.
pub const PAGE: u64 = 4096;

/// Lowest address of a program's text and constants.
#[cfg(feature = "host")]
pub const PROGRAM_START: u64 = 0x1000_0000;
/// First byte of the stub and the kernel's text and constants; the program ends at or below it.
pub const KERNEL_TEXT: u64 = 0x1478_0000;
/// First byte of the kernel's data, and the end of all text.
pub const KERNEL_DATA: u64 = 0x1480_0000;

/// First byte of the mmap area.
pub const MMAP_START: u64 = 0x0100_0000_0000;
/// End of the mmap area.
pub const MMAP_END: u64 = 0x3f00_0000_0000;

/// Where page tables are seen.
pub const TABLES_VIRT: u64 = 0x3f00_0000_0000;
/// Where page tables are; the top-level table is the first page.
pub const TABLES_PHYS: u64 = 0;
/// Room for page tables in bytes.
pub const TABLES_SIZE: u64 = 2 * CHUNK;
/// End of the pages that can become page tables; the rest of the room belongs to [`snp`].
pub const TABLES_END: u64 = snp::SECRETS_PHYS;

/// Where the block shared with the host is seen.
pub const SHARED_VIRT: u64 = 0x3f80_0000_0000;
/// Where the block shared with the host is.
pub const SHARED_PHYS: u64 = 0x20_0000_0000;
/// Size of the block shared with the host in bytes.
pub const SHARED_SIZE: u64 = CHUNK;

/// Where private memory at physical address `p` is seen: `DIRECT_VIRT + p`.
pub const DIRECT_VIRT: u64 = 0x4000_0000_0000;
/// First physical byte of the initial image (after the page tables).
pub const IMAGE_PHYS: u64 = TABLES_SIZE;

/// Segment selector of ring-3 code (index 6, requested privilege level 3).
pub const USER_CODE: u16 = 0x33;
/// Segment selector of ring-3 data (index 5, requested privilege level 3).
pub const USER_DATA: u16 = 0x2b;
/// Segment selector of ring-0 code.
#[cfg(feature = "host")]
pub const STUB_CODE: u16 = 0x08;
/// Segment selector of ring-0 data.
#[cfg(feature = "host")]
pub const STUB_DATA: u16 = 0x10;
/// Segment selector of the task state segment.
#[cfg(feature = "host")]
pub const TASK_STATE: u16 = 0x40;

/// Most processors of a Keep. The first state of each is in the image and measured, however many the
/// host then lets run.
pub const PROCESSORS: u64 = 7;
/// The vector by which a processor is told to forget cached address translations; the NMI does so too.
#[cfg(feature = "host")]
pub const VECTOR_FLUSH: u8 = VECTORS as u8;

/// I/O port of the doorbell: "look at the submission ring".
pub const PORT_DOORBELL: u16 = 0x510;
/// I/O port on which the ring-0 stub reports an exception that it cannot hand to ring 3.
pub const PORT_FATAL: u16 = 0x511;
/// I/O port of waking: "let the processor with this number (8 bits) go on, if it has parked, or when it
/// next parks or waits for the host". The first time that starts the processor.
pub const PORT_WAKE: u16 = 0x512;
/// I/O port of interrupting: "interrupt the processor with this number by [`VECTOR_FLUSH`] or the NMI".
pub const PORT_INTERRUPT: u16 = 0x513;
/// I/O port of parking: "let me sleep until somebody wakes me, at most for so many microseconds"
/// (32 bits; [`PARK_FOREVER`]: no limit).
pub const PORT_PARK: u16 = 0x514;
/// Parks without a limit.
pub const PARK_FOREVER: u32 = u32::MAX;
/// The ports of a Keep: all that ring 3 may write to.
#[cfg(feature = "host")]
pub const PORTS: core::ops::Range<u16> = PORT_DOORBELL..PORT_PARK + 4;
