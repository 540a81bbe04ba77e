// SPDX-License-Identifier: Apache-2.0

//! The libraries against each other: what one accepts the others accept, and nothing else.

#![cfg(all(feature = "aws-lc-rs", feature = "rustcrypto"))]

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RSA_PSS_SHA384, RsaKeyPair,
};
#[cfg(feature = "graviola")]
use evidence_crypto::Graviola;
use evidence_crypto::{AwsLc, BadSignature, Crypto, RustCrypto, Scheme};
use proptest::prelude::*;

const MESSAGE: &[u8] = b"what a processor says";

/// A key and a signature over [`MESSAGE`].
struct Signed {
    scheme: Scheme,
    key: Vec<u8>,
    signature: Vec<u8>,
}

static SIGNED: LazyLock<Vec<Signed>> = LazyLock::new(|| {
    let ecdsa = |scheme, algorithm: &'static EcdsaSigningAlgorithm| {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap().as_ref().to_vec();
        Signed { scheme, key: pair.public_key().as_ref().to_vec(), signature }
    };
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PSS_SHA384, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
    vec![
        ecdsa(Scheme::P256Der, &signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        ecdsa(Scheme::P256Fixed, &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        ecdsa(Scheme::P384Der, &signature::ECDSA_P384_SHA384_ASN1_SIGNING),
        ecdsa(Scheme::P384Fixed, &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        Signed { scheme: Scheme::RsaPssSha384, key: pkcs1(&pair), signature },
    ]
});

/// The `RSAPublicKey` in the key's `SubjectPublicKeyInfo`.
fn pkcs1(pair: &RsaKeyPair) -> Vec<u8> {
    let spki = pair.public_key().as_der().unwrap().as_ref().to_vec();
    let raw = pair.public_key().as_ref().to_vec();
    assert!(spki.ends_with(&raw), "aws-lc-rs gives the RSAPublicKey");
    raw
}

fn all(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let fast = AwsLc.verify(scheme, key, message, signature);
    let plain = RustCrypto.verify(scheme, key, message, signature);
    assert_eq!(fast, plain, "{scheme:?}: {key:02x?} {signature:02x?}");
    #[cfg(feature = "graviola")]
    if graviola::util::is_cpu_supported() {
        let keep = Graviola.verify(scheme, key, message, signature);
        assert_eq!(fast, keep, "{scheme:?}: {key:02x?} {signature:02x?}");
    }
    fast
}

#[test]
fn good_signatures_verify() {
    for one in &*SIGNED {
        all(one.scheme, &one.key, MESSAGE, &one.signature).unwrap();
        all(one.scheme, &one.key, b"something else", &one.signature).unwrap_err();
    }
}

#[test]
fn a_scheme_takes_only_its_own_keys_and_signatures() {
    for one in &*SIGNED {
        for other in &*SIGNED {
            if one.scheme != other.scheme {
                all(one.scheme, &other.key, MESSAGE, &one.signature).unwrap_err();
                all(one.scheme, &one.key, MESSAGE, &other.signature).unwrap_err();
            }
        }
    }
}

#[test]
fn keys_have_one_form() {
    for one in SIGNED.iter().filter(|one| one.scheme != Scheme::RsaPssSha384) {
        let half = one.key.len() / 2;
        let parity = 2 + (one.key[2 * half] & 1);
        let compressed: Vec<u8> =
            std::iter::once(parity).chain(one.key[1..=half].iter().copied()).collect();
        all(one.scheme, &compressed, MESSAGE, &one.signature).unwrap_err();
        let mut hybrid = one.key.clone();
        hybrid[0] = 4 + parity;
        all(one.scheme, &hybrid, MESSAGE, &one.signature).unwrap_err();
        let zero = vec![0; one.key.len()];
        all(one.scheme, &zero, MESSAGE, &one.signature).unwrap_err();
        all(one.scheme, &[0], MESSAGE, &one.signature).unwrap_err();
    }
}

#[test]
fn a_signature_of_zeros_does_not_verify() {
    for one in &*SIGNED {
        for length in [0, 1, 64, 96, 256, one.signature.len()] {
            all(one.scheme, &one.key, MESSAGE, &vec![0; length]).unwrap_err();
        }
        let mut longer = one.signature.clone();
        longer.push(0);
        all(one.scheme, &one.key, MESSAGE, &longer).unwrap_err();
        all(one.scheme, &one.key, MESSAGE, &one.signature[1..]).unwrap_err();
    }
}

#[test]
fn small_rsa_keys_are_refused() {
    // 1024 bits, as large a number as there is: no signature under it counts.
    let mut key = vec![0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00];
    key.extend([0xff; 128]);
    key.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    all(Scheme::RsaPssSha384, &key, MESSAGE, &[1; 128]).unwrap_err();
}

#[test]
fn digests_are_those_of_the_standards() {
    // FIPS 180-4 examples for "abc", RFC 4231 test case 2.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut all: Vec<&dyn Crypto> = vec![&AwsLc, &RustCrypto];
    #[cfg(feature = "graviola")]
    if graviola::util::is_cpu_supported() {
        all.push(&Graviola);
    }
    for crypto in all {
        for parts in [&[&b"abc"[..]][..], &[b"a", b"", b"bc"]] {
            assert!(hex(&crypto.sha256(parts)).starts_with("ba7816bf8f01cfea414140de5dae2223"));
            assert!(hex(&crypto.sha384(parts)).starts_with("cb00753f45a35e8bb5a03d699ac65007"));
            assert!(hex(&crypto.sha512(parts)).starts_with("ddaf35a193617abacc417349ae204131"));
        }
        let mac = crypto.hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn changed_signatures_are_judged_alike(
        which in 0..5_usize, at in 0..600_usize, mask in 1..=255_u8, shift in 0..3_usize,
    ) {
        let one = &SIGNED[which];
        let mut signature = one.signature.clone();
        let at = at % signature.len();
        signature[at] ^= mask;
        signature.truncate(signature.len() - shift);
        prop_assert!(all(one.scheme, &one.key, MESSAGE, &signature).is_err());
    }

    #[test]
    fn changed_keys_are_judged_alike(which in 0..5_usize, at in 0..600_usize, mask in 1..=255_u8) {
        let one = &SIGNED[which];
        let mut key = one.key.clone();
        let at = at % key.len();
        key[at] ^= mask;
        // An RSA modulus that is no product of two primes is found by neither; the signature is wrong
        // under it all the same.
        prop_assert!(all(one.scheme, &key, MESSAGE, &one.signature).is_err());
    }
}
