// SPDX-License-Identifier: Apache-2.0

//! The folder that stands for a Keep's file system under this backend.
//!
//! It holds a copy of the seeds, lies in memory where the machine has a file system there, and is
//! gone when the Keep is. A host agent that is killed cannot tidy up; so each folder is locked for
//! as long as its owner lives, and every launch removes the unlocked ones. A lock, unlike a process
//! number, says the right thing across containers that share the folder above.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use keep_backend::{BackendError, Seed, seed_name};
use keep_host::seed::copy_tree;
use rustix::fs::FlockOperation;
use rustix::rand::GetRandomFlags;

/// A folder of one Keep, removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Open and locked for as long as the folder is in use.
    folder: File,
}

impl Scratch {
    /// A folder with a copy of each seed, or none if there are no seeds.
    pub(super) fn seeded(seeds: &[Seed]) -> Result<Option<Self>, BackendError> {
        let homes = homes();
        homes.iter().for_each(|home| sweep(home));
        if seeds.is_empty() {
            return Ok(None);
        }
        let scratch = homes
            .iter()
            .map(|home| Self::new_in(home))
            .reduce(|first, next| first.or(next))
            .unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
            .map_err(|source| BackendError::Host {
                what: "make a scratch folder".into(),
                source,
            })?;
        for seed in seeds {
            copy_tree(&seed.host, &scratch.path.join(seed_name(seed.index)))?;
        }
        Ok(Some(scratch))
    }

    fn new_in(home: &Path) -> io::Result<Self> {
        // Another program may remove the empty `home`, or take the new folder for a forgotten one,
        // before it is locked. Both are rare and leave nothing behind.
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..10 {
            match Self::try_new_in(home) {
                Ok(scratch) => return Ok(scratch),
                Err(err) if err.kind() == io::ErrorKind::NotFound => last = err,
                Err(err) => return Err(err),
            }
        }
        Err(last)
    }

    fn try_new_in(home: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(home) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
            _ => {}
        }
        if !is_ours(home) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
        let path = home.join(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = File::open(&path)?;
        rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        if !fs::symlink_metadata(&path).is_ok_and(|now| is_same(&now, &folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self { path, folder })
    }
}

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
        if let Some(home) = self.path.parent() {
            // Fails if another Keep still has a folder there, which is right.
            let _ = fs::remove_dir(home);
        }
    }
}

const PREFIX: &str = "nil-";

/// Where folders may lie, best first.
///
/// What is written there is the Keep's memory, so it belongs in memory; but a container's file
/// system in memory may be tiny, and a user's runtime folder often is small.
fn homes() -> Vec<PathBuf> {
    const ENOUGH: u64 = 1 << 30;
    let name = format!("enarx-{}", rustix::process::geteuid().as_raw());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let mut memory: Vec<(u64, PathBuf)> = [runtime, Some(OsString::from("/dev/shm"))]
        .into_iter()
        .flatten()
        .filter_map(|path| {
            let room = rustix::fs::statvfs(&path).ok()?;
            Some((room.f_bavail.saturating_mul(room.f_frsize), PathBuf::from(path)))
        })
        .collect();
    memory.sort_by_key(|(room, _)| std::cmp::Reverse(*room));
    let (mut homes, small): (Vec<_>, Vec<_>) =
        memory.into_iter().partition(|(room, _)| *room >= ENOUGH);
    homes.push((0, std::env::temp_dir()));
    homes.extend(small);
    homes.into_iter().map(|(_, path)| path.join(&name)).collect()
}

/// Removes what Keeps left whose host agent was killed.
fn sweep(home: &Path) {
    let Ok(entries) = fs::read_dir(home) else { return };
    if !is_ours(home) {
        return;
    }
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let Ok(folder) = File::open(&path) else { continue };
        if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&path);
        }
    }
    let _ = fs::remove_dir(home);
}

/// Removes a folder with everything in it, however its permissions are.
fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_err() {
        open_up(path);
        let _ = fs::remove_dir_all(path);
    }
}

fn open_up(path: &Path) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        // Links are not followed: their type is that of the link.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Whether this is a folder, not a link, that nobody else can put anything into.
fn is_ours(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.is_dir()
            && metadata.uid() == rustix::process::geteuid().as_raw()
            && metadata.mode() & 0o077 == 0
    })
}

fn is_same(now: &fs::Metadata, folder: &File) -> bool {
    folder.metadata().is_ok_and(|open| (open.dev(), open.ino()) == (now.dev(), now.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_removed_with_everything_in_it() {
        let base = tempfile::tempdir().unwrap();
        let home = base.path().join("home");
        let scratch = Scratch::new_in(&home).unwrap();
        let deep = scratch.path.join("0/closed");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        fs::set_permissions(&deep, fs::Permissions::from_mode(0o500)).unwrap();
        drop(scratch);
        assert!(!home.exists());
    }

    #[test]
    fn sweeping_removes_the_forgotten_and_keeps_the_living() {
        let base = tempfile::tempdir().unwrap();
        let home = base.path().join("home");
        let living = Scratch::new_in(&home).unwrap();
        let forgotten = home.join("nil-0000000000000000");
        fs::create_dir_all(forgotten.join("0")).unwrap();
        sweep(&home);
        assert!(living.path.exists());
        assert!(!forgotten.exists());
    }

    #[test]
    fn a_home_that_others_can_write_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let err = Scratch::new_in(base.path()).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::PermissionDenied);
    }
}
