// SPDX-License-Identifier: Apache-2.0

//! The key of this machine, with which its compiler Keeps sign artifacts.
//!
//! Its only purpose is that an artifact from the cache is one that this user's compiler made. It
//! lies in the folder for data, not in the cache, so that it survives clearing, and is readable by
//! its owner alone. If others can read it, they could sign whatever they like: that is refused, not
//! repaired, because nobody knows who has read it already.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use command_line::OrExit;
use rustix::fs::OFlags;
use rustix::rand::GetRandomFlags;

use crate::dirs;
use crate::exit::{Code, Failure};

/// An Ed25519 key as its seed.
pub(super) struct MachineKey {
    seed: [u8; 32],
    /// Whether the next run will find the same one.
    pub(super) is_kept: bool,
}

impl MachineKey {
    /// Reads the key of this machine, which is made if there is none.
    ///
    /// Where it cannot be kept, this run gets one of its own.
    pub(super) fn load(warn: &dyn Fn(String)) -> Result<Self, Failure> {
        let path = match dirs::data() {
            Ok(folder) => folder.join("compiler.key"),
            Err(error) => {
                warn(format!("the compiler's key cannot be kept: {error}"));
                return Ok(Self { seed: random()?, is_kept: false });
            }
        };
        if let Some(seed) = read(&path).or_exit(Code::Failed)? {
            return Ok(Self { seed, is_kept: true });
        }
        let fresh = random()?;
        match create(&path, &fresh) {
            // Another program may have been faster; then its key is the key.
            Ok(()) => match read(&path).or_exit(Code::Failed)? {
                Some(seed) => Ok(Self { seed, is_kept: true }),
                None => Err(anyhow!("{} vanished", path.display()).into()),
            },
            Err(error) => {
                let path = path.display();
                warn(format!("the compiler's key cannot be kept in {path}: {error}"));
                Ok(Self { seed: fresh, is_kept: false })
            }
        }
    }

    /// One that nobody will find again.
    pub(super) fn passing() -> Result<Self, Failure> {
        Ok(Self { seed: random()?, is_kept: false })
    }

    pub(super) fn seed(&self) -> [u8; 32] {
        self.seed
    }

    pub(super) fn public(&self) -> [u8; 32] {
        keep_artifact::public_key(&self.seed)
    }
}

fn random() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    let len = rustix::rand::getrandom(&mut seed, GetRandomFlags::empty())
        .context("the system gives no random numbers")?;
    if len != seed.len() {
        bail!("the system gives too few random numbers");
    }
    Ok(seed)
}

/// Reads the key, or nothing if there is none.
fn read(path: &Path) -> Result<Option<[u8; 32]>> {
    let shown = path.display();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("cannot open the compiler's key {shown}"))?,
    };
    let metadata = file.metadata().with_context(|| format!("cannot look at {shown}"))?;
    const REMEDY: &str = "remove it, and `enarx run` makes a new one";
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        bail!("{shown} is not a file of this user; {REMEDY}");
    }
    if metadata.mode() & 0o077 != 0 {
        bail!("others can read the compiler's key {shown}; {REMEDY}");
    }
    let mut bytes = Vec::new();
    file.take(33).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    match <[u8; 32]>::try_from(bytes) {
        Ok(seed) => Ok(Some(seed)),
        Err(_) => bail!("{shown} is not a key of 32 bytes; {REMEDY}"),
    }
}

/// Makes the file at once and whole, and leaves one that is there.
fn create(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = folder.join(format!(".compiler.key-{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let linked = file.write_all(seed).and_then(|()| file.sync_all()).and_then(|()| {
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    });
    fs::remove_file(&temporary)?;
    linked
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/compiler.key");
        assert_eq!(read(&path).unwrap(), None);
        create(&path, &[1; 32]).unwrap();
        create(&path, &[2; 32]).unwrap();
        assert_eq!(read(&path).unwrap(), Some([1; 32]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn many_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = &dir.path().join("compiler.key");
        let seeds: Vec<_> = std::thread::scope(|scope| {
            // Each has another process number in reality; here the links race, not the files.
            let threads: Vec<_> = (0..8u8)
                .map(|number| {
                    scope.spawn(move || {
                        let own = path.with_extension(format!("{number}"));
                        fs::write(&own, [number; 32]).unwrap();
                        fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
                        let _ = fs::hard_link(&own, path);
                        read(path).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(seeds[0].is_some());
        assert!(seeds.iter().all(|seed| *seed == seeds[0]));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("compiler.key");
        create(&path, &[1; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("others can read"));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 31, 33] {
            let path = dir.path().join(len.to_string());
            fs::write(&path, vec![1; len]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains("32 bytes"));
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        create(&dir.path().join("real"), &[1; 32]).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        assert!(read(&dir.path().join("link")).is_err());
    }
}
