// SPDX-License-Identifier: Apache-2.0

//! Development evidence: granted under a root that the policy names, and never taken for hardware.

mod common;

use core::time::Duration;

use common::{Library, P256, POLICY, SLUG, WORKLOAD, setup};
use evidence_dcap::SgxDevelopment;
use evidence_development::{Binding, Curve, Guest, Key, Root};
use evidence_pki::hex;
use evidence_snp::Development;
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::csr::RequestBuilder;
use evidence_testkit::intel::{Intel, QuoteKind};
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
        let development = Development::new(setup.crypto.clone(), roots.clone());
        let sgx = SgxDevelopment::new(setup.crypto.clone(), roots);
        setup.verifier = setup.verifier.with(Box::new(development)).with(Box::new(sgx));
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
        snp_request(root, |_| {}),
        sgx_request(root, |_| {}),
    ]
}

const BINDING: Binding<'static> =
    Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: None };

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A request with what a stand-in of SEV-SNP says of a guest that was launched with an ID block and an author
/// key (AMD 56860, `ATTESTATION_REPORT`), after a change.
fn snp_request(root: &Root, change: impl FnOnce(&mut [u8; 1184])) -> Vec<u8> {
    let mut report = [0; 1184];
    put(&mut report, 0x000, &[5]);
    put(&mut report, 0x008, &0x3_0000u64.to_le_bytes());
    // AUTHOR_KEY_EN.
    put(&mut report, 0x048, &[1]);
    put(&mut report, 0x090, &[0x3e; 48]);
    put(&mut report, 0x0c0, &WORKLOAD_DIGEST);
    put(&mut report, 0x0e0, &[0x1d; 48]);
    put(&mut report, 0x110, &[0xa0; 48]);
    change(&mut report);
    let key = Key::generate(Curve::P384).unwrap();
    root.snp_stand_in(NOW).unwrap().composed_request(&key, report, &BINDING).unwrap()
}

/// A request with what a stand-in of SGX says of a signed enclave with key separation (Intel SDM volume 3D,
/// `REPORT`), after a change.
fn sgx_request(root: &Root, change: impl FnOnce(&mut [u8; 384])) -> Vec<u8> {
    let mut report = [0; 384];
    // INIT, MODE64BIT, KSS.
    put(&mut report, 48, &[0x85, 0, 0, 0, 0, 0, 0, 0, 0xe7]);
    put(&mut report, 64, &[0x3e; 32]);
    put(&mut report, 128, &[0x51; 32]);
    put(&mut report, 192, &WORKLOAD_DIGEST);
    put(&mut report, 256, &[7, 0, 9, 0]);
    change(&mut report);
    let key = Key::generate(Curve::P256).unwrap();
    root.sgx_stand_in(NOW).unwrap().request(&key, report, &BINDING).unwrap()
}

/// What a launch has as host data or configuration: the workload.
const WORKLOAD_DIGEST: [u8; 32] = [0x40; 32];

/// A policy that names all that can be named of a signed image.
fn policy_of_signed_images(root: &Root) -> String {
    let config = [WORKLOAD_DIGEST, [0; 32]].concat();
    format!(
        "{}[development.snp]\nhash = ['{}']\nsigner = ['{}']\nid_key_digest = ['{}']\nhost_data = ['{}']\n\
         [development.sgx]\nhash = ['{}']\nsigner = ['{}']\nconfig_id = '{}'\n\
         enclave_product_id = 7\nenclave_security_version = 9\n",
        policy_of(root),
        hex(&[0x3e; 48]),
        hex(&[0xa0; 48]),
        hex(&[0x1d; 48]),
        hex(&WORKLOAD_DIGEST),
        hex(&[0x3e; 32]),
        hex(&[0x51; 32]),
        hex(&config),
    )
}

fn codes(refusal: &IssueRefusal) -> Vec<&'static str> {
    refusal.reasons().map(|reason| reason.code()).collect()
}

