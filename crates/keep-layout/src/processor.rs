// SPDX-License-Identifier: Apache-2.0

//! What each processor of a Keep has for itself: a block that GS points to whenever the Keep runs.
//!
//! In a virtual machine the blocks follow each other in the kernel's data, [`STRIDE`] bytes apart; in
//! an enclave each is in its thread's slot (see [`enclave`](crate::enclave)). The words, by their
//! offset:
//!
//! | offset | word | measured |
//! |---|---|---|
//! | [`SELF`] | the block's own address | yes |
//! | 8 to 71 | the entries of an enclave, see the kernel's `enclave.s` | the first of them |
//! | [`NUMBER`] | the processor's number | yes |
//! | [`KERNEL_STACK`] | where the kernel's stack begins; 0 until the processor may run | no |
//! | [`EXCEPTION_STACK`] | where the stack for exceptions begins | no |
//! | [`STUB_STACK`] | where the stub's stack begins | no |
//! | 104 | for the few instructions that go back to the program | no |
//! | [`BUSY`] | whether the kernel runs on it | no |
//! | [`FLUSHED`] | the last change of translations that an interrupt has made it forget for | no |
//! | [`WANTED`] | the last one that it is to be interrupted for | no |
//! | [`OUTSIDE`] | whether it uses no memory of the program's, and will forget translations before it does | no |
//! | [`SEEN`] | how many changes of translations it has taken in | no |
//! | [`PARDONED`] | a page of an enclave that another processor has brought in meanwhile | no |

/// Bytes from one block to the next in a virtual machine.
pub const STRIDE: u64 = 256;
/// The block's own address.
pub const SELF: u64 = 0;
/// The processor's number; the first has 0.
pub const NUMBER: u64 = 72;
/// Where the kernel's stack begins.
pub const KERNEL_STACK: u64 = 80;
/// Where the stack for exceptions begins.
pub const EXCEPTION_STACK: u64 = 88;
/// Where the stub's stack begins.
pub const STUB_STACK: u64 = 96;
/// Whether the kernel runs.
pub const BUSY: u64 = 112;
/// What [`WANTED`] was when [`VECTOR_FLUSH`](crate::VECTOR_FLUSH) last came.
pub const FLUSHED: u64 = 120;
/// The number of the change that an interrupt is for.
pub const WANTED: u64 = 152;
/// Whether it uses no memory of the program's.
pub const OUTSIDE: u64 = 128;
/// How many changes of translations it has taken in.
pub const SEEN: u64 = 136;
/// A page of an enclave that was there although the processor faulted on it, and how often in a row.
pub const PARDONED: u64 = 144;

/// Bytes from one processor's stack of the stub to the next one's. The lower half is for interrupts, two kinds,
/// which may come while the stub's last words on an exception are still being read from the upper one.
pub const STUB_STACK_SIZE: u64 = 1024;
