// SPDX-License-Identifier: Apache-2.0

//! What is wrong with a request.
//!
//! These are the reasons of whoever reads it and of the Steward that answers it, in one list: for the
//! requester they are one thing, the request that has to be made anew.

use evidence_claims::{EndorsementsError, Reason, Time};
use evidence_pki::{ObjectIdentifier, PkiError};

use crate::MAX_BUNDLE;

/// No certificate is issued for fewer seconds, because something behind it ends.
pub const MIN_LIFETIME: u64 = 60;

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestRefusal {
    /// No PKCS#10 request in DER.
    #[error("this is no certificate request: {0}")]
    Malformed(PkiError),
    /// More bytes than a request may have.
    #[error("the certificate request has more than {} bytes", evidence_pki::Request::MAX_SIZE)]
    TooLarge,
    /// A key of another kind than P-256 and P-384.
    #[error("the key of the request is on neither P-256 nor P-384")]
    Key,
    /// Signed in another way than such keys are to sign.
    #[error("the request is not signed with the hash that belongs to the curve of its key")]
    Algorithm,
    /// The signature does not verify under the key in the request.
    #[error("the signature of the request does not verify under the key in it")]
    Signature,
    /// An attribute other than the two that carry evidence.
    #[error("the request has an attribute of the unknown kind {0}")]
    UnknownAttribute(ObjectIdentifier),
    /// An extension is requested that is not evidence.
    #[error("the request asks for an extension of the kind {0}")]
    UnknownExtension(ObjectIdentifier),
    /// The extension with the evidence is critical.
    #[error("the extension with the evidence is marked critical")]
    Critical,
    /// Nothing that could be verified.
    #[error("the request carries no evidence")]
    NoEvidence,
    /// More evidence than one piece.
    #[error("the request carries evidence more than once")]
    SeveralEvidences,
    /// The evidence has no bytes: the published Enarx did so without hardware.
    #[error("the evidence is empty")]
    EmptyEvidence,
    /// `id-aa-attestation` is no `AttestationBundle`.
    #[error("the attestation attribute does not hold an AttestationBundle")]
    Bundle,
    /// `id-aa-attestation` in the syntax that the drafts had before 2025.
    #[error(
        "the attestation attribute has the syntax of an EvidenceBundle, which drafts before 2025 had"
    )]
    OldBundle,
    /// An attestation statement of an unknown type.
    #[error("evidence of the type {0} is not known")]
    StatementType(ObjectIdentifier),
    /// A statement that does not have the structure of its type.
    #[error("the evidence has not the structure of its type")]
    Statement,
    /// A bound statement of another version.
    #[error("the evidence is a bound statement of the unknown version {0}")]
    StatementVersion(u64),
    /// Endorsements beyond their bounds.
    #[error("{0}")]
    Endorsements(EndorsementsError),
    /// A slug that is none.
    #[error("the workload's slug is not `[host[:port]/]user/repo[:tag]`")]
    Slug,
    /// A digest of a workload that is none.
    #[error(
        "the workload's digest is not “sha256:”, “sha384:” or “sha512:” and lower-case hexadecimal digits of that length"
    )]
    Digest,
    /// A slug without a digest: a name that says nothing about what runs.
    #[error("the workload has a slug, but no digest")]
    SlugAlone,
    /// A key on another curve than the evidence of this form goes with.
    #[error("with this form of evidence the request's key has to be on {0}")]
    KeyType(&'static str),
    /// Report data that are not the binding.
    #[error(
        "the evidence is not bound to what the request says: its report data are not the hash of it"
    )]
    Binding,
    /// A nonce, but this Steward gives out none.
    #[error("the evidence has a nonce, but this Steward gives out none")]
    NonceUnsupported,
    /// A nonce that this Steward did not give out.
    #[error("the nonce is none that this Steward gave out")]
    NonceUnknown,
    /// A nonce after its time.
    #[error("the nonce expired at {0}")]
    NonceExpired(Time),
    /// The endorsements end so soon that no certificate is worth it.
    #[error(
        "what the processor's vendor says ends at {0}, less than {MIN_LIFETIME} seconds from now"
    )]
    EndsSoon(Time),
    /// A bundle that is no sequence of requests.
    #[error("this is no DER sequence of certificate requests")]
    RequestBundle,
    /// A bundle of none or of too many.
    #[error("the bundle has {0} certificate requests; 1 to {MAX_BUNDLE} are taken")]
    BundleCount(usize),
}

