// SPDX-License-Identifier: Apache-2.0

//! SGX and TDX quotes as they were recorded, with collateral of one or more times.

use evidence_verifier::{Claims, Refusal, Time, statement};
use serde_json::Value;

use crate::{Bench, Row};

pub(crate) fn run(bench: &Bench) -> std::io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for tee in ["sgx", "tdx"] {
        for name in bench.names(tee)? {
            let folder = format!("{tee}/{name}");
            let case = bench.json(format!("{folder}/case.json"))?;
            for evaluation in case["evaluations"].as_array().into_iter().flatten() {
                let at = Time::from_unix(evaluation["now"].as_u64().unwrap_or(0));
                let collateral = evaluation["collateral"].as_str().unwrap_or_default();
                let verdict = verify(bench, tee, &folder, collateral, at)?;
                let file = collateral.rsplit('/').next().unwrap_or_default();
                let other = evaluation["dcap_qvl_0_7_0"].as_str().unwrap_or_default();
                let independent = evaluation["independent_python"].as_str().unwrap_or_default();
                let advisories = texts(&evaluation["advisories"]);
                let row = bench.row(
                    format!("{folder} ({file})"),
                    at,
                    format!("{other}; {independent}"),
                    &verdict,
                    |verifier, policy| match other {
                        "ERROR Debug mode is enabled" => {
                            verifier.ends_with(", debug") && policy.contains("policy.debug")
                        }
                        "ERROR SEPT_VE_DISABLE is not enabled" => {
                            verifier.starts_with("genuine ") && policy.contains("policy.sept-ve")
                        }
                        "ERROR No matching TCB level found" => verifier == "dcap.tcb-level",
                        "ERROR Failed to decode TcbInfo" => verifier == "dcap.tcb-info-version",
                        status => {
                            verifier.ends_with(&format!(": {status}"))
                                && (policy == "admitted") == (status == "UpToDate")
                                && verdict
                                    .as_ref()
                                    .is_ok_and(|claims| claims.advisories == advisories)
                        }
                    },
                );
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// Verifies the quote in a folder with a file of collateral.
pub(crate) fn verify(
    bench: &Bench,
    tee: &str,
    folder: &str,
    collateral: &str,
    at: Time,
) -> std::io::Result<Result<Claims, Refusal>> {
    let quote = bench.read(format!("{folder}/quote.bin"))?;
    let collateral = bench.read(collateral)?;
    let kind = if tee == "sgx" { statement::SGX } else { statement::TDX };
    Ok(match evidence_dcap::collateral_json(&collateral) {
        Ok(endorsements) => bench.verifier.verify(kind, &quote, &endorsements, at),
        Err(refusal) => Err(refusal.into()),
    })
}

/// The texts of a list, sorted.
fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    let mut texts: Vec<_> = texts.filter_map(|text| Some(text.as_str()?.to_owned())).collect();
    texts.sort();
    texts
}
