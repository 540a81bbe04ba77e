// SPDX-License-Identifier: Apache-2.0

//! The sgx backend: a Keep as an enclave.
//!
//! An enclave is a part of a process, at addresses that its image is linked for, and it can write to all of the
//! process that it lives in. So each Keep gets a process of its own (the *carrier*): this very executable,
//! started anew, that loads the enclave, confines itself and then enters it. What the Keep wants from the
//! outside the carrier passes on; the host agent serves it, as for each other backend.
//!
//! | module | job |
//! |---|---|
//! | `probe` | what the machine lacks, and what to do about it |
//! | `driver` | loading an enclave page by page, and changing pages of a running one |
//! | `vdso` | the kernel's function that enters enclaves |
//! | `wire` | what host agent and carrier say to each other |
//! | `carrier` | the process that the enclave lives in |
//! | `keep` | a running Keep, as the host agent sees it |
//! | [`aesm`] | Intel's service that makes quotes |
//!
//! How a thread of the enclave is run is in `sgx-run`, which a stand-in shares. Interface: `asm/sgx.h` and
//! `Documentation/arch/x86/sgx.rst` of Linux 6.0 and later; processor: Intel SDM, volume 3D.
//!
//! **No line of this crate that talks to the device has run on hardware.** What can be decided without it is
//! apart from the device and tested.

#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(unix)]
pub mod aesm;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod carrier;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod driver;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod keep;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod probe;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod vdso;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use carrier::carry;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use keep_backend::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};

/// The backend.
#[derive(Debug, Clone)]
pub struct Sgx {
    #[cfg_attr(
        not(all(target_os = "linux", target_arch = "x86_64")),
        allow(dead_code, reason = "there are no carriers on other systems")
    )]
    carrier: Option<(PathBuf, Vec<OsString>)>,
}

impl Sgx {
    /// The backend; it holds nothing open. `argument` makes this executable call [`carry`] before anything
    /// else.
    #[must_use]
    pub fn new(argument: &str) -> Self {
        let path = std::env::current_exe().ok();
        Self { carrier: path.map(|path| (path, vec![argument.into()])) }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl Backend for Sgx {
    fn name(&self) -> &'static str {
        "sgx"
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
        keep::launch(self.carrier.as_ref(), spec)
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
impl keep_backend::Elsewhere for Sgx {
    const NAME: &'static str = "sgx";
    const IS_CONFIDENTIAL: bool = true;
    const TAKES_SIGNATURES: bool = true;
    const REMEDY: &'static str =
        "use a machine with Linux on a processor of Intel's with SGX, or another backend";
}