#[test]
fn an_image_that_others_signed_is_refused_and_it_is_said_why() {
    let root = root();
    for library in Library::ALL {
        let steward = steward(library, &policy_of_signed_images(&root));
        let ask = |csr: &[u8]| steward.issue(csr, NOW, [1; 16]);
        for good in [snp_request(&root, |_| {}), sgx_request(&root, |_| {})] {
            ask(&good).unwrap();
        }
        type Snp = (&'static str, fn(&mut [u8; 1184]));
        let snp: [Snp; 9] = [
            // Another author key, and none.
            ("policy.signer", |report| report[0x110] ^= 1),
            ("policy.signer", |report| report[0x048] = 0),
            // Another ID key, and no ID block at all.
            ("policy.id-key-digest", |report| report[0x0e0] ^= 1),
            ("policy.id-key-digest", |report| put(report, 0x0e0, &[0; 48])),
            ("policy.hash", |report| report[0x090] ^= 1),
            ("policy.host-data", |report| report[0x0c0] ^= 1),
            // DEBUG, MIGRATE_MA.
            ("policy.debug", |report| report[0x00a] |= 1 << 3),
            ("policy.migration", |report| report[0x00a] |= 1 << 2),
            ("policy.vmpl", |report| report[0x030] = 1),
        ];
        for (code, change) in snp {
            assert_eq!(codes(&ask(&snp_request(&root, change)).unwrap_err()), [code]);
        }
        type Sgx = (&'static str, fn(&mut [u8; 384]));
        let sgx: [Sgx; 6] = [
            ("policy.signer", |report| report[128] ^= 1),
            ("policy.hash", |report| report[64] ^= 1),
            ("policy.config-id", |report| report[192] ^= 1),
            ("policy.debug", |report| report[48] |= 2),
            ("policy.enclave-product-id", |report| report[256] = 8),
            ("policy.enclave-security-version", |report| report[258] = 8),
        ];
        for (code, change) in sgx {
            assert_eq!(codes(&ask(&sgx_request(&root, change)).unwrap_err()), [code]);
        }
        // The host agent's evidence is of no signed image.
        let unsigned = requests(&root).swap_remove(1);
        assert_eq!(
            codes(&ask(&unsigned).unwrap_err()),
            ["policy.hash", "policy.signer", "policy.id-key-digest", "policy.host-data"]
        );
    }
}

#[test]
fn certificates_say_which_stand_in_it_was() {
    let root = root();
    let steward = steward(Library::AwsLc, &policy_of(&root));
    let products: Vec<String> = requests(&root)
        .iter()
        .map(|csr| steward.issue(csr, NOW, [1; 16]).unwrap().claims().product.clone())
        .collect();
    assert_eq!(products, ["development", "development", "development", "snp-sim", "sgx-sim"]);
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
    for csr in requests(&root) {
        let refusal = steward(Library::AwsLc, POLICY).issue(&csr, NOW, [1; 16]).unwrap_err();
        assert_eq!(refusal.code(), "evidence.unknown-format");
        let refusal =
            steward(Library::AwsLc, &policy_of(&other)).issue(&csr, NOW, [1; 16]).unwrap_err();
        assert!(matches!(refusal, IssueRefusal::Evidence(_)), "{refusal}");
    }
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

/// The same for quotes.
#[test]
fn a_stand_in_of_sgx_never_passes_for_hardware_nor_hardware_for_it() {
    let root = root();
    let platform = root.sgx_stand_in(NOW).unwrap();
    let key = evidence_testkit::keys::Key::p256();
    let binding = evidence_testkit::statement::Binding::default();
    let data = binding.report_data(&key.spki());
    let request = |kind: &str, endorsements: &[(&str, &[u8])], quote: &[u8]| {
        let statement = bound(kind, quote, endorsements, binding);
        RequestBuilder::new().attestation(oid::BOUND, &statement).sign(&key)
    };
    const STAND_IN: &str = "1.3.6.1.4.1.58270.1.17";
    let policy = format!("{}[sgx]\nany_code = true\n", policy_of(&root));
    let steward = steward(Library::AwsLc, &policy);

    let mut report = [0; 384];
    put(&mut report, 48, &[5]);
    put(&mut report, 320, &data);
    let quote = platform.quote(&report).unwrap();
    let collateral: Vec<(&str, &[u8])> =
        platform.endorsements().iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
    let good = request(STAND_IN, &collateral, &quote);
    let issued = steward.issue(&good, NOW, [1; 16]).unwrap();
    assert!(issued.subject().starts_with("development Keep "), "{}", issued.subject());
    let disguised = request(oid::SGX, &collateral, &quote);
    let refusal = steward.issue(&disguised, NOW, [1; 16]).unwrap_err();
    assert_eq!(refusal.code(), "dcap.qe-vendor");

    let intel = Intel::get();
    let quote = intel.sign_quote(&intel.quote(QuoteKind::SgxV3).report_data(&data));
    let file = intel.collateral(QuoteKind::SgxV3).to_json();
    let endorsements = evidence_dcap::collateral_json(file.as_bytes()).unwrap();
    let collateral: Vec<(&str, &[u8])> =
        endorsements.iter().map(|one| (one.kind.as_ref(), one.bytes.as_ref())).collect();
    let good = request(oid::SGX, &collateral, &quote);
    assert!(steward.issue(&good, NOW, [1; 16]).is_ok());
    let disguised = request(STAND_IN, &collateral, &quote);
    let refusal = steward.issue(&disguised, NOW, [1; 16]).unwrap_err();
    assert_eq!(refusal.code(), "dcap.certificate-name");
    // Nor as the other kind of development evidence, whatever comes with it.
    let disguised = request(oid::DEVELOPMENT, &collateral, &quote);
    assert!(steward.issue(&disguised, NOW, [1; 16]).is_err());
}
