// SPDX-License-Identifier: Apache-2.0

//! A key in memory, by aws-lc-rs.

use core::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair,
};
use der::pem::LineEnding;
use zeroize::Zeroizing;

use super::{KeyError, SignError, Signer, SigningAlgorithm};

/// A private key in memory. The library wipes it when it is dropped.
pub struct AwsLcKey {
    pair: EcdsaKeyPair,
    algorithm: SigningAlgorithm,
    public_key: Vec<u8>,
}

impl AwsLcKey {
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
        let pair =
            EcdsaKeyPair::from_pkcs8(signing(algorithm), pkcs8).map_err(|_| KeyError::Invalid)?;
        Self::new(pair, algorithm)
    }

    /// Makes a new key; see [`AwsLcKey::to_pem`].
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`].
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(signing(algorithm)).map_err(|_| KeyError::Random)?;
        Self::new(pair, algorithm)
    }

    /// The private key as PEM, for the one file that keeps it.
    ///
    /// # Errors
    ///
    /// [`KeyError::Invalid`] if the library cannot write it.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let pkcs8 = self.pair.to_pkcs8v1().map_err(|_| KeyError::Invalid)?;
        der::pem::encode_string("PRIVATE KEY", LineEnding::LF, pkcs8.as_ref())
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Invalid)
    }

    fn new(pair: EcdsaKeyPair, algorithm: SigningAlgorithm) -> Result<Self, KeyError> {
        let public_key = algorithm.public_key(pair.public_key().as_ref())?;
        Ok(Self { pair, algorithm, public_key })
    }
}

impl Signer for AwsLcKey {
    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| SignError("aws-lc-rs gave no reason".into()))?.as_ref().to_vec())
    }
}

impl fmt::Debug for AwsLcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsLcKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn signing(algorithm: SigningAlgorithm) -> &'static EcdsaSigningAlgorithm {
    match algorithm {
        SigningAlgorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        SigningAlgorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
    }
}
