// SPDX-License-Identifier: Apache-2.0

//! Certificates, as they are issued: their profile, their validity, and the forms of the answer.

mod common;

use common::{
    Library, NONCE_KEY, P256, P384, POLICY, POLICY_URL, Pki, SLUG, WORKLOAD, authority, bound,
    published, setup,
};
use evidence_crypto::{AwsLc, Crypto as _};
use evidence_pki::{Certificate, Cursor, ObjectIdentifier, Time, oid as ids, tag};
use evidence_testkit::amd::{Amd, Product, ReportBuilder};
use evidence_testkit::csr::RequestBuilder;
use evidence_testkit::keys::Key;
use evidence_testkit::statement::{Binding, oid};
use evidence_testkit::{DAY, NOW};
use evidence_verifier::{Endorsements, kind};
use steward_claims::CertificateClaims;
use steward_core::certificate::{Issuer, Profile, Template, key_id, name, serial};
use steward_core::key::AwsLcKey;
use steward_core::{
    Authority, Fault, IssueRefusal, Issued, SetupError, Signer, SigningAlgorithm, pem,
};

const RANDOM: [u8; 16] = [0xab; 16];

fn full<'a>(nonce: &'a [u8]) -> Binding<'a> {
    Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: Some(nonce) }
}

/// A certificate for a bound request with everything in it.
fn issue(library: Library, pki: &Pki, key: &Key) -> Issued {
    let authority = Authority::new(setup(library, pki, POLICY)).unwrap();
    let nonce = authority.nonce(NOW, [1; 16]).unwrap();
    authority.issue(&bound(key, full(nonce.as_bytes())), NOW, RANDOM).unwrap()
}

/// The texts of alternative names, each with its tag.
fn names(value: &[u8]) -> Vec<(u8, String)> {
    let mut list = Cursor::whole(value, tag::SEQUENCE, "names").unwrap();
    let mut out = Vec::new();
    while !list.is_done() {
        let name = list.next().unwrap();
        out.push((name.tag, String::from_utf8(name.value.to_vec()).unwrap()));
    }
    out
}

#[test]
fn a_certificate_has_the_documented_profile() {
    for (library, pki) in [(Library::AwsLc, &P256), (Library::RustCrypto, &P384)] {
        for key in [Key::p256(), Key::p384()] {
            let issued = issue(library, pki, &key);
            let leaf = Certificate::parse(issued.leaf()).unwrap();
            let issuer = Certificate::parse(&pki.steward).unwrap();
            leaf.check_issued_by(&AwsLc, &issuer).unwrap();
            assert_eq!(leaf.spki, key.spki());
            assert_eq!(leaf.issuer, issuer.subject);
            assert_eq!(leaf.serial, serial(RANDOM));
            assert_eq!(issued.serial(), &serial(RANDOM));
            assert_eq!(leaf.common_name(), Some("snp Keep 4d4d4d4d4d4d4d4d"));
            assert_eq!(issued.subject(), "snp Keep 4d4d4d4d4d4d4d4d");
            let critical: Vec<_> = leaf.extensions().map(|one| (one.oid, one.critical)).collect();
            assert_eq!(
                critical,
                [
                    (ids::BASIC_CONSTRAINTS, true),
                    (ids::KEY_USAGE, true),
                    (ids::EXT_KEY_USAGE, false),
                    (ids::SUBJECT_KEY_ID, false),
                    (ids::AUTHORITY_KEY_ID, false),
                    (ids::SUBJECT_ALT_NAME, false),
                    (steward_claims::OID, false),
                ]
            );
            let value = |kind: ObjectIdentifier| leaf.extension(kind).unwrap().value;
            assert!(!leaf.basic_constraints().unwrap().unwrap().authority);
            assert_eq!(value(ids::KEY_USAGE), [3, 2, 7, 0x80]);
            let own = key_id(&AwsLc, &key.spki()).unwrap();
            assert_eq!(own, AwsLc.sha256(&[key.public()])[..20]);
            assert_eq!(value(ids::SUBJECT_KEY_ID)[2..], own);
            let issuer_id = issuer.extension(ids::SUBJECT_KEY_ID).unwrap().value;
            assert_eq!(value(ids::AUTHORITY_KEY_ID)[4..], issuer_id[2..]);
            assert_eq!(
                names(value(ids::SUBJECT_ALT_NAME)),
                [
                    (0x82, "keep.example".to_owned()),
                    (0x86, format!("enarx:digest/{WORKLOAD}")),
                    (0x86, format!("enarx:slug/{SLUG}")),
                ]
            );
            let claims = CertificateClaims::from_der(value(steward_claims::OID)).unwrap();
            assert_eq!(&claims, issued.claims());
        }
    }
}

