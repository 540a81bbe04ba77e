// SPDX-License-Identifier: Apache-2.0

//! A development root: a key and a self-signed certificate that anybody can make.

use core::time::Duration;

use aws_lc_rs::hmac;
use der::pem::LineEnding;
use evidence_pki::{Certificate, PublicKey, Time};
use zeroize::Zeroizing;

use crate::attester::AttesterKind;
use crate::certificate::{
    CertificateParts, authority, certificate, key_usage, random_serial, subject_key_id, usage,
};
use crate::{Attester, Curve, DevelopmentError, Key, SgxPlatform};

const LABEL: &str = "CERTIFICATE";

/// The common name of every development root.
pub const ROOT_NAME: &str = "Enarx development root";

/// A development root: it issues the certificates of attesters and of stand-ins' platforms.
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
        let certificate = certificate(&CertificateParts {
            serial: &random_serial()?,
            issuer: ROOT_NAME,
            subject: ROOT_NAME,
            validity: (not_before, not_after),
            spki: &key.spki(),
            extensions: &[authority(None), key_usage(usage::CERTIFICATES), subject_key_id(&key)],
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

    /// The secret of the machine that a stand-in of this root's owner plays: keys for sealing are derived from
    /// it, and last as long as the root does. Whoever has the root's key has it, and whoever runs a stand-in;
    /// it protects nothing.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn machine_secret(&self) -> Result<[u8; 32], DevelopmentError> {
        let failed = DevelopmentError::Library("derive a secret");
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key_pem()?.as_bytes());
        let secret = hmac::sign(&key, b"enarx stand-in machine v1");
        secret.as_ref().try_into().map_err(|_| failed)
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
        Attester::issue(&self.key, self.validity(now)?, AttesterKind::Host)
    }

    /// A new key for the stand-in of a processor with SEV-SNP: as [`Root::attester`], with a certificate that
    /// says so.
    ///
    /// # Errors
    ///
    /// As [`Root::attester`].
    pub fn snp_stand_in(&self, now: Time) -> Result<Attester, DevelopmentError> {
        Attester::issue(&self.key, self.validity(now)?, AttesterKind::SnpStandIn)
    }

    /// A new platform for the stand-in of a processor with SGX, certified for as long.
    ///
    /// # Errors
    ///
    /// As [`Root::attester`].
    pub fn sgx_stand_in(&self, now: Time) -> Result<SgxPlatform, DevelopmentError> {
        SgxPlatform::issue(&self.key, self.validity(now)?)
    }

    /// How long what is certified now is valid.
    fn validity(&self, now: Time) -> Result<(Time, Time), DevelopmentError> {
        if now < self.not_before || now > self.not_after {
            return Err(DevelopmentError::RootTime(now));
        }
        Ok((now, now.plus(Attester::LIFETIME.as_secs()).min(self.not_after)))
    }
}
