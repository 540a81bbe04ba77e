// SPDX-License-Identifier: Apache-2.0

//! Private keys that sign certificates and requests, wherever they are.
//!
//! Signing is behind a trait, because the key may be in a device that never lets it out. No key is in this
//! crate: who makes certificates or requests takes a [`Signer`].

use crate::{PublicKey, encode, oid};

/// A private key, wherever it is.
pub trait Signer: core::fmt::Debug + Send + Sync {
    /// Its public key, DER `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7), with an uncompressed point.
    fn public_key(&self) -> &[u8];

    /// How it signs.
    fn algorithm(&self) -> SigningAlgorithm;

    /// Signs `message`; the hash is part of the algorithm. Returns a DER `Ecdsa-Sig-Value` (RFC 3279,
    /// 2.2.3).
    ///
    /// # Errors
    ///
    /// [`SignError`], with the reason of the device or library, if it gave one.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// Signs DER and returns `SEQUENCE { signed, AlgorithmIdentifier, BIT STRING }`: the outer form of
    /// certificates (RFC 5280, 4.1) and requests (RFC 2986, 4.2).
    ///
    /// # Errors
    ///
    /// [`SignError`] of [`Signer::sign`].
    fn seal(&self, signed: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.sign(signed)?;
        let algorithm = self.algorithm().identifier();
        Ok(encode::sequence(&[signed, &algorithm, &encode::bits(&signature)]))
    }
}

/// A way to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA, P-256, SHA-256.
    EcdsaP256Sha256,
    /// ECDSA, P-384, SHA-384.
    EcdsaP384Sha384,
}

impl SigningAlgorithm {
    /// The one that a key of that kind signs with; `None` if no key of that kind can sign here.
    #[must_use]
    pub fn of(key: &PublicKey<'_>) -> Option<Self> {
        match key {
            PublicKey::P256(_) => Some(Self::EcdsaP256Sha256),
            PublicKey::P384(_) => Some(Self::EcdsaP384Sha384),
            _ => None,
        }
    }

    /// DER `AlgorithmIdentifier` of signatures (RFC 5758, 3.2).
    #[must_use]
    pub fn identifier(self) -> Vec<u8> {
        encode::sequence(&[&encode::oid(match self {
            Self::EcdsaP256Sha256 => oid::ECDSA_SHA256,
            Self::EcdsaP384Sha384 => oid::ECDSA_SHA384,
        })])
    }

    /// DER `SubjectPublicKeyInfo` (RFC 5480, 2) of an uncompressed point: 65 or 97 bytes. Whether it is
    /// on the curve is not looked at.
    ///
    /// # Errors
    ///
    /// [`NotAPoint`] if it has not that form.
    pub fn public_key(self, point: &[u8]) -> Result<Vec<u8>, NotAPoint> {
        let (curve, length) = match self {
            Self::EcdsaP256Sha256 => (oid::P256, 65),
            Self::EcdsaP384Sha384 => (oid::P384, 97),
        };
        if point.len() != length || point.first() != Some(&4) {
            return Err(NotAPoint);
        }
        let algorithm = encode::sequence(&[&encode::oid(oid::EC_PUBLIC_KEY), &encode::oid(curve)]);
        Ok(encode::sequence(&[&algorithm, &encode::bits(point)]))
    }
}

/// A signature could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signing failed: {0}")]
pub struct SignError(pub String);

/// A public key that is no uncompressed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the public key is not an uncompressed point of the curve")]
pub struct NotAPoint;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, tag};

    #[derive(Debug)]
    struct Fixed(Result<Vec<u8>, SignError>);

    impl Signer for Fixed {
        fn public_key(&self) -> &[u8] {
            &[]
        }

        fn algorithm(&self) -> SigningAlgorithm {
            SigningAlgorithm::EcdsaP384Sha384
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            assert_eq!(message, [5, 0]);
            self.0.clone()
        }
    }

    #[test]
    fn public_keys_read_back() {
        for (algorithm, size) in
            [(SigningAlgorithm::EcdsaP256Sha256, 65), (SigningAlgorithm::EcdsaP384Sha384, 97)]
        {
            let point = vec![4; size];
            let spki = algorithm.public_key(&point).unwrap();
            let key = PublicKey::from_spki(&spki).unwrap();
            assert!(matches!(key, PublicKey::P256(read) | PublicKey::P384(read) if read == point));
            assert_eq!(SigningAlgorithm::of(&key), Some(algorithm));
        }
        assert_eq!(SigningAlgorithm::of(&PublicKey::Other), None);
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let p256 = SigningAlgorithm::EcdsaP256Sha256;
        for point in [&[4; 64][..], &[2; 65], &[4; 97], &[]] {
            assert_eq!(p256.public_key(point), Err(NotAPoint));
        }
    }

    #[test]
    fn sealing_puts_the_signature_behind_what_is_signed() {
        let signer = Fixed(Ok(b"signature".to_vec()));
        assert!(signer.public_key().is_empty());
        let der = signer.seal(&[5, 0]).unwrap();
        let mut parts = Cursor::whole(&der, tag::SEQUENCE, "test").unwrap();
        assert_eq!(parts.expect(tag::NULL).unwrap().raw, [5, 0]);
        assert_eq!(parts.enter(tag::SEQUENCE).unwrap().oid(), Ok(oid::ECDSA_SHA384));
        assert_eq!(parts.bits(), Ok(&b"signature"[..]));
        parts.finish().unwrap();
        let gone = SignError("the device is gone".into());
        assert_eq!(Fixed(Err(gone.clone())).seal(&[5, 0]), Err(gone));
    }
}
