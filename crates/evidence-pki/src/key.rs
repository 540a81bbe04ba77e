// SPDX-License-Identifier: Apache-2.0

//! Public keys, and signatures over parts of a structure.

use der::asn1::ObjectIdentifier;
use evidence_crypto::{Crypto, Scheme};

use crate::cursor::{Cursor, tag};
use crate::{PkiError, oid};

/// A public key, in the form that [`Crypto::verify`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKey<'a> {
    /// A point on P-256, 65 bytes, uncompressed.
    P256(&'a [u8]),
    /// A point on P-384, 97 bytes, uncompressed.
    P384(&'a [u8]),
    /// DER `RSAPublicKey`.
    Rsa(&'a [u8]),
    /// Another kind of key. It can be carried, but not used.
    Other,
}

impl<'a> PublicKey<'a> {
    /// Reads a `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7).
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn from_spki(spki: &'a [u8]) -> Result<Self, PkiError> {
        let mut spki = Cursor::whole(spki, tag::SEQUENCE, "public key")?;
        let mut algorithm = spki.enter(tag::SEQUENCE)?;
        let bits = spki.bits()?;
        spki.finish()?;
        let key = match algorithm.oid()? {
            oid::EC_PUBLIC_KEY => match algorithm.oid()? {
                oid::P256 if bits.len() == 65 => Self::P256(bits),
                oid::P384 if bits.len() == 97 => Self::P384(bits),
                _ => Self::Other,
            },
            oid::RSA => {
                algorithm.expect(tag::NULL)?;
                Self::Rsa(bits)
            }
            _ => return Ok(Self::Other),
        };
        algorithm.finish()?;
        Ok(key)
    }

    /// The number of bits of an RSA modulus or of a curve.
    #[must_use]
    pub fn bits(&self) -> usize {
        match self {
            Self::P256(_) => 256,
            Self::P384(_) => 384,
            Self::Rsa(key) => {
                let modulus = Cursor::whole(key, tag::SEQUENCE, "RSA key")
                    .and_then(|mut key| key.integer())
                    .unwrap_or_default();
                let zeros = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
                (modulus.len() * 8).saturating_sub(zeros)
            }
            Self::Other => 0,
        }
    }
}

/// How something was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA with SHA-256.
    EcdsaSha256,
    /// ECDSA with SHA-384.
    EcdsaSha384,
    /// RSASSA-PSS, SHA-384 throughout, salt of 48 bytes.
    RsaPssSha384,
    /// Another one.
    Other(ObjectIdentifier),
}

impl SignatureAlgorithm {
    /// Reads the contents of an `AlgorithmIdentifier`.
    pub(crate) fn read(mut algorithm: Cursor<'_>) -> Result<Self, PkiError> {
        let found = match algorithm.oid()? {
            oid::ECDSA_SHA256 => Self::EcdsaSha256,
            oid::ECDSA_SHA384 => Self::EcdsaSha384,
            oid::RSA_PSS => {
                let parameters = algorithm.enter(tag::SEQUENCE)?;
                if is_pss_sha384(parameters)? {
                    Self::RsaPssSha384
                } else {
                    Self::Other(oid::RSA_PSS)
                }
            }
            other => return Ok(Self::Other(other)),
        };
        algorithm.finish()?;
        Ok(found)
    }
}

/// Whether `RSASSA-PSS-params` (RFC 8017, A.2.3) say SHA-384, MGF1 with it, and a salt of 48 bytes. The
/// trailer field may be given although it is the default: AMD's older certificates do that.
fn is_pss_sha384(mut parameters: Cursor<'_>) -> Result<bool, PkiError> {
    let mut good = true;
    let mut hash = parameters.enter(tag::context_constructed(0))?.enter(tag::SEQUENCE)?;
    good &= hash.oid()? == oid::SHA384;
    let mut mask = parameters.enter(tag::context_constructed(1))?.enter(tag::SEQUENCE)?;
    good &= mask.oid()? == oid::MGF1;
    good &= mask.enter(tag::SEQUENCE)?.oid()? == oid::SHA384;
    let mut salt = parameters.enter(tag::context_constructed(2))?;
    good &= salt.unsigned()? == 48;
    if !parameters.is_done() {
        good &= parameters.enter(tag::context_constructed(3))?.unsigned()? == 1;
    }
    parameters.finish()?;
    Ok(good)
}

/// A signature and the bytes that it covers, as they came.
#[derive(Debug, Clone, Copy)]
pub struct Signature<'a> {
    /// The signed bytes.
    pub message: &'a [u8],
    /// How they were signed.
    pub algorithm: SignatureAlgorithm,
    /// The signature.
    pub value: &'a [u8],
}

impl Signature<'_> {
    /// Checks the signature under a key.
    ///
    /// # Errors
    ///
    /// [`PkiError::UnsupportedAlgorithm`] if key and algorithm do not fit, [`PkiError::BadSignature`].
    pub fn verify(&self, crypto: &dyn Crypto, key: &PublicKey<'_>) -> Result<(), PkiError> {
        let (scheme, key) = match (self.algorithm, key) {
            (SignatureAlgorithm::EcdsaSha256, PublicKey::P256(key)) => (Scheme::P256Der, key),
            (SignatureAlgorithm::EcdsaSha384, PublicKey::P384(key)) => (Scheme::P384Der, key),
            (SignatureAlgorithm::RsaPssSha384, PublicKey::Rsa(key)) => (Scheme::RsaPssSha384, key),
            _ => return Err(PkiError::UnsupportedAlgorithm("signature")),
        };
        Ok(crypto.verify(scheme, key, self.message, self.value)?)
    }
}

/// Splits `SEQUENCE { signed, AlgorithmIdentifier, BIT STRING }`, the outer form of certificates, lists and
/// requests.
pub(crate) fn split<'a>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(Cursor<'a>, &'a [u8], Signature<'a>), PkiError> {
    let mut outer = Cursor::whole(bytes, tag::SEQUENCE, what)?;
    let signed = outer.expect(tag::SEQUENCE)?;
    let algorithm = outer.expect(tag::SEQUENCE)?;
    let value = outer.bits()?;
    outer.finish()?;
    let signature = Signature {
        message: signed.raw,
        algorithm: SignatureAlgorithm::read(Cursor::new(algorithm.value, what))?,
        value,
    };
    Ok((Cursor::new(signed.value, what), algorithm.raw, signature))
}
