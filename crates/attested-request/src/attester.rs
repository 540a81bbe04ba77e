// SPDX-License-Identifier: Apache-2.0

//! Makes certificate requests with evidence, as [`crate::AttestedRequest`] reads them.
//!
//! Whoever makes evidence knows how to get a report; what has to be around it is here: the statements, and
//! the requests that carry them.

use evidence_claims::statement;
use evidence_pki::{ObjectIdentifier, SignError, Signer, encode, oid, tag};

use crate::Binding;

/// A statement: its type, and its value in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its type, see [`statement`].
    pub kind: ObjectIdentifier,
    /// Its value, DER.
    pub value: Vec<u8>,
}

/// Where a request carries its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In an extension of `extensionRequest`, as published. Not for bound statements.
    Extension,
    /// In the attribute `id-aa-attestation` (draft-ietf-lamps-csr-attestation).
    Attribute,
}

/// The published statement for a report of SEV-SNP ([`statement::SNP`]) or one in its format
/// ([`statement::DEVELOPMENT`]): a DER certificate of the key that signed it, DER revocation lists with
/// their URLs, and the report.
#[must_use]
pub fn report_statement(
    kind: ObjectIdentifier,
    vek: &[u8],
    crls: &[(&str, &[u8])],
    report: &[u8],
) -> Statement {
    let endorsements = encode::sequence(&[vek, &crl_list(crls)]);
    Statement { kind, value: encode::sequence(&[&endorsements, &encode::octets(report)]) }
}

/// The published statement for a quote of SGX ([`statement::SGX`]) or TDX ([`statement::TDX`]): the quote,
/// DER revocation lists with their URLs, the DER certificates of who signed the TCB info (leaf first), and the
/// TCB info as Intel serves it.
#[must_use]
pub fn quote_statement(
    kind: ObjectIdentifier,
    quote: &[u8],
    crls: &[(&str, &[u8])],
    tcb_chain: &[&[u8]],
    tcb_info: &[u8],
) -> Statement {
    let tcb = encode::sequence(&[&encode::sequence(tcb_chain), &encode::octets(tcb_info)]);
    Statement { kind, value: encode::sequence(&[&encode::octets(quote), &crl_list(crls), &tcb]) }
}

/// A bound statement ([`statement::BOUND`]): evidence of the type `platform`, endorsements by their kinds, and
/// what is bound besides the key.
#[must_use]
pub fn bound_statement(
    platform: ObjectIdentifier,
    evidence: &[u8],
    endorsements: &[(&str, &[u8])],
    binding: &Binding<'_>,
) -> Statement {
    let endorsements: Vec<Vec<u8>> = endorsements
        .iter()
        .map(|(kind, value)| encode::sequence(&[&encode::text(kind), &encode::octets(value)]))
        .collect();
    let parts =
        [binding.slug.map(str::as_bytes), binding.workload.map(str::as_bytes), binding.nonce];
    let binding: Vec<Vec<u8>> = (0..)
        .zip(parts)
        .filter_map(|(number, part)| Some(encode::element(tag::context(number), &[part?])))
        .collect();
    let value = encode::sequence(&[
        &encode::integer(&[1]),
        &encode::oid(platform),
        &encode::octets(evidence),
        &encode::sequence_of(&endorsements),
        &encode::sequence_of(&binding),
    ]);
    Statement { kind: statement::BOUND, value }
}

/// A PKCS#10 request in DER with that statement, an empty subject, and the key of `signer`.
///
/// # Errors
///
/// [`SignError`].
pub fn request(
    signer: &dyn Signer,
    statement: &Statement,
    place: Place,
) -> Result<Vec<u8>, SignError> {
    let attribute = match place {
        Place::Extension => {
            let extension = encode::extension(statement.kind, false, &statement.value);
            attribute(oid::EXTENSION_REQUEST, &encode::sequence(&[&extension]))
        }
        Place::Attribute => {
            let statement = encode::sequence(&[&encode::oid(statement.kind), &statement.value]);
            let bundle = encode::sequence(&[&encode::sequence(&[&statement])]);
            attribute(oid::ATTESTATION, &bundle)
        }
    };
    request_with(signer, &[&attribute])
}

/// A PKCS#10 request in DER with these attributes, each DER `Attribute`.
///
/// # Errors
///
/// [`SignError`].
pub fn request_with(signer: &dyn Signer, attributes: &[&[u8]]) -> Result<Vec<u8>, SignError> {
    signer.seal(&encode::sequence(&[
        &encode::integer(&[0]),
        &encode::sequence(&[]),
        signer.public_key(),
        &encode::element(tag::context_constructed(0), attributes),
    ]))
}

/// DER `Attribute` with one value.
#[must_use]
pub fn attribute(kind: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    encode::sequence(&[&encode::oid(kind), &encode::element(tag::SET, &[value])])
}

/// `CrlList`: `SEQUENCE { SEQUENCE OF SEQUENCE { url UTF8String, CertificateList } }`.
fn crl_list(crls: &[(&str, &[u8])]) -> Vec<u8> {
    let list: Vec<Vec<u8>> =
        crls.iter().map(|(url, crl)| encode::sequence(&[&encode::text(url), crl])).collect();
    encode::sequence(&[&encode::sequence_of(&list)])
}
