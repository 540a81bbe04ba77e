// SPDX-License-Identifier: Apache-2.0

//! Keys on curves. The library clears a key's memory when it is dropped; copies that are made here for
//! PEM clear themselves.

use core::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
};
use der::pem::LineEnding;
use evidence_pki::oid;
use zeroize::Zeroizing;

use crate::{DevelopmentError, encode};

const LABEL: &str = "PRIVATE KEY";

/// A curve, with the hash that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// P-256 with SHA-256.
    P256,
    /// P-384 with SHA-384.
    P384,
}

/// A private key, and the public key that belongs to it.
pub struct Key {
    curve: Curve,
    pair: EcdsaKeyPair,
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
        Ok(Self { curve, pair })
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
            EcdsaKeyPair::from_pkcs8(algorithm, block).map(|pair| Self { curve, pair })
        };
        read(Curve::P384, &ECDSA_P384_SHA384_ASN1_SIGNING)
            .or_else(|_| read(Curve::P256, &ECDSA_P256_SHA256_ASN1_SIGNING))
            .map_err(|_| DevelopmentError::Key)
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

    /// Its curve.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// DER `SubjectPublicKeyInfo` (RFC 5480).
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        let curve = match self.curve {
            Curve::P256 => oid::P256,
            Curve::P384 => oid::P384,
        };
        let algorithm = encode::sequence(&[&encode::oid(oid::EC_PUBLIC_KEY), &encode::oid(curve)]);
        encode::sequence(&[&algorithm, &encode::bits(self.pair.public_key().as_ref())])
    }

    /// DER `AlgorithmIdentifier` of its signatures (RFC 5758).
    pub(crate) fn algorithm(&self) -> Vec<u8> {
        encode::sequence(&[&encode::oid(match self.curve {
            Curve::P256 => oid::ECDSA_SHA256,
            Curve::P384 => oid::ECDSA_SHA384,
        })])
    }

    /// A signature, DER `Ecdsa-Sig-Value` (RFC 3279, 2.2.3).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DevelopmentError> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| DevelopmentError::Library("sign"))
    }

    /// `SEQUENCE { signed, AlgorithmIdentifier, BIT STRING }`: the outer form of certificates and requests.
    pub(crate) fn seal(&self, signed: &[u8]) -> Result<Vec<u8>, DevelopmentError> {
        let signature = self.sign(signed)?;
        Ok(encode::sequence(&[signed, &self.algorithm(), &encode::bits(&signature)]))
    }
}

/// Says which curve it is on, and nothing of the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("curve", &self.curve).finish_non_exhaustive()
    }
}
