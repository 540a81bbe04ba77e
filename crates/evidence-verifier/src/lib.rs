// SPDX-License-Identifier: Apache-2.0

//! All formats of evidence behind one call: evidence, endorsements and a time go in, claims come out.
//!
//! ```
//! # use std::sync::Arc;
//! # use evidence_crypto::AwsLc;
//! # use evidence_verifier::{Endorsements, Verifier, statement};
//! let verifier = Verifier::new(Arc::new(AwsLc));
//! let (report, now) = (&[0; 1184], "2026-09-01T00:00:00Z".parse()?);
//! let refusal = verifier.verify(statement::SNP, report, &Endorsements::new(), now).unwrap_err();
//! assert_eq!(refusal.code(), "snp.version");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There is no input or output here, no clock, and no panic on whatever comes in. Verifying decides
//! whether evidence is *genuine*; whether what it says is *welcome* is for a policy to say.
//!
//! A further format joins by [`Verifier::with`]; who calls [`Verifier::verify`] does not change.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::sync::Arc;

pub use evidence_claims::{
    Check, Claims, Detail, Endorsement, Endorsements, EndorsementsError, Field, Format, Outcome,
    Platform, Reason, Refusal, TcbStatus, Time, kind, statement,
};
use evidence_crypto::Crypto;
use evidence_dcap::{Sgx, Tdx};
pub use evidence_pki::ObjectIdentifier;
use evidence_snp::Snp;

/// Evidence may have so many bytes: 64 KiB. Quotes have some 5 KiB, reports 1,184 bytes.
pub const MAX_EVIDENCE: usize = 64 << 10;

/// The formats of evidence that are accepted, each with its trust anchors.
#[derive(Debug)]
pub struct Verifier {
    formats: Vec<Box<dyn Format>>,
}

impl Verifier {
    /// The hardware formats (SNP, SGX, TDX) under their vendors' pinned roots.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>) -> Self {
        Self::empty()
            .with(Box::new(Snp::new(Arc::clone(&crypto))))
            .with(Box::new(Sgx::new(Arc::clone(&crypto))))
            .with(Box::new(Tdx::new(crypto)))
    }

    /// No format at all; see [`Verifier::with`].
    #[must_use]
    pub fn empty() -> Self {
        Self { formats: Vec::new() }
    }

    /// Accepts a further format, in the place of one with the same statement type if there is one.
    #[must_use]
    pub fn with(mut self, format: Box<dyn Format>) -> Self {
        self.formats.retain(|other| other.statement_type() != format.statement_type());
        self.formats.push(format);
        self
    }

    /// The formats that are accepted.
    pub fn formats(&self) -> impl Iterator<Item = &dyn Format> {
        self.formats.iter().map(AsRef::as_ref)
    }

    /// Verifies evidence of that statement type at the time `now`.
    ///
    /// # Errors
    ///
    /// The format's own refusal, or an [`EvidenceRefusal`].
    pub fn verify(
        &self,
        statement: ObjectIdentifier,
        evidence: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Claims, Refusal> {
        self.find(statement, evidence)?.verify(evidence, endorsements, now)
    }

    /// Makes the same checks and says how each came out, see [`Format::examine`].
    ///
    /// # Errors
    ///
    /// [`EvidenceRefusal`] only: what is wrong with the evidence itself is in the checks.
    pub fn examine(
        &self,
        statement: ObjectIdentifier,
        evidence: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Vec<Check>, EvidenceRefusal> {
        Ok(self.find(statement, evidence)?.examine(evidence, endorsements, now))
    }

    /// The fields of evidence, unverified.
    ///
    /// # Errors
    ///
    /// If the evidence cannot be read, or [`EvidenceRefusal`].
    pub fn fields(
        &self,
        statement: ObjectIdentifier,
        evidence: &[u8],
    ) -> Result<Vec<Field>, Refusal> {
        self.find(statement, evidence)?.fields(evidence)
    }

    fn find(
        &self,
        statement: ObjectIdentifier,
        evidence: &[u8],
    ) -> Result<&dyn Format, EvidenceRefusal> {
        if evidence.len() > MAX_EVIDENCE {
            return Err(EvidenceRefusal::TooLarge(evidence.len()));
        }
        self.formats()
            .find(|format| format.statement_type() == statement)
            .ok_or(EvidenceRefusal::UnknownFormat(statement))
    }
}

/// Evidence that no format gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceRefusal {
    /// More than [`MAX_EVIDENCE`] bytes.
    #[error("the evidence has {0} bytes; at most {MAX_EVIDENCE} are read")]
    TooLarge(usize),
    /// A statement type that no accepted format has.
    #[error("no format of evidence with the type {0} is accepted here")]
    UnknownFormat(ObjectIdentifier),
}

impl EvidenceRefusal {
    /// Each code, once.
    pub const ALL_CODES: &[&str] = &["evidence.too-large", "evidence.unknown-format"];
}

impl Reason for EvidenceRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "evidence.too-large",
            Self::UnknownFormat(_) => "evidence.unknown-format",
        }
    }

    fn reference(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "Enarx, evidence-verifier, MAX_EVIDENCE",
            Self::UnknownFormat(_) => "draft-ietf-lamps-csr-attestation, section 4",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "send the report or quote alone, without what surrounds it",
            Self::UnknownFormat(_) => {
                "send SNP, SGX or TDX evidence; development evidence is accepted only by a Steward \
                 whose policy names a development root"
            }
        }
    }
}
