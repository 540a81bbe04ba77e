// SPDX-License-Identifier: Apache-2.0

//! Tells whether a file is still the one whose digest is known, without reading it.
//!
//! Hashing a module of tens of megabytes takes longer than starting it. A file that kept its
//! device, inode, size, and times of modification and change has kept its content, with one
//! exception: clocks of file systems tick, so a write within the tick in which the file was looked
//! at leaves the times as they were. Therefore only a file that has been left alone for a while is
//! remembered. The time of change cannot be set by a program, unlike that of modification.
//!
//! A wrong digest would be no danger either way: the artifact that it leads to carries the digest
//! of the module it was made from. It would run the old module instead of the new one, which is
//! what the rule above prevents.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What tells a file from any other and from itself at another time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether it had been left alone long enough when it was looked at.
    settled: bool,
}

impl Identity {
    /// Looks at an open file.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let newest = modified.0.max(changed.0);
        Ok(Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.len(),
            modified,
            changed,
            settled: newest.saturating_add(SETTLED) <= i64::try_from(now).unwrap_or(i64::MAX),
        })
    }

    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn read(&self, folder: &Path) -> Option<[u8; 32]> {
        if !self.settled {
            return None;
        }
        let mut record = [0; RECORD + 1];
        let mut file = File::open(self.path(folder)).ok()?;
        let mut len = 0;
        while len < record.len() {
            match file.read(&mut record[len..]).ok()? {
                0 => break,
                more => len += more,
            }
        }
        let (stamp, digest) = record.get(..len)?.split_at_checked(STAMP)?;
        if stamp != self.stamp() {
            return None;
        }
        digest.try_into().ok()
    }

    pub(crate) fn write(&self, folder: &Path, digest: [u8; 32]) {
        if !self.settled {
            return;
        }
        make_room(folder);
        let path = self.path(folder);
        let temporary = path.with_extension(std::process::id().to_string());
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&[&self.stamp()[..], &digest].concat()))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(temporary);
        }
    }

    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{:x}-{:x}", self.dev, self.ino))
    }

    fn stamp(&self) -> [u8; STAMP] {
        let mut stamp = [0; STAMP];
        let (magic, numbers) = stamp.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        let fields = [
            self.size,
            self.modified.0 as u64,
            self.modified.1 as u64,
            self.changed.0 as u64,
            self.changed.1 as u64,
        ];
        for (place, field) in numbers.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        stamp
    }
}

/// Seconds for which a file must have been left alone.
const SETTLED: i64 = 2;

/// So that an empty or damaged record is none.
const MAGIC: &[u8; 8] = b"enarxid1";
const STAMP: usize = MAGIC.len() + 5 * 8;
const RECORD: usize = STAMP + 32;

/// Keeps the number of records bounded; to forget a digest costs one hashing.
fn make_room(folder: &Path) {
    const MOST: usize = 1024;
    let Ok(entries) = fs::read_dir(folder) else { return };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    if paths.len() >= MOST {
        paths.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}
