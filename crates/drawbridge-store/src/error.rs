// SPDX-License-Identifier: Apache-2.0

//! Why the store did not do what it was asked.

use std::io;

use drawbridge_types::Mismatch;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL of the store is none.
    #[error("{0}")]
    Url(String),
    /// It is there already, and it cannot be changed.
    #[error("{0} is there already")]
    Exists(&'static str),
    /// It was there once; its name is not given out again.
    #[error("{0} was deleted, and its name is not given out again")]
    Deleted(&'static str),
    /// It is not there.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// The tree has no node at this path, as its directories say.
    #[error("the directory above has no entry of this name")]
    NotInParent,
    /// The directory above is not there yet.
    #[error("the directory above has not been put yet")]
    NoParent,
    /// Content has another length than was said.
    #[error("the content has {found} bytes, and {expected} were announced")]
    Length {
        /// As announced.
        expected: u64,
        /// What came, or more than.
        found: u64,
    },
    /// Content has another digest than was said.
    #[error(transparent)]
    Digest(#[from] Mismatch),
    /// Content is not what its media type says, or goes beyond what trees may be.
    #[error("{0}")]
    Content(String),
    /// An upload goes on elsewhere.
    #[error("the upload goes on at byte {0}")]
    Offset(u64),
    /// The user has no room left.
    #[error("the user has no room left: at most {limit} {what}")]
    Quota {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: u64,
    },
    /// Somebody else has changed it in the meantime.
    #[error("it has been changed in the meantime")]
    Changed,
    /// The store has no room left.
    #[error("the store has no room left")]
    Full,
    /// The content is being moved at this moment.
    #[error("the content is being moved; try again")]
    Busy,
    /// A record in the store is not what this program wrote.
    #[error("the record {key} is damaged: {why}")]
    Damaged {
        /// Its name in the store.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The object store failed.
    #[error("the object store failed")]
    Store(#[source] object_store::Error),
    /// A file could not be read or written.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| if is_full(&source) { Self::Full } else { Self::Io { what, source } }
    }
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = source {
            if cause.downcast_ref::<io::Error>().is_some_and(is_full) {
                return Self::Full;
            }
            source = cause.source();
        }
        Self::Store(error)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
