// SPDX-License-Identifier: Apache-2.0

//! What Intel says of a host's processor: the certificate of the key that vouches for its quoting enclave
//! (PCK), which TCB counts as what, which quoting enclave is Intel's, and the lists of what is revoked.
//!
//! It comes from Intel's Provisioning Certification Service or from a caching service in its place
//! ([`Pcs`]; both API version 4), and goes into a cache ([`Store`]) that the host agent and a Steward read.
//! Wherever it comes from, it is verified before it is stored and again before it is used, down to Intel's
//! root, and held against the platform at hand: genuine TCB information of another kind of platform is
//! refused as well.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod manifest;
mod pcs;
mod platform;
mod store;

use evidence_dcap::DcapRefusal;
use vendor_fetch::{CacheError, FetchError};

pub use manifest::{Manifest, ManifestError};
pub use pcs::{DEFAULT_ROOT_LIST_URL, DEFAULT_URL, Pcs};
pub use platform::{PlatformId, PlatformIdError};
pub use store::{COLLATERAL, Held, Piece, Store, What};

/// Why something of Intel's cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum PcsError {
    /// The service did not give it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A header of an answer is missing or cannot be read.
    #[error("the answer of {url} has no usable header {header}")]
    Header {
        /// What was asked.
        url: String,
        /// Which header.
        header: &'static str,
    },
    /// A body that is in no form that is known.
    #[error("the answer of {url} is not {what}")]
    Body {
        /// What was asked.
        url: String,
        /// What it ought to be.
        what: &'static str,
    },
    /// It is not genuine, or not current.
    #[error("{what} is refused")]
    Refused {
        /// What was looked at.
        what: String,
        /// The rule that does not hold.
        #[source]
        why: DcapRefusal,
    },
    /// It is genuine, but of another platform.
    #[error("{0}")]
    Other(String),
    /// It is older than what is at hand: somebody replays it.
    #[error("{what} is of {new}, but there was one of {old} already")]
    Older {
        /// What was looked at.
        what: String,
        /// When the one that came was issued.
        new: evidence_claims::Time,
        /// When the one in the cache was issued.
        old: evidence_claims::Time,
    },
    /// The cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// More than evidence may come with.
    #[error(transparent)]
    Endorsements(#[from] evidence_claims::EndorsementsError),
}

impl PcsError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_transient())
            || matches!(self, Self::Cache(CacheError::Busy(_)))
    }
}
