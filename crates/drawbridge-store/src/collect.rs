// SPDX-License-Identifier: Apache-2.0

//! Collecting garbage, beside uploads and beside other collections.

use std::collections::{BTreeMap, HashSet};
use std::path::Path as FsPath;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use drawbridge_types::{Repository, UserName, UserRecord};
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStoreExt as _};
use tokio::task::spawn_blocking;

use crate::keys::{self, NodeName};
use crate::record::Revision;
use crate::stage::Staging;
use crate::uploads::UploadId;
use crate::{BlobId, Store, StoreError, TagId, TagState};

/// How old something has to be before it can be garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// Content that no node names. Longer than any request takes.
    pub content: Duration,
    /// Uploads to which nothing was added.
    pub uploads: Duration,
    /// Files of writes that did not end.
    pub files: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { content: day, uploads: day, files: day }
    }
}

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Contents that stay.
    pub kept: u64,
    /// Contents that are gone.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records of what was deleted.
    pub records: u64,
    /// Uploads that were given up.
    pub uploads: u64,
    /// Files that killed processes left.
    pub files: u64,
}

/// What is live, as far as records say.
#[derive(Debug, Default)]
struct Marks {
    blobs: HashSet<BlobId>,
    /// Records of what was deleted.
    stale: Vec<Path>,
}

