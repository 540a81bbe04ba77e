// SPDX-License-Identifier: Apache-2.0

//! The host agent's evidence is what the verifier takes for development evidence, and for nothing else.

use std::sync::Arc;

use evidence_claims::{Detail, Endorsements, Platform, Reason, kind};
use evidence_crypto::{AwsLc, RustCrypto};
use evidence_development::{
    Attester, BOUND_STATEMENT, Binding, Curve, DevelopmentError, Guest, Key, REPORT_SIZE, Root,
    STATEMENT, published_report_data, report_data,
};
use evidence_pki::{Certificate, Cursor, Request, oid, tag};
use evidence_snp::{Development, Snp};
use evidence_testkit::certificate::CertificateBuilder;
use evidence_testkit::der_writer::pem_chain;
use evidence_testkit::keys as testkit;

use crate::{DAY, NOW, root};

fn endorsements(attester: &Attester) -> Endorsements<'_> {
    let mut endorsements = Endorsements::new();
    endorsements.push(kind::VEK, attester.vek_der()).unwrap();
    endorsements
}

fn accepting(root: &Root) -> Development {
    Development::new(Arc::new(AwsLc), vec![root.certificate_der().to_vec()])
}

#[test]
fn the_verifier_accepts_it_under_its_root_and_nowhere_else() {
    let (root, other) = (root(), root());
    let attester = root.attester(NOW).unwrap();
    let guest = Guest { measurement: [7; 48], host_data: [8; 32], ..Guest::default() };
    let report = attester.report(&guest, &[9; 64]).unwrap();
    assert_eq!(report.len(), REPORT_SIZE);
    let endorsements = endorsements(&attester);

    let claims = accepting(&root).verify_report(&report, &endorsements, NOW).unwrap();
    assert_eq!((claims.platform, &*claims.product), (Platform::Development, "development"));
    assert!(!claims.debug);
    assert_eq!(claims.measurement, [7; 48]);
    assert_eq!(claims.report_data, [9; 64]);
    let Detail::Snp(detail) = &claims.detail else { panic!("the format is SNP's") };
    assert_eq!(detail.product, None);
    assert_eq!(detail.host_data, [8; 32]);

    let rust = Development::new(Arc::new(RustCrypto), vec![root.certificate_der().to_vec()]);
    let same = rust.verify_report(&report, &endorsements, NOW).unwrap();
    assert_eq!(format!("{same:?}"), format!("{claims:?}"));

    let refused = accepting(&other).verify_report(&report, &endorsements, NOW).unwrap_err();
    assert_eq!(refused.code(), "development.root-not-accepted");
    let none = Development::new(Arc::new(AwsLc), Vec::new());
    assert!(none.verify_report(&report, &endorsements, NOW).is_err());
    let amd = Snp::new(Arc::new(AwsLc));
    assert!(amd.verify_report(&report, &endorsements, NOW).is_err());
    let late = NOW.plus(31 * DAY.as_secs());
    assert!(accepting(&root).verify_report(&report, &endorsements, late).is_err());
}

#[test]
fn a_guest_that_may_be_debugged_says_so() {
    let root = root();
    let attester = root.attester(NOW).unwrap();
    let guest = Guest { policy: Guest::default().policy | 1 << 19, ..Guest::default() };
    let report = attester.report(&guest, &[0; 64]).unwrap();
    let claims = accepting(&root).verify_report(&report, &endorsements(&attester), NOW).unwrap();
    assert!(claims.debug);
}

#[test]
fn another_attesters_certificate_does_not_fit() {
    let root = root();
    let (one, other) = (root.attester(NOW).unwrap(), root.attester(NOW).unwrap());
    let report = one.report(&Guest::default(), &[0; 64]).unwrap();
    assert!(accepting(&root).verify_report(&report, &endorsements(&other), NOW).is_err());
}

#[test]
fn a_root_survives_its_files() {
    let first = root();
    let key = first.key_pem().unwrap();
    let certificate = first.certificate_pem().unwrap();
    let second = Root::from_pem(&key, &certificate).unwrap();
    assert_eq!(first.certificate_der(), second.certificate_der());
    assert_eq!(second.not_after(), NOW.plus(30 * DAY.as_secs()));
    Development::check_root(&AwsLc, second.certificate_der()).unwrap();
    let attester = second.attester(NOW).unwrap();
    let report = attester.report(&Guest::default(), &[0; 64]).unwrap();
    accepting(&first).verify_report(&report, &endorsements(&attester), NOW).unwrap();

    // Nothing but these two, and no key anywhere else.
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let shown = format!("{first:?} {attester:?}");
    let secret = Key::from_pem(&key).unwrap();
    assert!(shown.contains("Key { curve: P384, .. }"), "{shown}");
    assert_eq!(format!("{secret:?}"), "Key { curve: P384, .. }");
}

#[test]
fn what_is_no_root_is_refused() {
    let good = root();
    let (key, certificate) = (good.key_pem().unwrap(), good.certificate_pem().unwrap());
    let refused = |key: &str, certificate: &str| Root::from_pem(key, certificate).unwrap_err();
    assert_eq!(refused("", &certificate), DevelopmentError::Key);
    assert_eq!(refused(&key.repeat(2), &certificate), DevelopmentError::Key);
    assert!(matches!(refused(&key, ""), DevelopmentError::Certificate(_)));
    assert_eq!(refused(&key, &certificate.repeat(2)), DevelopmentError::CertificateCount);
    let other = root().key_pem().unwrap();
    assert_eq!(refused(&other, &certificate), DevelopmentError::KeyMismatch);
    assert_eq!(good.attester(NOW.minus(1)).unwrap_err(), DevelopmentError::RootTime(NOW.minus(1)));
    let late = good.not_after().plus(1);
    assert_eq!(good.attester(late).unwrap_err(), DevelopmentError::RootTime(late));
    assert!(good.attester(good.not_after()).is_ok());
}

