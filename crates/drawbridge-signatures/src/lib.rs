// SPDX-License-Identifier: Apache-2.0

//! Signed tags: JSON Web Signatures, and sigstore bundles that are verified without a network.
//!
//! A signature says who stands for a workload; that the workload is the right one is said by its digest
//! alone. There are two forms:
//!
//! - A JWS (RFC 7515, JSON serialization) whose payload is the tag's [`Entry`], by a key that the owner of the
//!   repository named: [`sign_jws`], [`verify_jws`]. Algorithms are ES256, and EdDSA over Ed25519.
//! - A sigstore bundle beside an unsigned tag. What it signs is the root of the tag's tree, so its message
//!   digest is the workload digest; `cosign sign-blob` makes one of `main.wasm` or of the directory that
//!   `enarx package digest --root` prints: [`verify_sigstore`]. Certificate authority and log are those
//!   of a *trusted root* that the caller gives.
//!
//! The key decides the algorithm, never the message. Nothing here panics or works without bound on what a
//! peer sent.
//!
//! ```
//! use drawbridge_signatures::{KeyKind, SigningKey, sign_jws, verify_jws};
//! use drawbridge_types::{Entry, Meta, media};
//!
//! let entry = Entry::new(Meta::of(b"\0asm", media::WASM));
//! let key = SigningKey::generate(KeyKind::Ed25519)?;
//! let jws = sign_jws(&entry, &key)?;
//! assert_eq!(verify_jws(&jws, &[key.public_key().clone()])?, entry);
//! # Ok::<(), drawbridge_signatures::SignatureError>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod jws;
mod key;
mod sigstore;

use drawbridge_types::Entry;

pub use jws::{MAX_JWS, entry_of, sign_jws, verify_jws};
pub use key::{KeyKind, PublicKey, SigningKey};
pub use sigstore::{Identity, MAX_BUNDLE, TrustedRoot, Verified, verify_sigstore};

/// The SHA-256 digest of the root of a tag's tree: what a sigstore bundle over the tag has to sign.
///
/// # Errors
///
/// [`SignatureError::NoDigest`] if the entry was named by other digests alone.
pub fn workload_of(entry: &Entry) -> Result<[u8; 32], SignatureError> {
    let digest = entry.meta.digest.get(drawbridge_types::Algorithm::Sha256);
    digest.and_then(|digest| digest.try_into().ok()).ok_or(SignatureError::NoDigest)
}

/// Why a signature does not count, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Longer than any signature is.
    #[error("{what} has at most {limit} bytes")]
    TooLong {
        /// What was read.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// It does not have the form.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A kind of key or signature that is not accepted.
    #[error("{0} is not accepted here")]
    Unsupported(String),
    /// No signature by one of the keys that count.
    #[error("it is not signed by any of the {0} keys that count")]
    NoTrustedKey(usize),
    /// The signature does not verify.
    #[error("the signature of {0} does not verify")]
    BadSignature(&'static str),
    /// The key cannot sign.
    #[error("the key cannot sign")]
    Signing,
    /// The tag does not state a SHA-256 digest.
    #[error("the tag states no SHA-256 digest")]
    NoDigest,
    /// The bundle is about other content.
    #[error("the bundle signs other content than this workload")]
    OtherContent,
    /// The signer's certificate is not one of the trusted root's.
    #[error(
        "the signer's certificate does not lead to a certificate authority of the trusted root"
    )]
    Chain(#[source] evidence_pki::PkiError),
    /// It was signed by somebody else.
    #[error(
        "it was signed by `{subject}`, as `{issuer}` says, who is not among the signers that count"
    )]
    OtherIdentity {
        /// Who vouched for the signer.
        issuer: String,
        /// The signer.
        subject: String,
    },
    /// The log's promise or proof does not hold.
    #[error("the transparency log does not prove the signature: {0}")]
    Log(&'static str),
}

impl SignatureError {
    pub(crate) fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        let why = why.to_string().chars().filter(|one| !one.is_control()).take(200).collect();
        Self::Malformed { what, why }
    }
}
