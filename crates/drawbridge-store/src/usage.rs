// SPDX-License-Identifier: Apache-2.0

//! How much users have stored, and whether there is room for more.
//!
//! Names of records say how long content is, so that reckoning needs one list and opens nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drawbridge_types::UserName;
use object_store::path::Path;

use crate::keys::NodeName;
use crate::uploads::UploadId;
use crate::{Store, StoreError};

/// So long a sum is believed.
const FRESH: Duration = Duration::from_secs(60);
/// Sums of so many users are kept.
const USERS: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Usage {
    since: Instant,
    bytes: u64,
    repositories: u64,
    tags: u64,
}

#[derive(Debug, Default)]
pub(crate) struct UsageCache(Mutex<HashMap<UserName, Usage>>);

impl UsageCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<UserName, Usage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that count as stored already; if they are not in the end, they are given back.
#[derive(Debug)]
pub(crate) struct Charge {
    store: Store,
    user: UserName,
    bytes: u64,
}

impl Charge {
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }

    pub(crate) fn keep_some(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(usage) = self.store.0.usage.lock().get_mut(&self.user) {
            usage.bytes = usage.bytes.saturating_sub(self.bytes);
        }
    }
}

impl Store {
    async fn reckon(&self, user: &UserName) -> Result<(), StoreError> {
        if self.0.usage.lock().get(user).is_some_and(|usage| usage.since.elapsed() < FRESH) {
            return Ok(());
        }
        let since = Instant::now();
        let nodes = self.list(&Path::from(format!("nodes/{user}"))).await?;
        let bytes = nodes.iter().filter_map(|node| NodeName::read(&node.location));
        let bytes = bytes.fold(0u64, |sum, node| sum.saturating_add(node.length));
        let pieces = self.list(&UploadId::of_user(user)).await?;
        let bytes = pieces.iter().fold(bytes, |sum, piece| sum.saturating_add(piece.size));
        let repositories = self.repositories(user).await?.len() as u64;
        let tags = self.list(&Path::from(format!("tags/{user}"))).await?;
        let entries = tags.iter().filter(|one| one.location.filename() == Some("entry"));
        let usage = Usage { since, bytes, repositories, tags: entries.count() as u64 };
        let mut cache = self.0.usage.lock();
        if cache.len() >= USERS {
            cache.clear();
        }
        cache.insert(user.clone(), usage);
        Ok(())
    }

    async fn charge(
        &self,
        user: &UserName,
        what: &'static str,
        limit: u64,
        more: u64,
        field: impl Fn(&mut Usage) -> &mut u64,
    ) -> Result<(), StoreError> {
        self.reckon(user).await?;
        let mut cache = self.0.usage.lock();
        let Some(usage) = cache.get_mut(user) else { return Ok(()) };
        let field = field(usage);
        let sum = field.saturating_add(more);
        if sum > limit {
            return Err(StoreError::Quota { what, limit });
        }
        *field = sum;
        Ok(())
    }

    pub(crate) async fn charge_repository(&self, user: &UserName) -> Result<(), StoreError> {
        let limit = self.quotas().repositories;
        self.charge(user, "repositories", limit, 1, |usage| &mut usage.repositories).await
    }

    pub(crate) async fn charge_tag(&self, user: &UserName) -> Result<(), StoreError> {
        self.charge(user, "tags", self.quotas().tags, 1, |usage| &mut usage.tags).await
    }

    pub(crate) async fn charge_bytes(
        &self,
        user: &UserName,
        bytes: u64,
    ) -> Result<Charge, StoreError> {
        self.charge(user, "bytes", self.quotas().bytes, bytes, |usage| &mut usage.bytes).await?;
        Ok(Charge { store: self.clone(), user: user.clone(), bytes })
    }

    /// Has the user's sums reckoned anew next time, because something was deleted.
    pub(crate) fn forget_usage(&self, user: &UserName) {
        self.0.usage.lock().remove(user);
    }
}
