// SPDX-License-Identifier: Apache-2.0

//! The key of a certificate authority.
//!
//! Signing is behind a trait, because the key may be in a device that never lets it out. Two
//! implementations hold a key from a PEM file in memory: [`AwsLcKey`] for native programs and
//! [`RustCryptoKey`] for WebAssembly. Neither has anything of the private key in its `Debug`.

#[cfg(any(feature = "aws-lc-rs", feature = "rustcrypto"))]
use evidence_pki::{Cursor, ObjectIdentifier, tag};
use evidence_pki::{PublicKey, oid};

use crate::encode;

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

/// A private key, wherever it is.
pub trait Signer: core::fmt::Debug + Send + Sync {
    /// Its public key, DER `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7), with an uncompressed point.
    fn public_key(&self) -> &[u8];

    /// How it signs.
    fn algorithm(&self) -> SigningAlgorithm;

    /// Signs `message`; the hash is part of the algorithm. Returns a DER `Ecdsa-Sig-Value` (RFC 3279,
    /// 2.2.3).
    ///
    /// # Errors
    ///
    /// [`SignError`], with the reason of the device or library, if it gave one.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A way to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA, P-256, SHA-256.
    EcdsaP256Sha256,
    /// ECDSA, P-384, SHA-384.
    EcdsaP384Sha384,
}

impl SigningAlgorithm {
    /// The one that a key of that kind signs with; `None` if no key of that kind can sign here.
    #[must_use]
    pub fn of(key: &PublicKey<'_>) -> Option<Self> {
        match key {
            PublicKey::P256(_) => Some(Self::EcdsaP256Sha256),
            PublicKey::P384(_) => Some(Self::EcdsaP384Sha384),
            _ => None,
        }
    }

    /// DER `AlgorithmIdentifier` of signatures (RFC 5758, 3.2).
    #[must_use]
    pub fn identifier(self) -> Vec<u8> {
        encode::sequence(&[&encode::oid(match self {
            Self::EcdsaP256Sha256 => oid::ECDSA_SHA256,
            Self::EcdsaP384Sha384 => oid::ECDSA_SHA384,
        })])
    }

    /// DER `SubjectPublicKeyInfo` (RFC 5480, 2) of an uncompressed point: 65 or 97 bytes. Whether it is
    /// on the curve is not looked at.
    ///
    /// # Errors
    ///
    /// [`KeyError::Point`] if it has not that form.
    pub fn public_key(self, point: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (curve, length) = match self {
            Self::EcdsaP256Sha256 => (oid::P256, 65),
            Self::EcdsaP384Sha384 => (oid::P384, 97),
        };
        if point.len() != length || point.first() != Some(&4) {
            return Err(KeyError::Point);
        }
        let algorithm = encode::sequence(&[&encode::oid(oid::EC_PUBLIC_KEY), &encode::oid(curve)]);
        Ok(encode::sequence(&[&algorithm, &encode::bits(point)]))
    }
}

/// A signature could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signing failed: {0}")]
pub struct SignError(pub String);

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
    #[error("the public key is not an uncompressed point of the curve")]
    Point,
    /// A key could not be made.
    #[error("no key could be made: the system gave no random numbers")]
    Random,
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
