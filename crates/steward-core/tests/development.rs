// SPDX-License-Identifier: Apache-2.0

//! Development evidence: granted under a root that the policy names, and never taken for hardware.

mod common;

use core::time::Duration;

use common::{Library, P256, POLICY, SLUG, WORKLOAD, setup};
use evidence_development::{Binding, Curve, Guest, Key, Root};
use evidence_snp::Development;
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::csr::RequestBuilder;
use evidence_testkit::statement::{bound, oid};
use evidence_testkit::{DAY, NOW};
use steward_core::{Authority, IssueRefusal, Issued};

fn root() -> Root {
    Root::create(NOW.minus(60), Duration::from_secs(DAY)).unwrap()
}

/// A Steward as a service makes it: development is added if the policy names a root.
fn steward(library: Library, policy: &str) -> Authority {
    let mut setup = setup(library, &P256, policy);
    let roots = setup.policy.development_roots().to_vec();
    if !roots.is_empty() {
        let development = Development::new(setup.crypto.clone(), roots);
        setup.verifier = setup.verifier.with(Box::new(development));
    }
    Authority::new(setup).unwrap()
}

fn policy_of(root: &Root) -> String {
    format!(
        "[development]\nany_code = true\nroot = \"\"\"\n{}\"\"\"\n",
        root.certificate_pem().unwrap()
    )
}

fn requests(root: &Root) -> Vec<Vec<u8>> {
    let attester = root.attester(NOW).unwrap();
    let binding = Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: None };
    let guest = Guest::default();
    vec![
        attester.published_request(&Key::generate(Curve::P384).unwrap(), &guest).unwrap(),
        attester.request(&Key::generate(Curve::P384).unwrap(), &guest, &binding).unwrap(),
        attester.request(&Key::generate(Curve::P256).unwrap(), &guest, &binding).unwrap(),
    ]
}

#[test]
fn development_shows_in_subject_and_claims() {
    let root = root();
    for library in Library::ALL {
        let steward = steward(library, &policy_of(&root));
        for (index, csr) in requests(&root).iter().enumerate() {
            let issued: Issued = steward.issue(csr, NOW, [1; 16]).unwrap();
            assert!(issued.subject().starts_with("development Keep "), "{}", issued.subject());
            assert_eq!(issued.claims().platform, "development");
            assert_eq!(issued.claims().workload.is_some(), index > 0);
        }
    }
}

#[test]
fn development_is_refused_without_its_root() {
    let (root, other) = (root(), root());
    let csr = requests(&root).remove(1);
    let refusal = steward(Library::AwsLc, POLICY).issue(&csr, NOW, [1; 16]).unwrap_err();
    assert_eq!(refusal.code(), "evidence.unknown-format");
    let refusal =
        steward(Library::AwsLc, &policy_of(&other)).issue(&csr, NOW, [1; 16]).unwrap_err();
    assert!(matches!(refusal, IssueRefusal::Evidence(_)), "{refusal}");
}

/// The report is good and in the format of the hardware; the request says that it is of the hardware.
#[test]
fn development_never_passes_for_hardware_nor_hardware_for_development() {
    let root = root();
    let attester = root.attester(NOW).unwrap();
    let key = evidence_testkit::keys::Key::p256();
    let binding = evidence_testkit::statement::Binding::default();
    let data = binding.report_data(&key.spki());
    let report = attester.report(&Guest::default(), &data).unwrap();
    let request = |platform: &str, endorsements: &[(&str, &[u8])], report: &[u8]| {
        let statement = bound(platform, report, endorsements, binding);
        RequestBuilder::new().attestation(oid::BOUND, &statement).sign(&key)
    };
    let policy = format!("{}[snp]\nany_code = true\n", policy_of(&root));
    let steward = steward(Library::AwsLc, &policy);
    let amd = Amd::get();
    let crl = amd.crl_der(Product::Milan);
    let vek = attester.vek_der();
    let good = request(oid::DEVELOPMENT, &[("vek", vek)], &report);
    assert!(steward.issue(&good, NOW, [1; 16]).is_ok());
    let disguised = request(oid::SNP, &[("vek", vek), ("crl", &crl)], &report);
    let refusal = steward.issue(&disguised, NOW, [1; 16]).unwrap_err();
    assert!(matches!(refusal, IssueRefusal::Evidence(_)), "{refusal}");

    let report = amd.report(Product::Milan, 3).report_data(&data).sign(amd.vek_key());
    let vek = amd.vcek(Product::Milan).sign(amd.ask_key());
    let good = request(oid::SNP, &[("vek", &vek), ("crl", &crl)], &report);
    assert!(steward.issue(&good, NOW, [1; 16]).is_ok());
    let disguised = request(oid::DEVELOPMENT, &[("vek", &vek), ("crl", &crl)], &report);
    let refusal = steward.issue(&disguised, NOW, [1; 16]).unwrap_err();
    assert!(matches!(refusal, IssueRefusal::Evidence(_)), "{refusal}");
}