#[test]
fn the_claims_are_what_was_verified() {
    let claims = issue(Library::AwsLc, &P256, &Key::p256()).claims().clone();
    let digest = AwsLc.sha256(&[POLICY.as_bytes()]);
    assert_eq!((claims.platform.as_str(), claims.product.as_str()), ("snp", "Genoa"));
    assert_eq!(claims.measurement, ReportBuilder::MEASUREMENT);
    assert_eq!((claims.debug, claims.fresh), (false, true));
    assert_eq!((claims.policy, claims.policy_url.as_deref()), (digest, Some(POLICY_URL)));
    assert_eq!(claims.verified_at, NOW);
    let workload = claims.workload.unwrap();
    assert_eq!((workload.slug(), workload.digest()), (Some(SLUG), WORKLOAD));
    assert!(claims.svns.iter().any(|(_, value)| *value == 27), "{:?}", claims.svns);
    let authority = authority(Library::AwsLc);
    assert_eq!(authority.policy_digest(), digest);
    let plain = authority.issue(&published(&Key::p384()), NOW, RANDOM).unwrap();
    assert!(plain.claims().workload.is_none() && !plain.claims().fresh);
}

#[test]
fn a_certificate_ends_with_the_first_of_all_that_is_behind_it() {
    let key = Key::p384();
    let csr = published(&key);
    // The synthetic vendor's revocation list ends after 35 days, the policy allows 7.
    let with = |policy: &str, from: Time, until: Time| {
        let mut setup = setup(Library::AwsLc, &P256, policy);
        setup.chain = vec![P256.steward_from(from, until)];
        let issued = Authority::new(setup).unwrap().issue(&csr, NOW, RANDOM).unwrap();
        let leaf = Certificate::parse(issued.leaf()).unwrap();
        assert_eq!((leaf.not_before, leaf.not_after), (issued.not_before(), issued.not_after()));
        (issued.not_before(), issued.not_after())
    };
    let (yesterday, year) = (NOW.minus(DAY), NOW.plus(365 * DAY));
    let long = POLICY.replace("7d", "90d");
    let early = POLICY.replace("lifetime", "backdate = \"2h\"\nlifetime");
    assert_eq!(with(POLICY, yesterday, year), (NOW, NOW.plus(7 * DAY)));
    assert_eq!(with(&long, yesterday, year), (NOW, NOW.plus(35 * DAY)));
    let soon = NOW.plus(3 * DAY);
    assert_eq!(with(&long, yesterday, soon), (NOW, soon));
    // It begins at the time of issue or a little earlier, but not before the Steward's own certificate.
    assert_eq!(with(&early, yesterday, year), (NOW.minus(7200), NOW.plus(7 * DAY)));
    assert_eq!(with(&early, NOW.minus(60), year), (NOW.minus(60), NOW.plus(7 * DAY)));
}

/// A chain of root, one authority between, and the Steward; each allows that many authorities below it.
fn long_chain(root: u8, between: u8) -> Vec<Vec<u8>> {
    let keys = [(); 2].map(|()| AwsLcKey::generate(SigningAlgorithm::EcdsaP384Sha384).unwrap());
    let steward = AwsLcKey::from_pem(P256.steward_pem.as_bytes()).unwrap();
    let template = |subject, key: &AwsLcKey, path_length| {
        let profile = Profile::Authority { path_length };
        let (not_before, not_after) = (NOW.minus(DAY), NOW.plus(DAY));
        let public_key = key.public_key().to_vec();
        move |sign: &dyn Fn(&Template<'_>) -> Vec<u8>| {
            let public_key = &public_key;
            sign(&Template { random: RANDOM, subject, public_key, not_before, not_after, profile })
        }
    };
    let names = ["Root", "Between", "Steward"].map(|text| name(None, text));
    let issuer = |der: &[u8]| Issuer::of(&AwsLc, &Certificate::parse(der).unwrap()).unwrap();
    let root = template(&names[0], &keys[0], root)(&|one| one.self_sign(&AwsLc, &keys[0]).unwrap());
    let above = issuer(&root);
    let between =
        template(&names[1], &keys[1], between)(&|one| one.sign(&AwsLc, &above, &keys[0]).unwrap());
    let above = issuer(&between);
    let steward =
        template(&names[2], &steward, 0)(&|one| one.sign(&AwsLc, &above, &keys[1]).unwrap());
    vec![steward, between, root]
}