#[test]
fn an_ordinary_certificate_makes_no_root() {
    let root = root();
    let name = Certificate::parse(root.certificate_der()).unwrap().subject;
    for (key, subject, authority, good) in [
        (testkit::Key::p384(), name, true, true),
        (testkit::Key::p384(), name, false, false),
        (testkit::Key::p384(), &[0x30, 0][..], true, false),
        (testkit::Key::p256(), name, true, false),
    ] {
        let certificate = CertificateBuilder::new(name, subject, key.spki())
            .basic_constraints(authority, None)
            .sign(&key);
        let made = Root::from_pem(&key.to_pem(), &pem_chain(&[&certificate]));
        assert_eq!(made.map(|_| ()), if good { Ok(()) } else { Err(DevelopmentError::NotARoot) });
    }
}

#[test]
fn an_attester_does_not_outlive_its_root() {
    let short = root();
    let vek = short.attester(NOW).unwrap();
    assert_eq!(Certificate::parse(vek.vek_der()).unwrap().not_after, short.not_after());
    let long = Root::create(NOW, 4000 * DAY).unwrap();
    let vek = long.attester(NOW).unwrap();
    let end = Certificate::parse(vek.vek_der()).unwrap().not_after;
    assert_eq!(end, NOW.plus(Attester::LIFETIME.as_secs()));
}

#[test]
fn a_request_carries_the_bound_statement() {
    let root = root();
    let attester = root.attester(NOW).unwrap();
    let digest = format!("sha256:{}", "ab".repeat(32));
    let binding =
        Binding { slug: Some("example/hello:1.0"), workload: Some(&digest), nonce: Some(&[5; 32]) };
    for curve in [Curve::P256, Curve::P384] {
        let key = Key::generate(curve).unwrap();
        let der = attester.request(&key, &Guest::default(), &binding).unwrap();
        let request = Request::parse(&der).unwrap();
        request.check_signature(&AwsLc).unwrap();
        assert_eq!(request.spki, key.spki());
        assert_eq!(request.attributes.len(), 1);
        let value = &request.attribute(oid::ATTESTATION).unwrap().values[0];
        let mut bundle = Cursor::whole(value.raw, tag::SEQUENCE, "bundle").unwrap();
        let mut list = bundle.enter(tag::SEQUENCE).unwrap();
        bundle.finish().unwrap();
        let mut statement = list.enter(tag::SEQUENCE).unwrap();
        list.finish().unwrap();
        assert_eq!(statement.oid().unwrap(), BOUND_STATEMENT);
        let mut statement = statement.enter(tag::SEQUENCE).unwrap();
        assert_eq!(statement.unsigned().unwrap(), 1);
        assert_eq!(statement.oid().unwrap(), STATEMENT);
        let report = statement.expect(tag::OCTET_STRING).unwrap().value;
        let claims = accepting(&root).verify_report(report, &endorsements(&attester), NOW).unwrap();
        assert_eq!(claims.report_data, report_data(&binding, &key.spki()));
    }
    let bound = |binding: Binding<'_>| report_data(&binding, b"key");
    let none = bound(Binding::default());
    assert_ne!(none, bound(Binding { slug: Some("x"), ..Binding::default() }));
    assert_ne!(
        bound(Binding { slug: Some("x"), ..Binding::default() }),
        bound(Binding { workload: Some("x"), ..Binding::default() }),
    );
}

/// Binding form 2 byte by byte: the value was computed by another program.
#[test]
fn binding_form_2_is_as_documented() {
    let binding = Binding { slug: Some("a/b"), workload: None, nonce: Some(&[1, 2, 3]) };
    let hex: String =
        report_data(&binding, b"key").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "57c165bfabc495c99af1f39434b5a6f54cf80d5273834e6d19fee9dd49bf47c18cdc3cc1d9203098066179ed18a5fd5717488b13b3127147b73fb11e39fd442b"
    );
}

#[test]
fn a_request_carries_the_published_statement() {
    let root = root();
    let attester = root.attester(NOW).unwrap();
    let key = Key::generate(Curve::P384).unwrap();
    let der = attester.published_request(&key, &Guest::default()).unwrap();
    let request = Request::parse(&der).unwrap();
    request.check_signature(&AwsLc).unwrap();
    let extensions = request.extensions().unwrap();
    assert_eq!(extensions[0].oid, STATEMENT);
    let mut statement = Cursor::whole(extensions[0].value, tag::SEQUENCE, "statement").unwrap();
    let mut vek = statement.enter(tag::SEQUENCE).unwrap();
    assert_eq!(vek.expect(tag::SEQUENCE).unwrap().raw, attester.vek_der());
    let report = statement.expect(tag::OCTET_STRING).unwrap().value;
    let claims = accepting(&root).verify_report(report, &endorsements(&attester), NOW).unwrap();
    assert_eq!(claims.report_data, published_report_data(&key.spki()));
    assert_eq!(claims.report_data[48..], [0; 16]);

    let short = Key::generate(Curve::P256).unwrap();
    let refused = attester.published_request(&short, &Guest::default()).unwrap_err();
    assert_eq!(refused, DevelopmentError::KeyType);
}
