// SPDX-License-Identifier: Apache-2.0

//! A key in memory, by the RustCrypto crates.
//!
//! Their signatures are deterministic (RFC 6979), so that no random numbers are needed: what runs as
//! WebAssembly may have none.

use core::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::DecodePrivateKey;

use super::{KeyError, SignError, Signer, SigningAlgorithm};

/// A private key in memory. The libraries wipe it when it is dropped.
pub struct RustCryptoKey {
    key: Key,
    public_key: Vec<u8>,
}

enum Key {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl RustCryptoKey {
    /// Reads the one PKCS#8 key in a PEM text.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        Self::from_pkcs8(&super::from_pem(pem)?)
    }

    /// Reads a PKCS#8 key (RFC 5958), DER.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let algorithm = super::algorithm_of(pkcs8)?;
        let (key, point) = match algorithm {
            SigningAlgorithm::EcdsaP256Sha256 => {
                let key = p256::ecdsa::SigningKey::from_pkcs8_der(pkcs8)
                    .map_err(|_| KeyError::Invalid)?;
                let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
                (Key::P256(key), point)
            }
            SigningAlgorithm::EcdsaP384Sha384 => {
                let key = p384::ecdsa::SigningKey::from_pkcs8_der(pkcs8)
                    .map_err(|_| KeyError::Invalid)?;
                let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
                (Key::P384(key), point)
            }
        };
        Ok(Self { key, public_key: algorithm.public_key(&point)? })
    }
}

impl Signer for RustCryptoKey {
    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> SigningAlgorithm {
        match self.key {
            Key::P256(_) => SigningAlgorithm::EcdsaP256Sha256,
            Key::P384(_) => SigningAlgorithm::EcdsaP384Sha384,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |_| SignError("p256 and p384 gave no reason".into());
        Ok(match &self.key {
            Key::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.try_sign(message).map_err(failed)?;
                signature.as_bytes().to_vec()
            }
            Key::P384(key) => {
                let signature: p384::ecdsa::DerSignature = key.try_sign(message).map_err(failed)?;
                signature.as_bytes().to_vec()
            }
        })
    }
}

impl fmt::Debug for RustCryptoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustCryptoKey")
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}
