// SPDX-License-Identifier: Apache-2.0

//! The sgx-sim backend: a Keep's SGX enclave without SGX, for development and tests.
//!
//! The enclave is the one that hardware would load: the same pages at the same addresses, the same measurement,
//! a signature held against the same rules. It runs in a process of its own, the *machine* of the Keep, which
//! plays what is missing: the processor's leaf functions and exceptions, Linux's driver, and a quoting enclave.
//! So all of the Keep's own code runs as it does on hardware, and natively.
//!
//! | module | job |
//! |---|---|
//! | `probe` | what the machine lacks, and what to do about it |
//! | `keep` | a running Keep, seen from here |
//! | `process` | the machine's process: started, ended |
//! | `setup` | what is said to it at the start; later, `sgx_run::wire` |
//! | `platform`, `quote` | secrets of a synthetic platform, and its quoting enclave |
//! | `machine` | the machine itself |
//! | `hostile` | what a hostile host can do to a Keep, for tests |
//!
//! **It keeps nothing from anybody.** The host reads the process's memory as any other, the secrets are in it,
//! and the signer's key is published. Its evidence chains to a development root.
//!
//! A logical processor is a thread of the machine, and each runs one thread of the enclave at a time. What they
//! share, from the map of pages to the driver, they use in turn, under one lock; what an enclave does between two
//! exceptions they run at the same time. So who comes first is as open as on hardware, but no two leaf functions are
//! ever under way at once: where a processor would refuse one of them, here both happen, one after the other.
//!
//! # What is as on hardware
//!
//! Measurement, `EINIT`'s rules, reports and keys with all that they depend on, entry and exit, state save areas,
//! `EXITINFO` and `EXINFO`, the map of pages with what has to be accepted, pages that the driver adds in the page
//! fault, interrupts at any instruction, `syscall` and `cpuid` as undefined instructions. A thread is entered by one
//! processor at a time; a page that two threads accept is accepted by one of them; rights that are taken are taken
//! from threads that are inside too, and cannot be accepted before those were interrupted.
//!
//! # What is not
//!
//! | in an enclave | here |
//! |---|---|
//! | code outside cannot be run: a fault at once | runs until it does something that is noticed |
//! | `int`, far transfers, loads of segment registers, `in` and `out` are undefined instructions | do what they do in any process, mostly a general protection fault |
//! | components of the state beyond the enclave's (AVX-512) cannot be used | can be used, and are lost at each asynchronous exit |
//! | a page with the right to be executed alone cannot be read | can be read |
//! | `syscall` changes nothing | RCX and R11 are lost, as a system call loses them anyway |
//! | `cpuid` is an undefined instruction | where the processor can make it an exception; else it is answered |
//! | the host cannot touch the enclave's pages | nobody tries |
//! | a page is closed to all while it is accepted with a copy | other threads can touch it |

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "tests reach more"))]
mod hostile;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "tests reach more"))]
mod keep;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod machine;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod platform;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod probe;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod process;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod quote;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod ranges;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "tests reach more"))]
mod setup;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use keep_backend::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};

