// SPDX-License-Identifier: Apache-2.0

//! The module that is to run: an open file and its digest.
//!
//! It is opened once, so that what is hashed and what is compiled are the same file. Its content
//! may still change under our feet; the compiler Keep hashes what it really compiled, and the
//! runtime Keep compares.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use anyhow::anyhow;
use command_line::OrExit;
use keep_cache::{Cache, Identity, Pending};
use keep_launch::MAX_INPUT;
use sha2::{Digest, Sha256};

use crate::exit::{Code, Failure};

/// An open module.
pub(super) struct Module {
    file: File,
    /// The name of its file, for messages and as the workload's own name.
    pub(super) name: String,
    /// Whether the file is one that may be found unchanged another time.
    is_regular: bool,
}

impl Module {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = |error: io::Error| {
            let error = anyhow!(error).context(format!("cannot read `{}`", path.display()));
            Failure::new(Code::Input, error)
        };
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let is_regular = metadata.is_file();
        // What can be read only once is copied, because it is read twice.
        let file = if is_regular { file } else { copy(file).map_err(cannot)? };
        let module = Self { file, name, is_regular };
        if module.file.metadata().map_err(cannot)?.len() > MAX_INPUT {
            let error = anyhow!("`{}` is longer than {MAX_INPUT} bytes", module.name);
            return Err(Failure::new(Code::Refused, error));
        }
        Ok(module)
    }

    /// Its SHA-256, from the cache if that is quicker.
    pub(super) fn digest(&mut self, cache: Option<&Cache>) -> Result<[u8; 32], Failure> {
        let before = self.identity();
        let known = before.as_ref().zip(cache);
        if let Some(digest) = known.and_then(|(identity, cache)| cache.digest(identity)) {
            return Ok(digest);
        }
        let digest = self.rehash()?;
        if let Some((identity, cache)) = known
            && self.identity().as_ref() == Some(identity)
        {
            cache.remember(identity, digest);
        }
        Ok(digest)
    }

    /// Its SHA-256, whatever was known before.
    pub(super) fn rehash(&mut self) -> Result<[u8; 32], Failure> {
        hash(&mut self.file).or_exit_with(Code::Input, || format!("cannot read `{}`", self.name))
    }

    /// The file for a compiler.
    pub(super) fn input(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }

    /// What it can be known by, if hashing it takes longer than to look that up.
    fn identity(&self) -> Option<Identity> {
        const BIG: u64 = 256 << 10;
        let identity = self.is_regular.then(|| Identity::of(&self.file).ok()).flatten()?;
        (identity.size() >= BIG).then_some(identity)
    }
}

fn copy(from: File) -> io::Result<File> {
    let pending = Pending::anonymous()?;
    let mut to = pending.output()?;
    // One more than is allowed, so that the length tells.
    io::copy(&mut from.take(MAX_INPUT + 1), &mut to)?;
    to.flush()?;
    pending.into_reader()
}

fn hash(file: &mut File) -> io::Result<[u8; 32]> {
    file.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => hash.update(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.rewind()?;
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_sha256_of_the_whole_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abc").unwrap();
        let mut module = Module::open(file.path()).unwrap();
        let digest = module.digest(None).unwrap();
        // FIPS 180-4's example.
        assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(module.rehash().unwrap(), digest);
        let mut text = String::new();
        module.input().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }

    #[test]
    fn a_pipe_is_copied() {
        let (reader, mut writer) = io::pipe().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&[7; 300_000]).unwrap());
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let mut module = Module::open(Path::new(&path)).unwrap();
        drop(reader);
        writing.join().unwrap();
        assert_eq!(module.rehash().unwrap(), <[u8; 32]>::from(Sha256::digest([7; 300_000])));
    }

    #[test]
    fn a_folder_and_nothing_are_no_modules() {
        for path in ["/", "/does/not/exist"] {
            assert_eq!(Module::open(Path::new(path)).err().unwrap().code, Code::Input, "{path}");
        }
    }
}
