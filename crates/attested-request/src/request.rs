// SPDX-License-Identifier: Apache-2.0

//! Reads certificate requests that carry evidence: `docs/binding.md`.
//!
//! A request may carry evidence in one of two places, as the published Enarx does (an extension in
//! `extensionRequest`) or as the IETF wants it (the attribute `id-aa-attestation`). Nothing else may be in
//! it: an attribute or extension that would be dropped in silence is one that the requester relies on.

use evidence_claims::{Endorsements, kind, statement};
use evidence_crypto::Crypto;
use evidence_pki::{Cursor, ObjectIdentifier, PkiError, PublicKey, Request, oid, tag};
use steward_claims::Workload;

use crate::RequestRefusal;
use crate::binding::{self, Binding};

/// How many requests a bundle may have.
pub const MAX_BUNDLE: usize = 32;

/// A request with its evidence, read but not believed.
#[derive(Debug)]
pub struct AttestedRequest<'a> {
    /// The request.
    pub request: Request<'a>,
    /// The type of its statement, as it stands in the request.
    pub statement: ObjectIdentifier,
    /// The type of the evidence itself: `statement`, or what a bound statement names.
    pub platform: ObjectIdentifier,
    /// The evidence: a report or a quote.
    pub evidence: &'a [u8],
    /// The endorsements that came with it.
    pub endorsements: Endorsements<'a>,
    /// How the evidence is bound to the request.
    pub form: Form<'a>,
    /// The workload in a bound statement.
    pub workload: Option<Workload>,
}

/// How evidence is bound to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form<'a> {
    /// Binding form 1: to the key alone.
    Key,
    /// Binding form 2: to the key, the workload and a nonce.
    Bound(Binding<'a>),
}

/// An `AttestationStatement`: its type, and what it says in DER.
struct Statement<'a> {
    kind: ObjectIdentifier,
    value: &'a [u8],
}

impl<'a> AttestedRequest<'a> {
    /// Reads a request and the one statement in it. Checks structure only.
    ///
    /// # Errors
    ///
    /// [`RequestRefusal`].
    pub fn parse(csr: &'a [u8]) -> Result<Self, RequestRefusal> {
        let request = Request::parse(csr).map_err(RequestRefusal::from_reading)?;
        let Statement { kind, value } = find(&request)?;
        let mut attested = Self {
            request,
            statement: kind,
            platform: kind,
            evidence: &[],
            endorsements: Endorsements::new(),
            form: Form::Key,
            workload: None,
        };
        match kind {
            statement::SNP | statement::DEVELOPMENT => attested.read_report(value),
            statement::SGX | statement::TDX => attested.read_quote(value),
            _ => attested.read_bound(value),
        }?;
        if attested.evidence.is_empty() {
            return Err(RequestRefusal::EmptyEvidence);
        }
        Ok(attested)
    }

    /// Checks that the request is signed by its key, and that the key is of a kind that is certified.
    ///
    /// # Errors
    ///
    /// [`RequestRefusal::Key`], [`RequestRefusal::Algorithm`], [`RequestRefusal::Signature`].
    pub fn check_signature(&self, crypto: &dyn Crypto) -> Result<(), RequestRefusal> {
        if !matches!(self.request.key, PublicKey::P256(_) | PublicKey::P384(_)) {
            return Err(RequestRefusal::Key);
        }
        self.request.check_signature(crypto).map_err(|error| match error {
            PkiError::UnsupportedAlgorithm(_) => RequestRefusal::Algorithm,
            _ => RequestRefusal::Signature,
        })
    }

    /// The report data that evidence for this request must have.
    ///
    /// # Errors
    ///
    /// [`RequestRefusal::KeyType`] in binding form 1.
    pub fn report_data(&self, crypto: &dyn Crypto) -> Result<[u8; 64], RequestRefusal> {
        match &self.form {
            Form::Key => {
                binding::form_1(crypto, self.platform, &self.request.key, self.request.spki)
            }
            Form::Bound(binding) => Ok(binding::form_2(crypto, self.request.spki, binding)),
        }
    }

    /// `SEQUENCE { SEQUENCE { VEK, CrlList }, report }`.
    fn read_report(&mut self, value: &'a [u8]) -> Result<(), RequestRefusal> {
        let mut whole = Cursor::whole(value, tag::SEQUENCE, STATEMENT)?;
        let mut endorsements = whole.enter(tag::SEQUENCE)?;
        self.evidence = whole.expect(tag::OCTET_STRING)?.value;
        whole.finish()?;
        self.endorsements.push(kind::VEK, endorsements.expect(tag::SEQUENCE)?.raw)?;
        self.read_crls(&mut endorsements)?;
        Ok(endorsements.finish()?)
    }

