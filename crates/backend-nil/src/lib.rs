// SPDX-License-Identifier: Apache-2.0

//! The nil backend: the Keep programs as plain processes, for development.
//!
//! There is no boundary here. The point of this backend is that everything else is as in a real
//! Keep: the very same two ELF files, the same descriptors, the same launch and report. A program
//! that finds more than [`keep_launch`] promises would work here and fail in a Keep, so the process
//! gets exactly those descriptors, an empty environment and a working directory that holds the
//! seeds or nothing.
//!
//! The ELF files are for x86-64 Linux. Elsewhere [`Nil`] exists, so that callers need no conditions
//! of their own, and says in its probe that it cannot work.

#[cfg(target_os = "linux")]
mod linux;

use std::path::PathBuf;

use keep_backend::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};
use sha2::{Digest, Sha384};

/// One of the two programs, as it was built into the caller.
#[derive(Debug, Clone)]
pub struct Image {
    /// Which one it is.
    pub program: Program,
    /// The static ELF file.
    pub elf: &'static [u8],
    /// A name for exactly these bytes, such as their digest in hex. It becomes part of a file name.
    pub id: String,
}

/// The backend.
#[derive(Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is launched there"))]
pub struct Nil {
    images: [Image; 2],
    /// Folder for the program files, or `None` to keep them in memory.
    folder: Option<PathBuf>,
}

impl Nil {
    /// The backend for these two programs.
    ///
    /// Executing a file that is in the page cache saves the copy of some megabytes at every launch.
    /// `folder` is where such files are kept; it must belong to the user and be closed to others,
    /// and whatever is wrong with it only costs that time.
    pub fn new(compiler: Image, runtime: Image, folder: Option<PathBuf>) -> Self {
        Self { images: [compiler, runtime], folder }
    }

    fn image(&self, program: Program) -> Result<&Image, BackendError> {
        self.images.iter().find(|image| image.program == program).ok_or_else(|| {
            BackendError::Image { program, problem: "it was not built into this program".into() }
        })
    }
}

impl Backend for Nil {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_confidential(&self) -> bool {
        false
    }

    fn threads(&self) -> u32 {
        std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32)
    }

    #[cfg(target_os = "linux")]
    fn probe(&self) -> Vec<Datum> {
        linux::probe()
    }

    #[cfg(not(target_os = "linux"))]
    fn probe(&self) -> Vec<Datum> {
        vec![Datum::fail("Linux", None, ELSEWHERE)]
    }

    fn measure(&self, program: Program) -> Result<Measurement, BackendError> {
        let elf = self.image(program)?.elf;
        let digest = Sha384::digest(elf);
        Ok(Measurement {
            program,
            algorithm: "sha384/elf".into(),
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            size: elf.len() as u64,
        })
    }

    #[cfg(target_os = "linux")]
    fn launch(&self, spec: Spec) -> Result<Launched, BackendError> {
        linux::launch(self.image(spec.program)?, self.folder.as_deref(), spec)
    }

    #[cfg(not(target_os = "linux"))]
    fn launch(&self, _spec: Spec) -> Result<Launched, BackendError> {
        Err(BackendError::Unavailable {
            backend: NAME,
            problem: "it needs x86-64 Linux".into(),
            remedy: ELSEWHERE.into(),
        })
    }
}

const NAME: &str = "nil";

#[cfg(not(target_os = "linux"))]
const ELSEWHERE: &str = "Run enarx on x86-64 Linux, for example in a virtual machine.";

#[cfg(test)]
mod tests {
    use super::*;

    fn nil(elf: &'static [u8]) -> Nil {
        let image = |program| Image { program, elf, id: "x".into() };
        Nil::new(image(Program::Compiler), image(Program::Runtime), None)
    }

    #[test]
    fn measurement_is_the_digest_of_the_file() {
        // FIPS 180-4's example for SHA-384.
        let measured = nil(b"abc").measure(Program::Runtime).unwrap();
        assert_eq!(measured.algorithm, "sha384/elf");
        assert_eq!(measured.size, 3);
        assert!(measured.digest.starts_with("cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"));
        assert_eq!(measured.digest.len(), 96);
    }

    #[test]
    fn another_file_measures_differently() {
        let digest = |elf| nil(elf).measure(Program::Compiler).unwrap().digest;
        assert_ne!(digest(b"abc"), digest(b"abd"));
    }
}
