// SPDX-License-Identifier: Apache-2.0

//! Uploads that can be taken up again, by any server on the store.
//!
//! What has come is kept in pieces, each named by its first byte and created if absent. So two that
//! send the same part at once do not mix: whose piece comes second is refused, and pieces never overlap.

use std::io;

use bytes::Bytes;
use drawbridge_types::{ContentDigest, Meta, TreePath, UserName};
use futures_util::StreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::blob::{PART, read_part};
use crate::stage::Stage;
use crate::usage::Charge;
use crate::{Store, StoreError, TagId};

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadId {
    /// Whose, so that it counts against their quota.
    user: UserName,
    id: String,
}

impl UploadId {
    /// From 16 random bytes.
    #[must_use]
    pub fn new(user: &UserName, random: [u8; 16]) -> Self {
        Self { user: user.clone(), id: crate::keys::hex(&random) }
    }

    /// From its text, if it is one.
    #[must_use]
    pub fn read(user: &UserName, text: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_id = text.len() == 32 && text.bytes().all(is_hex);
        is_id.then(|| Self { user: user.clone(), id: text.to_owned() })
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.id
    }

    pub(crate) fn of_user(user: &UserName) -> Path {
        Path::from(format!("uploads/{user}"))
    }

    pub(crate) fn key(&self) -> Path {
        Self::of_user(&self.user).join(self.id.as_str())
    }

    fn piece(&self, offset: u64) -> Path {
        self.key().join(format!("{offset:020}"))
    }
}

/// What an upload is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// `user/repo/tag`.
    pub tag: String,
    /// The path in the tree.
    pub path: String,
    /// What the content has to be.
    pub meta: Meta,
    /// Digests that the client stated besides.
    pub also: Option<ContentDigest>,
}

impl About {
    /// An upload for that node.
    #[must_use]
    pub fn new(tag: &TagId, path: &TreePath, meta: Meta, also: Option<ContentDigest>) -> Self {
        Self { tag: Self::tag(tag), path: path.to_string(), meta, also }
    }

    fn tag(tag: &TagId) -> String {
        format!("{}/{}/{}", tag.repo.user, tag.repo.repo, tag.tag)
    }

    /// Whether it is for that tag.
    #[must_use]
    pub fn is_for(&self, tag: &TagId) -> bool {
        self.tag == Self::tag(tag)
    }
}

impl Store {
    /// Begins an upload.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] if there is one of that name.
    pub async fn begin_upload(&self, id: &UploadId, about: &About) -> Result<(), StoreError> {
        match self.create_record(&id.key().join("about"), about).await? {
            true => Ok(()),
            false => Err(StoreError::Exists("the upload")),
        }
    }

    /// What an upload is for, and how many bytes have come.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn upload(&self, id: &UploadId) -> Result<Option<(About, u64)>, StoreError> {
        let Some(about) = self.record(&id.key().join("about")).await? else { return Ok(None) };
        let pieces = self.pieces(id).await?;
        Ok(Some((about, pieces.last().map_or(0, |(offset, length)| offset + length))))
    }

    /// First byte and length of the pieces, without a gap.
    async fn pieces(&self, id: &UploadId) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut pieces = Vec::new();
        let mut end = 0;
        for found in self.list(&id.key()).await? {
            let offset = found.location.filename().and_then(|name| name.parse::<u64>().ok());
            let Some(offset) = offset else { continue };
            if offset != end {
                break;
            }
            pieces.push((offset, found.size));
            end = offset.saturating_add(found.size);
        }
        Ok(pieces)
    }

    /// Appends to an upload of which `offset` bytes have come and at most `most` are to come.
    ///
    /// # Errors
    ///
    /// [`StoreError::Quota`].
    pub async fn append(
        &self,
        id: &UploadId,
        offset: u64,
        most: u64,
    ) -> Result<Appender, StoreError> {
        let charge = self.charge_bytes(&id.user, most).await?;
        let id = id.clone();
        Ok(Appender { store: self.clone(), id, offset, left: most, stage: None, charge })
    }

    /// All of an upload as content that comes in.
    ///
    /// # Errors
    ///
    /// [`StoreError::Length`], and those of [`crate::Incoming::write`].
    pub async fn finish_upload(
        &self,
        id: &UploadId,
        about: &About,
    ) -> Result<crate::Incoming, StoreError> {
        let mut incoming = self.incoming(&about.meta, about.also.clone())?;
        for (offset, _) in self.pieces(id).await? {
            let piece = self.0.place.objects.get(&id.piece(offset)).await?;
            let mut parts = piece.into_stream();
            while let Some(part) = parts.next().await {
                incoming.write(part?).await?;
            }
        }
        Ok(incoming)
    }

    /// Removes an upload and its pieces.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn remove_upload(&self, id: &UploadId) -> Result<(), StoreError> {
        // First what it is for: without that, nobody goes on with it.
        self.remove(&id.key().join("about")).await?;
        self.remove_all(&id.key()).await?;
        self.forget_usage(&id.user);
        Ok(())
    }
}

/// Takes in what follows. What was not committed is lost with the value; the rest stays.
#[derive(Debug)]
pub struct Appender {
    store: Store,
    id: UploadId,
    offset: u64,
    left: u64,
    stage: Option<Stage>,
    charge: Charge,
}

impl Appender {
    /// Takes in the next bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Length`] if there are too many, [`StoreError::Offset`] if somebody else goes on with
    /// the upload, [`StoreError::Full`].
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let staging = &self.store.0.place.staging;
            let stage = self.stage.get_or_insert_with(|| Stage::new(staging.clone(), [], PART));
            let room = usize::try_from(PART.saturating_sub(stage.received())).unwrap_or(0);
            let part = bytes.split_to(room.min(bytes.len()));
            let count = part.len() as u64;
            if count > self.left {
                return Err(StoreError::Length { expected: self.left, found: count });
            }
            self.left -= count;
            stage.write(part).await?;
            if stage.received() >= PART {
                self.commit().await?;
            }
        }
        Ok(())
    }

    /// Keeps what has come so far; how many bytes of the upload have come now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Offset`] if somebody else goes on with the upload.
    pub async fn commit(&mut self) -> Result<u64, StoreError> {
        let Some(stage) = self.stage.take() else { return Ok(self.offset) };
        let length = stage.received();
        if length == 0 {
            return Ok(self.offset);
        }
        let (staged, _) = stage.finish().await?;
        let key = self.id.piece(self.offset);
        let created = if let Some(file) = self.store.0.place.file(&key) {
            let work = spawn_blocking(move || staged.link(&file));
            let done = work.await.map_err(io::Error::other).flatten();
            done.map_err(StoreError::io("write content"))?
        } else {
            let _part = self.store.part().await?;
            let (_, bytes) = read_part(staged, PART).await?;
            self.store.create(&key, bytes).await?
        };
        if !created {
            return Err(StoreError::Offset(self.offset));
        }
        self.charge.keep_some(length);
        self.offset = self.offset.saturating_add(length);
        Ok(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_uploads_lead_nowhere_else() {
        let user = "alice".parse().unwrap();
        let id = UploadId::new(&user, [0xab; 16]);
        assert_eq!(UploadId::read(&user, id.as_str()), Some(id));
        for text in
            ["", "..", &"A".repeat(32), &"a".repeat(33), "../../../../../../../../../../etc"]
        {
            assert_eq!(UploadId::read(&user, text), None, "{text}");
        }
    }
}
