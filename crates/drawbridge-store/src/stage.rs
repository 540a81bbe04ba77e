// SPDX-License-Identifier: Apache-2.0

//! Content on its way in: written to a file, hashed and counted while it comes, and made visible at once or
//! not at all.
//!
//! The file lies in the store's own folder, so that it is renamed into its place; for a bucket it lies in
//! the system's folder for such files, so that no client, however slow, holds memory. A file that was left
//! by a killed process is removed by the next collection of garbage.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use drawbridge_types::{ContentDigest, Hasher};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::StoreError;

/// So much is written at a time, and at most twice as much waits: what a client that sends takes.
const BATCH: usize = 128 << 10;

/// A file that vanishes with the value, unless it is kept.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) file: File,
    path: Option<PathBuf>,
}

impl Staged {
    fn new(folder: &FsPath) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("drawbridge-{}-{next}-{nanos:x}", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self { file: options.open(&path)?, path: Some(path) })
    }

    /// Makes it durable, and gives it its name, in place of what had it.
    pub(crate) fn rename(mut self, to: &FsPath) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(path) = self.path.take()
            && let Err(error) = with_folder(to, || std::fs::rename(&path, to))
        {
            self.path = Some(path);
            return Err(error);
        }
        sync_folder(to)
    }

    /// Makes it durable, and gives it its name, unless something has it; whether it got it.
    pub(crate) fn link(self, to: &FsPath) -> io::Result<bool> {
        self.file.sync_all()?;
        let Some(path) = &self.path else { return Ok(false) };
        match with_folder(to, || std::fs::hard_link(path, to)) {
            Ok(()) => sync_folder(to).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next bytes from its current position, as many as there are up to `most`.
    pub(crate) fn read(&mut self, most: u64) -> io::Result<Vec<u8>> {
        read_some(&mut self.file, most)
    }

    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The next bytes of a file, as many as there are up to `most`.
pub(crate) fn read_some(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(usize::try_from(most).unwrap_or(BATCH).min(16 << 20));
    file.take(most).read_to_end(&mut buffer)?;
    Ok(buffer)
}

/// Does something that needs the folder of a name, which is made only if it is missing.
fn with_folder(name: &FsPath, mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    match act() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = name.parent() {
                std::fs::create_dir_all(folder)?;
                sync_folder(folder)?;
            }
            act()
        }
        result => result,
    }
}

/// Makes the entry of a name in its folder durable.
fn sync_folder(name: &FsPath) -> io::Result<()> {
    match name.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// What the writing of a batch needs and gives back.
#[derive(Debug)]
struct Sink {
    staged: Staged,
    hasher: Hasher,
}

impl Sink {
    fn take(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for part in batch {
            self.hasher.update(part);
        }
        // An empty part would look like a file that takes nothing any more.
        let parts = batch.iter().filter(|part| !part.is_empty());
        let mut slices: Vec<IoSlice<'_>> = parts.map(|part| IoSlice::new(part)).collect();
        let mut slices = slices.as_mut_slice();
        while !slices.is_empty() {
            match self.staged.file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut slices, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Content that is coming in. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Stage {
    /// None after a failure.
    work: Option<JoinHandle<io::Result<Sink>>>,
    batch: Vec<Bytes>,
    waiting: usize,
    received: u64,
    most: u64,
}

impl Stage {
    /// Takes in at most `most` bytes, and reckons their digests as `hasher` does.
    pub(crate) fn new(folder: PathBuf, hasher: Hasher, most: u64) -> Self {
        let work = spawn_blocking(move || Ok(Sink { staged: Staged::new(&folder)?, hasher }));
        Self { work: Some(work), batch: Vec::new(), waiting: 0, received: 0, most }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        self.received = self.received.saturating_add(part.len() as u64);
        if self.received > self.most {
            return Err(StoreError::Length { expected: self.most, found: self.received });
        }
        if part.is_empty() {
            return Ok(());
        }
        self.waiting += part.len();
        self.batch.push(part);
        if self.waiting >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn sink(&mut self) -> Result<Sink, StoreError> {
        let failed = || StoreError::io("write content")(io::ErrorKind::BrokenPipe.into());
        let joined = self.work.take().ok_or_else(failed)?.await;
        joined.map_err(io::Error::other).flatten().map_err(StoreError::io("write content"))
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut sink = self.sink().await?;
        let batch = std::mem::take(&mut self.batch);
        self.waiting = 0;
        self.work = Some(spawn_blocking(move || sink.take(&batch).map(|()| sink)));
        Ok(())
    }

    /// All content, at the beginning of its file, and its digests.
    pub(crate) async fn finish(mut self) -> Result<(Staged, ContentDigest), StoreError> {
        self.flush().await?;
        let Sink { mut staged, hasher } = self.sink().await?;
        staged.rewind().map_err(StoreError::io("read content"))?;
        Ok((staged, hasher.finish()))
    }
}
