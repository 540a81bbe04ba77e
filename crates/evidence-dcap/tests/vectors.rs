// SPDX-License-Identifier: Apache-2.0

//! Recorded quotes with recorded collateral, at the times that they were recorded for: genuine ones have
//! the status that others found, tampered ones are refused for what was tampered with.

use std::path::Path;
use std::sync::Arc;

use evidence_claims::{Claims, Detail, Format, Outcome, Reason, TcbStatus, Time};
use evidence_crypto::Crypto;
use evidence_dcap::{DcapRefusal, Sgx, Tdx, collateral_json};
use serde_json::Value;

mod common;

/// One verdict, by the format that the case says.
fn verify(
    crypto: &Arc<dyn Crypto>,
    tee: &str,
    quote: &[u8],
    collateral: &Path,
    now: Time,
) -> Result<Claims, DcapRefusal> {
    let text = std::fs::read(collateral).unwrap();
    let endorsements = collateral_json(&text)?;
    match tee {
        "sgx" => {
            let sgx = Sgx::new(crypto.clone());
            let first = sgx.verify_quote(quote, &endorsements, now);
            let again = sgx.verify_quote(quote, &endorsements, now);
            let forgetful = Sgx::new(crypto.clone()).forgetful();
            let never = forgetful.verify_quote(quote, &endorsements, now);
            same(&first, &again);
            same(&first, &never);
            account(&sgx, quote, &endorsements, now, first.is_ok());
            first
        }
        _ => {
            let tdx = Tdx::new(crypto.clone());
            let first = tdx.verify_quote(quote, &endorsements, now);
            let again = tdx.verify_quote(quote, &endorsements, now);
            let forgetful = Tdx::new(crypto.clone()).forgetful();
            let never = forgetful.verify_quote(quote, &endorsements, now);
            same(&first, &again);
            same(&first, &never);
            account(&tdx, quote, &endorsements, now, first.is_ok());
            first
        }
    }
}

/// With and without memory, the verdict is the same.
fn same(one: &Result<Claims, DcapRefusal>, other: &Result<Claims, DcapRefusal>) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

/// The account for people agrees with the verdict.
fn account(
    format: &dyn Format,
    quote: &[u8],
    endorsements: &evidence_claims::Endorsements<'_>,
    now: Time,
    good: bool,
) {
    let checks = format.examine(quote, endorsements, now);
    let failed = checks.iter().any(|check| matches!(check.outcome, Outcome::Fail(_)));
    assert_eq!(failed, !good, "{checks:#?}");
    if good {
        assert!(
            checks.iter().filter(|check| matches!(check.outcome, Outcome::Pass(_))).count() > 20
        );
    }
}

/// `platform=… qe=… tdxmodule=…`
fn part<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn recorded_quotes_have_the_status_that_others_found() {
    let Some(root) = common::vectors() else { return };
    let mut count = 0;
    for (library, crypto) in common::libraries() {
        for tee in ["sgx", "tdx"] {
            for directory in common::directories(&root.join(tee)) {
                let case = common::json(&directory.join("case.json"));
                let quote = std::fs::read(directory.join("quote.bin")).unwrap();
                for evaluation in case["evaluations"].as_array().unwrap() {
                    let name = format!(
                        "{} {} with {library}",
                        directory.display(),
                        evaluation["at"].as_str().unwrap()
                    );
                    let now = Time::from_unix(evaluation["now"].as_u64().unwrap());
                    let collateral = root.join(evaluation["collateral"].as_str().unwrap());
                    let verdict = verify(&crypto, tee, &quote, &collateral, now);
                    println!("{name}: {:?}", verdict.as_ref().map(|claims| claims.tcb_status));
                    hold(&name, &case, evaluation, now, verdict);
                    count += 1;
                }
            }
        }
    }
    assert!(count >= 40, "only {count}");
}