impl Store {
    /// Removes what nothing names any more, what was given up, and what killed processes left.
    ///
    /// It can run at any time, beside uploads and on several servers at once:
    ///
    /// - Only content is looked at that was not written lately ([`Grace::content`]); who puts a node
    ///   always writes its content anew.
    /// - Content is moved away first. Then nodes are looked at again, and content that has got a node in the
    ///   meantime comes back. Who puts a node looks for the content once more when the node is there.
    /// - What a collection that was killed had moved away comes back or goes with the next one.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the first failure; what was removed until then was garbage.
    pub async fn collect(&self, grace: Grace) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        let before = now().saturating_sub(grace.content.as_secs());
        let mut candidates = Vec::new();
        let mut blobs = self.0.place.objects.list(Some(&Path::from("blobs")));
        while let Some(found) = blobs.try_next().await? {
            collected.kept += 1;
            let name = found.location.filename().and_then(BlobId::from_hex);
            if let (Some(blob), true) = (name, modified(&found) < before) {
                candidates.push(blob);
            }
        }
        drop(blobs);
        let marks = self.marks().await?;
        for key in &marks.stale {
            self.remove(key).await?;
            collected.records += 1;
        }
        for blob in candidates.into_iter().filter(|blob| !marks.blobs.contains(blob)) {
            self.discard(&blob, before).await?;
        }
        drop(marks);
        self.empty_trash(&mut collected).await?;
        collected.kept = collected.kept.saturating_sub(collected.contents);
        collected.uploads = self.collect_uploads(grace.uploads).await?;
        collected.files = self.collect_files(grace.files).await?;
        Ok(collected)
    }

    /// Moves content away, unless it was written again.
    async fn discard(&self, blob: &BlobId, before: u64) -> Result<(), StoreError> {
        let objects = &self.0.place.objects;
        match objects.head(&blob.key()).await {
            Ok(found) if modified(&found) < before => {}
            Ok(_) | Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match objects.rename(&blob.key(), &blob.trash()).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings back what has a node, and removes the rest.
    async fn empty_trash(&self, collected: &mut Collected) -> Result<(), StoreError> {
        let trash = self.list(&Path::from("trash")).await?;
        if trash.is_empty() {
            return Ok(());
        }
        let marks = self.marks().await?;
        for found in trash {
            let blob = found.location.filename().and_then(BlobId::from_hex);
            if let Some(blob) = blob.filter(|blob| marks.blobs.contains(blob)) {
                match self.0.place.objects.rename(&found.location, &blob.key()).await {
                    Ok(()) | Err(Error::NotFound { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            self.remove(&found.location).await?;
            collected.contents += 1;
            collected.bytes += found.size;
        }
        Ok(())
    }

    /// Everything that live tags name. Takes memory for 32 bytes and a little per content.
    async fn marks(&self) -> Result<Marks, StoreError> {
        let mut marks = Marks::default();
        let mut dead_users = HashSet::new();
        for name in self.folders(&Path::from("users")).await? {
            let Ok(user) = name.parse::<UserName>() else { continue };
            if is_dead::<UserRecord>(self.latest(&keys::user(&user)).await?) {
                dead_users.insert(user);
            }
        }
        let mut dead_repos = HashSet::new();
        for name in self.folders(&Path::from("repositories")).await? {
            let Ok(user) = name.parse::<UserName>() else { continue };
            for repo in self.repositories(&user).await? {
                if dead_users.contains(&user)
                    || is_dead::<Repository>(self.latest(&repo.key()).await?)
                {
                    dead_repos.insert((repo.user, repo.repo));
                }
            }
        }
        let is_dead_repo =
            |tag: &TagId| dead_repos.contains(&(tag.repo.user.clone(), tag.repo.repo.clone()));
        let mut dead_tags: BTreeMap<TagId, bool> = BTreeMap::new();
        let mut tags = self.0.place.objects.list(Some(&Path::from("tags")));
        while let Some(found) = tags.try_next().await? {
            let Some((tag, rest)) = keys::tag_of(&found.location) else { continue };
            let is_dead = match dead_tags.get(&tag) {
                Some(dead) => *dead,
                None => {
                    let dead = is_dead_repo(&tag)
                        || is_dead::<TagState>(self.latest(&tag.key().join("state")).await?);
                    dead_tags.insert(tag, dead);
                    dead
                }
            };
            // That it was deleted is remembered for ever.
            if is_dead && rest.first().is_none_or(|part| part != "state") {
                marks.stale.push(found.location);
            }
        }
        drop(tags);
        dead_tags.retain(|_, dead| *dead);
        let is_dead = |tag: &TagId| dead_tags.contains_key(tag) || is_dead_repo(tag);
        for prefix in ["nodes", "signatures"] {
            let mut found = self.0.place.objects.list(Some(&Path::from(prefix)));
            while let Some(one) = found.try_next().await? {
                let Some((tag, _)) = keys::tag_of(&one.location) else { continue };
                if is_dead(&tag) {
                    marks.stale.push(one.location);
                } else if let Some(node) = NodeName::read(&one.location) {
                    marks.blobs.insert(node.blob);
                }
            }
        }
        Ok(marks)
    }

    async fn collect_uploads(&self, grace: Duration) -> Result<u64, StoreError> {
        let before = now().saturating_sub(grace.as_secs());
        let mut newest: BTreeMap<(UserName, String), u64> = BTreeMap::new();
        for found in self.list(&Path::from("uploads")).await? {
            let mut parts = keys::parts(&found.location).into_iter();
            let (Some(user), Some(id)) = (parts.next(), parts.next()) else { continue };
            let Ok(user) = user.parse() else { continue };
            let time = newest.entry((user, id)).or_default();
            *time = (*time).max(modified(&found));
        }
        let mut count = 0;
        for ((user, id), time) in newest {
            if let (Some(id), true) = (UploadId::read(&user, &id), time < before) {
                self.remove_upload(&id).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Removes files of unfinished writes, which are in no list of the store. Only in the store's own folder:
    /// elsewhere nothing is the store's because of its name.
    async fn collect_files(&self, grace: Duration) -> Result<u64, StoreError> {
        let place = self.0.place.clone();
        let work = spawn_blocking(move || {
            let before = SystemTime::now().checked_sub(grace).unwrap_or(UNIX_EPOCH);
            let mut count = 0;
            if let Staging::Own(staging) = &place.staging {
                count += remove_old(staging, before, &|name| name.starts_with("drawbridge-"));
            }
            if let Some(folder) = &place.folder {
                // The object store's own, beside what they were to become.
                count += remove_old(folder, before, &|name| {
                    name.rsplit_once('#').is_some_and(|(_, number)| {
                        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                    })
                });
            }
            count
        });
        work.await.map_err(std::io::Error::other).map_err(StoreError::io("remove old files"))
    }
}

fn is_dead<T>(latest: Option<(u64, Revision<T>)>) -> bool {
    matches!(latest, Some((_, Revision::Deleted)))
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn modified(found: &ObjectMeta) -> u64 {
    u64::try_from(found.last_modified.timestamp()).unwrap_or(0)
}

fn remove_old(folder: &FsPath, before: SystemTime, is_meant: &dyn Fn(&str) -> bool) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let mut count = 0;
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            count += remove_old(&entry.path(), before, is_meant);
        } else if kind.is_file()
            && entry.file_name().to_str().is_some_and(is_meant)
            && entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|time| time < before)
            && std::fs::remove_file(entry.path()).is_ok()
        {
            count += 1;
        }
    }
    count
}
