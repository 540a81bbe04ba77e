// SPDX-License-Identifier: Apache-2.0

//! A stand-in for SEV-SNP on plain KVM: for machines without it, and for tests of everything that a
//! Keep does on it.
//!
//! The image is the one that hardware would launch, page for page, and its digest is the one that
//! hardware would report. What the hardware does beside running instructions is played here:
//!
//! | played | how |
//! |---|---|
//! | encrypted memory | private memory exists at addresses with the C-bit only, shared memory without it only |
//! | page states, `PVALIDATE` | a page that was not validated does not exist; the instruction, which KVM does not know, is executed by `processor` |
//! | the GHCB's register, `VMGEXIT` | the register's write leaves the virtual machine, and what follows it is executed by `processor` |
//! | `#VC` | of the causes a Keep has, `cpuid` needs none: its own are rewritten. Access to a page that is not validated ends the Keep here |
//! | hypervisor | GHCB protocol, version 2: registration, doorbell, page state changes, guest requests |
//! | firmware | launch digest, ID block, secrets and CPUID page, guest messages, reports, derived keys |
//!
//! It protects nothing: the host sees and changes all memory. Its reports are signed by a key under the
//! development root, or not at all.
//!
//! | module | job |
//! |---|---|
//! | `launch` | the firmware's launch, and all parts put together |
//! | `processor` | the virtual CPU's exits, and the instructions that are played |
//! | `hypervisor` | what a guest's exits ask for |
//! | `firmware` | guest messages and what they ask for |
//! | `pages` | who has which page |
//! | `cpuid` | the page of answers to `cpuid` |

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cpuid;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod firmware;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod hypervisor;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod launch;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod pages;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod processor;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use keep_backend::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};

#[cfg(all(feature = "testing", target_os = "linux", target_arch = "x86_64"))]
pub use hypervisor::{Attack, Moment};

/// The backend.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SnpSim;

impl SnpSim {
    /// Its name.
    pub const NAME: &str = "snp-sim";

    /// The backend; it holds nothing open.
    pub const fn new() -> Self {
        Self
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl SnpSim {
    /// Measures an image that is not one of the built-in programs'.
    ///
    /// # Errors
    ///
    /// As [`Backend::measure`].
    pub fn measure_image(
        self,
        program: Program,
        image: &keep_image::Image<'_>,
    ) -> Result<Measurement, BackendError> {
        launch::measure(program, image)
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
        launch::launch(image, spec)
    }

    /// Launches an image under a hypervisor that attacks it.
    ///
    /// # Errors
    ///
    /// As [`Backend::launch`].
    #[cfg(feature = "testing")]
    pub fn launch_attacked(
        self,
        image: &keep_image::Image<'_>,
        spec: Spec,
        attack: Attack,
    ) -> Result<Launched, BackendError> {
        launch::launch_attacked(image, spec, attack)
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl Backend for SnpSim {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn threads(&self) -> u32 {
        keep_backend::host_processors()
    }

    fn is_confidential(&self) -> bool {
        false
    }

    fn takes_signatures(&self) -> bool {
        true
    }

    fn probe(&self) -> Vec<Datum> {
        let mut data = backend_kvm::Kvm::new().probe();
        if data.iter().all(|datum| datum.pass) {
            data.extend(processor::probe());
        }
        data
    }

    fn measure(&self, program: Program) -> Result<Measurement, BackendError> {
        launch::measure(program, &backend_kvm::machine::image(program)?)
    }

    fn launch(&self, spec: Spec) -> Result<Launched, BackendError> {
        launch::launch(&backend_kvm::machine::image(spec.program)?, spec)
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
impl keep_backend::Elsewhere for SnpSim {
    const NAME: &'static str = Self::NAME;
    const IS_CONFIDENTIAL: bool = false;
    const TAKES_SIGNATURES: bool = false;
}
