// SPDX-License-Identifier: Apache-2.0

//! Certificate requests that others made, with evidence of real processors.
//!
//! They are looked for in the folder that `ENARX_VECTORS` names; without it there is nothing to test.

mod common;

use std::path::PathBuf;

use common::{Library, POLICY, Pki};
use evidence_pki::Time;
use evidence_verifier::Verifier;
use steward_core::{Authority, IssueRefusal, Issued, SigningAlgorithm};

/// A file of the recorded evidence; `None` if it is not there.
fn recorded(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let bytes = std::fs::read(folder.join(name)).ok();
    if bytes.is_none() {
        println!("skipped: there is no {name}");
    }
    bytes
}

/// What a Steward that trusts the vendors says at that time, under that policy.
fn issue(policy: &str, csr: &[u8], at: &str) -> Result<Issued, IssueRefusal> {
    let now: Time = at.parse().unwrap();
    let pki = Pki::new(SigningAlgorithm::EcdsaP256Sha256, now);
    let mut verdicts = Library::ALL.map(|library| {
        let mut setup = common::setup(library, &pki, policy);
        setup.verifier = Verifier::new(library.crypto());
        Authority::new(setup).unwrap().issue(csr, now, [1; 16])
    });
    let code =
        |verdict: &Result<Issued, IssueRefusal>| verdict.as_ref().err().map(IssueRefusal::code);
    assert_eq!(code(&verdicts[0]), code(&verdicts[1]), "the libraries disagree");
    std::mem::replace(&mut verdicts[0], Err(steward_core::RequestRefusal::NoEvidence.into()))
}

const MILAN_SIGNER: &str = "7dc22240a8344fce6ba5f22ffbedabc52d4123ae0ba1c59796e521b953916b50\
                            3f223b15c4429e7d8c5489ad71f1e193";
const MILAN_HASH: &str = "ff717ae719840c93c1fca3b7db96488454c3c21b43531488eecff51cfed3febc\
                          d91da8be87a4cbcbc52a3bae770987c3";
const SGX_SIGNER: &str = "7a49a07df0f8e90a6e1d9a63e3c696d9c844f0e3f8739b21daa640f99facc48a";
const SGX_HASH: &str = "4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15";

#[test]
fn the_published_snp_request_is_granted_while_its_revocation_list_is_current() {
    let Some(csr) = recorded("enarx/milan-snp.csr.der") else { return };
    let policies = [
        format!("[snp]\nsigner = [\"{MILAN_SIGNER}\"]\n"),
        format!("[snp]\nhash = [\"{MILAN_HASH}\"]\nabi = \">=1.51\"\n"),
    ];
    for policy in &policies {
        let issued = issue(policy, &csr, "2023-01-15T00:00:00Z").unwrap();
        let claims = issued.claims();
        assert_eq!((claims.platform.as_str(), claims.product.as_str()), ("snp", "Milan"));
        assert!(claims.signer.is_some() && claims.workload.is_none() && !claims.fresh);
        let request = steward_core::AttestedRequest::parse(&csr).unwrap();
        assert_eq!(common::spki(issued.leaf()), request.request.spki);
        // Four weeks, and less when the list ends before.
        assert_eq!(issued.not_after().to_string(), "2023-02-12T00:00:00Z");
        let late = issue(policy, &csr, "2023-05-01T00:00:00Z").unwrap();
        assert_eq!(late.not_after().to_string(), "2023-05-09T23:00:00Z");
    }
    for stale in ["2022-09-01T00:00:00Z", "2023-05-10T00:00:00Z", "2026-11-22T00:00:00Z"] {
        let refusal = issue(&policies[0], &csr, stale).unwrap_err();
        assert!(matches!(refusal, IssueRefusal::Evidence(_)), "{stale}: {refusal}");
    }
    // Another author, another code, no section for this platform.
    let other = format!("[snp]\nsigner = [\"{}\"]\n", "00".repeat(48));
    for policy in [&other, POLICY, "[sgx]\nany_code = true\n"] {
        let refusal = issue(policy, &csr, "2023-01-15T00:00:00Z").unwrap_err();
        assert!(matches!(refusal, IssueRefusal::Policy(_)), "{refusal}");
    }
}

#[test]
fn the_published_sgx_request_is_granted_only_where_its_faults_are_accepted() {
    let Some(csr) = recorded("enarx/icelake-sgx-xeon.csr.der") else { return };
    let at = "2023-02-01T00:00:00Z";
    let code = format!("[sgx]\nsigner = [\"{SGX_SIGNER}\"]\nhash = [\"{SGX_HASH}\"]\n");
    let refusal = issue(&code, &csr, at).unwrap_err();
    let IssueRefusal::Policy(reasons) = &refusal else { panic!("{refusal} ({})", refusal.code()) };
    assert!(reasons.len() >= 2, "status and QE identity: {refusal}");
    let statuses = "accepted_tcb_statuses = [\"UpToDate\", \"OutOfDate\"]\n";
    let no_identity = "require_qe_identity = false\n";
    for half in [statuses, no_identity] {
        let refusal = issue(&format!("{code}{half}"), &csr, at).unwrap_err();
        assert!(matches!(refusal, IssueRefusal::Policy(_)), "{refusal}");
    }
    let lax = format!("{code}{statuses}{no_identity}");
    let issued = issue(&lax, &csr, at).unwrap();
    let claims = issued.claims();
    assert_eq!(claims.platform, "sgx");
    assert_eq!(claims.tcb_status.as_deref(), Some("OutOfDate"));
    assert!(claims.advisories.contains(&"INTEL-SA-00657".to_owned()), "{:?}", claims.advisories);
    assert_eq!(claims.evaluation_number, Some(14));
    // The revocation list of the authority for its kind of platform ends before four weeks are over.
    assert_eq!(issued.not_after().to_string(), "2023-02-24T06:00:49Z");
    let refusal = issue(&lax, &csr, "2023-03-01T00:00:00Z").unwrap_err();
    assert!(matches!(refusal, IssueRefusal::Evidence(_)), "{refusal}");
}

#[test]
fn the_sample_of_an_old_draft_is_refused_for_its_syntax() {
    let Some(pem) = recorded("csr/lamps-tcgAttestTpmCertify.csr.pem") else { return };
    let csr = evidence_pki::pem_blocks(&pem, "CERTIFICATE REQUEST").unwrap().remove(0);
    let refusal = issue(POLICY, &csr, "2026-11-22T00:00:00Z").unwrap_err();
    assert_eq!(refusal.code(), "csr.old-evidence-bundle");
}

#[test]
fn a_changed_request_is_refused() {
    let Some(mut csr) = recorded("enarx/milan-snp.csr.der") else { return };
    let last = csr.len() - 1;
    csr[last] ^= 1;
    let refusal = issue(POLICY, &csr, "2023-01-15T00:00:00Z").unwrap_err();
    assert_eq!(refusal.code(), "csr.signature");
}
