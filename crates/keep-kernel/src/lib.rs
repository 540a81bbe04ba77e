// SPDX-License-Identifier: Apache-2.0

//! The Keep's kernel: a library OS in ring 3.
//!
//! One static Linux program runs in a Keep, and this is its Linux: memory, files, clocks, waiting,
//! and the signals by which a language runtime learns of its own exceptions. Kernel and program
//! share one address space and one privilege level; the boundary that matters inside a Keep is the
//! Wasm sandbox, the one around it is the machine's. Ring 0 holds a stub of a few dozen
//! instructions (`keep/stub.s`) that hands exceptions to ring 3. An enclave has no ring 0, and another
//! way in and out (`keep/enclave.s`).
//!
//! | module | job |
//! |---|---|
//! | [`boot`] | from the first instruction to the program's first |
//! | [`kernel`] | the kernel's state, its calls and exceptions |
//! | `calls` | the system calls, one file a subject |
//! | [`files`], [`epoll`] | descriptors, and sets of them to wait for |
//! | [`net`] | what is known of sockets |
//! | [`user`] | checked access to the program's memory |
//! | [`threads`] | the program's threads |
//! | [`signal`], [`frame`] | register frames and signal delivery |
//! | [`clock`] | time that never runs backwards |
//! | [`heap`] | the kernel's own memory |
//!
//! The binary (`keep/main.rs`, feature `keep`) adds the assembly and the platform.

#![no_std]

extern crate alloc;

pub mod boot;
mod calls;
pub mod clock;
pub mod epoll;
pub mod errno;
pub mod files;
pub mod frame;
pub mod heap;
pub mod kernel;
pub mod net;
pub mod signal;
pub mod threads;
pub mod user;
