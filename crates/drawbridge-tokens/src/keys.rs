// SPDX-License-Identifier: Apache-2.0

//! An issuer's public keys (RFC 7517), and which algorithm each of them may verify.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use jsonwebtoken::{Algorithm as Jwa, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of a set that are kept; issuers have two or three.
const MAX_KEYS: usize = 64;

/// How a token can be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rs256, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// Its name in headers and keys (RFC 7518, §3.1; RFC 8037, §3.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        // RFC 9864 gives the one curve that is known here a name of its own.
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn jwa(self) -> Jwa {
        match self {
            Self::Rs256 => Jwa::RS256,
            Self::Ps256 => Jwa::PS256,
            Self::Es256 => Jwa::ES256,
            Self::Es384 => Jwa::ES384,
            Self::EdDsa => Jwa::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The answer of an issuer. Entries are read one by one, so that a new kind of key spoils no other.
#[derive(Deserialize)]
pub(crate) struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A public key and what it may verify.
pub(crate) struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The keys that can be used, of all that an issuer has.
#[derive(Default)]
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    pub(crate) fn read(document: &Document) -> Self {
        Self(document.keys.iter().filter_map(Key::read).take(MAX_KEYS).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key that this token has to be signed with.
    ///
    /// Without a name the choice must be clear: there is one key for that algorithm and no other.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| key.algorithms.contains(&algorithm));
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(value).ok()?;
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return None;
        }
        let (mut algorithms, key) = jwk.key()?;
        if let Some(name) = &jwk.alg {
            // The key's own word about its algorithm can only narrow it down.
            let named = Algorithm::from_name(name)?;
            algorithms.retain(|algorithm| *algorithm == named);
        }
        match algorithms.is_empty() {
            true => None,
            false => Some(Self { kid: jwk.kid, algorithms, key }),
        }
    }

    /// Whether `signature` (as it stands in the token) is this key's, over `message`.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        let key = &self.key;
        self.algorithms.contains(&algorithm)
            && jsonwebtoken::crypto::verify(signature, message, key, algorithm.jwa())
                .unwrap_or(false)
    }
}

impl Jwk {
    fn key(&self) -> Option<(Vec<Algorithm>, DecodingKey)> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let modulus = bytes(&self.n, 256..=1024)?;
                let exponent = bytes(&self.e, 1..=8)?;
                let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
                Some((vec![Algorithm::Rs256, Algorithm::Ps256], key))
            }
            ("EC", Some("P-256")) => self.point(32, Algorithm::Es256),
            ("EC", Some("P-384")) => self.point(48, Algorithm::Es384),
            ("OKP", Some("Ed25519")) => {
                let key = DecodingKey::from_ed_der(&bytes(&self.x, 32..=32)?);
                Some((vec![Algorithm::EdDsa], key))
            }
            _ => None,
        }
    }

    fn point(&self, size: usize, algorithm: Algorithm) -> Option<(Vec<Algorithm>, DecodingKey)> {
        let (x, y) = (bytes(&self.x, size..=size)?, bytes(&self.y, size..=size)?);
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        Some((vec![algorithm], DecodingKey::from_ec_der(&point)))
    }
}

/// Decodes a number of a key that has to have this many bytes.
fn bytes(text: &Option<String>, size: std::ops::RangeInclusive<usize>) -> Option<Vec<u8>> {
    let bytes = Base64UrlUnpadded::decode_vec(text.as_deref()?).ok()?;
    size.contains(&bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn keys(keys: Value) -> Keys {
        Keys::read(&serde_json::from_value(json!({ "keys": keys })).unwrap())
    }

    fn b64(size: usize) -> String {
        Base64UrlUnpadded::encode_string(&vec![7; size])
    }

    fn p256(kid: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": b64(32), "y": b64(32)})
    }

    fn rsa(kid: &str) -> Value {
        json!({"kty": "RSA", "kid": kid, "n": b64(256), "e": "AQAB"})
    }

    #[test]
    fn each_kind_of_key_has_its_algorithms() {
        let keys = keys(json!([p256("a"), rsa("b")]));
        for algorithm in Algorithm::ALL {
            assert_eq!(keys.find(Some("a"), algorithm).is_some(), algorithm == Algorithm::Es256);
            let fits = matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256);
            assert_eq!(keys.find(Some("b"), algorithm).is_some(), fits);
        }
    }

    #[test]
    fn a_key_can_say_what_it_is_for() {
        let change = |name: &str, value: Value| {
            let mut key = rsa("a");
            key[name] = value;
            keys(json!([key]))
        };
        assert_eq!(change("use", json!("sig")).len(), 1);
        assert_eq!(change("use", json!("enc")).len(), 0);
        assert_eq!(change("key_ops", json!(["verify"])).len(), 1);
        assert_eq!(change("key_ops", json!(["encrypt"])).len(), 0);
        assert_eq!(change("alg", json!("RSA-OAEP")).len(), 0);
        assert_eq!(change("alg", json!("ES256")).len(), 0);
        let ps256 = change("alg", json!("PS256"));
        assert!(ps256.find(Some("a"), Algorithm::Rs256).is_none());
        assert!(ps256.find(Some("a"), Algorithm::Ps256).is_some());
    }

    #[test]
    fn unknown_short_and_broken_keys_spoil_no_other() {
        let keys = keys(json!([
            {"kty": "oct", "k": b64(32), "kid": "a"},
            {"kty": "RSA", "n": b64(128), "e": "AQAB", "kid": "a"},
            {"kty": "EC", "crv": "secp256k1", "x": b64(32), "y": b64(32), "kid": "a"},
            {"kty": "EC", "crv": "P-256", "x": b64(31), "y": b64(32), "kid": "a"},
            {"kty": "OKP", "crv": "Ed448", "x": b64(57), "kid": "a"},
            {"kty": 5}, null, "text",
            p256("a"),
        ]));
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn without_a_name_the_key_must_be_the_only_one() {
        assert!(keys(json!([p256("a"), rsa("b")])).find(None, Algorithm::Es256).is_some());
        assert!(keys(json!([p256("a"), p256("b")])).find(None, Algorithm::Es256).is_none());
    }

    #[test]
    fn sets_have_a_greatest_size() {
        let many: Vec<Value> = (0..200).map(|number| p256(&number.to_string())).collect();
        assert_eq!(keys(json!(many)).len(), MAX_KEYS);
    }

    #[test]
    fn a_point_off_the_curve_verifies_nothing() {
        let keys = keys(json!([p256("a")]));
        let key = keys.find(Some("a"), Algorithm::Es256).unwrap();
        assert!(!key.verifies(Algorithm::Es256, b"message", &b64(64)));
    }

    proptest! {
        #[test]
        fn no_key_makes_it_panic(
            kty in "RSA|EC|OKP|oct",
            crv in "P-256|P-384|Ed25519|",
            numbers in proptest::array::uniform4("[-_A-Za-z0-9]{0,90}"),
            signature in "[-_A-Za-z0-9=.]{0,90}",
        ) {
            let [n, e, x, y] = numbers;
            let key = json!({"kty": kty, "crv": crv, "n": n, "e": e, "x": x, "y": y});
            for key in keys(json!([key])).0 {
                for algorithm in Algorithm::ALL {
                    prop_assert!(!key.verifies(algorithm, b"message", &signature));
                }
            }
        }
    }
}
