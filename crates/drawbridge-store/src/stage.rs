// SPDX-License-Identifier: Apache-2.0

//! Content on its way in: written to a file, hashed and counted while it comes, and made visible at once or
//! not at all.
//!
//! The file lies in the store's own folder, so that it is renamed into its place; for a bucket it lies in
//! the system's folder for such files, so that no client, however slow, holds memory. What a killed process
//! leaves in the store's folder is removed by the next collection of garbage; in a folder that others use
//! too, nothing is ever looked for, because the files have no names there.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use drawbridge_types::{Algorithm, ContentDigest, Hasher, Mismatch};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::StoreError;

/// So much is written at a time, and at most twice as much waits: what a client that sends takes. More is
/// hardly quicker, and with many clients it takes memory.
const BATCH: usize = 128 << 10;
/// So many parts are written at a time, whatever they have: a client that sends byte by byte must not take
/// more than one that does not.
const PARTS: usize = 1024;

/// Where content is written while it comes in.
#[derive(Debug, Clone)]
pub(crate) enum Staging {
    /// A folder of the store's own, on the file system where files get their names in the end.
    Own(PathBuf),
    /// A folder that others use too.
    Shared(PathBuf),
}

/// A file that vanishes with the value, unless it is kept.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) file: File,
    path: Option<PathBuf>,
}

