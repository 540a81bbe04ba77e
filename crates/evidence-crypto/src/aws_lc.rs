// SPDX-License-Identifier: Apache-2.0

//! The operations by aws-lc-rs.

use aws_lc_rs::{digest, hmac, signature};

use crate::{BadSignature, Crypto, Scheme};

/// The operations by aws-lc-rs: C and assembly, for native programs.
#[derive(Debug, Clone, Copy, Default)]
pub struct AwsLc;

impl Crypto for AwsLc {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        hash(&digest::SHA256, parts)
    }

    fn sha384(&self, parts: &[&[u8]]) -> [u8; 48] {
        hash(&digest::SHA384, parts)
    }

    fn sha512(&self, parts: &[&[u8]]) -> [u8; 64] {
        hash(&digest::SHA512, parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        for part in parts {
            context.update(part);
        }
        fixed(context.sign().as_ref())
    }

    fn verify(
        &self,
        scheme: Scheme,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let algorithm: &dyn signature::VerificationAlgorithm = match scheme {
            Scheme::P256Der => &signature::ECDSA_P256_SHA256_ASN1,
            Scheme::P256Fixed => &signature::ECDSA_P256_SHA256_FIXED,
            Scheme::P384Der => &signature::ECDSA_P384_SHA384_ASN1,
            Scheme::P384Fixed => &signature::ECDSA_P384_SHA384_FIXED,
            Scheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        };
        if !scheme.has_key_of(key) {
            return Err(BadSignature);
        }
        algorithm.verify_sig(key, message, signature).map_err(|_| BadSignature)
    }
}

fn hash<const N: usize>(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> [u8; N] {
    if let [one] = parts {
        return fixed(digest::digest(algorithm, one).as_ref());
    }
    let mut context = digest::Context::new(algorithm);
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
