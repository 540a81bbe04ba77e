// SPDX-License-Identifier: Apache-2.0

//! Small records: created if absent, and in revisions where something changes.

use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Store, StoreError};

/// Longest record in bytes.
pub(crate) const MAX_RECORD: u64 = 2 << 20;

/// One revision of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Revision<T> {
    /// It is like this.
    Live {
        /// What.
        value: T,
    },
    /// It is no more, and will not be again.
    Deleted,
}

impl Store {
    /// Whether there is an object of that name.
    pub(crate) async fn has(&self, key: &Path) -> Result<bool, StoreError> {
        match self.0.place.objects.head(key).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates an object; whether it was absent.
    pub(crate) async fn create(&self, key: &Path, bytes: Vec<u8>) -> Result<bool, StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.0.place.objects.put_opts(key, PutPayload::from(bytes), options).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a record; whether it was absent.
    pub(crate) async fn create_record<T: Serialize>(
        &self,
        key: &Path,
        record: &T,
    ) -> Result<bool, StoreError> {
        let damaged = |error: serde_json::Error| damaged(key, error);
        self.create(key, serde_json::to_vec(record).map_err(damaged)?).await
    }

    /// The bytes of a small object, if it is there.
    pub(crate) async fn small(&self, key: &Path, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let found = match self.0.place.objects.get(key).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if found.meta.size > most {
            return Err(damaged(key, "it is too long"));
        }
        Ok(Some(found.bytes().await?.to_vec()))
    }

    /// A record, if it is there.
    pub(crate) async fn record<T: DeserializeOwned>(
        &self,
        key: &Path,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.small(key, MAX_RECORD).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(key, error))
    }

    /// All objects under a name, in order.
    pub(crate) async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut all: Vec<_> = self.0.place.objects.list(Some(prefix)).try_collect().await?;
        all.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(all)
    }

    /// What there is directly below a name and has something below itself, by its last part.
    pub(crate) async fn folders(&self, prefix: &Path) -> Result<Vec<String>, StoreError> {
        let found = self.0.place.objects.list_with_delimiter(Some(prefix)).await?;
        let names = found.common_prefixes.iter().filter_map(|path| path.filename());
        Ok(names.map(str::to_owned).collect())
    }

    /// Removes an object; that it is not there is as good.
    pub(crate) async fn remove(&self, key: &Path) -> Result<(), StoreError> {
        match self.0.place.objects.delete(key).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The highest revision and its number.
    pub(crate) async fn latest<T: DeserializeOwned>(
        &self,
        row: &Path,
    ) -> Result<Option<(u64, Revision<T>)>, StoreError> {
        let found = self.0.place.objects.list_with_delimiter(Some(row)).await?;
        let numbers = found.objects.iter().filter_map(|one| number(&one.location));
        let Some(number) = numbers.max() else { return Ok(None) };
        let key = revision(row, number);
        let record = self.record(&key).await?.ok_or_else(|| damaged(&key, "it has vanished"))?;
        Ok(Some((number, record)))
    }

    /// Creates revision `number`; whether it was absent.
    pub(crate) async fn push<T: Serialize>(
        &self,
        row: &Path,
        number: u64,
        record: &Revision<T>,
    ) -> Result<bool, StoreError> {
        self.create_record(&revision(row, number), record).await
    }

    /// Creates a revision that ends the row, whatever the others do. Whether it was there and live.
    pub(crate) async fn end<T: Serialize + DeserializeOwned>(
        &self,
        row: &Path,
    ) -> Result<bool, StoreError> {
        loop {
            match self.latest::<T>(row).await? {
                None | Some((_, Revision::Deleted)) => return Ok(false),
                Some((number, Revision::Live { .. })) => {
                    if self.push::<T>(row, number + 1, &Revision::Deleted).await? {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

fn revision(row: &Path, number: u64) -> Path {
    row.clone().join(format!("{number:012}"))
}

pub(crate) fn number(key: &Path) -> Option<u64> {
    let name = key.filename()?;
    if name.len() == 12 { name.parse().ok() } else { None }
}

pub(crate) fn damaged(key: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged { key: key.to_string(), why: why.to_string() }
}
