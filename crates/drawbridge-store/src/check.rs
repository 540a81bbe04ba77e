// SPDX-License-Identifier: Apache-2.0

//! Checking a whole store.

use drawbridge_types::ContentDigest;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;

use crate::keys::{self, NodeName};
use crate::{BlobId, Store, StoreError};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Tags that were looked at.
    pub tags: u64,
    /// Nodes of their trees.
    pub nodes: u64,
    /// Contents.
    pub contents: u64,
    /// Bytes of contents that were read.
    pub bytes: u64,
    /// What is not as it should be, in the order in which it was found.
    pub faults: Vec<Fault>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The object's name in the store.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl Store {
    /// Looks at every tag, every node and every content; reads contents and reckons their digests
    /// only if `read` says so. Nothing is changed.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store fails; what is wrong in the store is no error.
    pub async fn check(&self, read: bool) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        let mut contents = self.0.place.objects.list(Some(&Path::from("blobs")));
        while let Some(found) = contents.try_next().await? {
            checked.contents += 1;
            let Some(blob) = found.location.filename().and_then(BlobId::from_hex) else {
                checked.fault(&found.location, "this is no name of a content");
                continue;
            };
            if read {
                checked.bytes += found.size;
                if self.digest(&blob, found.size).await? != Some(blob) {
                    checked.fault(&found.location, "the content has another digest");
                }
            }
        }
        drop(contents);
        let mut tags = self.0.place.objects.list(Some(&Path::from("tags")));
        while let Some(found) = tags.try_next().await? {
            let Some((tag, rest)) = keys::tag_of(&found.location) else {
                checked.fault(&found.location, "this is no name of a tag's record");
                continue;
            };
            if rest.first().map(String::as_str) != Some("entry") {
                continue;
            }
            checked.tags += 1;
            let record = match self.tag(&tag).await {
                Ok(Some((record, _))) => record,
                Ok(None) => continue,
                Err(StoreError::Damaged { key, why }) => {
                    checked.faults.push(Fault { key, what: why });
                    continue;
                }
                Err(error) => return Err(error),
            };
            for node in self.list(&tag.nodes()).await? {
                checked.nodes += 1;
                let Some(name) = NodeName::read(&node.location) else {
                    checked.fault(&node.location, "this is no name of a node");
                    continue;
                };
                match self.blob_length(&name.blob).await? {
                    None => checked.fault(&node.location, "its content is missing"),
                    Some(length) if length != name.length => {
                        checked.fault(&node.location, "its content has another length");
                    }
                    Some(_) => {}
                }
            }
            if self.has(&tag.key().join("complete")).await? {
                let (there, wanted) = match self.count_nodes(&tag, &record.entry).await {
                    Ok(counted) => counted,
                    Err(StoreError::Damaged { .. } | StoreError::Busy) => (0, 1),
                    Err(error) => return Err(error),
                };
                if there < wanted {
                    checked.fault(&tag.key(), "the tag counts as complete, and nodes are missing");
                }
            }
        }
        Ok(checked)
    }

    async fn digest(&self, blob: &BlobId, length: u64) -> Result<Option<BlobId>, StoreError> {
        let wanted = ContentDigest::single(drawbridge_types::Algorithm::Sha256, &blob.0);
        let Ok(mut hasher) = wanted.map(|wanted| wanted.hasher()) else { return Ok(None) };
        let mut parts = self.content(blob, 0..length).await?.into_stream();
        while let Some(part) = parts.next().await {
            hasher.update(&part?);
        }
        let found = hasher.finish();
        let digest = found.get(drawbridge_types::Algorithm::Sha256);
        Ok(digest.and_then(|digest| digest.try_into().ok()).map(BlobId))
    }
}

impl Checked {
    fn fault(&mut self, key: &Path, what: &str) {
        self.faults.push(Fault { key: key.to_string(), what: what.to_owned() });
    }
}
