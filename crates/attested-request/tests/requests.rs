// SPDX-License-Identifier: Apache-2.0

//! What is written is what is read, in each form and each place; and what is wrong is refused.
//!
//! That each refusal is reached is shown where requests are answered: some reasons are the Steward's alone.

mod common;

use attested_request::attester::{
    Place, Statement, attribute, bound_statement, quote_statement, report_statement, request,
    request_with,
};
use attested_request::binding::{form_1, form_2};
use attested_request::{AttestedRequest, Binding, Form, MAX_BUNDLE, RequestRefusal, split_bundle};
use common::{SLUG, TestKey, WORKLOAD};
use evidence_claims::{Reason, kind, statement};
use evidence_crypto::{AwsLc, Crypto, RustCrypto};
use evidence_pki::{PublicKey, SignError, Signer, SigningAlgorithm, encode, oid};
use evidence_testkit::statement as independent;

const PLACES: [Place; 2] = [Place::Extension, Place::Attribute];
/// A `SEQUENCE` that differs from others by its number.
fn der(number: u8) -> Vec<u8> {
    encode::sequence(&[&encode::integer(&[number])])
}

/// The binding with all its parts.
fn binding() -> Binding<'static> {
    Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: Some(b"nonce") }
}

#[test]
fn published_reports_are_read_as_they_are_written() {
    let (vek, one, two) = (der(1), der(2), der(3));
    let crls = [("https://one.example", one.as_slice()), ("https://two.example", two.as_slice())];
    for key in TestKey::all() {
        for (kind, place) in [statement::SNP, statement::DEVELOPMENT].into_iter().zip(PLACES) {
            let made = report_statement(kind, &vek, &crls, b"report");
            assert_eq!(made.kind, kind);
            assert_eq!(made.value, independent::snp(&vek, &crls, b"report"));
            let csr = request(&key, &made, place).unwrap();
            let read = AttestedRequest::parse(&csr).unwrap();
            read.check_signature(&AwsLc).unwrap();
            assert_eq!(read.request.spki, key.public_key());
            assert_eq!((read.statement, read.platform), (kind, kind));
            assert_eq!((read.evidence, read.form), (&b"report"[..], Form::Key));
            assert_eq!(read.endorsements.first(kind::VEK), Some(vek.as_slice()));
            let read_crls = read.endorsements.iter().filter(|one| one.kind == kind::CRL);
            let read_crls: Vec<_> = read_crls.map(|one| one.bytes.as_ref()).collect();
            assert_eq!(read_crls, [one.as_slice(), &two]);
            let public = PublicKey::from_spki(key.public_key()).unwrap();
            let data = form_1(&AwsLc, kind, &public, key.public_key());
            assert_eq!(read.report_data(&AwsLc), data);
            let small = key.algorithm() == SigningAlgorithm::EcdsaP256Sha256;
            assert_eq!(data == Err(RequestRefusal::KeyType("P-384")), small);
        }
    }
}

#[test]
fn published_quotes_are_read_as_they_are_written() {
    let (crl, leaf, root) = (der(1), der(2), der(3));
    let crls = [("https://one.example", crl.as_slice())];
    let chain = [leaf.as_slice(), root.as_slice()];
    let key = &TestKey::all()[0];
    for (kind, place) in [statement::SGX, statement::TDX].into_iter().zip(PLACES) {
        let made = quote_statement(kind, b"quote", &crls, &chain, b"{}");
        assert_eq!(made.value, independent::dcap(b"quote", &crls, &chain, b"{}"));
        let csr = request(key, &made, place).unwrap();
        let read = AttestedRequest::parse(&csr).unwrap();
        assert_eq!((read.statement, read.platform), (kind, kind));
        assert_eq!((read.evidence, read.form), (&b"quote"[..], Form::Key));
        assert_eq!(read.endorsements.first(kind::CRL), Some(crl.as_slice()));
        assert_eq!(read.endorsements.first(kind::TCB_INFO), Some(&b"{}"[..]));
        let expected = encode::sequence(&chain);
        assert_eq!(read.endorsements.first(kind::TCB_INFO_CHAIN), Some(expected.as_slice()));
        assert!(read.report_data(&AwsLc).is_ok());
    }
}

#[test]
fn bound_statements_are_read_as_they_are_written() {
    let endorsements = [("vek", &b"certificate"[..]), ("crl", b"list")];
    let bindings = [
        binding(),
        Binding::default(),
        Binding { slug: None, ..binding() },
        Binding { nonce: None, ..binding() },
        Binding { nonce: Some(b"nonce"), ..Binding::default() },
    ];
    for key in TestKey::all() {
        for binding in bindings {
            let made = bound_statement(statement::SNP, b"report", &endorsements, &binding);
            let same = independent::Binding {
                slug: binding.slug,
                workload: binding.workload,
                nonce: binding.nonce,
            };
            let other = independent::bound(independent::oid::SNP, b"report", &endorsements, same);
            assert_eq!((made.kind, &made.value), (statement::BOUND, &other));
            let csr = request(&key, &made, Place::Attribute).unwrap();
            let read = AttestedRequest::parse(&csr).unwrap();
            read.check_signature(&RustCrypto).unwrap();
            assert_eq!((read.statement, read.platform), (statement::BOUND, statement::SNP));
            assert_eq!((read.evidence, read.form), (&b"report"[..], Form::Bound(binding)));
            assert_eq!(read.endorsements.first("vek"), Some(&b"certificate"[..]));
            assert_eq!(read.endorsements.first("crl"), Some(&b"list"[..]));
            let workload = read.workload.as_ref();
            assert_eq!(workload.map(|one| one.digest()), binding.workload);
            assert_eq!(workload.and_then(|one| one.slug()), binding.slug);
            for crypto in [&AwsLc as &dyn Crypto, &RustCrypto] {
                let data = read.report_data(crypto).unwrap();
                assert_eq!(data, form_2(crypto, key.public_key(), &binding));
                assert_eq!(data, same.report_data(key.public_key()));
            }
        }
    }
}