#[cfg(all(feature = "testing", target_os = "linux", target_arch = "x86_64"))]
pub use hostile::Trick;
#[cfg(all(feature = "testing", target_os = "linux", target_arch = "x86_64"))]
pub use keep::{Hostile, Launch, Liar};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use machine::machine;
#[cfg(all(feature = "testing", target_os = "linux", target_arch = "x86_64"))]
pub use setup::HostMapping;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod backend {
    use std::ffi::OsString;
    use std::fmt;
    use std::path::PathBuf;

    use super::*;
    use crate::platform::Platform;
    use crate::process::Start;

    /// The backend: a synthetic platform, and the way to start machines on it.
    #[derive(Clone)]
    pub struct SgxSim {
        pub(crate) start: Start,
        pub(crate) platform: Platform,
        pub(crate) config_id: Option<[u8; 64]>,
    }

    impl fmt::Debug for SgxSim {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("SgxSim").field("start", &self.start).finish_non_exhaustive()
        }
    }

    impl SgxSim {
        /// The name on the command line.
        pub const NAME: &'static str = "sgx-sim";

        /// A platform whose machines are started by this program with these arguments: it calls
        /// [`machine`](crate::machine()) at once.
        ///
        /// The platform's secret is drawn anew, so keys that enclaves get are for this value and its clones;
        /// unless the source of a launch's evidence has one ([`keep_backend::EvidenceSource::machine_secret`]).
        pub fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
            let start = Start {
                program: program.into(),
                arguments: arguments.iter().map(OsString::from).collect(),
            };
            let platform = Platform { root: random(), key_id: random() };
            Self { start, platform, config_id: None }
        }

        /// The same platform each time: with a secret that somebody keeps.
        #[must_use]
        pub fn with_secret(mut self, secret: [u8; 32]) -> Self {
            self.platform.root = secret;
            self
        }

        /// Another `CONFIGID` than that of the workload that Keeps are launched for.
        #[must_use]
        pub fn with_config_id(mut self, config_id: [u8; 64]) -> Self {
            self.config_id = Some(config_id);
            self
        }

        /// The measurement of an image that is not one of the built-in programs': MRENCLAVE, as hardware finds it.
        ///
        /// # Errors
        ///
        /// As [`Backend::measure`].
        pub fn measure_image(
            &self,
            program: Program,
            image: &keep_image::Image<'_>,
        ) -> Result<Measurement, BackendError> {
            let enclave = sgx_launch::image::Enclave::new(image);
            let plan = enclave
                .plan([0; 64])
                .map_err(|error| BackendError::Image { program, problem: error.to_string() })?;
            let digest = plan.measure().iter().map(|byte| format!("{byte:02x}")).collect();
            let size = plan.measured_bytes();
            Ok(Measurement { program, algorithm: "sha256/mrenclave".into(), digest, size })
        }

        /// Launches an image that is not one of the built-in programs': for tests of the kernel.
        ///
        /// # Errors
        ///
        /// As [`Backend::launch`].
        pub fn launch_image(
            &self,
            image: &keep_image::Image<'_>,
            spec: Spec,
        ) -> Result<Launched, BackendError> {
            keep::launch_image(self, image, spec, keep::Hostile::default())
        }

        /// Launches an image on a hostile host: for tests of the kernel.
        ///
        /// # Errors
        ///
        /// As [`Backend::launch`].
        #[cfg(feature = "testing")]
        pub fn launch_hostile(
            &self,
            image: &keep_image::Image<'_>,
            spec: Spec,
            hostile: Hostile,
        ) -> Result<Launched, BackendError> {
            keep::launch_image(self, image, spec, hostile)
        }

        /// Launches an enclave that is no Keep: for tests of the machine.
        ///
        /// # Errors
        ///
        /// As [`Backend::launch`].
        #[cfg(feature = "testing")]
        pub fn launch_enclave(
            &self,
            launch: Launch<'_>,
            spec: Spec,
            hostile: Hostile,
        ) -> Result<Launched, BackendError> {
            keep::launch(self, launch, 0, spec, hostile)
        }

        /// The report key of this platform's quoting enclave made the report's MAC: for tests.
        #[cfg(feature = "testing")]
        pub fn is_genuine(&self, report: &sgx_guest::report::Report) -> bool {
            self.platform.is_genuine(report)
        }
    }

    /// Random numbers of the operating system.
    #[allow(clippy::panic, reason = "Linux has always random numbers; a secret without is none")]
    fn random() -> [u8; 32] {
        let mut bytes = [0; 32];
        // SAFETY: the buffer is as long as we say.
        let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        assert!(count == 32, "the operating system has no random numbers");
        bytes
    }

    impl Backend for SgxSim {
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
            probe::probe()
        }

        fn measure(&self, program: Program) -> Result<Measurement, BackendError> {
            self.measure_image(program, &keep::image(program)?)
        }

        fn launch(&self, spec: Spec) -> Result<Launched, BackendError> {
            self.launch_image(&keep::image(spec.program)?, spec)
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod backend {
    use std::path::PathBuf;

    /// The backend, which there is on Linux alone.
    #[derive(Debug, Clone)]
    #[non_exhaustive]
    pub struct SgxSim;

    impl SgxSim {
        /// The name on the command line.
        pub const NAME: &'static str = "sgx-sim";

        /// The backend; it cannot do anything here.
        pub fn new(_: impl Into<PathBuf>, _: &[&str]) -> Self {
            Self
        }
    }

    impl keep_backend::Elsewhere for SgxSim {
        const NAME: &'static str = Self::NAME;
        const IS_CONFIDENTIAL: bool = false;
        const TAKES_SIGNATURES: bool = false;
    }
}

pub use backend::SgxSim;