    /// `SEQUENCE { quote, CrlList, SEQUENCE { SEQUENCE OF Certificate, tcbInfo } }`.
    fn read_quote(&mut self, value: &'a [u8]) -> Result<(), RequestRefusal> {
        let mut whole = Cursor::whole(value, tag::SEQUENCE, STATEMENT)?;
        self.evidence = whole.expect(tag::OCTET_STRING)?.value;
        self.read_crls(&mut whole)?;
        let mut tcb = whole.enter(tag::SEQUENCE)?;
        whole.finish()?;
        let chain = tcb.expect(tag::SEQUENCE)?.raw;
        let info = tcb.expect(tag::OCTET_STRING)?.value;
        tcb.finish()?;
        self.endorsements.push(kind::TCB_INFO, info)?;
        Ok(self.endorsements.push(kind::TCB_INFO_CHAIN, chain)?)
    }

    /// `CrlList`: `SEQUENCE { SEQUENCE OF SEQUENCE { url, CertificateList } }`. The URLs say nothing that
    /// the lists do not say, and nothing is fetched.
    fn read_crls(&mut self, from: &mut Cursor<'a>) -> Result<(), RequestRefusal> {
        let mut outer = from.enter(tag::SEQUENCE)?;
        let mut list = outer.enter(tag::SEQUENCE)?;
        outer.finish()?;
        while !list.is_done() {
            let mut entry = list.enter(tag::SEQUENCE)?;
            entry.expect(tag::UTF8_STRING)?;
            self.endorsements.push(kind::CRL, entry.expect(tag::SEQUENCE)?.raw)?;
            entry.finish()?;
        }
        Ok(())
    }

    /// The bound statement: `docs/binding.md`.
    fn read_bound(&mut self, value: &'a [u8]) -> Result<(), RequestRefusal> {
        let mut whole = Cursor::whole(value, tag::SEQUENCE, STATEMENT)?;
        match whole.unsigned()? {
            1 => {}
            version => return Err(RequestRefusal::StatementVersion(version)),
        }
        self.platform = whole.oid()?;
        if !is_published(self.platform) && self.platform != statement::DEVELOPMENT_SGX {
            return Err(RequestRefusal::StatementType(self.platform));
        }
        self.evidence = whole.expect(tag::OCTET_STRING)?.value;
        let mut list = whole.enter(tag::SEQUENCE)?;
        let mut bound = whole.enter(tag::SEQUENCE)?;
        whole.finish()?;
        while !list.is_done() {
            let mut entry = list.enter(tag::SEQUENCE)?;
            let kind = text(entry.expect(tag::UTF8_STRING)?.value)?;
            self.endorsements.push(kind, entry.expect(tag::OCTET_STRING)?.value)?;
            entry.finish()?;
        }
        let slug = bound.optional(tag::context(0))?.map(|item| text(item.value)).transpose()?;
        let workload = bound.optional(tag::context(1))?.map(|item| text(item.value)).transpose()?;
        let nonce = bound.optional(tag::context(2))?.map(|item| item.value);
        bound.finish()?;
        let binding = Binding { slug, workload, nonce };
        self.workload = binding.workload()?;
        self.form = Form::Bound(binding);
        Ok(())
    }
}

const STATEMENT: &str = "attestation statement";

fn text(bytes: &[u8]) -> Result<&str, RequestRefusal> {
    core::str::from_utf8(bytes).map_err(|_| RequestRefusal::Statement)
}

/// Whether evidence of that type has a published statement.
fn is_published(kind: ObjectIdentifier) -> bool {
    [statement::DEVELOPMENT, statement::SGX, statement::SNP, statement::TDX].contains(&kind)
}

