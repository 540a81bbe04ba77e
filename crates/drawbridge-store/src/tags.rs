// SPDX-License-Identifier: Apache-2.0

//! Tags: created once, never changed; withdrawn, found by ranges, deleted for ever.

use std::collections::BTreeMap;

use drawbridge_types::{Entry, TagRequest, TagSummary, media};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::record::Revision;
use crate::{RepoId, Store, StoreError, TagId};

/// Tags that are read at the same time for a list.
const AT_ONCE: usize = 8;
/// Longest sidecar in bytes.
const MAX_SIGNATURE: u64 = 1 << 20;

/// A tag as it was put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagRecord {
    /// Media type of the body.
    pub kind: String,
    /// What was put, byte for byte: an entry as JSON, or a JSON Web Signature around one.
    pub body: String,
    /// The entry in it.
    pub entry: Entry,
    /// When it was put, in seconds since 1970.
    pub created: u64,
}

/// What its owner says of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TagState {
    /// Whether it is withdrawn: found by its exact version only.
    pub yanked: bool,
}

/// What the names of a tag's records say.
#[derive(Debug, Clone, Copy, Default)]
struct Listed {
    entry: bool,
    complete: bool,
    state: bool,
}

impl Store {
    async fn state(&self, tag: &TagId) -> Result<Option<(u64, Revision<TagState>)>, StoreError> {
        self.latest(&tag.key().join("state")).await
    }

    /// A tag, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError`], here and below: if the store fails.
    pub async fn tag(&self, tag: &TagId) -> Result<Option<(TagRecord, TagState)>, StoreError> {
        let state = match self.state(tag).await? {
            Some((_, Revision::Deleted)) => return Ok(None),
            Some((_, Revision::Live { value })) => value,
            None => TagState::default(),
        };
        let record = self.record(&tag.key().join("entry")).await?;
        Ok(record.map(|record| (record, state)))
    }

    /// Creates a tag. Its tree is still empty.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`], [`StoreError::Deleted`], [`StoreError::Quota`].
    pub async fn create_tag(&self, tag: &TagId, record: &TagRecord) -> Result<(), StoreError> {
        if let Some((_, Revision::Deleted)) = self.state(tag).await? {
            return Err(StoreError::Deleted("the tag"));
        }
        let key = tag.key().join("entry");
        if self.has(&key).await? {
            return Err(StoreError::Exists("the tag"));
        }
        self.charge_tag(&tag.repo.user).await?;
        match self.create_record(&key, record).await? {
            true => Ok(()),
            false => Err(StoreError::Exists("the tag")),
        }
    }

    /// Withdraws a tag, or undoes that.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`].
    pub async fn yank(&self, tag: &TagId, yanked: bool) -> Result<(), StoreError> {
        if !self.has(&tag.key().join("entry")).await? {
            return Err(StoreError::Missing("tag"));
        }
        self.change_state(tag, &Revision::Live { value: TagState { yanked } }).await
    }

    /// Deletes a tag. Its version is not given out again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`].
    pub async fn delete_tag(&self, tag: &TagId) -> Result<(), StoreError> {
        if !self.has(&tag.key().join("entry")).await? {
            return Err(StoreError::Missing("tag"));
        }
        self.change_state(tag, &Revision::Deleted).await?;
        self.remove_all(&tag.nodes()).await?;
        self.forget_usage(&tag.repo.user);
        Ok(())
    }

    async fn change_state(&self, tag: &TagId, to: &Revision<TagState>) -> Result<(), StoreError> {
        let row = tag.key().join("state");
        loop {
            let next = match self.state(tag).await? {
                Some((_, Revision::Deleted)) => return Err(StoreError::Missing("tag")),
                Some((_, state)) if state == *to => return Ok(()),
                Some((number, _)) => number + 1,
                None => 0,
            };
            if self.push(&row, next, to).await? {
                return Ok(());
            }
        }
    }

