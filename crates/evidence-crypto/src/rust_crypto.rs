// SPDX-License-Identifier: Apache-2.0

//! The operations by the RustCrypto crates.

use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Verifier;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::traits::PublicKeyParts;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::{BadSignature, Crypto, Scheme};

/// The operations by the RustCrypto crates: Rust alone, also for WebAssembly.
#[derive(Debug, Clone, Copy, Default)]
pub struct RustCrypto;

impl Crypto for RustCrypto {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        hash::<Sha256>(parts).into()
    }

    fn sha384(&self, parts: &[&[u8]]) -> [u8; 48] {
        hash::<Sha384>(parts).into()
    }

    fn sha512(&self, parts: &[&[u8]]) -> [u8; 64] {
        hash::<Sha512>(parts).into()
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes keys of each length, so that there is no error to come.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
            return [0; 32];
        };
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn verify(
        &self,
        scheme: Scheme,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        if !scheme.has_key_of(key) {
            return Err(BadSignature);
        }
        match scheme {
            Scheme::P256Der | Scheme::P256Fixed => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key)?;
                let signature = match scheme {
                    Scheme::P256Der => p256::ecdsa::Signature::from_der(signature)?,
                    _ => p256::ecdsa::Signature::from_slice(signature)?,
                };
                key.verify(message, &signature)?;
            }
            Scheme::P384Der | Scheme::P384Fixed => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key)?;
                let signature = match scheme {
                    Scheme::P384Der => p384::ecdsa::Signature::from_der(signature)?,
                    _ => p384::ecdsa::Signature::from_slice(signature)?,
                };
                key.verify(message, &signature)?;
            }
            Scheme::RsaPssSha384 => {
                let key = RsaPublicKey::from_pkcs1_der(key).map_err(|_| BadSignature)?;
                if !(2048..=8192).contains(&key.n().bits()) {
                    return Err(BadSignature);
                }
                let key = rsa::pss::VerifyingKey::<Sha384>::new_with_salt_len(key, 48);
                let signature = rsa::pss::Signature::try_from(signature)?;
                key.verify(message, &signature)?;
            }
        }
        Ok(())
    }
}

impl From<p256::ecdsa::Error> for BadSignature {
    fn from(_: p256::ecdsa::Error) -> Self {
        Self
    }
}

fn hash<D: Digest>(parts: &[&[u8]]) -> sha2::digest::Output<D> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize()
}