/// The one statement in a request.
fn find<'a>(request: &Request<'a>) -> Result<Statement<'a>, RequestRefusal> {
    let known = [oid::EXTENSION_REQUEST, oid::ATTESTATION];
    if let Some(other) = request.attributes.iter().find(|one| !known.contains(&one.oid)) {
        return Err(RequestRefusal::UnknownAttribute(other.oid));
    }
    let extensions = request.extensions().map_err(RequestRefusal::from_reading)?;
    if let Some(other) = extensions.iter().find(|one| !is_published(one.oid)) {
        return Err(RequestRefusal::UnknownExtension(other.oid));
    }
    if extensions.iter().any(|one| one.critical) {
        return Err(RequestRefusal::Critical);
    }
    let attribute = request.attribute(oid::ATTESTATION);
    match (extensions.as_slice(), attribute) {
        ([], None) => Err(RequestRefusal::NoEvidence),
        ([one], None) if one.value.is_empty() => Err(RequestRefusal::EmptyEvidence),
        ([one], None) => Ok(Statement { kind: one.oid, value: one.value }),
        ([], Some(attribute)) => match attribute.values.as_slice() {
            [value] => read_bundle(value.raw),
            _ => Err(RequestRefusal::SeveralEvidences),
        },
        _ => Err(RequestRefusal::SeveralEvidences),
    }
}

/// `AttestationBundle` (draft-ietf-lamps-csr-attestation, 4): `SEQUENCE { attestations SEQUENCE OF SEQUENCE
/// { type, stmt }, certs SEQUENCE OF … OPTIONAL }`. The certificates are for formats that need them: here
/// all endorsements are in the statement, so they are not looked at.
fn read_bundle(value: &[u8]) -> Result<Statement<'_>, RequestRefusal> {
    let read = || -> Result<Vec<Cursor<'_>>, PkiError> {
        let mut bundle = Cursor::whole(value, tag::SEQUENCE, "AttestationBundle")?;
        let mut list = bundle.enter(tag::SEQUENCE)?;
        bundle.optional(tag::SEQUENCE)?;
        // A sequence of bundles, as the first drafts had it, has more of them and is told from a bundle
        // by its depth, below.
        let mut statements = Vec::new();
        while !list.is_done() && statements.len() < 2 {
            statements.push(list.enter(tag::SEQUENCE)?);
        }
        bundle.finish()?;
        Ok(statements)
    };
    let mut statements = read().map_err(|_| RequestRefusal::Bundle)?;
    if statements.iter().any(is_old) {
        return Err(RequestRefusal::OldBundle);
    }
    let (Some(mut one), true) = (statements.pop(), statements.is_empty()) else {
        return Err(if statements.is_empty() {
            RequestRefusal::Bundle
        } else {
            RequestRefusal::SeveralEvidences
        });
    };
    let read = |one: &mut Cursor<'_>| one.oid();
    let kind = read(&mut one).map_err(|_| RequestRefusal::Bundle)?;
    let value = one.next().map_err(|_| RequestRefusal::Bundle)?.raw;
    one.finish().map_err(|_| RequestRefusal::Bundle)?;
    if !is_published(kind) && kind != statement::BOUND {
        return Err(RequestRefusal::StatementType(kind));
    }
    Ok(Statement { kind, value })
}

/// Whether a statement has the syntax of the drafts before 2025: a hint as its third element, or a bundle
/// where a statement should be.
fn is_old(one: &Cursor<'_>) -> bool {
    let mut one = one.clone();
    if one.rest().first() == Some(&tag::SEQUENCE) {
        return true;
    }
    let hint = one.next().and_then(|_| one.next()).and_then(|_| one.next());
    hint.is_ok_and(|hint| matches!(hint.tag, tag::UTF8_STRING | tag::IA5_STRING))
}

/// The requests in `application/vnd.steward.pkcs10-bundle.v1`: a DER `SEQUENCE OF` them, 1 to
/// [`MAX_BUNDLE`].
///
/// # Errors
///
/// [`RequestRefusal::RequestBundle`], [`RequestRefusal::BundleCount`].
pub fn split_bundle(bundle: &[u8]) -> Result<Vec<&[u8]>, RequestRefusal> {
    let read = || -> Result<Vec<&[u8]>, PkiError> {
        let mut list = Cursor::whole(bundle, tag::SEQUENCE, "bundle")?;
        let mut requests = Vec::new();
        while !list.is_done() {
            requests.push(list.expect(tag::SEQUENCE)?.raw);
        }
        Ok(requests)
    };
    let requests = read().map_err(|_| RequestRefusal::RequestBundle)?;
    if requests.is_empty() || requests.len() > MAX_BUNDLE {
        return Err(RequestRefusal::BundleCount(requests.len()));
    }
    Ok(requests)
}