/// Holds a verdict against what was recorded.
fn hold(
    name: &str,
    case: &Value,
    evaluation: &Value,
    now: Time,
    verdict: Result<Claims, DcapRefusal>,
) {
    let python = evaluation["independent_python"].as_str().unwrap();
    let qvl = evaluation["dcap_qvl_0_7_0"].as_str().unwrap();
    if evaluation["tcb_info_version"] == 2 {
        assert_eq!(verdict.unwrap_err().code(), "dcap.tcb-info-version", "{name}");
        return;
    }
    if part(python, "platform") == Some("None") {
        assert_eq!(verdict.unwrap_err().code(), "dcap.tcb-level", "{name}");
        return;
    }
    let claims = verdict.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    let (platform, module) = match &claims.detail {
        Detail::Sgx(detail) => (&detail.platform, None),
        Detail::Tdx(detail) => (&detail.platform, detail.module_status),
        _ => panic!("{name}: foreign detail"),
    };
    let own = TcbStatus::from_name(part(python, "platform").unwrap());
    // Where the independent checker counted the module in, the converged status is what it says.
    assert!(
        Some(platform.platform_status) == own || claims.tcb_status == own,
        "{name}: {platform:?}"
    );
    assert_eq!(platform.qe_status.map(TcbStatus::as_str), part(python, "qe"), "{name}");
    assert_eq!(module.map(TcbStatus::as_str), part(python, "tdxmodule"), "{name}");
    assert_eq!(claims.debug, case["debug"].as_bool().unwrap(), "{name}");
    if qvl.starts_with("ERROR") {
        // It refuses what is for a policy here: debug mode, and SEPT_VE_DISABLE.
        assert!(claims.debug || qvl.contains("SEPT_VE_DISABLE"), "{name}: {qvl}");
    } else {
        assert_eq!(claims.tcb_status.map(TcbStatus::as_str), Some(qvl), "{name}");
        let mut advisories: Vec<&str> = evaluation["advisories"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
            .collect();
        advisories.sort_unstable();
        assert_eq!(claims.advisories, advisories, "{name}");
    }
    assert_eq!(claims.product, format!("FMSPC {}", case["fmspc"].as_str().unwrap()), "{name}");
    let data: String = claims.report_data.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(data, case["report_data"].as_str().unwrap(), "{name}");
    assert_eq!(
        u64::from(platform.quote_version),
        case["quote_version"].as_u64().unwrap(),
        "{name}"
    );
    let svns: Vec<u64> = platform.pck_svns.iter().map(|svn| u64::from(*svn)).collect();
    let expected: Vec<u64> =
        case["pck_tcb"].as_array().unwrap()[..16].iter().map(|svn| svn.as_u64().unwrap()).collect();
    assert_eq!(svns, expected, "{name}");
    assert!(claims.evaluation_number.is_some());
    assert_eq!(claims.verified_at, now);
    assert!(claims.valid_until >= now);
}

/// What each tampered case is refused for; `None` where it is no reason to refuse.
fn expected(tee: &str, case: &str) -> Option<&'static [&'static str]> {
    let case = case.strip_prefix("v5-").unwrap_or(case);
    Some(match case {
        "report-data-bit" | "measurement-bit" | "quote-sig-bit" => &["dcap.quote-signature"],
        "header-version" => &["dcap.quote-version", "dcap.quote", "dcap.tee-type"],
        "attkey-bit" | "qe-auth-bit" => &["dcap.qe-report-data"],
        "qe-report-bit" | "qe-sig-bit" => &["dcap.qe-report-signature"],
        "pck-cert-bit" => &["dcap.certificate-signature", "dcap.certificate"],
        "truncated" => &["dcap.quote"],
        "tcbinfo-edited" | "tcbinfo-reserialised" | "tcbinfo-sig-zero" => {
            &["dcap.tcb-info-signature"]
        }
        "qeidentity-edited" => &["dcap.qe-identity-signature"],
        "collateral-expired" => {
            &["dcap.crl-expired", "dcap.tcb-info-expired", "dcap.qe-identity-expired"]
        }
        "collateral-not-yet" => &["dcap.crl-not-yet-valid", "dcap.tcb-info-not-yet-valid"],
        "crls-swapped" => &["dcap.crl-issuer"],
        "pck-crl-missing" => &["dcap.pck-crl-missing"],
        // For SGX, it is also for the other kind of environment, and that comes first.
        "tcbinfo-other-fmspc" if tee == "sgx" => &["dcap.tcb-info-id"],
        "tcbinfo-other-fmspc" => &["dcap.fmspc"],
        // The other identity is of another time too, and that comes first.
        "qeidentity-other-tee" if tee == "sgx" => {
            &["dcap.qe-identity-id", "dcap.qe-identity-expired", "dcap.qe-identity-not-yet-valid"]
        }
        "qeidentity-other-tee" => return None,
        // The other platform's certificate did not sign this quoting enclave's report, or is issued by
        // another authority than the list that came along.
        "pck-chain-of-other-platform" => {
            &["dcap.qe-report-signature", "dcap.pck-crl-missing", "dcap.fmspc"]
        }
        other => panic!("unknown case {other}"),
    })
}

#[test]
fn tampered_quotes_are_refused_for_what_was_tampered_with() {
    let Some(root) = common::vectors() else { return };
    let mut count = 0;
    for (library, crypto) in common::libraries() {
        for tee in ["sgx", "tdx"] {
            for directory in common::directories(&root.join("derived").join(tee)) {
                let case = common::json(&directory.join("case.json"));
                let quote = std::fs::read(directory.join("quote.bin")).unwrap();
                let now = Time::from_unix(case["now"].as_u64().unwrap());
                let name = directory.file_name().unwrap().to_str().unwrap();
                let verdict = verify(&crypto, tee, &quote, &directory.join("collateral.json"), now);
                println!(
                    "{tee}/{name} with {library}: {:?}",
                    verdict.as_ref().map(|claims| claims.tcb_status)
                );
                match expected(tee, name) {
                    Some(codes) => {
                        let refusal = verdict.expect_err(name);
                        assert!(codes.contains(&refusal.code()), "{name}: {refusal}");
                    }
                    None => assert!(verdict.is_ok(), "{name}: {verdict:?}"),
                }
                count += 1;
            }
        }
    }
    assert!(count >= 80, "only {count}");
}

#[test]
fn the_pinned_root_is_intels() {
    let digest = evidence_crypto::AwsLc.sha256(&[evidence_dcap::INTEL_ROOT]);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3");
}
