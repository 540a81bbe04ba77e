// SPDX-License-Identifier: Apache-2.0

//! Where this verifier and its peers agree, and why not where they do not.

use std::sync::Arc;

use dcap_qvl::verify::QuoteVerifier;
use evidence_crypto::AwsLc;
use evidence_verifier::{Verifier, statement};
use peers::{QuoteCase, SNP_TIME, SnpCase};

#[test]
fn sev_accepts_what_we_accept() {
    let Some(folder) = peers::folder() else { return };
    let verifier = Verifier::new(Arc::new(AwsLc));
    for case in SnpCase::all(&folder) {
        let ours = verifier.verify(statement::SNP, &case.report, &case.endorsements(), SNP_TIME);
        let theirs = case.verify_by_sev(&case.sev_authorities());
        assert_eq!(theirs, Ok(()), "{}", case.name);
        assert!(ours.is_ok(), "{}: {ours:?}", case.name);
    }
}

/// The `sev` crate does not look at these bytes, and accepts a report with two encodings of its signature.
#[test]
fn sev_accepts_a_signature_with_bytes_above_r() {
    let Some(folder) = peers::folder() else { return };
    let case = &mut SnpCase::all(&folder)[0];
    case.report =
        std::fs::read(folder.join("derived/snp/milan-sig-high-bytes/report.bin")).unwrap();
    let verifier = Verifier::new(Arc::new(AwsLc));
    let ours = verifier.verify(statement::SNP, &case.report, &case.endorsements(), SNP_TIME);
    assert_eq!(ours.unwrap_err().code(), "snp.signature-encoding");
    assert_eq!(case.verify_by_sev(&case.sev_authorities()), Ok(()));
}

/// What `dcap-qvl` refuses by itself is a claim here, which a policy refuses.
const POLICY_HERE: [(&str, &str); 2] = [
    ("Debug mode is enabled", "policy.debug"),
    ("SEPT_VE_DISABLE is not enabled", "policy.sept-ve"),
];

#[test]
fn dcap_qvl_says_what_we_say() {
    let Some(folder) = peers::folder() else { return };
    let verifier = Verifier::new(Arc::new(AwsLc));
    let mut compared = 0;
    for case in QuoteCase::all(&folder) {
        let kind = if case.is_tdx { statement::TDX } else { statement::SGX };
        let ours = verifier.verify(kind, &case.quote, &case.endorsements, case.at);
        let theirs =
            QuoteVerifier::new_prod().verify(&case.quote, &case.collateral, case.at.unix());
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                let status = ours.tcb_status.map(|status| status.to_string());
                assert_eq!(status.as_deref(), Some(theirs.status.as_str()), "{}", case.name);
                let mut advisories = theirs.advisory_ids.clone();
                advisories.sort();
                advisories.dedup();
                assert_eq!(ours.advisories, advisories, "{}", case.name);
            }
            (Err(ours), Err(theirs)) => {
                assert_eq!(ours.code(), "dcap.tcb-level", "{}: {ours}", case.name);
                assert!(theirs.to_string().contains("No matching TCB level"), "{theirs}");
            }
            (Ok(ours), Err(theirs)) => {
                let theirs = theirs.to_string();
                let known = POLICY_HERE.iter().find(|(words, _)| theirs.contains(words));
                assert!(known.is_some(), "{}: {theirs} {ours:?}", case.name);
            }
            (Err(ours), Ok(_)) => panic!("{}: we refuse: {ours}", case.name),
        }
        compared += 1;
    }
    assert!(compared >= 14, "only {compared} cases");
}
