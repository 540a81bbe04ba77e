// SPDX-License-Identifier: Apache-2.0

//! Users and repositories.

use drawbridge_types::{Repository, UserName, UserRecord};

use crate::record::Revision;
use crate::{RepoId, Store, StoreError, keys};

impl Store {
    /// A user, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError`], here and below: if the store fails.
    pub async fn user(&self, user: &UserName) -> Result<Option<UserRecord>, StoreError> {
        Ok(match self.latest(&keys::user(user)).await? {
            Some((_, Revision::Live { value })) => Some(value),
            Some((_, Revision::Deleted)) | None => None,
        })
    }

    /// Creates a user.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`], [`StoreError::Deleted`], [`StoreError::Quota`].
    pub async fn create_user(
        &self,
        user: &UserName,
        record: &UserRecord,
    ) -> Result<(), StoreError> {
        match self.latest::<UserRecord>(&keys::user(user)).await? {
            Some((_, Revision::Live { .. })) => return Err(StoreError::Exists("the user")),
            Some((_, Revision::Deleted)) => return Err(StoreError::Deleted("the user")),
            None => {}
        }
        let limit = self.quotas().users_per_subject;
        if self.users_of(&record.subject).await?.len() as u64 >= limit {
            return Err(StoreError::Quota { what: "users of one subject", limit });
        }
        // First, so that no user is without; one that does not become a user harms nobody.
        let owner = keys::subject(&record.subject).join(user.as_str());
        self.create(&owner, Vec::new()).await?;
        let record = Revision::Live { value: record.clone() };
        match self.push(&keys::user(user), 0, &record).await? {
            true => Ok(()),
            false => Err(StoreError::Exists("the user")),
        }
    }

    /// Deletes a user with all that is theirs. Whether there was one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn delete_user(&self, user: &UserName) -> Result<bool, StoreError> {
        let there = self.end::<UserRecord>(&keys::user(user)).await?;
        for repo in self.repositories(user).await? {
            self.delete_repository(&repo).await?;
        }
        Ok(there)
    }

    /// The users of a subject, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn users_of(&self, subject: &str) -> Result<Vec<UserName>, StoreError> {
        let mut users = Vec::new();
        for found in self.list(&keys::subject(subject)).await? {
            let Some(user) = found.location.filename().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if self.user(&user).await?.is_some_and(|record| record.subject == subject) {
                users.push(user);
            }
        }
        Ok(users)
    }

    /// A repository and the number of its revision, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn repository(&self, repo: &RepoId) -> Result<Option<(u64, Repository)>, StoreError> {
        Ok(match self.latest(&repo.key()).await? {
            Some((number, Revision::Live { value })) => Some((number, value)),
            Some((_, Revision::Deleted)) | None => None,
        })
    }

    /// Creates a repository.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`], [`StoreError::Deleted`], [`StoreError::Quota`].
    pub async fn create_repository(
        &self,
        repo: &RepoId,
        record: &Repository,
    ) -> Result<(), StoreError> {
        match self.latest::<Repository>(&repo.key()).await? {
            Some((_, Revision::Live { .. })) => return Err(StoreError::Exists("the repository")),
            Some((_, Revision::Deleted)) => return Err(StoreError::Deleted("the repository")),
            None => {}
        }
        self.charge_repository(&repo.user).await?;
        let record = Revision::Live { value: record.clone() };
        match self.push(&repo.key(), 0, &record).await? {
            true => Ok(()),
            false => Err(StoreError::Exists("the repository")),
        }
    }

    /// Changes a repository whose revision is `number`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] if it is not any more.
    pub async fn change_repository(
        &self,
        repo: &RepoId,
        number: u64,
        record: &Repository,
    ) -> Result<u64, StoreError> {
        let next = number.saturating_add(1);
        let record = Revision::Live { value: record.clone() };
        match self.push(&repo.key(), next, &record).await? {
            true => Ok(next),
            false => Err(StoreError::Changed),
        }
    }

    /// Deletes a repository with all its tags. Whether there was one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn delete_repository(&self, repo: &RepoId) -> Result<bool, StoreError> {
        let there = self.end::<Repository>(&repo.key()).await?;
        // Nothing of it can be seen from here on. Its content is garbage once no node names it.
        self.remove_all(&repo.nodes()).await?;
        Ok(there)
    }

    /// Names of a user's repositories, also of those that were deleted, in order.
    pub(crate) async fn repositories(&self, user: &UserName) -> Result<Vec<RepoId>, StoreError> {
        let names = self.folders(&keys::repositories_of(user)).await?;
        let repos = names.iter().filter_map(|name| name.parse().ok());
        let mut repos: Vec<_> = repos.map(|repo| RepoId { user: user.clone(), repo }).collect();
        repos.sort();
        Ok(repos)
    }
}
