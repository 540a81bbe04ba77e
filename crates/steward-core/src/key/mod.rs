// SPDX-License-Identifier: Apache-2.0

//! The key of a certificate authority.
//!
//! Signing is behind a trait, [`Signer`]. Two implementations of it hold a key from a PEM file in memory:
//! [`AwsLcKey`] for native programs and [`RustCryptoKey`] for WebAssembly. Neither has anything of the
//! private key in its `Debug`.

use evidence_pki::NotAPoint;
#[cfg(any(feature = "aws-lc-rs", feature = "rustcrypto"))]
use evidence_pki::{Cursor, ObjectIdentifier, oid, tag};
pub use evidence_pki::{SignError, Signer, SigningAlgorithm};

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(feature = "rustcrypto")]
mod rust_crypto;

#[cfg(feature = "aws-lc-rs")]
pub use aws_lc::AwsLcKey;
#[cfg(feature = "rustcrypto")]
pub use rust_crypto::RustCryptoKey;

/// A key from a PEM file, by whichever library is there; aws-lc-rs if both are.
#[cfg(feature = "aws-lc-rs")]
pub type PemKey = AwsLcKey;
/// A key from a PEM file, by whichever library is there; aws-lc-rs if both are.
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc-rs")))]
pub type PemKey = RustCryptoKey;

/// A private key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No, or more than one, `PRIVATE KEY` block.
    #[error(
        "there is not exactly one PEM block “PRIVATE KEY” (PKCS#8, unencrypted); `openssl pkcs8 \
         -topk8 -nocrypt` makes one of other forms"
    )]
    Pem,
    /// The block is not PKCS#8.
    #[error("the PEM block is no PKCS#8 private key (RFC 5958)")]
    Malformed,
    /// A key of another kind.
    #[error("the key is none on P-256 or P-384")]
    Kind,
    /// The private key and the public key beside it do not belong together, or it is zero.
    #[error("the key is none: private and public part do not fit, or it is out of range")]
    Invalid,
    /// A public key that is no uncompressed point.
    #[error("{NotAPoint}")]
    Point,
    /// A key could not be made.
    #[error("no key could be made: the system gave no random numbers")]
    Random,
}

impl From<NotAPoint> for KeyError {
    fn from(_: NotAPoint) -> Self {
        Self::Point
    }
}

/// The algorithm of the key in a PKCS#8 `OneAsymmetricKey` (RFC 5958, 2).
#[cfg(any(feature = "aws-lc-rs", feature = "rustcrypto"))]
fn algorithm_of(pkcs8: &[u8]) -> Result<SigningAlgorithm, KeyError> {
    let read =
        || -> Result<(ObjectIdentifier, Option<ObjectIdentifier>), evidence_pki::PkiError> {
            let mut key = Cursor::whole(pkcs8, tag::SEQUENCE, "private key")?;
            key.unsigned()?;
            let mut algorithm = key.enter(tag::SEQUENCE)?;
            Ok((algorithm.oid()?, algorithm.oid().ok()))
        };
    match read().map_err(|_| KeyError::Malformed)? {
        (oid::EC_PUBLIC_KEY, Some(oid::P256)) => Ok(SigningAlgorithm::EcdsaP256Sha256),
        (oid::EC_PUBLIC_KEY, Some(oid::P384)) => Ok(SigningAlgorithm::EcdsaP384Sha384),
        _ => Err(KeyError::Kind),
    }
}

/// The one private key in a PEM text.
#[cfg(any(feature = "aws-lc-rs", feature = "rustcrypto"))]
fn from_pem(pem: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, KeyError> {
    let mut blocks: Vec<_> = evidence_pki::pem_blocks(pem, "PRIVATE KEY")
        .map_err(|_| KeyError::Pem)?
        .into_iter()
        .map(zeroize::Zeroizing::new)
        .collect();
    match (blocks.pop(), blocks.is_empty()) {
        (Some(block), true) => Ok(block),
        _ => Err(KeyError::Pem),
    }
}
