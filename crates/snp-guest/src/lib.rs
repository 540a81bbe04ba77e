// SPDX-License-Identifier: Apache-2.0

//! What a Keep says to firmware and hypervisor under SEV-SNP, as plain data and state machines.
//!
//! Nothing here executes an instruction or touches memory that it was not handed: a platform layer
//! brings `VMGEXIT`, `PVALIDATE` and the shared pages, and this crate says what to put there and
//! what to believe of what comes back. So all of it runs, and is attacked, in ordinary tests.
//!
//! | module | partner | what |
//! |---|---|---|
//! | [`msr`] | hypervisor | the protocol of one word: version, features, registration, termination |
//! | [`ghcb`] | hypervisor | the protocol of one page: ports, guest requests, page states |
//! | [`pages`] | both | memory that becomes the Keep's own; nothing is validated twice |
//! | [`cpuid`] | firmware | the CPUID page, and what must be in it |
//! | [`secrets`] | firmware | the secrets page: keys of the channel to the firmware |
//! | [`message`] | firmware | the channel: AES-256-GCM, sequence numbers |
//! | [`request`] | firmware | what goes through it: reports and derived keys |
//! | [`firmware`] | both | a question to the firmware, all the way |
//! | [`vmsa`] | both | a virtual processor's state, as hardware loads it |
//!
//! Names are those of AMD's documents: the *GHCB specification* (56421), the *firmware ABI* (56860) and
//! the *APM* (24593, the Programmer's Manual, volume 2). Layouts were also held against what Linux
//! declares in `asm/sev.h`, `asm/sev-common.h` and `asm/svm.h`.
//!
//! Each answer is read from shared memory once, checked, and only then used. An answer that no
//! honest hypervisor gives is an error after which a Keep ends; there is nothing to retry.
//!
//! This code has never met SEV-SNP hardware.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[macro_use]
mod error;

mod bytes;
pub mod cpuid;
pub mod firmware;
pub mod ghcb;
#[cfg(feature = "host")]
pub mod host;
pub mod message;
pub mod msr;
pub mod pages;
pub mod request;
pub mod secrets;
#[cfg(feature = "host")]
pub mod vmsa;

/// Bytes of a small page.
pub const PAGE: usize = 4096;
/// Bytes of a large page.
pub const LARGE: u64 = 2 << 20;
