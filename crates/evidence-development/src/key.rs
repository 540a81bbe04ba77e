// SPDX-License-Identifier: Apache-2.0

//! Keys on curves. The library clears a key's memory when it is dropped; copies that are made here for
//! PEM clear themselves.

use core::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
};
use der::pem::LineEnding;
use evidence_pki::{Cursor, SignError, Signer, SigningAlgorithm, tag};
use zeroize::Zeroizing;

use crate::DevelopmentError;

const LABEL: &str = "PRIVATE KEY";

/// A curve, with the hash that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// P-256 with SHA-256.
    P256,
    /// P-384 with SHA-384.
    P384,
}

impl Curve {
    fn algorithm(self) -> SigningAlgorithm {
        match self {
            Self::P256 => SigningAlgorithm::EcdsaP256Sha256,
            Self::P384 => SigningAlgorithm::EcdsaP384Sha384,
        }
    }
}

/// A private key, and the public key that belongs to it.
pub struct Key {
    curve: Curve,
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl Key {
    /// A new key.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn generate(curve: Curve) -> Result<Self, DevelopmentError> {
        let algorithm = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        };
        let pair = EcdsaKeyPair::generate(algorithm)
            .map_err(|_| DevelopmentError::Library("make a key"))?;
        Self::new(curve, pair)
    }

    fn new(curve: Curve, pair: EcdsaKeyPair) -> Result<Self, DevelopmentError> {
        let spki = curve
            .algorithm()
            .public_key(pair.public_key().as_ref())
            .map_err(|_| DevelopmentError::Library("write a key"))?;
        Ok(Self { curve, pair, spki })
    }

    /// The key in a PEM text: one block `PRIVATE KEY`, PKCS#8 (RFC 5958).
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Key`].
    pub fn from_pem(text: &str) -> Result<Self, DevelopmentError> {
        let blocks = evidence_pki::pem_blocks(text.as_bytes(), LABEL).map(Zeroizing::new);
        let blocks = blocks.map_err(|_| DevelopmentError::Key)?;
        let [block] = blocks.as_slice() else { return Err(DevelopmentError::Key) };
        let read = |curve, algorithm| {
            let pair =
                EcdsaKeyPair::from_pkcs8(algorithm, block).map_err(|_| DevelopmentError::Key)?;
            Self::new(curve, pair)
        };
        read(Curve::P384, &ECDSA_P384_SHA384_ASN1_SIGNING)
            .or_else(|_| read(Curve::P256, &ECDSA_P256_SHA256_ASN1_SIGNING))
    }

    /// PEM of the private key, PKCS#8. It clears itself when it is dropped.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn to_pem(&self) -> Result<Zeroizing<String>, DevelopmentError> {
        let failed = DevelopmentError::Library("write a key");
        let document = self.pair.to_pkcs8v1().map_err(|_| failed)?;
        der::pem::encode_string(LABEL, LineEnding::LF, document.as_ref())
            .map(Zeroizing::new)
            .map_err(|_| failed)
    }

    /// Signs, and takes the signature apart: `r` and `s`, big-endian, as many bytes each as the curve's order
    /// has: 32 or 48.
    pub(crate) fn sign_numbers<const N: usize>(
        &self,
        message: &[u8],
    ) -> Result<([u8; N], [u8; N]), DevelopmentError> {
        let signature = self.sign(message)?;
        let split = || {
            let mut numbers = Cursor::whole(&signature, tag::SEQUENCE, "signature").ok()?;
            Some((padded(numbers.integer().ok()?)?, padded(numbers.integer().ok()?)?))
        };
        split().ok_or(DevelopmentError::Library("encode a signature"))
    }

    /// Its curve.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// DER `SubjectPublicKeyInfo` (RFC 5480).
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        self.spki.clone()
    }
}

impl Signer for Key {
    fn public_key(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> SigningAlgorithm {
        self.curve.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| SignError("aws-lc-rs gave no reason".into()))?.as_ref().to_vec())
    }
}

/// Says which curve it is on, and nothing of the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("curve", &self.curve).finish_non_exhaustive()
    }
}

/// A number with zeros before it.
fn padded<const N: usize>(number: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let zeros = N.checked_sub(number.len())?;
    bytes.get_mut(zeros..)?.copy_from_slice(number);
    Some(bytes)
}
