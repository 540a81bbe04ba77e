// SPDX-License-Identifier: Apache-2.0

//! Trees of tags: each node is what the directory above says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drawbridge_types::{Directory, Entry, MAX_DIRECTORY, Meta, TreePath, media};

use crate::blob::{Incoming, Proven, read_part};
use crate::keys::NodeName;
use crate::usage::Charge;
use crate::{BlobId, Store, StoreError, TagId};

/// Longest directory that is remembered, and how many are: 4 MiB at most.
const REMEMBERED: (usize, usize) = (64 << 10, 64);
/// Longest media type in bytes.
const MAX_TYPE: usize = 255;
/// So often, and at such intervals, it is looked whether content comes back that a collection moved away.
const PATIENCE: (u32, Duration) = (20, Duration::from_millis(100));

/// Directories that were read last. They are named by their digests, so that they never grow old.
#[derive(Debug, Default)]
pub(crate) struct Directories(Mutex<VecDeque<(BlobId, Arc<Directory>)>>);

impl Directories {
    fn get(&self, blob: &BlobId) -> Option<Arc<Directory>> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|(one, _)| one == blob).map(|(_, directory)| Arc::clone(directory))
    }

    fn put(&self, blob: BlobId, directory: &Arc<Directory>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(one, _)| *one != blob);
        list.truncate(REMEMBERED.1.saturating_sub(1));
        list.push_front((blob, Arc::clone(directory)));
    }
}

/// Whether a meta is one that a tree can have.
///
/// # Errors
///
/// [`StoreError::Content`].
fn check_meta(meta: &Meta) -> Result<(), StoreError> {
    BlobId::of(meta)?;
    let is_type = meta.kind.len() <= MAX_TYPE
        && meta.kind.contains('/')
        && meta.kind.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !is_type {
        return Err(StoreError::Content("an entry's type is no media type".into()));
    }
    if meta.kind == media::DIRECTORY && meta.length > MAX_DIRECTORY as u64 {
        return Err(StoreError::Content(format!("a directory has at most {MAX_DIRECTORY} bytes")));
    }
    Ok(())
}

impl Store {
    /// Whether an entry is one that a tag can have.
    ///
    /// # Errors
    ///
    /// [`StoreError::Content`].
    pub fn check_entry(entry: &Entry) -> Result<(), StoreError> {
        check_meta(&entry.meta)
    }

    pub(crate) async fn directory(&self, meta: &Meta) -> Result<Arc<Directory>, StoreError> {
        let blob = BlobId::of(meta)?;
        if let Some(directory) = self.0.directories.get(&blob) {
            return Ok(directory);
        }
        let key = blob.key();
        let bytes = self.small(&key, MAX_DIRECTORY as u64).await?.ok_or(StoreError::Busy)?;
        let directory = Directory::from_bytes(&bytes)
            .map(Arc::new)
            .map_err(|error| crate::record::damaged(&key, error))?;
        if bytes.len() <= REMEMBERED.0 {
            self.0.directories.put(blob, &directory);
        }
        Ok(directory)
    }

    /// What a node has to be, as the directories above it say. The node itself need not be there.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoParent`], [`StoreError::NotInParent`].
    pub async fn expected(
        &self,
        tag: &TagId,
        root: &Entry,
        path: &TreePath,
    ) -> Result<Meta, StoreError> {
        let mut meta = root.meta.clone();
        let mut at = TreePath::default();
        for name in path.names() {
            if meta.kind != media::DIRECTORY {
                return Err(StoreError::NotInParent);
            }
            // Whoever only knows the digest of a directory must not read it by way of a tag of their own.
            if !self.has(&tag.node(&at, &meta)?).await? {
                return Err(StoreError::NoParent);
            }
            let directory = self.directory(&meta).await?;
            meta = directory.get(name.as_str()).ok_or(StoreError::NotInParent)?.meta.clone();
            at = at.join(name.clone());
        }
        Ok(meta)
    }

