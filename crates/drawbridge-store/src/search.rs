// SPDX-License-Identifier: Apache-2.0

//! Repositories by a part of their names.

use std::collections::BTreeSet;

use drawbridge_types::{Access, RepositorySummary, UserName};
use futures_util::TryStreamExt as _;
use object_store::path::Path;

use crate::{RepoId, Store, StoreError, keys};

/// Repositories that one search opens; the next page goes on behind them.
const LOOKED_AT: usize = 500;

impl Store {
    /// Repositories whose `user/repo` contains a text, without regard to case, behind `after`, at most
    /// `limit`: those that are public, and those of `mine`. With the name to go on behind, if there may be more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn search(
        &self,
        text: &str,
        of: Option<&UserName>,
        mine: &[UserName],
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<RepositorySummary>, Option<String>), StoreError> {
        let text = text.to_ascii_lowercase();
        let prefix = of.map_or_else(|| Path::from("repositories"), keys::repositories_of);
        let mut candidates = BTreeSet::new();
        let mut found = self.0.place.objects.list(Some(&prefix));
        while let Some(one) = found.try_next().await? {
            let Some((repo, _)) = keys::repo_of(&one.location) else { continue };
            let name = name(&repo);
            let is_behind = after.is_none_or(|after| name.as_str() > after);
            if is_behind && name.to_ascii_lowercase().contains(&text) {
                candidates.insert((name, repo));
                // The first by name are wanted, so the last can go.
                if candidates.len() > LOOKED_AT + 1 {
                    candidates.pop_last();
                }
            }
        }
        let mut out = Vec::new();
        let count = candidates.len();
        for (index, (name, repo)) in candidates.into_iter().enumerate() {
            if let Some((_, record)) = self.repository(&repo).await?
                && (record.access() == Access::Public || mine.contains(&repo.user))
                && self.user(&repo.user).await?.is_some()
            {
                let access = record.access();
                out.push(RepositorySummary { user: repo.user, repo: repo.repo, access });
            }
            let is_last = index + 1 == count;
            if !is_last && (out.len() >= limit || index + 1 >= LOOKED_AT) {
                return Ok((out, Some(name)));
            }
        }
        Ok((out, None))
    }
}

fn name(repo: &RepoId) -> String {
    format!("{}/{}", repo.user, repo.repo)
}