impl RequestRefusal {
    /// Each code, once.
    pub const ALL_CODES: &[&str] = &[
        "csr.malformed",
        "csr.too-large",
        "csr.key",
        "csr.algorithm",
        "csr.signature",
        "csr.attribute",
        "csr.extension",
        "csr.critical",
        "csr.no-evidence",
        "csr.several-evidences",
        "csr.empty-evidence",
        "csr.attestation-bundle",
        "csr.old-evidence-bundle",
        "csr.statement-type",
        "csr.statement",
        "csr.statement-version",
        "csr.endorsements",
        "csr.slug",
        "csr.workload-digest",
        "csr.slug-alone",
        "csr.key-type",
        "csr.binding",
        "csr.nonce-unsupported",
        "csr.nonce-unknown",
        "csr.nonce-expired",
        "csr.ends-soon",
        "csr.bundle",
        "csr.bundle-count",
    ];

    /// What a reader's error means for a request.
    pub(crate) fn from_reading(error: PkiError) -> Self {
        match error {
            PkiError::TooLarge("certificate request") => Self::TooLarge,
            error => Self::Malformed(error),
        }
    }
}

impl Reason for RequestRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "csr.malformed",
            Self::TooLarge => "csr.too-large",
            Self::Key => "csr.key",
            Self::Algorithm => "csr.algorithm",
            Self::Signature => "csr.signature",
            Self::UnknownAttribute(_) => "csr.attribute",
            Self::UnknownExtension(_) => "csr.extension",
            Self::Critical => "csr.critical",
            Self::NoEvidence => "csr.no-evidence",
            Self::SeveralEvidences => "csr.several-evidences",
            Self::EmptyEvidence => "csr.empty-evidence",
            Self::Bundle => "csr.attestation-bundle",
            Self::OldBundle => "csr.old-evidence-bundle",
            Self::StatementType(_) => "csr.statement-type",
            Self::Statement => "csr.statement",
            Self::StatementVersion(_) => "csr.statement-version",
            Self::Endorsements(_) => "csr.endorsements",
            Self::Slug => "csr.slug",
            Self::Digest => "csr.workload-digest",
            Self::SlugAlone => "csr.slug-alone",
            Self::KeyType(_) => "csr.key-type",
            Self::Binding => "csr.binding",
            Self::NonceUnsupported => "csr.nonce-unsupported",
            Self::NonceUnknown => "csr.nonce-unknown",
            Self::NonceExpired(_) => "csr.nonce-expired",
            Self::EndsSoon(_) => "csr.ends-soon",
            Self::RequestBundle => "csr.bundle",
            Self::BundleCount(_) => "csr.bundle-count",
        }
    }

    fn reference(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "RFC 2986, section 4",
            Self::TooLarge => "Enarx, evidence-pki, Request::MAX_SIZE",
            Self::Key => "Enarx, docs/binding.md, Keys; RFC 5480, section 2.1.1.1",
            Self::Algorithm => "Enarx, docs/binding.md, Keys; RFC 5758, section 3.2",
            Self::Signature => "RFC 2986, sections 3 and 4.2",
            Self::UnknownAttribute(_) | Self::UnknownExtension(_) => {
                "Enarx, docs/binding.md, Requests; RFC 2986, section 4.1"
            }
            Self::Critical => "Enarx, docs/binding.md, Requests; RFC 5280, section 4.2",
            Self::NoEvidence | Self::SeveralEvidences => "Enarx, docs/binding.md, Requests",
            Self::EmptyEvidence => "Enarx, docs/binding.md, Published statements",
            Self::Bundle | Self::OldBundle => "draft-ietf-lamps-csr-attestation, section 4",
            Self::StatementType(_) => "Enarx, docs/binding.md, Requests",
            Self::Statement => "Enarx, docs/binding.md, Published statements and Bound statement",
            Self::StatementVersion(_) => "Enarx, docs/binding.md, Bound statement",
            Self::Endorsements(_) => "Enarx, evidence-claims, Endorsements",
            Self::Slug | Self::Digest | Self::SlugAlone => "Enarx, docs/binding.md, Workload",
            Self::KeyType(_) => "Enarx, docs/binding.md, Binding form 1",
            Self::Binding => "Enarx, docs/binding.md, Binding form 1 and Binding form 2",
            Self::NonceUnsupported | Self::NonceUnknown | Self::NonceExpired(_) => {
                "Enarx, docs/binding.md, Nonce"
            }
            Self::EndsSoon(_) => "Enarx, docs/certificate-profile.md; RFC 5280, section 4.1.2.5",
            Self::RequestBundle | Self::BundleCount(_) => "Enarx, docs/binding.md, Bundles",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "send one PKCS#10 request in DER, with nothing around it",
            Self::TooLarge => "leave out endorsements that the evidence does not need",
            Self::Key => "make a key on P-256 or P-384",
            Self::Algorithm => "sign with SHA-256 for P-256 and with SHA-384 for P-384",
            Self::Signature => "sign the request with the key in it, and change nothing afterwards",
            Self::UnknownAttribute(_) => {
                "leave out all attributes but extensionRequest or id-aa-attestation"
            }
            Self::UnknownExtension(_) => {
                "leave out all extensions but the evidence: the Steward chooses what is in a certificate"
            }
            Self::Critical => "mark the extension with the evidence as not critical",
            Self::NoEvidence => {
                "put a report or quote into the request; without a trusted execution environment use \
                 development evidence and a Steward that accepts it"
            }
            Self::SeveralEvidences => "send one report or quote, in one place",
            Self::EmptyEvidence => {
                "make development evidence under a root that the Steward's policy names"
            }
            Self::Bundle => "encode one AttestationStatement in one AttestationBundle",
            Self::OldBundle => "use a library for the draft of 2025 or later",
            Self::StatementType(_) => {
                "use one of the types 1.3.6.1.4.1.58270.1.1 to .4 or 1.3.6.1.4.1.58270.1.16"
            }
            Self::Statement => "encode the evidence as the reference says",
            Self::StatementVersion(_) => "use version 1, or ask for a newer Steward",
            Self::Endorsements(_) => "send only the endorsements that this evidence needs",
            Self::Slug => "give the slug as it is written, or none",
            Self::Digest => "give the digest as it is written, for example sha256: and 64 digits",
            Self::SlugAlone => "give the digest of the workload with its slug",
            Self::KeyType(_) => {
                "make a key on that curve, or use a bound statement (1.3.6.1.4.1.58270.1.16)"
            }
            Self::Binding => {
                "ask the hardware for a report over exactly the key, workload and nonce of this request"
            }
            Self::NonceUnsupported => "leave out the nonce, or use a Steward that gives out nonces",
            Self::NonceUnknown => "ask this Steward for a nonce, and use it unchanged",
            Self::NonceExpired(_) => {
                "ask the Steward for a new nonce, and for a new report over it"
            }
            Self::EndsSoon(_) => "fetch newer revocation lists and TCB information from the vendor",
            Self::RequestBundle => "send a DER SEQUENCE of PKCS#10 requests",
            Self::BundleCount(_) => "split the bundle",
        }
    }
}

/// Within a statement, what is malformed is the statement and not the request.
impl From<PkiError> for RequestRefusal {
    fn from(_: PkiError) -> Self {
        Self::Statement
    }
}

impl From<EndorsementsError> for RequestRefusal {
    fn from(error: EndorsementsError) -> Self {
        Self::Endorsements(error)
    }
}
