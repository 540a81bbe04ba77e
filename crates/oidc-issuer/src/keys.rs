// SPDX-License-Identifier: Apache-2.0

//! Keys that sign tokens, and their public halves as a set (RFC 7515, RFC 7517, RFC 7518, RFC 8037).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::IssuerError;
use crate::state::random;

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
    /// RSASSA-PSS with SHA-256, 2048 bits.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

enum Secret {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

struct Key {
    kid: String,
    algorithm: Algorithm,
    secret: Secret,
}

/// The keys of an issuer.
pub(crate) struct Keys {
    algorithms: Vec<Algorithm>,
    current: Vec<Key>,
    former: Vec<Key>,
}

impl Keys {
    pub(crate) fn new(algorithms: Vec<Algorithm>) -> Result<Self, IssuerError> {
        if algorithms.is_empty() {
            return Err(IssuerError::NoAlgorithm);
        }
        let current = Key::all(&algorithms)?;
        Ok(Self { algorithms, current, former: Vec::new() })
    }

    pub(crate) fn rotate(&mut self, keep_old: bool) -> Result<(), IssuerError> {
        let new = Key::all(&self.algorithms)?;
        let old = std::mem::replace(&mut self.current, new);
        self.former = if keep_old { old } else { Vec::new() };
        Ok(())
    }

    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.current.iter().chain(&self.former).map(Key::public).collect();
        json!({ "keys": keys })
    }

    /// A signed token; without a key of that algorithm it is empty.
    pub(crate) fn sign(&self, with: Option<Algorithm>, header: &Value, claims: &Value) -> String {
        let fits = |key: &&Key| with.is_none_or(|algorithm| key.algorithm == algorithm);
        let Some(key) = self.current.iter().find(fits) else { return String::new() };
        let mut all = json!({ "alg": key.algorithm.name(), "typ": "at+jwt", "kid": key.kid });
        if let (Value::Object(all), Value::Object(changes)) = (&mut all, header) {
            for (name, value) in changes {
                match value {
                    Value::Null => all.remove(name),
                    value => all.insert(name.clone(), value.clone()),
                };
            }
        }
        let message = format!("{}.{}", b64(all.to_string()), b64(claims.to_string()));
        let signature = key.sign(message.as_bytes());
        format!("{message}.{}", b64(signature))
    }
}

impl Key {
    fn all(algorithms: &[Algorithm]) -> Result<Vec<Self>, IssuerError> {
        algorithms.iter().map(|algorithm| Self::new(*algorithm).ok_or(IssuerError::Key)).collect()
    }

    fn new(algorithm: Algorithm) -> Option<Self> {
        let ecdsa = |kind| EcdsaKeyPair::generate(kind).ok().map(Secret::Ecdsa);
        let secret = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Secret::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).ok()?)
            }
            Algorithm::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Algorithm::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Algorithm::EdDsa => Secret::Ed25519(Ed25519KeyPair::generate().ok()?),
        };
        Some(Self { kid: random(12), algorithm, secret })
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Rsa(pair) => {
                let padding = match self.algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                match pair.sign(padding, &random, message, &mut signature) {
                    Ok(()) => signature,
                    Err(_) => Vec::new(),
                }
            }
            Secret::Ecdsa(pair) => {
                pair.sign(&random, message).map(|s| s.as_ref().to_vec()).unwrap_or_default()
            }
            Secret::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn public(&self) -> Value {
        let mut key = match &self.secret {
            Secret::Rsa(pair) => {
                // RSAPublicKey (RFC 8017, A.1.1) of a modulus of 2048 bits and the exponent 65537 has one
                // form: 9 bytes, the modulus, 2 bytes, the exponent.
                let der = pair.public_key().as_ref();
                let number = |range| b64(der.get(range).unwrap_or_default());
                json!({ "kty": "RSA", "n": number(9..265), "e": number(267..270) })
            }
            Secret::Ecdsa(pair) => {
                // One byte 4, then both coordinates.
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match self.algorithm {
                    Algorithm::Es384 => "P-384",
                    _ => "P-256",
                };
                json!({ "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y) })
            }
            Secret::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key()) })
            }
        };
        key["kid"] = json!(self.kid);
        key["alg"] = json!(self.algorithm.name());
        key["use"] = json!("sig");
        key
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}
