// SPDX-License-Identifier: Apache-2.0

//! The host agent's cache of compiled artifacts.
//!
//! The cache is a convenience that nobody has to trust: every artifact is signed by the compiler
//! that made it, and the runtime Keep checks that before it runs a byte. So there are no checksums
//! here and nothing is flushed to disk; a file that a crash or a stranger damaged is found by the
//! runtime and compiled anew. What the cache does promise:
//!
//! * a name appears only when its file is complete, with any number of programs at work at once;
//! * what others use is never changed, only unlinked, so a running Keep keeps its artifact;
//! * the sum of the artifacts stays under a limit, and the longest unused go first;
//! * a program that dies leaves nothing behind that the next one does not remove;
//! * other users of the machine can neither read nor write any of it.
//!
//! ```text
//! <root>/              0700
//!   artifacts/<key>    one artifact; its modification time is the time of its last use
//!   artifacts/.new-…   one that is being written, locked by its writer
//!   digests/<dev>-<ino>  what the digest of a big module was, see `Identity`
//!   programs/…         left to the backends that execute files
//! ```

//!
//! Only Linux has backends that launch anything, so elsewhere this crate is empty.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod identity;

pub use identity::Identity;

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, OFlags, StatVfsMountFlags};
use rustix::rand::GetRandomFlags;
use sha2::{Digest, Sha256};

/// An open cache.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    limit: u64,
}

impl Cache {
    /// Opens the cache in the folder `root`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made, belongs to somebody else, or lies on a file system whose files
    /// cannot be mapped as code.
    pub fn open(root: &Path, limit: u64) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Folder { path: root.into(), source };
        let metadata = match fs::metadata(root) {
            Ok(metadata) => metadata,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
                fs::metadata(root).map_err(failed)?
            }
            Err(err) => return Err(failed(err)),
        };
        if !metadata.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(CacheError::Foreign { path: root.into() });
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let mount = rustix::fs::statvfs(root).map_err(|err| failed(err.into()))?;
        if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(CacheError::NoExec { path: root.into() });
        }
        Ok(Self { root: root.into(), limit })
    }

    /// The folder of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for files that a backend executes.
    pub fn programs(&self) -> PathBuf {
        self.root.join(PROGRAMS)
    }

    /// The artifact under `key`, and a note that it was used.
    pub fn lookup(&self, key: &Key) -> Option<File> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(self.path(key))
            .ok()?;
        let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
        let now = SystemTime::now();
        let unused = metadata.modified().ok().and_then(|used| now.duration_since(used).ok());
        // Who comes first when space is needed does not depend on a minute.
        if unused.is_none_or(|unused| unused > Duration::from_secs(60)) {
            let _ = file.set_times(FileTimes::new().set_modified(now));
        }
        Some(file)
    }

    /// A file for a new artifact, which nobody finds before [`Pending::commit`].
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn begin(&self) -> io::Result<Pending> {
        let folder = self.root.join(ARTIFACTS);
        make_folder(&folder)?;
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
        let path = folder.join(format!("{NEW}{:016x}", u64::from_ne_bytes(random)));
        let writer = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let path = Unlink(Some(path));
        // Not locked from its first moment on; `tidy` leaves young ones alone for that reason.
        rustix::fs::flock(&writer, FlockOperation::NonBlockingLockExclusive)?;
        let reader = File::open(path.0.as_deref().unwrap_or(&folder))?;
        Ok(Pending { writer, reader, path })
    }

    /// Removes the artifact under `key` if it is still the one that `refused` is open on.
    pub fn remove(&self, key: &Key, refused: &File) {
        let path = self.path(key);
        let same = |now: &fs::Metadata, then: &fs::Metadata| {
            (now.dev(), now.ino()) == (then.dev(), then.ino())
        };
        if let (Ok(now), Ok(then)) = (fs::symlink_metadata(&path), refused.metadata())
            && same(&now, &then)
        {
            let _ = fs::remove_file(path);
        }
    }

    /// What the cache holds.
    pub fn info(&self) -> Info {
        let artifacts = self.artifacts();
        Info {
            root: self.root.clone(),
            artifacts: artifacts.len(),
            bytes: artifacts.iter().map(|artifact| artifact.size).sum(),
            limit: self.limit,
        }
    }

    /// Removes all that the cache holds and says what that was. Keeps that run are not disturbed.
    ///
    /// # Errors
    ///
    /// If something could not be removed.
    pub fn clear(&self) -> io::Result<Info> {
        let info = self.info();
        for folder in [ARTIFACTS, DIGESTS, PROGRAMS] {
            match fs::remove_dir_all(self.root.join(folder)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(info)
    }

    /// The digest of the file that `identity` stands for, if it is known.
    pub fn digest(&self, identity: &Identity) -> Option<[u8; 32]> {
        identity.read(&self.root.join(DIGESTS))
    }

    /// Notes the digest of the file that `identity` stands for.
    ///
    /// Does nothing if the file is too young to be told from one that is changed right now, or if
    /// the cache cannot be written: it only costs the next run some time.
    pub fn remember(&self, identity: &Identity, digest: [u8; 32]) {
        let folder = self.root.join(DIGESTS);
        if make_folder(&folder).is_ok() {
            identity.write(&folder, digest);
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(ARTIFACTS).join(hex(&key.0))
    }

    fn store(&self, key: &Key, new: &mut Unlink) -> io::Result<()> {
        if let Some(path) = &new.0 {
            fs::rename(path, self.path(key))?;
            new.0 = None;
        }
        Ok(())
    }

    fn artifacts(&self) -> Vec<Artifact> {
        let Ok(entries) = fs::read_dir(self.root.join(ARTIFACTS)) else { return Vec::new() };
        entries
            .flatten()
            .filter(|entry| !is_new(entry))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                let used = metadata.modified().ok()?;
                Some(Artifact { path: entry.path(), size: metadata.len(), used })
            })
            .collect()
    }

    /// Brings the cache under its limit, and removes what writers left that died.
    fn tidy(&self, keep: &Key) {
        let Ok(entries) = fs::read_dir(self.root.join(ARTIFACTS)) else { return };
        let now = SystemTime::now();
        for entry in entries.flatten().filter(is_new) {
            let made = entry.metadata().and_then(|metadata| metadata.modified());
            let young = made.is_ok_and(|made| now < made + YOUNG);
            let is_unlocked = || {
                File::open(entry.path()).is_ok_and(|file| {
                    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
                })
            };
            if !young && is_unlocked() {
                let _ = fs::remove_file(entry.path());
            }
        }
        let mut artifacts = self.artifacts();
        let mut bytes: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
        if bytes <= self.limit {
            return;
        }
        // A tenth more than needed, so that not every new artifact has to go through this.
        let goal = self.limit - self.limit / 10;
        let keep = self.path(keep);
        artifacts.sort_by_key(|artifact| artifact.used);
        for artifact in artifacts.iter().filter(|artifact| artifact.path != keep) {
            if bytes <= goal {
                break;
            }
            if fs::remove_file(&artifact.path).is_ok() {
                bytes -= artifact.size;
            }
        }
    }
}

