// SPDX-License-Identifier: Apache-2.0

//! Certificate requests in, certificates out: the Steward without input, output or clock.
//!
//! An [`Authority`] takes a PKCS#10 request that carries evidence, and in this order reads it, checks its
//! signature, verifies the evidence, checks that the evidence is bound to the request, holds it against a
//! policy, and issues a certificate that says what was verified. Whatever fails is an [`IssueRefusal`].
//!
//! Time, random numbers and the policy are arguments, and the key is behind a trait ([`Signer`]). So the same
//! code runs as a native service and as WebAssembly, and tests can put it at any point in time.
//!
//! How requests are written and read is in [`attested_request`], of which all that is needed here is exported
//! again. `docs/binding.md` describes requests byte for byte, `docs/certificate-profile.md` the certificates.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod authority;
pub mod certificate;
mod issued;
pub mod key;
mod nonce;
mod refusal;

pub use attested_request::{
    AttestedRequest, Form, MAX_BUNDLE, MIN_LIFETIME, RequestRefusal, attester, binding,
};
pub use authority::{Authority, MAX_POLICY_URL, Setup, SetupError};
pub use issued::{Bundle, Issued, pem};
#[cfg(any(feature = "aws-lc-rs", feature = "rustcrypto"))]
pub use key::PemKey;
pub use key::{KeyError, SignError, Signer, SigningAlgorithm};
pub use nonce::{NONCE_LIFETIME, NONCE_SIZE, Nonce};
pub use refusal::{AuthorityRefusal, Fault, IssueRefusal};
