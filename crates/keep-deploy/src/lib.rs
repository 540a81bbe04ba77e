// SPDX-License-Identifier: Apache-2.0

//! The way of a workload into an empty Keep: evidence, certificate, release, digests, compiler.
//!
//! These are the steps 5 to 12 of `docs/flow.md`. The Keep has a digest, which is pinned: it is in its
//! evidence, in its certificate, and nothing whose digest is another one ever runs. All else that it is told,
//! by the host at its launch, by a Steward or by a Drawbridge, is held against that digest, against roots that
//! the launch names, or is of no consequence.
//!
//! The crate runs in a Keep and anywhere else. What differs is behind two traits: [`Host`], who gives evidence
//! and hears of events, and [`Loader`], which has memory for native code and knows what fits.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod compile;
mod deploy;
mod drawbridge;
mod error;
mod folder;
mod host;
mod package;
mod renew;
mod steward;

pub use deploy::{Deployed, become_somebody, deploy, own_names};
pub use error::{DeployError, Problem};
pub use host::{Host, Loader, Memory, NotLoaded};
pub use package::{MAX_ARTIFACT, MAX_CONFIG, MAX_OTHER, MAX_WASM};
pub use renew::renew;
pub use steward::{Who, announce, identify};
