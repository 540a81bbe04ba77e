// SPDX-License-Identifier: Apache-2.0

//! What the Steward answers, in the forms in which it is asked for.

use std::sync::Arc;

use evidence_claims::Time;
use evidence_pki::encode;
use steward_claims::CertificateClaims;

/// The certificates above the issued one.
#[derive(Debug)]
pub(crate) struct Chain {
    /// All that the Steward was given, the issuing one first.
    pub(crate) all: Vec<Vec<u8>>,
    /// How many of them a peer needs that has the root: all but the root, and at least the issuing one.
    pub(crate) needed: usize,
}

impl Chain {
    pub(crate) fn needed(&self) -> &[Vec<u8>] {
        self.all.get(..self.needed).unwrap_or_default()
    }
}

/// A certificate that was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    pub(crate) leaf: Vec<u8>,
    pub(crate) chain: Arc<Chain>,
    pub(crate) claims: CertificateClaims,
    pub(crate) serial: [u8; 16],
    pub(crate) subject: String,
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
}

impl Issued {
    /// The certificate, DER.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// The certificates above it that a peer needs, DER, the issuing one first. The root is not among them,
    /// unless it issued this certificate itself.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        self.chain.needed()
    }

    /// DER `PkiPath`, as published: `SEQUENCE OF Certificate`, the issued one last. With a chain of root and
    /// Steward these are the Steward's certificate and the issued one.
    #[must_use]
    pub fn pki_path(&self) -> Vec<u8> {
        let mut path: Vec<&[u8]> = self.chain().iter().rev().map(Vec::as_slice).collect();
        path.push(&self.leaf);
        encode::sequence(&path)
    }

    /// PEM (RFC 7468), the issued certificate first, as TLS servers read it.
    #[must_use]
    pub fn pem(&self) -> String {
        let mut out = pem(&self.leaf);
        out.extend(self.chain().iter().map(|certificate| pem(certificate)));
        out
    }

    /// What the certificate says about the Keep.
    #[must_use]
    pub fn claims(&self) -> &CertificateClaims {
        &self.claims
    }

    /// Its serial number, big-endian.
    #[must_use]
    pub fn serial(&self) -> &[u8; 16] {
        &self.serial
    }

    /// The common name of its subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// First second of its validity.
    #[must_use]
    pub fn not_before(&self) -> Time {
        self.not_before
    }

    /// Last second of its validity.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }
}

/// Certificates that were issued together.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub(crate) chain: Arc<Chain>,
    pub(crate) issued: Vec<Issued>,
}

impl Bundle {
    /// The certificates, in the order of the requests.
    #[must_use]
    pub fn issued(&self) -> &[Issued] {
        &self.issued
    }

    /// DER, as published: `SEQUENCE { chain SEQUENCE OF Certificate, issued SEQUENCE OF Certificate }`; the
    /// chain begins with the issuing certificate, see [`Issued::chain`].
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        let issued: Vec<&[u8]> = self.issued.iter().map(Issued::leaf).collect();
        encode::sequence(&[&encode::sequence_of(self.chain.needed()), &encode::sequence(&issued)])
    }
}

/// A certificate as PEM, with a newline at the end.
#[must_use]
pub fn pem(certificate: &[u8]) -> String {
    evidence_pki::to_pem("CERTIFICATE", certificate)
}
