// SPDX-License-Identifier: Apache-2.0

//! The seam: how a format of evidence joins the verifier.
//!
//! Who asks for a verdict has some bytes of evidence of a named type, and a bag of endorsements. It does
//! not know what is in them. So a further format is one more implementation of [`Format`], and no change
//! where evidence is carried, stored or refused.

use core::fmt;
use std::borrow::Cow;

use der::asn1::ObjectIdentifier;
use evidence_pki::Time;

use crate::{Claims, Refusal};

/// Names of kinds of endorsements. The list is open: a format may bring names of its own.
pub mod kind {
    /// DER certificate: the chip's VCEK, a VLEK, or the key of development evidence.
    pub const VEK: &str = "vek";
    /// DER certificate: an intermediate authority of AMD (ASK or ASVK), if not the built-in one.
    pub const ASK: &str = "ask";
    /// DER `CertificateList`; whose it is, its issuer says. There may be several.
    pub const CRL: &str = "crl";
    /// DER `SEQUENCE OF Certificate` or PEM: the chain of a PCK certificate that a quote lacks.
    pub const PCK_CHAIN: &str = "pck-chain";
    /// JSON as Intel's PCS serves it: `{"tcbInfo":{…},"signature":"…"}`.
    pub const TCB_INFO: &str = "tcb-info";
    /// DER `SEQUENCE OF Certificate` or PEM, leaf first: who signed the TCB info.
    pub const TCB_INFO_CHAIN: &str = "tcb-info-chain";
    /// JSON as Intel's PCS serves it: `{"enclaveIdentity":{…},"signature":"…"}`.
    pub const QE_IDENTITY: &str = "qe-identity";
    /// DER `SEQUENCE OF Certificate` or PEM, leaf first: who signed the QE identity.
    pub const QE_IDENTITY_CHAIN: &str = "qe-identity-chain";
}

/// A format of evidence.
pub trait Format: fmt::Debug + Send + Sync {
    /// The type that evidence of this format has in certificate requests.
    fn statement_type(&self) -> ObjectIdentifier;

    /// A name for people.
    fn name(&self) -> &'static str;

    /// Verifies evidence at the time `now`: genuine in every respect that needs no policy.
    ///
    /// # Errors
    ///
    /// The format's own enum of refusals, boxed.
    fn verify(
        &self,
        evidence: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Claims, Refusal>;

    /// Makes the same checks as [`Format::verify`], but goes on after a failed one where it can, and says
    /// how each came out. For people; a verdict comes from [`Format::verify`] alone.
    fn examine(&self, evidence: &[u8], endorsements: &Endorsements<'_>, now: Time) -> Vec<Check>;

    /// The fields of evidence, in their order, as they are: nothing is verified.
    ///
    /// # Errors
    ///
    /// If the evidence cannot be read.
    fn fields(&self, evidence: &[u8]) -> Result<Vec<Field>, Refusal>;
}

/// How one check of evidence came out.
#[derive(Debug)]
pub struct Check {
    /// What was checked, as a statement: `the VEK is issued by the ASK`.
    pub what: &'static str,
    /// How it came out.
    pub outcome: Outcome,
}

/// How a check came out.
#[derive(Debug)]
pub enum Outcome {
    /// It holds; with what it saw, if that is of interest.
    Pass(String),
    /// It does not hold.
    Fail(Refusal),
    /// It could not be made because of an earlier failure, which is named.
    Skipped(&'static str),
}

/// A field of evidence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Field {
    /// Offset in the evidence, in bytes.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
    /// The specification's name, `tcb.snp`-like for parts.
    pub name: &'static str,
    /// The value: numbers in decimal, flags in hexadecimal, bytes as hexadecimal digits.
    pub value: String,
    /// What the value means, if that is not plain.
    pub meaning: Option<String>,
}

/// One endorsement.
#[derive(Debug, Clone)]
pub struct Endorsement<'a> {
    /// What it is, see [`kind`].
    pub kind: Cow<'a, str>,
    /// The endorsement itself.
    pub bytes: Cow<'a, [u8]>,
}

/// What vendors say about a platform, as it came, unchecked, but bounded.
#[derive(Debug, Clone, Default)]
pub struct Endorsements<'a> {
    list: Vec<Endorsement<'a>>,
    size: usize,
}

impl<'a> Endorsements<'a> {
    /// How many there may be.
    pub const MAX_COUNT: usize = 32;
    /// How many bytes all of them may have together: 1 MiB.
    pub const MAX_SIZE: usize = 1 << 20;
    /// How long a kind's name may be.
    pub const MAX_KIND: usize = 64;

    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// If there would be too many, or too much.
    pub fn push(
        &mut self,
        kind: impl Into<Cow<'a, str>>,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<(), EndorsementsError> {
        let (kind, bytes) = (kind.into(), bytes.into());
        if kind.len() > Self::MAX_KIND {
            return Err(EndorsementsError::Kind);
        }
        let size = self.size.saturating_add(bytes.len());
        if size > Self::MAX_SIZE {
            return Err(EndorsementsError::Size);
        }
        if self.list.len() >= Self::MAX_COUNT {
            return Err(EndorsementsError::Count);
        }
        self.size = size;
        self.list.push(Endorsement { kind, bytes });
        Ok(())
    }

    /// Those of one kind, in the order in which they came.
    pub fn all<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'s [u8]> + 's {
        self.list.iter().filter(move |one| one.kind == kind).map(|one| one.bytes.as_ref())
    }

    /// The first of one kind.
    #[must_use]
    pub fn first(&self, kind: &str) -> Option<&[u8]> {
        self.list.iter().find(|one| one.kind == kind).map(|one| one.bytes.as_ref())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Endorsement<'a>> {
        self.list.iter()
    }
}

/// Endorsements beyond their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementsError {
    /// More than [`Endorsements::MAX_COUNT`].
    #[error("there are more than {} endorsements", Endorsements::MAX_COUNT)]
    Count,
    /// A kind's name is longer than [`Endorsements::MAX_KIND`].
    #[error("the name of an endorsement's kind has more than {} bytes", Endorsements::MAX_KIND)]
    Kind,
    /// More bytes than [`Endorsements::MAX_SIZE`].
    #[error("the endorsements have more than {} bytes together", Endorsements::MAX_SIZE)]
    Size,
}
