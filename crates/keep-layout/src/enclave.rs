// SPDX-License-Identifier: Apache-2.0

//! The map of addresses in an enclave (SGX), as far as it differs from a virtual machine's.
//!
//! Text, data and mmap area are where they are in a virtual machine. There are no page tables, no
//! physical addresses and so no direct map; the block shared with the host is at the same address,
//! which is outside of the enclave. All addresses of an enclave lie in `[0, SIZE)`: null pointers
//! too, so that the host can put nothing there.
//!
//! ```text
//! 0x0100_0000_0000 .. 0x1e00_0000_0000 mmap area
//! 0x1e00_0000_0000 .. 0x1f00_0000_0000 memory that the kernel takes for itself and for objects
//! 0x1f00_0000_0000 ..                  threads
//! 0x2000_0000_0000                     the end; everything above is the host's
//! ```
//!
//! Each processor of a Keep is a thread there. There are always [`PROCESSORS`], all measured, however
//! many a Keep is launched with; number `k` has the [`SLOT`] bytes from `THREADS + k * SLOT` on:
//!
//! | offset | pages | what | rights |
//! |---|---|---|---|
//! | 0 | 1 | the processor's thread control structure | none |
//! | [`SSA`] | 2 | state save areas, one page each | R+W |
//! | 3 | 1 | nothing: a guard | - |
//! | [`STACK`] | 4 | stack of the start, and of what runs on top of an interrupted kernel | R+W |
//! | [`BLOCK`] | 1 | thread block; FS and GS point to it when the enclave is entered | R+W |
//! | 9 | 7 | nothing | - |
//!
//! Three words of a thread block are measured content, and the others are the kernel's (see also
//! [`processor`](crate::processor)):
//!
//! | word | content |
//! |---|---|
//! | 0 | its own address, by which the kernel finds out that the enclave is where it was linked for |
//! | 1 | the address of the [`StartInfo`](crate::StartInfo) for the first thread, 0 for all others |
//! | 9 ([`NUMBER`]) | the thread's number |

#[cfg(doc)]
use crate::processor::NUMBER;
use crate::{PAGE, PROCESSORS, SHARED_SIZE, SHARED_VIRT};

/// End of an enclave's addresses, which begin at 0.
pub const SIZE: u64 = 1 << 45;
/// End of the mmap area in an enclave, and first byte of the kernel's own memory.
pub const MMAP_END: u64 = 0x1e00_0000_0000;
/// End of the kernel's own memory, and the first thread's slot.
pub const THREADS: u64 = 0x1f00_0000_0000;
/// Bytes of a thread's slot.
pub const SLOT: u64 = 16 * PAGE;
/// Where a thread's state save areas begin in its slot.
pub const SSA: u64 = PAGE;
/// Number of a thread's state save areas, of one page each: for what is interrupted, and for the
/// handler of that.
#[cfg(feature = "host")]
pub const FRAMES: u64 = 2;
/// Where the stack begins in a slot.
#[cfg(feature = "host")]
pub const STACK: u64 = 4 * PAGE;
/// Where the stack ends and the thread block begins in a slot.
pub const BLOCK: u64 = 8 * PAGE;
/// Where the host writes who shall be able to check a report (`TARGETINFO`), in the shared block.
pub const TARGET_INFO: u64 = 0x3000;

const _: () = assert!(MMAP_END < THREADS && THREADS + PROCESSORS * SLOT < SIZE);
const _: () = assert!(SIZE <= SHARED_VIRT && SHARED_VIRT + SHARED_SIZE <= 1 << 47);
