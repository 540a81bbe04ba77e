// SPDX-License-Identifier: Apache-2.0

//! Each platform, in each form in which a request can carry its evidence.

mod common;

use common::{Library, NONCE_KEY, P256, SLUG, WORKLOAD, setup, spki};
use evidence_pki::pem_blocks;
use evidence_testkit::NOW;
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::csr::RequestBuilder;
use evidence_testkit::intel::{Collateral, Intel, QuoteKind};
use evidence_testkit::keys::Key;
use evidence_testkit::statement::{self, Binding, oid};
use steward_core::Authority;

const POLICY: &str = "\
[snp]
any_code = true
[sgx]
any_code = true
[tdx]
any_code = true
";

fn binding() -> Binding<'static> {
    Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: None }
}

fn quote(kind: QuoteKind, report_data: &[u8; 64]) -> (Vec<u8>, Collateral) {
    let intel = Intel::get();
    let quote = intel.sign_quote(&intel.quote(kind).report_data(report_data));
    (quote, intel.collateral(kind))
}

/// JSON as Intel serves it.
fn served(name: &str, body: &str, signature: &[u8]) -> String {
    let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{\"{name}\":{body},\"signature\":\"{digits}\"}}")
}

fn platform(kind: QuoteKind) -> (&'static str, &'static str) {
    match kind {
        QuoteKind::SgxV3 | QuoteKind::SgxV4 | QuoteKind::SgxV5 => (oid::SGX, "sgx"),
        _ => (oid::TDX, "tdx"),
    }
}

fn bound_quote(kind: QuoteKind, key: &Key) -> Vec<u8> {
    let (quote, collateral) = quote(kind, &binding().report_data(&key.spki()));
    let info = served("tcbInfo", &collateral.tcb_info, &collateral.tcb_info_signature);
    let identity =
        served("enclaveIdentity", &collateral.qe_identity, &collateral.qe_identity_signature);
    let endorsements: &[(&str, &[u8])] = &[
        ("crl", &collateral.root_ca_crl),
        ("crl", &collateral.pck_crl),
        ("tcb-info", info.as_bytes()),
        ("tcb-info-chain", collateral.tcb_info_issuer_chain.as_bytes()),
        ("qe-identity", identity.as_bytes()),
        ("qe-identity-chain", collateral.qe_identity_issuer_chain.as_bytes()),
    ];
    statement::bound(platform(kind).0, &quote, endorsements, binding())
}

fn published_quote(kind: QuoteKind, key: &Key) -> Vec<u8> {
    let (quote, collateral) = quote(kind, &statement::dcap_report_data(&key.spki()));
    let info = served("tcbInfo", &collateral.tcb_info, &collateral.tcb_info_signature);
    let chain = pem_blocks(collateral.tcb_info_issuer_chain.as_bytes(), "CERTIFICATE").unwrap();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let crls: [(&str, &[u8]); 2] =
        [("https://a", &collateral.root_ca_crl), ("https://b", &collateral.pck_crl)];
    statement::dcap(&quote, &crls, &chain, info.as_bytes())
}

#[test]
fn quotes_are_granted_in_the_bound_form_with_a_key_on_either_curve() {
    for library in Library::ALL {
        let steward = Authority::new(setup(library, &P256, POLICY)).unwrap();
        for kind in QuoteKind::ALL {
            for key in [Key::p256(), Key::p384()] {
                let value = bound_quote(kind, &key);
                let csr = RequestBuilder::new().attestation(oid::BOUND, &value).sign(&key);
                let issued = steward.issue(&csr, NOW, [1; 16]).unwrap();
                assert_eq!(issued.claims().platform, platform(kind).1);
                assert_eq!(issued.claims().tcb_status.as_deref(), Some("UpToDate"));
                assert_eq!(issued.claims().workload.as_ref().unwrap().digest(), WORKLOAD);
                assert_eq!(spki(issued.leaf()), key.spki());
            }
        }
    }
}

#[test]
fn published_quotes_want_a_policy_that_does_without_a_qe_identity() {
    let lax = POLICY.replace("any_code = true", "any_code = true\nrequire_qe_identity = false");
    let lax = lax.replace("[snp]\nany_code = true\nrequire_qe_identity = false\n", "");
    let lax = Authority::new(setup(Library::AwsLc, &P256, &lax)).unwrap();
    let strict = Authority::new(setup(Library::AwsLc, &P256, POLICY)).unwrap();
    let new = RequestBuilder::new;
    for kind in [QuoteKind::SgxV3, QuoteKind::TdxV4] {
        let key = Key::p256();
        let value = published_quote(kind, &key);
        for csr in [
            new().extension(platform(kind).0, false, &value).sign(&key),
            new().attestation(platform(kind).0, &value).sign(&key),
        ] {
            let refusal = strict.issue(&csr, NOW, [1; 16]).unwrap_err();
            assert_eq!(refusal.code(), "policy.qe-identity");
            let issued = lax.issue(&csr, NOW, [1; 16]).unwrap();
            assert_eq!(spki(issued.leaf()), key.spki());
            assert!(issued.claims().workload.is_none());
        }
    }
}

#[test]
fn reports_are_granted_in_all_three_forms() {
    let amd = Amd::get();
    for library in Library::ALL {
        let steward = Authority::new(setup(library, &P256, POLICY)).unwrap();
        for product in Product::ALL {
            let key = Key::p384();
            let crl = amd.crl_der(product);
            let vek = amd.vcek(product).sign(amd.ask_key());
            let sign =
                |data: &[u8; 64]| amd.report(product, 3).report_data(data).sign(amd.vek_key());
            let report = sign(&statement::snp_report_data(&key.spki()));
            let published = statement::snp(&vek, &[("https://a", &crl)], &report);
            let report = sign(&binding().report_data(&key.spki()));
            let endorsements: &[(&str, &[u8])] = &[("vek", &vek), ("crl", &crl)];
            let bound = statement::bound(oid::SNP, &report, endorsements, binding());
            let new = RequestBuilder::new;
            for csr in [
                new().extension(oid::SNP, false, &published).sign(&key),
                new().attestation(oid::SNP, &published).sign(&key),
                new().attestation(oid::BOUND, &bound).attestation_certificate(&vek).sign(&key),
            ] {
                let issued = steward.issue(&csr, NOW, NONCE_KEY[..16].try_into().unwrap()).unwrap();
                assert_eq!(issued.claims().product, product.name());
                assert_eq!(spki(issued.leaf()), key.spki());
            }
        }
    }
}
