// SPDX-License-Identifier: Apache-2.0

//! Where a Drawbridge keeps everything: content by digest, and small immutable records, in one object store.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

/// What a user may store. Held against the sums of what is stored every now and then, so that several
/// replicas together may let a user exceed it by what is uploaded within a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Bytes of all tags.
    pub bytes: u64,
    /// Repositories.
    pub repositories: u64,
    /// Tags of all repositories.
    pub tags: u64,
    /// Users with one subject.
    pub users_per_subject: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { bytes: 16 << 30, repositories: 1000, tags: 10_000, users_per_subject: 8 }
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL of the store is none.
    #[error("{0}")]
    Url(String),
}
