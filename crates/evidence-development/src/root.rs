// SPDX-License-Identifier: Apache-2.0

//! A development root: a key and a self-signed certificate that anybody can make.

use core::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::rand;
use der::pem::LineEnding;
use evidence_pki::{Certificate, PublicKey, Signer, Time, encode, oid, tag};
use zeroize::Zeroizing;

use crate::{Attester, Curve, DevelopmentError, Key};

const LABEL: &str = "CERTIFICATE";

/// The common name of every development root.
pub const ROOT_NAME: &str = "Enarx development root";

/// A development root: it issues the certificates of attesters.
///
/// A Steward accepts evidence under it if, and only if, its policy names the certificate.
#[derive(Debug)]
pub struct Root {
    key: Key,
    certificate: Vec<u8>,
    not_before: Time,
    not_after: Time,
}

impl Root {
    /// A new root with a key on P-384, valid from `now` for that long.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn create(now: Time, lifetime: Duration) -> Result<Self, DevelopmentError> {
        let key = Key::generate(Curve::P384)?;
        let (not_before, not_after) = (now, now.plus(lifetime.as_secs()));
        let identifier = key_identifier(&key);
        let constraints = encode::sequence(&[&encode::boolean(true)]);
        // keyCertSign is bit 5: six bits, thus two unused ones.
        let usage = encode::element(tag::BIT_STRING, &[&[2, 0x04]]);
        let certificate = certificate(&CertificateParts {
            serial: &random_serial()?,
            issuer: ROOT_NAME,
            subject: ROOT_NAME,
            validity: (not_before, not_after),
            spki: &key.spki(),
            extensions: &[
                encode::extension(oid::BASIC_CONSTRAINTS, true, &constraints),
                encode::extension(oid::KEY_USAGE, true, &usage),
                encode::extension(oid::SUBJECT_KEY_ID, false, &encode::octets(&identifier)),
            ],
            issuer_key: &key,
        })?;
        Ok(Self { key, certificate, not_before, not_after })
    }

    /// The root whose private key (PKCS#8) and certificate these PEM texts are.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Key`], [`DevelopmentError::Certificate`],
    /// [`DevelopmentError::CertificateCount`], [`DevelopmentError::KeyMismatch`], and
    /// [`DevelopmentError::NotARoot`] for a certificate that is not self-issued by a P-384 authority.
    pub fn from_pem(key: &str, certificate: &str) -> Result<Self, DevelopmentError> {
        let key = Key::from_pem(key)?;
        let blocks = evidence_pki::pem_blocks(certificate.as_bytes(), LABEL)
            .map_err(DevelopmentError::Certificate)?;
        let [der] =
            <[Vec<u8>; 1]>::try_from(blocks).map_err(|_| DevelopmentError::CertificateCount)?;
        let read = Certificate::parse(&der).map_err(DevelopmentError::Certificate)?;
        if read.spki != key.spki() {
            return Err(DevelopmentError::KeyMismatch);
        }
        let constraints = read.basic_constraints().map_err(DevelopmentError::Certificate)?;
        let is_authority = constraints.is_some_and(|constraints| constraints.authority);
        let is_named = read.common_name() == Some(ROOT_NAME) && read.subject == read.issuer;
        if !is_authority || !is_named || !matches!(read.key, PublicKey::P384(_)) {
            return Err(DevelopmentError::NotARoot);
        }
        let (not_before, not_after) = (read.not_before, read.not_after);
        Ok(Self { key, certificate: der, not_before, not_after })
    }

    /// PEM of the private key, PKCS#8. It clears itself when it is dropped.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn key_pem(&self) -> Result<Zeroizing<String>, DevelopmentError> {
        self.key.to_pem()
    }

    /// PEM of the certificate.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn certificate_pem(&self) -> Result<String, DevelopmentError> {
        der::pem::encode_string(LABEL, LineEnding::LF, &self.certificate)
            .map_err(|_| DevelopmentError::Library("write a certificate"))
    }

    /// DER of the certificate.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// End of its validity, inclusive.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// A new attester with a key of its own, which the root certifies for [`Attester::LIFETIME`], but not
    /// for longer than the root lives.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::RootTime`] if the root is not valid at `now`, [`DevelopmentError::Library`].
    pub fn attester(&self, now: Time) -> Result<Attester, DevelopmentError> {
        if now < self.not_before || now > self.not_after {
            return Err(DevelopmentError::RootTime(now));
        }
        let end = now.plus(Attester::LIFETIME.as_secs()).min(self.not_after);
        Attester::issue(&self.key, (now, end))
    }
}

/// What a certificate is made of.
pub(crate) struct CertificateParts<'a> {
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) validity: (Time, Time),
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: &'a [Vec<u8>],
    pub(crate) issuer_key: &'a Key,
}

/// A certificate of version 3 (RFC 5280, 4.1), signed.
pub(crate) fn certificate(parts: &CertificateParts<'_>) -> Result<Vec<u8>, DevelopmentError> {
    let extensions: Vec<&[u8]> = parts.extensions.iter().map(Vec::as_slice).collect();
    let signed = encode::sequence(&[
        &encode::element(tag::context_constructed(0), &[&encode::integer(&[2])]),
        &encode::integer(parts.serial),
        &parts.issuer_key.algorithm().identifier(),
        &encode::name(&[(oid::COMMON_NAME, parts.issuer)]),
        &encode::sequence(&[&parts.validity.0.to_der(), &parts.validity.1.to_der()]),
        &encode::name(&[(oid::COMMON_NAME, parts.subject)]),
        parts.spki,
        &encode::element(tag::context_constructed(3), &[&encode::sequence(&extensions)]),
    ]);
    Ok(parts.issuer_key.seal(&signed)?)
}

/// 126 random bits after `01`, so that all serial numbers are of the same length.
pub(crate) fn random_serial() -> Result<[u8; 16], DevelopmentError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| DevelopmentError::Library("make a random number"))?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    Ok(serial)
}

/// Key identifier: SHA-256 of the public key, cut to 20 bytes (RFC 7093, 2, method 1).
fn key_identifier(key: &Key) -> Vec<u8> {
    let spki = key.spki();
    let bits = match PublicKey::from_spki(&spki) {
        Ok(PublicKey::P256(bits) | PublicKey::P384(bits)) => bits,
        _ => &[],
    };
    digest::digest(&digest::SHA256, bits).as_ref().iter().take(20).copied().collect()
}
