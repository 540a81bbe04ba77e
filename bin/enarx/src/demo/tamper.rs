// SPDX-License-Identifier: Apache-2.0

//! What an attacker who owns the host, or the Drawbridge's disk, would do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use backend_nil::Nil;
use keep_backend::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};
use keep_image::Image;

use crate::backends::{self, Imaged};
use crate::programs;

/// The same kind of Keep, with one letter of its code changed.
///
/// It is a letter of a message that is never shown, so this Keep works just as well: whatever
/// refuses it, refuses it for what it is and not for what it does.
pub(super) enum Changed {
    /// In the kernel of the Keep.
    Imaged { backend: Box<dyn Imaged>, image: Vec<u8> },
    /// There is no kernel of ours, so in the runtime.
    Nil(Nil),
}

/// A message of the kernel.
const MESSAGE: &[u8] = b"the host lied about";

impl Changed {
    pub(super) fn new(name: &str) -> Result<Self> {
        if let Some(backend) = backends::imaged(name) {
            let mut image = keep_programs::RUNTIME_IMAGE.to_vec();
            let at = image
                .windows(MESSAGE.len())
                .position(|window| window == MESSAGE)
                .ok_or_else(|| anyhow!("the kernel has no message to change"))?;
            image[at] ^= 0x20;
            return Ok(Self::Imaged { backend, image });
        }
        let images = Program::ALL.map(|program| programs::image(program, "changed"));
        let [compiler, mut runtime] = images;
        let mut elf = runtime.elf.to_vec();
        // Behind everything that is loaded.
        elf.push(0);
        // It lives as long as this program, as the one that was built in does.
        runtime.elf = Box::leak(elf.into_boxed_slice());
        Ok(Self::Nil(Nil::new(compiler, runtime, None)))
    }

    /// What was changed.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Imaged { .. } => "one bit of the Keep's kernel",
            Self::Nil(_) => "one byte of the Keep's runtime",
        }
    }

    fn inner(&self) -> &dyn Backend {
        match self {
            Self::Imaged { backend, .. } => &**backend,
            Self::Nil(nil) => nil,
        }
    }
}

impl Backend for Changed {
    fn name(&self) -> &'static str {
        self.inner().name()
    }

    fn is_confidential(&self) -> bool {
        false
    }

    fn threads(&self) -> u32 {
        self.inner().threads()
    }

    fn probe(&self) -> Vec<Datum> {
        self.inner().probe()
    }

    fn measure(&self, program: Program) -> Result<Measurement, BackendError> {
        match (self, program) {
            (Self::Imaged { backend, image }, Program::Runtime) => {
                backend.measure_image(program, &decode(image)?)
            }
            _ => self.inner().measure(program),
        }
    }

    fn launch(&self, spec: Spec) -> Result<Launched, BackendError> {
        match (self, spec.program) {
            (Self::Imaged { backend, image }, Program::Runtime) => {
                backend.launch_image(&decode(image)?, spec)
            }
            _ => self.inner().launch(spec),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Image<'_>, BackendError> {
    Image::decode(bytes).map_err(|error| BackendError::Image {
        program: Program::Runtime,
        problem: error.to_string(),
    })
}

/// A file in which one bit is flipped for as long as this lives.
pub(super) struct Flipped {
    path: PathBuf,
    before: Vec<u8>,
}

impl Flipped {
    /// Flips a bit in the middle of the file below `folder` whose content this is.
    pub(super) fn new(folder: &Path, content: &[u8]) -> Result<Self> {
        let path = find(folder, content)
            .with_context(|| format!("cannot search {}", folder.display()))?
            .ok_or_else(|| anyhow!("the store does not hold the workload as a file"))?;
        let mut changed = content.to_vec();
        let middle = changed.len() / 2;
        if let Some(byte) = changed.get_mut(middle) {
            *byte ^= 1;
        }
        fs::write(&path, changed).with_context(|| format!("cannot change {}", path.display()))?;
        Ok(Self { path, before: content.to_vec() })
    }
}

impl Drop for Flipped {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.before);
    }
}

fn find(folder: &Path, content: &[u8]) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if let Some(found) = find(&entry.path(), content)? {
                return Ok(Some(found));
            }
        } else if kind.is_file()
            && entry.metadata()?.len() == content.len() as u64
            && fs::read(entry.path())? == content
        {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_keep_measures_differently_and_nothing_else_does() {
        for name in crate::backends::open_names() {
            let changed = Changed::new(name).unwrap();
            let right = crate::backends::named(name, None).unwrap();
            let digest = |backend: &dyn Backend, program| backend.measure(program).unwrap().digest;
            let pair = |program| (digest(&changed, program), digest(&*right, program));
            let (wrong, good) = pair(Program::Runtime);
            assert_ne!(wrong, good, "{name}");
            let (same, good) = pair(Program::Compiler);
            assert_eq!(same, good, "{name}");
        }
    }

    #[test]
    fn a_flipped_bit_is_flipped_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"content").unwrap();
        let flipped = Flipped::new(folder.path(), b"content").unwrap();
        assert_ne!(fs::read(&path).unwrap(), b"content");
        drop(flipped);
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert!(Flipped::new(folder.path(), b"other").is_err());
    }
}
