// SPDX-License-Identifier: Apache-2.0

//! The key of a Keep: on P-256, made inside, wiped at the end.
//!
//! It leaves this crate in one way, [`Key::to_pkcs8`], for the TLS library in the same Keep.

use core::fmt;

use evidence_pki::{SignError, Signer, SigningAlgorithm};
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, SigningKey};
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
    secret: SigningKey<P256>,
    point: [u8; 65],
    spki: Vec<u8>,
}

impl Key {
    /// Makes a key of the operating system's random numbers, in a Keep: the processor's.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Cpu`], [`IdentityError::Random`].
    pub fn generate() -> Result<Self, IdentityError> {
        if !graviola::util::is_cpu_supported() {
            return Err(IdentityError::Cpu);
        }
        let secret = SigningKey::<P256>::generate().map_err(|_| IdentityError::Random)?;
        let point = secret.private_key.public_key_uncompressed();
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
        let secret = Zeroizing::new(self.secret.private_key.as_bytes());
        // Of the right size at once: what grows leaves copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(138));
        out.extend_from_slice(&PKCS8_HEAD);
        out.extend_from_slice(&*secret);
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
        // Two numbers of up to 33 bytes with their heads, and the head of both.
        let mut room = [0; 80];
        let signature = self.secret.sign_asn1::<Sha256>(&[message], &mut room);
        Ok(signature.map_err(|error| SignError(format!("{error:?}")))?.to_vec())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}