const ARTIFACTS: &str = "artifacts";
const DIGESTS: &str = "digests";
const PROGRAMS: &str = "programs";
/// How the name of an unfinished artifact begins.
const NEW: &str = ".new-";
/// For how long an unfinished artifact is left alone, locked or not.
const YOUNG: Duration = Duration::from_secs(60);

struct Artifact {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

fn is_new(entry: &fs::DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(NEW.as_bytes())
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All that an artifact depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of these parts, in this order; no two different lists give the same.
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"enarx artifact 1");
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// An artifact that is being written.
///
/// Dropped without [`Self::commit`], it is gone.
#[derive(Debug)]
pub struct Pending {
    writer: File,
    reader: File,
    path: Unlink,
}

impl Pending {
    /// One without a name, for when there is no cache.
    ///
    /// # Errors
    ///
    /// If the system has no memory for it.
    pub fn anonymous() -> io::Result<Self> {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let writer = File::from(rustix::fs::memfd_create("enarx-artifact", flags)?);
        let reader = writer.try_clone()?;
        Ok(Self { writer, reader, path: Unlink(None) })
    }

    /// Whether it can get a name.
    pub fn is_anonymous(&self) -> bool {
        self.path.0.is_none()
    }

    /// Where the artifact is to be written.
    ///
    /// # Errors
    ///
    /// If there are too many open files.
    pub fn output(&self) -> io::Result<File> {
        self.writer.try_clone()
    }

    /// Gives it its name in `cache`, in the place of one that may be there, and opens it to read.
    ///
    /// What could not be stored can be read all the same; then the second value says why it was
    /// not stored.
    ///
    /// # Errors
    ///
    /// If the file cannot be read at all.
    pub fn commit(mut self, cache: &Cache, key: &Key) -> io::Result<(File, Option<io::Error>)> {
        let size = self.writer.metadata()?.len();
        let stored = if size > cache.limit {
            Err(io::Error::other("the artifact is larger than the cache may be"))
        } else {
            cache.store(key, &mut self.path)
        };
        if stored.is_ok() {
            cache.tidy(key);
        }
        Ok((self.into_reader()?, stored.err()))
    }

    /// The artifact, without a name.
    ///
    /// # Errors
    ///
    /// If the file cannot be read at all.
    pub fn into_reader(self) -> io::Result<File> {
        let Self { writer, mut reader, path: _unlink } = self;
        drop(writer);
        reader.rewind()?;
        Ok(reader)
    }
}

/// A file that is unlinked when dropped, if there still is one.
#[derive(Debug)]
struct Unlink(Option<PathBuf>);

impl Drop for Unlink {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// What a cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its folder.
    pub root: PathBuf,
    /// How many artifacts.
    pub artifacts: usize,
    /// How many bytes they have together.
    pub bytes: u64,
    /// How many bytes they may have together.
    pub limit: u64,
}

/// Why a folder cannot be the cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The system does not allow it.
    #[error("cannot use {path} as the cache")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to somebody else.
    #[error("{path} belongs to another user and cannot be the cache")]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Its file system is mounted with `noexec`.
    #[error("{path} is on a file system whose files cannot be executed")]
    NoExec {
        /// The folder.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests;