    /// Whether a node was put, and its content is there.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn has_node(
        &self,
        tag: &TagId,
        path: &TreePath,
        meta: &Meta,
    ) -> Result<bool, StoreError> {
        Ok(self.has(&tag.node(path, meta)?).await?
            && self.blob_length(&BlobId::of(meta)?).await?.is_some())
    }

    /// Whether there is room for a node that is about to be put. What comes by way of an upload counts
    /// already.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] if it is there already, [`StoreError::Quota`].
    pub async fn admit_node(
        &self,
        tag: &TagId,
        path: &TreePath,
        meta: &Meta,
        counts_already: bool,
    ) -> Result<Admission, StoreError> {
        if self.has_node(tag, path, meta).await? {
            return Err(StoreError::Exists("the node"));
        }
        let bytes = if counts_already { 0 } else { meta.length };
        let charge = self.charge_bytes(&tag.repo.user, bytes).await?;
        Ok(Admission(charge))
    }

    /// Puts a node whose content has come in. Whether the tag is complete by that.
    ///
    /// # Errors
    ///
    /// [`StoreError::Length`], [`StoreError::Digest`], [`StoreError::Content`], [`StoreError::Exists`].
    pub async fn put_node(
        tag: &TagId,
        root: &Entry,
        path: &TreePath,
        incoming: Incoming,
        meta: &Meta,
        admission: Admission,
    ) -> Result<bool, StoreError> {
        let (store, mut proven) = incoming.prove().await?;
        if meta.kind == media::DIRECTORY {
            proven = store.check_directory(tag, root, proven).await?;
        }
        let blob = proven.blob;
        store.place(proven).await?;
        let node = tag.node(path, meta)?;
        let is_new = store.create(&node, Vec::new()).await?;
        if let Err(error) = store.await_blob(&blob).await {
            // Only if this took longer than content is left alone.
            if is_new {
                store.remove(&node).await?;
            }
            return Err(error);
        }
        admission.0.keep();
        let complete = store.is_complete(tag, root).await?;
        if is_new { Ok(complete) } else { Err(StoreError::Exists("the node")) }
    }

    /// A collection of garbage that began before the node was there may have moved the content away; now
    /// that the node is there, it brings it back.
    async fn await_blob(&self, blob: &BlobId) -> Result<(), StoreError> {
        for _ in 0..PATIENCE.0 {
            if self.blob_length(blob).await?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(PATIENCE.1).await;
        }
        Err(StoreError::Busy)
    }

    async fn check_directory(
        &self,
        tag: &TagId,
        root: &Entry,
        proven: Proven,
    ) -> Result<Proven, StoreError> {
        let Proven { staged, length, blob } = proven;
        let (mut staged, bytes) = read_part(staged, MAX_DIRECTORY as u64 + 1).await?;
        staged.rewind().map_err(StoreError::io("read content"))?;
        let directory = Directory::from_bytes(&bytes)
            .map_err(|error| StoreError::Content(error.to_string()))?;
        for entry in directory.entries().values() {
            check_meta(&entry.meta)?;
        }
        let (_, wanted) = self.count_nodes(tag, root).await?;
        let limit = self.quotas().nodes;
        if wanted.saturating_add(directory.entries().len() as u64) > limit {
            return Err(StoreError::Quota { what: "nodes of a tree", limit });
        }
        Ok(Proven { staged, length, blob })
    }

    /// How many nodes of a tree were put, and how many there are to be, as far as directories say so.
    pub(crate) async fn count_nodes(
        &self,
        tag: &TagId,
        root: &Entry,
    ) -> Result<(u64, u64), StoreError> {
        let (mut there, mut wanted) = (0, 1);
        for found in self.list(&tag.nodes()).await? {
            let Some(name) = NodeName::read(&found.location) else { continue };
            there += 1;
            if name.is_directory {
                // The root's meta has the type; of the others only the digest and length matter.
                let meta = Meta {
                    digest: drawbridge_types::ContentDigest::single(
                        drawbridge_types::Algorithm::Sha256,
                        &name.blob.0,
                    )
                    .map_err(|error| StoreError::Content(error.to_string()))?,
                    length: name.length,
                    kind: root.meta.kind.clone(),
                };
                wanted += self.directory(&meta).await?.entries().len() as u64;
            }
        }
        Ok((there, wanted))
    }
}

/// The right to put a node, as far as room goes; given back when it is dropped.
#[derive(Debug)]
pub struct Admission(Charge);
