// SPDX-License-Identifier: Apache-2.0

//! The policy of a Steward.
//!
//! Genuine evidence says what a Keep is; a policy says which Keeps get a certificate. It is a TOML text,
//! read strictly: a key that is not known is an error and not ignored, because a misspelt rule would let
//! in what it was written to keep out. A platform that has no section is refused, so an empty policy
//! refuses everything. `docs/steward-policy.md` describes each key.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod appraise;
mod explain;
mod flags;
mod parse;
mod policy;
mod reader;
mod refusal;

pub use appraise::{Admitted, appraise};
pub use policy::{CertificatePolicy, Policy, PolicyError, WorkloadRule};
pub use refusal::PolicyRefusal;
pub use steward_claims::{Workload, WorkloadError};

/// The JSON schema (draft 2020-12) of a policy, for editors. Where JSON Schema can say less than
/// [`Policy::parse`] checks, it takes more; it never refuses what is a policy.
pub const SCHEMA: &str = include_str!("../../../docs/steward-policy.schema.json");
