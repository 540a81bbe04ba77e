// SPDX-License-Identifier: Apache-2.0

//! Content: taken in as a stream, kept by its digest, given out as a stream.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;
use drawbridge_types::{ContentDigest, Meta};
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _, unfold};
use object_store::{Error, GetOptions, GetRange, ObjectStoreExt as _, PutPayload};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::stage::{Stage, Staged, read_some};
use crate::{BlobId, Store, StoreError};

/// A bucket gets content in parts of so many bytes.
pub(crate) const PART: u64 = 8 << 20;
/// So much is read from a file at a time; the next part is read while one is sent.
const READ: u64 = 128 << 10;

/// Content that is coming in. Dropped before [`Incoming::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    stage: Stage,
    meta: Meta,
    also: Option<ContentDigest>,
}

/// Content that was taken in and is what it should be, but is not in the store yet.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) staged: Staged,
    pub(crate) length: u64,
    pub(crate) blob: BlobId,
}

impl Incoming {
    /// Takes in the next bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Length`] as soon as there are too many, [`StoreError::Full`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.stage.write(bytes).await
    }

    /// Whether what came is what it should be.
    pub(crate) async fn prove(self) -> Result<(Store, Proven), StoreError> {
        let Self { store, stage, meta, also } = self;
        let found = stage.received();
        if found != meta.length {
            return Err(StoreError::Length { expected: meta.length, found });
        }
        let (staged, digests) = stage.finish().await?;
        digests.check(&meta.digest)?;
        if let Some(also) = also {
            digests.check(&also)?;
        }
        let blob = BlobId::of(&meta)?;
        Ok((store, Proven { staged, length: found, blob }))
    }
}

impl Store {
    /// Begins to take in content that has to be what `meta` says, and to have the digests `also`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Content`] if no SHA-256 digest is stated.
    pub fn incoming(
        &self,
        meta: &Meta,
        also: Option<ContentDigest>,
    ) -> Result<Incoming, StoreError> {
        BlobId::of(meta)?;
        let algorithms = meta.digest.iter().chain(also.iter().flat_map(ContentDigest::iter));
        let algorithms = algorithms.map(|(algorithm, _)| algorithm);
        let stage = Stage::new(self.0.place.staging.clone(), algorithms, meta.length);
        Ok(Incoming { store: self.clone(), stage, meta: meta.clone(), also })
    }

    /// Puts content into its place, whether or not it is there: that it was written just now keeps it from
    /// being collected before a node names it.
    pub(crate) async fn place(&self, proven: Proven) -> Result<(), StoreError> {
        let Proven { mut staged, length, blob } = proven;
        let key = blob.key();
        if let Some(file) = self.0.place.file(&key) {
            let work = spawn_blocking(move || staged.rename(&file));
            let done = work.await.map_err(io::Error::other).flatten();
            return done.map_err(StoreError::io("write content"));
        }
        if length <= PART {
            let _part = self.part().await?;
            let (_, bytes) = read_part(staged, PART).await?;
            self.0.place.objects.put(&key, PutPayload::from(bytes)).await?;
            return Ok(());
        }
        let mut upload = self.0.place.objects.put_multipart(&key).await?;
        let mut result = Ok(());
        let mut left = length;
        while left > 0 && result.is_ok() {
            let permit = self.part().await?;
            let (back, bytes) = read_part(staged, PART).await?;
            staged = back;
            if bytes.is_empty() {
                result = Err(StoreError::io("read content")(io::ErrorKind::UnexpectedEof.into()));
                break;
            }
            left = left.saturating_sub(bytes.len() as u64);
            result = upload.put_part(PutPayload::from(bytes)).await.map_err(StoreError::from);
            drop(permit);
        }
        match result {
            Ok(()) => upload.complete().await.map(drop).map_err(StoreError::from),
            Err(error) => {
                // What cannot be given up is removed by the bucket's own rules for such uploads.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    pub(crate) async fn part(&self) -> Result<tokio::sync::SemaphorePermit<'_>, StoreError> {
        self.0.parts.acquire().await.map_err(|_| StoreError::Busy)
    }

    /// The length of a content, if it is there.
    pub(crate) async fn blob_length(&self, blob: &BlobId) -> Result<Option<u64>, StoreError> {
        match self.0.place.objects.head(&blob.key()).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Some of a content, as a stream.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] if it is not there: it was, when the caller learned of it.
    pub async fn content(&self, blob: &BlobId, range: Range<u64>) -> Result<Content, StoreError> {
        let key = blob.key();
        if let Some(path) = self.0.place.file(&key) {
            let Range { start, end } = range;
            let length = end.saturating_sub(start);
            let work = spawn_blocking(move || {
                let mut file = File::open(path)?;
                if start > 0 {
                    file.seek(SeekFrom::Start(start))?;
                }
                let first = read_some(&mut file, length.min(READ))?;
                Ok((file, first))
            });
            let (file, first) = match work.await.map_err(io::Error::other).flatten() {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(StoreError::Busy);
                }
                Err(error) => return Err(StoreError::io("read content")(error)),
            };
            return Ok(Content(from_file(file, first, length)));
        }
        if range.is_empty() {
            return Ok(Content(futures_util::stream::empty().boxed()));
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        match self.0.place.objects.get_opts(&key, options).await {
            Ok(found) => Ok(Content(found.into_stream().map_err(StoreError::from).boxed())),
            Err(Error::NotFound { .. }) => Err(StoreError::Busy),
            Err(error) => Err(error.into()),
        }
    }
}

/// A content on its way out.
pub struct Content(BoxStream<'static, Result<Bytes, StoreError>>);

impl Content {
    /// As a stream. It ends early only with an error.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, StoreError>> {
        self.0
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").finish_non_exhaustive()
    }
}

type Reading = JoinHandle<io::Result<(File, Vec<u8>)>>;

fn from_file(
    file: File,
    first: Vec<u8>,
    length: u64,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    enum State {
        Ready(File, Vec<u8>, u64),
        Reading(Reading, u64),
        Done,
    }
    unfold(State::Ready(file, first, length), |state| async {
        let (file, part, left) = match state {
            State::Done => return None,
            State::Ready(file, part, left) => (file, part, left),
            State::Reading(work, left) => match work.await.map_err(io::Error::other).flatten() {
                Ok((file, part)) => (file, part, left),
                Err(error) => {
                    return Some((Err(StoreError::io("read content")(error)), State::Done));
                }
            },
        };
        if left == 0 {
            return None;
        }
        if part.is_empty() {
            let short = io::ErrorKind::UnexpectedEof.into();
            return Some((Err(StoreError::io("read content")(short)), State::Done));
        }
        let left = left.saturating_sub(part.len() as u64);
        let next = if left == 0 { State::Done } else { State::Reading(read(file, left), left) };
        Some((Ok(Bytes::from(part)), next))
    })
    .boxed()
}

fn read(mut file: File, left: u64) -> Reading {
    spawn_blocking(move || {
        let part = read_some(&mut file, left.min(READ))?;
        Ok((file, part))
    })
}

/// The next part of a staged file.
pub(crate) async fn read_part(
    mut staged: Staged,
    most: u64,
) -> Result<(Staged, Vec<u8>), StoreError> {
    let work = spawn_blocking(move || staged.read(most).map(|bytes| (staged, bytes)));
    work.await.map_err(io::Error::other).flatten().map_err(StoreError::io("read content"))
}
