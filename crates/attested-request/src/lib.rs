// SPDX-License-Identifier: Apache-2.0

//! A certificate request with evidence in it: what is bound to the evidence, and how it is written and read.
//!
//! A Keep writes such requests ([`attester`]), and a Steward reads them ([`AttestedRequest`]). What both have
//! to agree upon is here and nowhere else: what the report data of evidence are ([`binding`]), the statements
//! that evidence is in, and the places where a request carries them. Policies and certificates are not, so
//! that a Keep brings none of them along. `docs/binding.md` describes it byte for byte.
//!
//! The writer takes a [`Signer`](evidence_pki::Signer), the hashes a
//! [`Crypto`](evidence_crypto::Crypto): there is no key here, no random number and no clock.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod attester;
pub mod binding;
mod refusal;
mod request;

pub use binding::Binding;
pub use refusal::{MIN_LIFETIME, RequestRefusal};
pub use request::{AttestedRequest, Form, MAX_BUNDLE, split_bundle};