impl Staged {
    fn new(staging: &Staging) -> io::Result<Self> {
        let (Staging::Own(folder) | Staging::Shared(folder)) = staging;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("drawbridge-{}-{next}-{nanos:x}", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut staged = Self { file: options.open(&path)?, path: Some(path) };
        if cfg!(unix) && matches!(staging, Staging::Shared(_)) {
            // The file stays as long as it is open.
            staged.path.as_ref().map_or(Ok(()), std::fs::remove_file)?;
            staged.path = None;
        }
        Ok(staged)
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

/// One of the works on each batch, which go on side by side: without that, the four digests that a
/// package is published with would take longer than all the rest.
#[derive(Debug)]
struct Lane {
    /// The first lane writes.
    staged: Option<Staged>,
    hasher: Hasher,
}

impl Lane {
    fn take(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for part in batch {
            self.hasher.update(part);
        }
        match &mut self.staged {
            Some(staged) => write(&mut staged.file, batch),
            None => Ok(()),
        }
    }
}

fn write(file: &mut File, batch: &[Bytes]) -> io::Result<()> {
    // An empty part would look like a file that takes nothing any more.
    let parts = batch.iter().filter(|part| !part.is_empty());
    let mut slices: Vec<IoSlice<'_>> = parts.map(|part| IoSlice::new(part)).collect();
    let mut slices = slices.as_mut_slice();
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Somebody goes on after a failure.
fn broken() -> StoreError {
    StoreError::io("write content")(io::ErrorKind::BrokenPipe.into())
}

/// What each lane reckons. Digests on words of 64 bits take more than twice as long as the others where the
/// processor has instructions for those, so that one of them takes about as long as the first lane.
fn lanes(algorithms: impl IntoIterator<Item = Algorithm>) -> (Hasher, Vec<Hasher>) {
    let all: BTreeSet<Algorithm> = algorithms.into_iter().collect();
    let is_slow = |one: &Algorithm| matches!(one, Algorithm::Sha384 | Algorithm::Sha512);
    let (slow, quick): (Vec<_>, Vec<_>) = all.into_iter().partition(is_slow);
    (Hasher::new(quick), slow.into_iter().map(|one| Hasher::new([one])).collect())
}

/// The digests of a content, as the lanes found them.
#[derive(Debug)]
pub(crate) struct Digests(Vec<ContentDigest>);

impl Digests {
    /// Whether all of `wanted` were found.
    pub(crate) fn check(&self, wanted: &ContentDigest) -> Result<(), Mismatch> {
        for (algorithm, digest) in wanted.iter() {
            if !self.0.iter().any(|found| found.get(algorithm) == Some(digest)) {
                return Err(Mismatch(algorithm));
            }
        }
        Ok(())
    }
}

/// Content that is coming in. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Stage {
    /// None after a failure.
    work: Vec<JoinHandle<io::Result<Lane>>>,
    batch: Vec<Bytes>,
    waiting: usize,
    received: u64,
    most: u64,
}

impl Stage {
    /// Takes in at most `most` bytes, and reckons their digests by these algorithms.
    pub(crate) fn new(
        staging: Staging,
        algorithms: impl IntoIterator<Item = Algorithm>,
        most: u64,
    ) -> Self {
        let (hasher, others) = lanes(algorithms);
        let first =
            spawn_blocking(move || Ok(Lane { staged: Some(Staged::new(&staging)?), hasher }));
        let others = others
            .into_iter()
            .map(|hasher| spawn_blocking(move || Ok(Lane { staged: None, hasher })));
        let work = std::iter::once(first).chain(others).collect();
        Self { work, batch: Vec::new(), waiting: 0, received: 0, most }
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
        let is_full = self.waiting >= BATCH || self.batch.len() >= PARTS;
        if is_full { self.flush().await } else { Ok(()) }
    }

    /// The lanes, once all of them are done with the last batch.
    async fn lanes(&mut self) -> Result<Vec<Lane>, StoreError> {
        if self.work.is_empty() {
            return Err(broken());
        }
        let mut lanes = Vec::with_capacity(self.work.len());
        for work in std::mem::take(&mut self.work) {
            let joined = work.await.map_err(io::Error::other).flatten();
            lanes.push(joined.map_err(StoreError::io("write content"))?);
        }
        Ok(lanes)
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let lanes = self.lanes().await?;
        let batch: Arc<[Bytes]> = std::mem::take(&mut self.batch).into();
        self.waiting = 0;
        let work = lanes.into_iter().map(|mut lane| {
            let batch = Arc::clone(&batch);
            spawn_blocking(move || lane.take(&batch).map(|()| lane))
        });
        self.work = work.collect();
        Ok(())
    }

    /// All content, at the beginning of its file, and its digests.
    pub(crate) async fn finish(mut self) -> Result<(Staged, Digests), StoreError> {
        self.flush().await?;
        let (mut staged, mut digests) = (None, Vec::new());
        for lane in self.lanes().await? {
            staged = staged.or(lane.staged);
            digests.push(lane.hasher.finish());
        }
        let mut staged: Staged = staged.ok_or_else(broken)?;
        staged.rewind().map_err(StoreError::io("read content"))?;
        Ok((staged, Digests(digests)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many parts of uneven length, empty ones among them.
    fn parts(count: usize) -> Vec<Bytes> {
        (0..count).map(|one| Bytes::from(vec![one as u8; one * 7 % 1000])).collect()
    }

    async fn staged(folder: &FsPath, parts: &[Bytes]) -> (Vec<u8>, Digests) {
        let mut stage = Stage::new(Staging::Own(folder.to_path_buf()), Algorithm::ALL, 1 << 30);
        for part in parts {
            stage.write(part.clone()).await.unwrap();
        }
        let (mut staged, digests) = stage.finish().await.unwrap();
        (staged.read(1 << 30).unwrap(), digests)
    }

    #[tokio::test]
    async fn all_lanes_see_all_content_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for count in [0, 1, 2, PARTS - 1, PARTS, 3 * PARTS] {
            let parts = parts(count);
            let content = parts.concat();
            let (found, digests) = staged(folder.path(), &parts).await;
            assert!(found == content, "{count}");
            assert_eq!(digests.check(&ContentDigest::of(&content)), Ok(()), "{count}");
            for algorithm in Algorithm::ALL {
                let other = ContentDigest::single(algorithm, &vec![0; algorithm.size()]).unwrap();
                assert_eq!(digests.check(&other), Err(Mismatch(algorithm)));
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn single_bytes_are_written_before_there_are_many() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage =
            Stage::new(Staging::Own(folder.path().to_path_buf()), Algorithm::ALL, 1 << 20);
        for _ in 0..10 * PARTS {
            stage.write(Bytes::from_static(b"x")).await.unwrap();
            assert!(stage.batch.len() < PARTS);
        }
        let (mut staged, _) = stage.finish().await.unwrap();
        assert!(staged.read(1 << 20).unwrap() == vec![b'x'; 10 * PARTS]);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_folder_that_others_use_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::Shared(folder.path().to_path_buf());
        let mut stage = Stage::new(staging, Algorithm::ALL, 1 << 20);
        stage.write(Bytes::from_static(b"content")).await.unwrap();
        stage.flush().await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let (mut staged, _) = stage.finish().await.unwrap();
        assert_eq!(staged.read(1 << 20).unwrap(), b"content");
        // It never gets a name.
        assert!(!staged.link(&folder.path().join("name")).unwrap());
    }

    #[tokio::test]
    async fn nobody_goes_on_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let mut stage = Stage::new(Staging::Own(missing), Algorithm::ALL, 1 << 20);
        assert!(stage.flush().await.is_err());
        stage.write(Bytes::from_static(b"x")).await.unwrap();
        assert!(stage.finish().await.is_err());
    }
}