    /// Whether all nodes of a tag's tree are there. Until then it is not found by anything but its version.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn is_complete(&self, tag: &TagId, entry: &Entry) -> Result<bool, StoreError> {
        let key = tag.key().join("complete");
        if self.has(&key).await? {
            return Ok(true);
        }
        let (there, wanted) = self.count_nodes(tag, entry).await?;
        if there < wanted {
            return Ok(false);
        }
        self.create(&key, Vec::new()).await?;
        Ok(true)
    }

    /// The tag that is asked for: the highest version of those that match, of which all nodes are there and
    /// which is not withdrawn; with an exact version, that one, withdrawn or not.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn resolve(
        &self,
        repo: &RepoId,
        request: &TagRequest,
    ) -> Result<Option<(TagId, TagRecord, TagState)>, StoreError> {
        if let TagRequest::Exact(version) = request {
            let tag = repo.tag(version.clone());
            return match self.tag(&tag).await? {
                Some((record, state)) if self.is_complete(&tag, &record.entry).await? => {
                    Ok(Some((tag, record, state)))
                }
                _ => Ok(None),
            };
        }
        for (version, listed) in self.listed(repo).await?.into_iter().rev() {
            if !listed.entry || !request.matches(&version) {
                continue;
            }
            let tag = repo.tag(version);
            if let Some((record, state)) = self.tag(&tag).await?
                && !state.yanked
                && (listed.complete || self.is_complete(&tag, &record.entry).await?)
            {
                return Ok(Some((tag, record, state)));
            }
        }
        Ok(None)
    }

    async fn listed(&self, repo: &RepoId) -> Result<BTreeMap<Version, Listed>, StoreError> {
        let mut tags: BTreeMap<Version, Listed> = BTreeMap::new();
        for found in self.list(&repo.tags()).await? {
            let Some((tag, rest)) = crate::keys::tag_of(&found.location) else { continue };
            let listed = tags.entry(tag.tag).or_default();
            match rest.first().map(String::as_str) {
                Some("entry") => listed.entry = true,
                Some("complete") => listed.complete = true,
                Some("state") => listed.state = true,
                _ => {}
            }
        }
        Ok(tags)
    }

    /// The versions of a repository in their order, also of tags that are withdrawn or not complete.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn versions(&self, repo: &RepoId) -> Result<Vec<Version>, StoreError> {
        let mut out = Vec::new();
        for (version, listed) in self.listed(repo).await? {
            let tag = repo.tag(version);
            let is_deleted =
                listed.state && matches!(self.state(&tag).await?, Some((_, Revision::Deleted)));
            if listed.entry && !is_deleted {
                out.push(tag.tag);
            }
        }
        Ok(out)
    }

    /// Tags after a version, at most `limit`, and whether there are more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn tags(
        &self,
        repo: &RepoId,
        after: Option<&Version>,
        limit: usize,
    ) -> Result<(Vec<TagSummary>, bool), StoreError> {
        let mut versions = self.versions(repo).await?;
        versions.retain(|version| after.is_none_or(|after| version > after));
        let more = versions.len() > limit;
        versions.truncate(limit);
        let read = versions.into_iter().map(|version| {
            let (store, tag) = (self.clone(), repo.tag(version));
            async move {
                let Some((record, state)) = store.tag(&tag).await? else { return Ok(None) };
                let signed = record.kind == media::JWS || store.has(&tag.signature()).await?;
                let (meta, yanked) = (record.entry.meta, state.yanked);
                Ok::<_, StoreError>(Some(TagSummary { tag: tag.tag, meta, signed, yanked }))
            }
        });
        let read = stream::iter(read).buffered(AT_ONCE);
        let tags: Vec<_> = read.try_filter_map(async |one| Ok(one)).try_collect().await?;
        Ok((tags, more))
    }

    /// Puts a sidecar beside a tag, once.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`].
    pub async fn create_signature(&self, tag: &TagId, bytes: Vec<u8>) -> Result<(), StoreError> {
        match self.create(&tag.signature(), bytes).await? {
            true => Ok(()),
            false => Err(StoreError::Exists("the signature")),
        }
    }

    /// The sidecar of a tag.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn signature(&self, tag: &TagId) -> Result<Option<Vec<u8>>, StoreError> {
        self.small(&tag.signature(), MAX_SIGNATURE).await
    }

    /// Removes all objects under a name.
    pub(crate) async fn remove_all(
        &self,
        prefix: &object_store::path::Path,
    ) -> Result<(), StoreError> {
        let removing = self.list(prefix).await?.into_iter().map(|one| {
            let store = self.clone();
            async move { store.remove(&one.location).await }
        });
        stream::iter(removing).buffer_unordered(AT_ONCE).try_collect().await
    }
}
