// SPDX-License-Identifier: Apache-2.0

//! Where a Drawbridge keeps everything: content by digest, and small immutable records, in one object store.
//!
//! Any number of servers work on one store at the same time, without talking to each other and without
//! locks. What makes that correct is that nothing is ever changed in place:
//!
//! - Content is named by its SHA-256 digest, so that writing it twice does no harm.
//! - Records are created if they are absent, which every store does atomically. What changes over time is
//!   a row of numbered revisions of which the highest counts; who wants to change it creates the next one.
//! - What is deleted gets a revision that says so, for ever: no name is given out twice, so that a name
//!   with a version never means two things.
//! - That a node was put into a tree is a record whose name says all that matters (hash of the path,
//!   length, digest, kind). Having content in the store does not suffice to get it: who names the digest
//!   of somebody else's content has to bring that content.
//!
//! Garbage is found by what no such record names; how that stays safe beside uploads is told in
//! [`Store::collect`]. No content is ever held in memory whole, but directories, which are small.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod blob;
mod check;
mod collect;
mod error;
mod keys;
mod names;
mod place;
mod record;
mod search;
mod stage;
mod tags;
mod tree;
mod uploads;
mod usage;

use std::sync::Arc;

pub use blob::{Content, Incoming};
pub use check::{Checked, Fault};
pub use collect::{Collected, Grace};
pub use error::StoreError;
pub use keys::{BlobId, RepoId, TagId};
pub use tags::{TagRecord, TagState};
pub use uploads::{About, Appender, UploadId};

use place::Place;
use tokio::sync::Semaphore;
use tree::Directories;
use usage::UsageCache;

/// What a user may store. What is there is reckoned at most once a minute, and what this server took in
/// since then is added: several servers together may let a user exceed it by what is uploaded within a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Bytes of all tags; content that several tags share counts for each.
    pub bytes: u64,
    /// Repositories.
    pub repositories: u64,
    /// Tags of all repositories.
    pub tags: u64,
    /// Users of one subject.
    pub users_per_subject: u64,
    /// Nodes of one tree.
    pub nodes: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            repositories: 1000,
            tags: 10_000,
            users_per_subject: 8,
            nodes: 4096,
        }
    }
}

/// A store; clones are the same one.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    quotas: Quotas,
    directories: Directories,
    usage: UsageCache,
    /// Parts of content on their way into a bucket, which are in memory meanwhile.
    parts: Semaphore,
}

/// Parts of [`blob::PART`] bytes that may be in memory at one time.
const PARTS: usize = 3;

impl Store {
    /// Opens a store: a folder, `file:///…`, or `s3://bucket/prefix` with what the `AWS_*` variables say.
    /// A folder that is not there is made.
    ///
    /// # Errors
    ///
    /// [`StoreError::Url`], or whatever the folder is refused for. A bucket is not asked for anything yet.
    pub fn open(url: &str, quotas: Quotas) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Inner {
            place: Place::open(url)?,
            quotas,
            directories: Directories::default(),
            usage: UsageCache::default(),
            parts: Semaphore::new(PARTS),
        })))
    }

    /// What users may store.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.0.quotas
    }

    /// Whether the store answers.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.has(&object_store::path::Path::from("drawbridge")).await.map(drop)
    }
}
