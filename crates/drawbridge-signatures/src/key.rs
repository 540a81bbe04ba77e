// SPDX-License-Identifier: Apache-2.0

//! Keys of those who sign tags.
//!
//! Public keys are PEM `SubjectPublicKeyInfo`, private ones PEM PKCS#8, as OpenSSL writes and reads both.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use evidence_crypto::{AwsLc, Crypto as _};
use evidence_pki::{Cursor, ObjectIdentifier, encode, oid, pem_blocks, tag, to_pem};
use zeroize::Zeroizing;

use crate::SignatureError;

/// `id-Ed25519` (RFC 8410).
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A kind of key, and with it the algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA over P-256 with SHA-256: ES256 (RFC 7518, 3.4).
    P256,
    /// Ed25519: EdDSA (RFC 8037, 3.1).
    Ed25519,
}

impl KeyKind {
    /// Its `alg` in a JWS.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "ES256",
            Self::Ed25519 => "EdDSA",
        }
    }
}

/// A public key whose signatures may count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// An uncompressed point (65 bytes) or 32 bytes.
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Reads one PEM block `PUBLIC KEY`.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Malformed`], [`SignatureError::Unsupported`].
    pub fn from_pem(pem: &str) -> Result<Self, SignatureError> {
        let blocks = pem_blocks(pem.as_bytes(), "PUBLIC KEY")
            .map_err(|error| SignatureError::malformed("a public key", error))?;
        match blocks.as_slice() {
            [one] => Self::from_spki(one),
            _ => Err(SignatureError::malformed("a public key", "there is more than one")),
        }
    }

    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Malformed`], [`SignatureError::Unsupported`].
    pub fn from_spki(spki: &[u8]) -> Result<Self, SignatureError> {
        let malformed = |error| SignatureError::malformed("a public key", error);
        if let evidence_pki::PublicKey::P256(point) =
            evidence_pki::PublicKey::from_spki(spki).map_err(malformed)?
        {
            return Ok(Self { kind: KeyKind::P256, bytes: point.to_vec() });
        }
        let mut outer = Cursor::whole(spki, tag::SEQUENCE, "public key").map_err(malformed)?;
        let mut algorithm = outer.enter(tag::SEQUENCE).map_err(malformed)?;
        let bits = outer.bits().map_err(malformed)?;
        if algorithm.oid().map_err(malformed)? != ED25519_OID
            || !algorithm.is_done()
            || bits.len() != 32
        {
            return Err(SignatureError::Unsupported(
                "a key that is neither of P-256 nor of Ed25519".into(),
            ));
        }
        Ok(Self { kind: KeyKind::Ed25519, bytes: bits.to_vec() })
    }

    /// What kind of key it is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        let algorithm = match self.kind {
            KeyKind::P256 => {
                encode::sequence(&[&encode::oid(oid::EC_PUBLIC_KEY), &encode::oid(oid::P256)])
            }
            KeyKind::Ed25519 => encode::sequence(&[&encode::oid(ED25519_OID)]),
        };
        encode::sequence(&[&algorithm, &encode::bits(&self.bytes)])
    }

    /// PEM, with a newline at its end.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &self.to_spki())
    }

    /// Its name in signatures and messages: `sha256:` and the digest of its `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = AwsLc.sha256(&[&self.to_spki()]);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// Checks a signature in the encoding of JWS.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let done = match self.kind {
            KeyKind::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes)
                .verify(message, signature),
            KeyKind::Ed25519 => {
                UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature)
            }
        };
        done.is_ok()
    }
}

/// A private key that signs tags.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Signing`] if the library has no randomness.
    pub fn generate(kind: KeyKind) -> Result<Self, SignatureError> {
        let failed = |_| SignatureError::Signing;
        let pair = match kind {
            KeyKind::P256 => Pair::P256(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?,
            ),
            KeyKind::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
        };
        Ok(Self::of(pair))
    }

    /// Reads one PEM block `PRIVATE KEY` (PKCS#8).
    ///
    /// # Errors
    ///
    /// [`SignatureError::Malformed`], [`SignatureError::Unsupported`].
    pub fn from_pem(pem: &str) -> Result<Self, SignatureError> {
        let blocks = pem_blocks(pem.as_bytes(), "PRIVATE KEY")
            .map_err(|error| SignatureError::malformed("a private key", error))?;
        let blocks: Vec<_> = blocks.into_iter().map(Zeroizing::new).collect();
        let [der] = blocks.as_slice() else {
            return Err(SignatureError::malformed("a private key", "there is more than one"));
        };
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Ok(Self::of(Pair::P256(pair)));
        }
        // OpenSSL leaves the public key out.
        match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Ok(pair) => Ok(Self::of(Pair::Ed25519(pair))),
            Err(_) => Err(SignatureError::Unsupported(
                "a private key that is neither of P-256 nor of Ed25519".into(),
            )),
        }
    }

    fn of(pair: Pair) -> Self {
        let public = match &pair {
            Pair::P256(pair) => {
                PublicKey { kind: KeyKind::P256, bytes: pair.public_key().as_ref().to_vec() }
            }
            Pair::Ed25519(pair) => {
                PublicKey { kind: KeyKind::Ed25519, bytes: pair.public_key().as_ref().to_vec() }
            }
        };
        Self { pair, public }
    }

    /// The key in PKCS#8, PEM. It is wiped from memory when it is dropped.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Signing`] if the library does not give it out.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, SignatureError> {
        let der = match &self.pair {
            Pair::P256(pair) => pair.to_pkcs8v1(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1(),
        };
        let der = der.map_err(|_| SignatureError::Signing)?;
        Ok(Zeroizing::new(to_pem("PRIVATE KEY", der.as_ref())))
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs in the encoding of JWS.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message),
            Pair::Ed25519(pair) => pair.try_sign(message),
        };
        Ok(signature.map_err(|_| SignatureError::Signing)?.as_ref().to_vec())
    }
}
