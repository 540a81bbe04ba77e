// SPDX-License-Identifier: Apache-2.0

//! The key of a Keep: on P-256, made inside, wiped at the end.
//!
//! It leaves this crate in one way, [`Key::to_pkcs8`], for the TLS library in the same Keep, which signs
//! several times faster than what is used here for the one signature of a request.

use core::fmt;

use evidence_pki::{SignError, Signer, SigningAlgorithm};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::Generate as _;
use zeroize::Zeroizing;

use crate::IdentityError;

/// What precedes the private number in PKCS#8 (RFC 5958, 2) with an `ECPrivateKey` (RFC 5915, 3) on P-256
/// that has its public key with it.
const PKCS8_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, // PrivateKeyInfo, version 0
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // id-ecPublicKey
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, // secp256r1
    0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20, // ECPrivateKey, version 1
];
/// What stands between private number and point.
const PKCS8_MIDDLE: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];

/// A private key on P-256. It is wiped when it is dropped.
pub struct Key {
    secret: SigningKey,
    point: [u8; 65],
    spki: Vec<u8>,
}

impl Key {
    /// Makes a key of the operating system's random numbers, in a Keep: the processor's.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Random`].
    pub fn generate() -> Result<Self, IdentityError> {
        let secret = SigningKey::try_generate().map_err(|_| IdentityError::Random)?;
        let encoded = secret.verifying_key().to_sec1_point(false);
        let mut point = [0; 65];
        point.iter_mut().zip(encoded.as_bytes()).for_each(|(to, from)| *to = *from);
        let spki = SigningAlgorithm::EcdsaP256Sha256
            .public_key(&point)
            .map_err(|_| IdentityError::Random)?;
        Ok(Self { secret, point, spki })
    }

    /// DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// PKCS#8, DER, with the public key in it; wiped when it is dropped.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let secret = Zeroizing::new(self.secret.to_bytes());
        // Of the right size at once: what grows leaves copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(138));
        out.extend_from_slice(&PKCS8_HEAD);
        out.extend_from_slice(&secret);
        out.extend_from_slice(&PKCS8_MIDDLE);
        out.extend_from_slice(&self.point);
        out
    }
}

impl Signer for Key {
    fn public_key(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::EcdsaP256Sha256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature: p256::ecdsa::DerSignature =
            self.secret.try_sign(message).map_err(|_| SignError("P-256 gave no reason".into()))?;
        Ok(signature.as_bytes().to_vec())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}