#[test]
fn a_long_chain_is_answered_in_order_and_without_its_root() {
    let chain = long_chain(2, 1);
    let of = |chain: Vec<Vec<u8>>| {
        let mut setup = setup(Library::AwsLc, &P256, POLICY);
        setup.chain = chain;
        Authority::new(setup)
    };
    let csr = published(&Key::p384());
    let issued = of(chain.clone()).unwrap().issue(&csr, NOW, RANDOM).unwrap();
    assert_eq!(issued.chain(), &chain[..2]);
    let path = issued.pki_path();
    let path = Cursor::whole(&path, tag::SEQUENCE, "path").unwrap();
    assert_eq!(path.rest(), [&chain[1][..], &chain[0], issued.leaf()].concat());
    assert_eq!(issued.pem(), pem(issued.leaf()) + &pem(&chain[0]) + &pem(&chain[1]));
    assert_eq!(issued.not_after(), NOW.plus(DAY));
    assert_eq!(of(long_chain(2, 0)).err(), Some(SetupError::PathLength(2)));
    assert_eq!(of(long_chain(1, 1)).err(), Some(SetupError::PathLength(3)));
}

#[test]
fn answers_have_the_published_forms() {
    let authority = authority(Library::AwsLc);
    assert_eq!(authority.chain(), [P256.steward.clone(), P256.root.clone()]);
    let csrs = [published(&Key::p384()), published(&Key::p384())];
    let bundle = {
        let mut count = 0;
        let mut random = || {
            count += 1;
            [count; 16]
        };
        let der = evidence_testkit::der_writer::Der::build(|der| {
            der.sequence(|der| {
                der.raw(&csrs[0]).raw(&csrs[1]);
            });
        });
        authority.issue_bundle(&der, NOW, &mut random).unwrap()
    };
    let issued = bundle.issued();
    assert_eq!(issued.len(), 2);
    assert_ne!(issued[0].serial(), issued[1].serial());
    let answer = bundle.der();
    let mut answer = Cursor::whole(&answer, tag::SEQUENCE, "answer").unwrap();
    assert_eq!(answer.expect(tag::SEQUENCE).unwrap().value, P256.steward);
    let leaves = [issued[0].leaf(), issued[1].leaf()].concat();
    assert_eq!(answer.expect(tag::SEQUENCE).unwrap().value, leaves);
    answer.finish().unwrap();

    let path = issued[0].pki_path();
    let path = Cursor::whole(&path, tag::SEQUENCE, "path").unwrap();
    assert_eq!(path.rest(), [&P256.steward[..], issued[0].leaf()].concat());
    assert_eq!(issued[0].pem(), pem(issued[0].leaf()) + &pem(&P256.steward));

    // A root that issues by itself is part of the answer.
    let mut alone = setup(Library::AwsLc, &P256, POLICY);
    alone.chain = vec![P256.root.clone()];
    alone.signer = Library::AwsLc.signer(&P256.root_key.to_pem().unwrap());
    let issued = Authority::new(alone).unwrap().issue(&csrs[0], NOW, RANDOM).unwrap();
    assert_eq!(issued.chain(), std::slice::from_ref(&P256.root));
}

#[test]
fn a_bundle_is_granted_as_a_whole_or_not_at_all() {
    let authority = authority(Library::AwsLc);
    let der = evidence_testkit::der_writer::Der::build(|der| {
        der.sequence(|der| {
            der.raw(&published(&Key::p384()));
            der.raw(&RequestBuilder::new().sign(&Key::p384()));
        });
    });
    let refusal = authority.issue_bundle(&der, NOW, &mut || RANDOM).unwrap_err();
    assert_eq!(refusal.code(), "csr.no-evidence");
}

#[test]
fn a_policy_refuses_with_all_its_reasons() {
    let policy = "[snp]\nhash = [\"".to_owned()
        + &"00".repeat(48)
        + "\"]\n[certificate]\nrequire_nonce = true\nrequire_workload = true\n";
    let authority = Authority::new(setup(Library::AwsLc, &P256, &policy)).unwrap();
    let refusal = authority.issue(&published(&Key::p384()), NOW, RANDOM).unwrap_err();
    assert_eq!((refusal.fault(), refusal.status()), (Fault::Policy, 403));
    assert!(refusal.code().starts_with("policy."));
    assert_eq!(refusal.reasons().count(), 3, "{refusal}");
    assert_eq!(refusal.to_string().matches("; ").count(), 2, "{refusal}");
    let IssueRefusal::Policy(reasons) = refusal else { panic!("{refusal}") };
    assert_eq!(reasons.len(), 3);
    // And with a nonce and a workload only the hash is wrong.
    let nonce = authority.nonce(NOW, [1; 16]).unwrap();
    let csr = bound(&Key::p256(), full(nonce.as_bytes()));
    let refusal = authority.issue(&csr, NOW, RANDOM).unwrap_err();
    assert_eq!(refusal.reasons().count(), 1, "{refusal}");
}

