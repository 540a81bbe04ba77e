// SPDX-License-Identifier: Apache-2.0

//! The operations by graviola.

use ::graviola::hashing::hmac::Hmac;
use ::graviola::hashing::{Hash, HashContext as _, Sha256, Sha384, Sha512};
use ::graviola::signing::ecdsa::{Curve, P256, P384, VerifyingKey};
use ::graviola::signing::rsa;

use crate::{BadSignature, Crypto, Scheme};

/// The operations by graviola: Rust and formally verified assembly, without a C compiler. It is what
/// TLS in a Keep is made of, so that a Keep has one library for both.
///
/// It runs on x86-64 and 64-bit Arm only, and **panics** on processors that lack what it is written for
/// (AES-NI, PCLMULQDQ, ADX, BMI1, BMI2 and AVX2 on x86-64): whoever uses it asks the processor first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Graviola;

impl Crypto for Graviola {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        hash::<Sha256, 32>(parts)
    }

    fn sha384(&self, parts: &[&[u8]]) -> [u8; 48] {
        hash::<Sha384, 48>(parts)
    }

    fn sha512(&self, parts: &[&[u8]]) -> [u8; 64] {
        hash::<Sha512, 64>(parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new(key);
        for part in parts {
            mac.update(part);
        }
        fixed(mac.finish().as_ref())
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
            Scheme::P256Der => ecdsa::<P256>(key)?.verify_asn1::<Sha256>(&[message], signature)?,
            Scheme::P256Fixed => ecdsa::<P256>(key)?.verify::<Sha256>(&[message], signature)?,
            Scheme::P384Der => ecdsa::<P384>(key)?.verify_asn1::<Sha384>(&[message], signature)?,
            Scheme::P384Fixed => ecdsa::<P384>(key)?.verify::<Sha384>(&[message], signature)?,
            Scheme::RsaPssSha384 => {
                rsa::VerifyingKey::from_pkcs1_der(key)?.verify_pss_sha384(signature, message)?;
            }
        }
        Ok(())
    }
}

impl From<::graviola::Error> for BadSignature {
    fn from(_: ::graviola::Error) -> Self {
        Self
    }
}

fn ecdsa<C: Curve>(key: &[u8]) -> Result<VerifyingKey<C>, ::graviola::Error> {
    VerifyingKey::from_x962_uncompressed(key)
}

fn hash<H: Hash, const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut context = H::new();
    for part in parts {
        context.update(part);
    }
    fixed(context.finish().as_ref())
}

/// The library returns slices of the length that the algorithm has.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}
