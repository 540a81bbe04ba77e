// SPDX-License-Identifier: Apache-2.0

//! What a Drawbridge tells anybody who asks for a workload before it releases it, and lists.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{Access, Meta, RepoName, UserName};

/// Terms of release: `GET /api/v0.1.0/{user}/{repo}/_resolve/{tag}`. Nothing of the workload is in them but
/// its digest, length and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Whose repository.
    pub user: UserName,
    /// Which repository.
    pub repo: RepoName,
    /// The tag that the request stands for.
    pub tag: Version,
    /// The root of its tree; the digest to pin.
    #[serde(flatten)]
    pub meta: Meta,
    /// Who may read it.
    pub access: Access,
    /// URL of the Steward whose certificate opens the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward: Option<String>,
    /// Whether the owner has withdrawn it: it is released by its exact name only.
    #[serde(default)]
    pub yanked: bool,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// What to pass as `after` for the next page; none: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A tag in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagSummary {
    /// Its version.
    pub tag: Version,
    /// The root of its tree.
    #[serde(flatten)]
    pub meta: Meta,
    /// Whether it is signed.
    pub signed: bool,
    /// Whether the owner has withdrawn it.
    pub yanked: bool,
}

/// A repository in a list, or among what was searched for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositorySummary {
    /// Whose repository.
    pub user: UserName,
    /// Its name.
    pub repo: RepoName,
    /// Who may read it.
    pub access: Access,
}
