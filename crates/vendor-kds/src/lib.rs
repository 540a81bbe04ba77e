// SPDX-License-Identifier: Apache-2.0

//! What AMD says of a host's processor: the certificate of the key that signs its reports, the authorities
//! above it, and the lists of those that are revoked.
//!
//! They come from the Key Distribution Service ([`Kds`]) or from the table that a host keeps for its guests
//! ([`Table`]), and go into a cache ([`Store`]) that the host agent and a Steward read. Wherever they come
//! from, they are verified before they are stored and again before they are used, down to AMD's roots, and
//! held against the product, chip and TCB at hand ([`Identity`]): a genuine certificate of another machine
//! is refused as well.

#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod device;
mod identity;
mod kds;
mod store;
mod table;

use evidence_snp::SnpRefusal;
use vendor_fetch::{CacheError, FetchError};

pub use identity::{Identity, IdentityError};
pub use kds::{DEFAULT_URL, Kds};
pub use store::{COLLATERAL, Held, Piece, Store, What};
pub use table::{Entry, Table, TableError};

/// Why something of AMD's cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum KdsError {
    /// The service did not give it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is not genuine, or not current.
    #[error("{what} is refused")]
    Refused {
        /// What was looked at.
        what: String,
        /// The rule that does not hold.
        #[source]
        why: SnpRefusal,
    },
    /// It is genuine, but of another key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The chain of authorities has not two certificates.
    #[error("the answer of {0} is not two certificates in PEM")]
    Chain(String),
    /// The chain ends at another root.
    #[error("the chain of {0} does not end at the root that is built in")]
    Root(&'static str),
    /// A list that is older than the one at hand: somebody replays it.
    #[error("the revocation list of {product} is of {new}, but there was one of {old} already")]
    Older {
        /// Whose list.
        product: &'static str,
        /// When the one that came was issued.
        new: evidence_claims::Time,
        /// When the one in the cache was issued.
        old: evidence_claims::Time,
    },
    /// The key belongs to a cloud provider.
    #[error("a VLEK's certificate is not given to everybody; its cloud provider has it")]
    Vlek,
    /// There is no such entry in a certificate table.
    #[error("the certificate table has no {0}")]
    NotInTable(&'static str),
    /// The certificate table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// More than evidence may come with.
    #[error(transparent)]
    Endorsements(#[from] evidence_claims::EndorsementsError),
}

impl KdsError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_transient())
            || matches!(self, Self::Cache(CacheError::Busy(_)))
    }
}
