// SPDX-License-Identifier: Apache-2.0

//! The snp backend: a Keep as a virtual machine that the host is kept out of.
//!
//! It is the machine of the `kvm` backend with three things more. Memory belongs to the Keep, and the host
//! has it only by the number of a file (`guest_memfd`); the initial image goes through the firmware, which
//! encrypts and measures it; and registers are hidden, so that an exit tells no more than the Keep says in a
//! shared page. What is launched is the list of pages of `snp-launch`, which is also what is measured offline.
//!
//! | module | job |
//! |---|---|
//! | `probe` | what the machine lacks, and what to do about it |
//! | `request` | the launch as requests of KVM (Linux 6.11 and later), in their order |
//! | `cpuid` | which answers of `cpuid` the firmware is asked to vouch for |
//! | `memory` | the Keep's memory: private in a file, shared in a mapping, and who has what |
//! | `processor` | the virtual processor: its first state, and what its exits mean |
//! | `keep` | a running Keep |
//!
//! Interface: `Documentation/virt/kvm/x86/amd-memory-encryption.rst` and `Documentation/virt/kvm/api.rst` of
//! Linux; commands and statuses of the firmware: AMD 56860.
//!
//! **No line of this crate that talks to a device has run on hardware.** What can be decided without it
//! (requests, their order, partial progress, what exits mean, registers, probes) is apart from the devices
//! and tested.

#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cpuid;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod keep;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod memory;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod probe;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod processor;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod request;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use keep_backend::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};

/// The backend.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Snp;

impl Snp {
    /// The backend; it holds nothing open.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl Backend for Snp {
    fn name(&self) -> &'static str {
        "snp"
    }

    fn threads(&self) -> u32 {
        keep_backend::host_processors()
    }

    fn is_confidential(&self) -> bool {
        true
    }

    fn takes_signatures(&self) -> bool {
        true
    }

    fn probe(&self) -> Vec<Datum> {
        probe::probe()
    }

    fn measure(&self, program: Program) -> Result<Measurement, BackendError> {
        keep::measure(program)
    }

    fn launch(&self, spec: Spec) -> Result<Launched, BackendError> {
        keep::launch(spec)
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
impl keep_backend::Elsewhere for Snp {
    const NAME: &'static str = "snp";
    const IS_CONFIDENTIAL: bool = true;
    const TAKES_SIGNATURES: bool = true;
    const REMEDY: &'static str = "use a machine with Linux on an EPYC of AMD's, or another backend";
}