#[test]
fn no_policy_no_certificate() {
    let authority = Authority::new(setup(Library::AwsLc, &P256, "")).unwrap();
    let refusal = authority.issue(&published(&Key::p384()), NOW, RANDOM).unwrap_err();
    assert_eq!((refusal.code(), refusal.status()), ("policy.platform", 403));
}

#[test]
fn evidence_that_is_not_genuine_is_the_requesters_fault() {
    let authority = authority(Library::AwsLc);
    let (amd, key) = (Amd::impostor(), Key::p384());
    let data = evidence_testkit::statement::snp_report_data(&key.spki());
    let report = amd.report(Product::Milan, 3).report_data(&data).sign(amd.vek_key());
    let vek = amd.vcek(Product::Milan).sign(amd.ask_key());
    let crl = amd.crl_der(Product::Milan);
    let statement = evidence_testkit::statement::snp(&vek, &[("", &crl)], &report);
    let csr = RequestBuilder::new().extension(oid::SNP, false, &statement).sign(&key);
    let refusal = authority.issue(&csr, NOW, RANDOM).unwrap_err();
    assert!(matches!(refusal, IssueRefusal::Evidence(_)));
    assert_eq!((refusal.fault(), refusal.status()), (Fault::Client, 400));
    assert!(refusal.code().starts_with("snp."), "{refusal}");
    // Development evidence is of an unknown format unless its root was given.
    let csr = RequestBuilder::new().extension(oid::DEVELOPMENT, false, &statement).sign(&key);
    let refusal = authority.issue(&csr, NOW, RANDOM).unwrap_err();
    assert_eq!(refusal.code(), "evidence.unknown-format");
}

#[test]
fn endorsements_that_a_request_lacks_come_from_the_steward() {
    let (amd, key) = (Amd::get(), Key::p256());
    let data = Binding::default().report_data(&key.spki());
    let report = amd.report(Product::Milan, 3).report_data(&data).sign(amd.vek_key());
    let vek = amd.vcek(Product::Milan).sign(amd.ask_key());
    let crl = amd.crl_der(Product::Milan);
    let of = |endorsements: &[(&str, &[u8])]| {
        let binding = Binding::default();
        let statement =
            evidence_testkit::statement::bound(oid::SNP, &report, endorsements, binding);
        RequestBuilder::new().attestation(oid::BOUND, &statement).sign(&key)
    };
    let steward = |own: &[(&'static str, &[u8])]| {
        let mut setup = setup(Library::AwsLc, &P256, POLICY);
        let mut endorsements = Endorsements::new();
        for (kind, value) in own {
            endorsements.push(*kind, value.to_vec()).unwrap();
        }
        setup.endorsements = endorsements;
        Authority::new(setup).unwrap()
    };
    let other = amd.crl_der(Product::Turin);
    let none = steward(&[]);
    let crls = steward(&[(kind::CRL, &crl)]);
    let all = steward(&[(kind::VEK, &vek), (kind::CRL, &crl)]);
    let issue = |steward: &Authority, csr: &[u8]| steward.issue(csr, NOW, RANDOM);
    assert!(issue(&none, &of(&[("vek", &vek), ("crl", &crl)])).is_ok());
    assert!(issue(&none, &of(&[("vek", &vek)])).is_err());
    assert!(issue(&crls, &of(&[("vek", &vek)])).is_ok());
    // A list of another authority in the request does not keep the Steward's own away.
    assert!(issue(&crls, &of(&[("vek", &vek), ("crl", &other)])).is_ok());
    assert!(issue(&crls, &of(&[])).is_err());
    assert!(issue(&all, &of(&[])).is_ok());
    // So many are allowed as there are here; what is not missing is not added.
    let mut many: Vec<(&str, &[u8])> = vec![("vek", &vek), ("crl", &crl)];
    many.resize(Endorsements::MAX_COUNT, ("other", b""));
    let veks = steward(&[(kind::VEK, &vek)]);
    assert!(issue(&veks, &of(&many)).is_ok());
    // The Steward's own list must have its place, or a request could keep a newer one out.
    assert_eq!(issue(&crls, &of(&many)).unwrap_err().code(), "csr.endorsements");
    // A wrong certificate is not replaced by a right one: what the request says counts first.
    assert!(issue(&all, &of(&[("vek", &amd.ask_der(Product::Milan))])).is_err());
}

#[test]
fn nothing_secret_is_in_debug_output() {
    let setup = setup(Library::AwsLc, &P256, POLICY);
    let setup_text = format!("{setup:?}");
    let authority = Authority::new(setup).unwrap();
    let text =
        format!("{setup_text} {authority:?} {:?}", Library::RustCrypto.signer(&P256.steward_pem));
    let secret = format!("{:?}", NONCE_KEY);
    assert!(!text.contains(secret.trim_matches(['[', ']'])) && !text.contains("333333"));
    assert!(text.len() < 2000, "{text}");
}
