// SPDX-License-Identifier: Apache-2.0

//! What computes TLS, and whether the processor can.
//!
//! The library panics on processors that lack what it is written for. What the processor has is
//! the host's word in a Keep, so it is asked first; a host that lies stops the Keep, which it can
//! do anyway.

use core::fmt;
use std::sync::{Arc, OnceLock};

use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{self, P256};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::NetError;

/// The provider, made once.
///
/// # Errors
///
/// [`NetError::Cpu`].
pub fn provider() -> Result<Arc<CryptoProvider>, NetError> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    check_cpu()?;
    if let Some(provider) = PROVIDER.get() {
        return Ok(Arc::clone(provider));
    }
    // Here, and taken apart at once, so that the compiler sees that nobody asks for the library's own
    // reader of keys, and with it for all that signs: what is only called to fill a `OnceLock` is
    // cold code, into which it looks less.
    let CryptoProvider {
        mut cipher_suites,
        kx_groups,
        signature_verification_algorithms,
        secure_random,
        ..
    } = rustls_graviola::default_provider();
    // TLS 1.3 alone; what is left over of 1.2 would only be offered and refused.
    cipher_suites.retain(|suite| suite.tls13().is_some());
    let provider = Arc::new(CryptoProvider {
        cipher_suites,
        kx_groups,
        signature_verification_algorithms,
        secure_random,
        key_provider: &Keys,
    });
    Ok(Arc::clone(PROVIDER.get_or_init(|| provider)))
}

/// Whether the processor has all that TLS is computed with.
///
/// # Errors
///
/// [`NetError::Cpu`] names what it lacks.
pub fn check_cpu() -> Result<(), NetError> {
    #[cfg(target_arch = "x86_64")]
    {
        // BMI2 is not among what the library itself asks for, but its code uses it.
        let has = [
            ("AES", is_x86_feature_detected!("aes")),
            ("PCLMULQDQ", is_x86_feature_detected!("pclmulqdq")),
            ("SSSE3", is_x86_feature_detected!("ssse3")),
            ("BMI1", is_x86_feature_detected!("bmi1")),
            ("BMI2", is_x86_feature_detected!("bmi2")),
            ("ADX", is_x86_feature_detected!("adx")),
            ("AVX", is_x86_feature_detected!("avx")),
            ("AVX2", is_x86_feature_detected!("avx2")),
        ];
        let missing: Vec<&str> =
            has.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            return Err(NetError::Cpu { missing: missing.join(", ") });
        }
    }
    Ok(())
}

/// Takes the one kind of key that a Keep makes: on P-256, in PKCS#8. So no Keep contains what it takes
/// to sign by RSA and the like, which is more code than all the rest of the handshake.
#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let wrong = || Error::General("the private key is not one on P-256 in PKCS#8".to_owned());
        let PrivateKeyDer::Pkcs8(key) = key else { return Err(wrong()) };
        let key = ecdsa::SigningKey::from_pkcs8_der(key.secret_pkcs8_der()).map_err(|_| wrong())?;
        Ok(Arc::new(Key(Arc::new(key))))
    }
}

/// A private key.
#[derive(Clone)]
struct Key(Arc<ecdsa::SigningKey<P256>>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let mut room = [0; 128];
        let spki = self.0.to_spki_der(&mut room).ok()?;
        Some(SubjectPublicKeyInfoDer::from(spki.to_vec()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        // Two numbers of up to 33 bytes with their heads, and the head of both.
        let mut room = [0; 80];
        let signature = self.0.sign_asn1::<Sha256>(&[message], &mut room);
        Ok(signature.map_err(|error| Error::General(format!("cannot sign: {error:?}")))?.to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}
