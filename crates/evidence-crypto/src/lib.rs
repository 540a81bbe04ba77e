// SPDX-License-Identifier: Apache-2.0

//! The few cryptographic operations that verifying evidence takes, behind one trait.
//!
//! Evidence is signed in three ways only: ECDSA over P-256 with SHA-256 (Intel), ECDSA over P-384 with
//! SHA-384 (AMD's reports) and RSASSA-PSS with SHA-384 (AMD's certificates). So this is no general
//! library: a [`Scheme`] names curve, hash and encoding of the signature together, and nothing that a
//! peer sends can choose another combination.
//!
//! There are three implementations. [`AwsLc`] is what a native service uses; [`RustCrypto`] is Rust
//! alone, several times slower, and is what builds for WebAssembly; [`Graviola`] is what a Keep has for TLS
//! already. Tests run them against each other.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(feature = "graviola")]
mod graviola;
#[cfg(feature = "rustcrypto")]
mod rust_crypto;

#[cfg(feature = "aws-lc-rs")]
pub use aws_lc::AwsLc;
#[cfg(feature = "graviola")]
pub use graviola::Graviola;
#[cfg(feature = "rustcrypto")]
pub use rust_crypto::RustCrypto;

/// The operations. An implementation holds no state and no secrets.
pub trait Crypto: core::fmt::Debug + Send + Sync {
    /// SHA-256 over the concatenation of `parts` (FIPS 180-4).
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32];

    /// SHA-384 over the concatenation of `parts` (FIPS 180-4).
    fn sha384(&self, parts: &[&[u8]]) -> [u8; 48];

    /// SHA-512 over the concatenation of `parts` (FIPS 180-4).
    fn sha512(&self, parts: &[&[u8]]) -> [u8; 64];

    /// HMAC with SHA-256 over the concatenation of `parts` (RFC 2104).
    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32];

    /// Checks one signature over `message`.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if the signature does not verify, and also if key or signature have not the
    /// form that `scheme` says. Which of these it was is not told apart: for who asks it is the same.
    fn verify(
        &self,
        scheme: Scheme,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;
}

/// A way to sign: the kind of key, the hash and the encoding of the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// ECDSA, P-256, SHA-256. Key: 65 bytes, uncompressed point (SEC 1, 2.3.3).
    /// Signature: DER `Ecdsa-Sig-Value` (RFC 3279, 2.2.3), as in certificates.
    P256Der,
    /// As [`Scheme::P256Der`], but the signature is `r ‖ s`, 32 bytes each, big-endian, as in quotes.
    P256Fixed,
    /// ECDSA, P-384, SHA-384. Key: 97 bytes, uncompressed point. Signature: DER.
    P384Der,
    /// As [`Scheme::P384Der`], but the signature is `r ‖ s`, 48 bytes each, big-endian.
    P384Fixed,
    /// RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt of 48 bytes (RFC 8017, 8.1), keys of 2048 to 8192
    /// bits. Key: DER `RSAPublicKey` (RFC 8017, A.1.1).
    RsaPssSha384,
}

/// A signature, or what was given as one, does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

impl Scheme {
    /// Whether a key has the form that this scheme takes. Points are uncompressed only: a library
    /// would take compressed ones too, and then one key would have two encodings.
    #[cfg(any(feature = "aws-lc-rs", feature = "graviola", feature = "rustcrypto"))]
    fn has_key_of(self, key: &[u8]) -> bool {
        match self {
            Self::P256Der | Self::P256Fixed => key.len() == 65 && key.first() == Some(&4),
            Self::P384Der | Self::P384Fixed => key.len() == 97 && key.first() == Some(&4),
            Self::RsaPssSha384 => key.len() <= 1100,
        }
    }
}