/// Why a bound statement with that binding is refused.
fn refused(key: &TestKey, binding: Binding<'_>) -> RequestRefusal {
    let made = bound_statement(statement::SNP, b"report", &[], &binding);
    AttestedRequest::parse(&request(key, &made, Place::Attribute).unwrap()).unwrap_err()
}

#[test]
fn what_nobody_should_write_is_refused() {
    let key = &TestKey::all()[1];
    assert_eq!(refused(key, Binding { slug: Some("no slug"), ..binding() }), RequestRefusal::Slug);
    assert_eq!(
        refused(key, Binding { workload: Some("sha256:00"), ..binding() }),
        RequestRefusal::Digest
    );
    assert_eq!(refused(key, Binding { workload: None, ..binding() }), RequestRefusal::SlugAlone);

    let parse = |csr: Vec<u8>| AttestedRequest::parse(&csr).map(|_| ()).unwrap_err();
    let bound = bound_statement(statement::SNP, b"report", &[], &binding());
    assert_eq!(
        parse(request(key, &bound, Place::Extension).unwrap()),
        RequestRefusal::UnknownExtension(statement::BOUND)
    );
    let empty = bound_statement(statement::SNP, b"", &[], &binding());
    assert_eq!(
        parse(request(key, &empty, Place::Attribute).unwrap()),
        RequestRefusal::EmptyEvidence
    );
    let nested = bound_statement(statement::BOUND, b"report", &[], &binding());
    assert_eq!(
        parse(request(key, &nested, Place::Attribute).unwrap()),
        RequestRefusal::StatementType(statement::BOUND)
    );
    let garbage = Statement { kind: statement::SNP, value: der(1) };
    assert_eq!(parse(request(key, &garbage, Place::Attribute).unwrap()), RequestRefusal::Statement);
    assert_eq!(parse(request_with(key, &[]).unwrap()), RequestRefusal::NoEvidence);
    let other = attribute(oid::COMMON_NAME, &encode::text("name"));
    assert_eq!(
        parse(request_with(key, &[&other]).unwrap()),
        RequestRefusal::UnknownAttribute(oid::COMMON_NAME)
    );
}

/// Shows one key and signs with another, if there is one.
#[derive(Debug)]
struct Impostor<'a>(&'a TestKey, Option<&'a TestKey>);

impl Signer for Impostor<'_> {
    fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }

    fn algorithm(&self) -> SigningAlgorithm {
        self.0.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.1.ok_or_else(|| SignError("gone".into()))?.sign(message)
    }
}

#[test]
fn there_is_no_request_without_a_signature() {
    let [key, _] = TestKey::all();
    let made = bound_statement(statement::SNP, b"report", &[], &binding());
    let refused = request(&Impostor(&key, None), &made, Place::Attribute).unwrap_err();
    assert_eq!(refused, SignError("gone".into()));
}

#[test]
fn a_request_of_another_key_is_refused() {
    let ([one, _], [other, _]) = (TestKey::all(), TestKey::all());
    let made = bound_statement(statement::SNP, b"report", &[], &binding());
    let csr = request(&Impostor(&one, Some(&other)), &made, Place::Attribute).unwrap();
    let read = AttestedRequest::parse(&csr).unwrap();
    assert_eq!(read.request.spki, one.public_key());
    assert_eq!(read.check_signature(&AwsLc), Err(RequestRefusal::Signature));
}

#[test]
fn bundles_are_split_within_their_bounds() {
    let one = der(1);
    let of = |count: usize| encode::sequence(&vec![one.as_slice(); count]);
    for count in [1, MAX_BUNDLE] {
        assert_eq!(split_bundle(&of(count)).unwrap(), vec![one.as_slice(); count]);
    }
    for count in [0, MAX_BUNDLE + 1] {
        assert_eq!(split_bundle(&of(count)), Err(RequestRefusal::BundleCount(count)));
    }
    for bad in [&b"x"[..], &[&of(1)[..], &[0]].concat(), &encode::sequence(&[&[5, 0]])] {
        assert_eq!(split_bundle(bad), Err(RequestRefusal::RequestBundle));
    }
    for (refusal, code, remedy) in [
        (RequestRefusal::RequestBundle, "csr.bundle", "send a DER SEQUENCE of PKCS#10 requests"),
        (RequestRefusal::BundleCount(0), "csr.bundle-count", "split the bundle"),
    ] {
        assert_eq!((refusal.code(), refusal.remedy()), (code, remedy));
        assert_eq!(refusal.reference(), "Enarx, docs/binding.md, Bundles");
    }
}
