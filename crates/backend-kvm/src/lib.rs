// SPDX-License-Identifier: Apache-2.0

//! The kvm backend: a Keep as a virtual machine.
//!
//! The VMM is small because the machine is: up to seven virtual CPUs, private memory, one block shared
//! with the host, a few I/O ports. There are no devices and no firmware; a CPU starts in ring 3 with its page
//! tables made, and its one interrupt tells it to forget cached address translations. What the Keep wants from the outside it puts into the shared
//! block and rings a doorbell; `keep-host` serves it.
//!
//! | module | job |
//! |---|---|
//! | `probe` | what the machine lacks, and what to do about it |
//! | `memory` | the Keep's memory on the host: reserved at once, given piece by piece |
//! | `cpu` | the virtual CPU: its first state, and what its exits mean |
//! | `cpuid` | which features of the processor it shows |
//! | `keep` | a Keep from launch to end |
//! | [`machine`] | what all backends that are virtual machines share |
//!
//! A Keep of this backend is a sandbox for the host's sake. It keeps nothing from the host: without
//! a hardware TEE the host can read and change all of it.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cpu;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cpuid;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod keep;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod machine;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod memory;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod probe;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use keep_backend::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};
#[cfg(all(feature = "testing", target_os = "linux", target_arch = "x86_64"))]
pub use machine::Liar;

/// The backend.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Kvm;

impl Kvm {
    /// The backend; it holds nothing open.
    pub const fn new() -> Self {
        Self
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl Kvm {
    /// Measures an image that is not one of the built-in programs'.
    #[must_use]
    pub fn measure_image(self, program: Program, image: &keep_image::Image<'_>) -> Measurement {
        Measurement {
            program,
            algorithm: keep_image::ALGORITHM.into(),
            digest: image.measure().hex(),
            size: image.size(),
        }
    }

    /// Launches an image that is not one of the built-in programs'.
    ///
    /// # Errors
    ///
    /// As [`Backend::launch`].
    pub fn launch_image(
        self,
        image: &keep_image::Image<'_>,
        spec: Spec,
    ) -> Result<Launched, BackendError> {
        keep::launch(image, spec)
    }

    /// Launches an image on a host that lies to it: for tests of the kernel.
    ///
    /// # Errors
    ///
    /// As [`Backend::launch`].
    #[cfg(feature = "testing")]
    pub fn launch_lying(
        self,
        image: &keep_image::Image<'_>,
        spec: Spec,
        liar: Liar,
    ) -> Result<Launched, BackendError> {
        keep::launch_lying(image, spec, liar)
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl Backend for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn threads(&self) -> u32 {
        keep_backend::host_processors()
    }

    fn is_confidential(&self) -> bool {
        false
    }

    fn probe(&self) -> Vec<Datum> {
        probe::probe()
    }

    fn measure(&self, program: Program) -> Result<Measurement, BackendError> {
        Ok(self.measure_image(program, &keep::image(program)?))
    }

    fn launch(&self, spec: Spec) -> Result<Launched, BackendError> {
        keep::launch(&keep::image(spec.program)?, spec)
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
impl keep_backend::Elsewhere for Kvm {
    const NAME: &'static str = "kvm";
    const IS_CONFIDENTIAL: bool = false;
    const TAKES_SIGNATURES: bool = false;
}
