// SPDX-License-Identifier: Apache-2.0

//! SNP reports as they were recorded.

use evidence_verifier::{Claims, Endorsements, Refusal, Time, kind, statement};

use crate::{Bench, Row};

/// In this month AMD's recorded lists are valid, and all chip certificates are.
const AT: &str = "2026-09-01T00:00:00Z";

/// Folder of a case, product, its chip certificate, what it states, and whether what comes out fits.
type Case = (&'static str, &'static str, &'static str, &'static str, fn(&str, &str) -> bool);

const GENUINE: fn(&str, &str) -> bool =
    |verifier, policy| verifier.starts_with("genuine ") && policy == "admitted";

const CASES: &[Case] = &[
    ("snp/milan-v2-virtee", "milan", "vek.der", "valid", GENUINE),
    ("snp/milan-v2-trustee", "milan", "vek.der", "valid", GENUINE),
    ("snp/milan-v2-trustee", "milan", "vcek-invalid-legacy.der", "invalid VCEK", |verifier, _| {
        verifier.starts_with("snp.")
    }),
    ("snp/milan-v2-trustee", "milan", "vcek-invalid-new.der", "invalid VCEK", |verifier, _| {
        verifier.starts_with("snp.")
    }),
    (
        "snp/milan-v2-debug-gsg",
        "milan",
        "vek.der",
        "valid; debug, so refused by policy",
        |verifier, policy| verifier == "genuine Milan, debug" && policy.contains("policy.debug"),
    ),
    ("snp/milan-v3-oak-oc-staging", "milan", "vek.der", "valid", GENUINE),
    ("snp/milan-v3-oak-rk-staging", "milan", "vek.der", "valid", GENUINE),
    ("snp/genoa-v3-microsoft", "genoa", "vek.der", "valid", GENUINE),
    ("snp/genoa-v5-lunal", "genoa", "vek.der", "valid", GENUINE),
    ("snp/turin-v5-microsoft", "turin", "vek.der", "valid", GENUINE),
    ("azure/snp-milan-v1", "milan", "vcek.der", "valid", GENUINE),
    ("azure/snp-genoa", "genoa", "vcek.der", "valid", GENUINE),
];

pub(crate) fn run(bench: &Bench) -> std::io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let at: Time = AT.parse().map_err(std::io::Error::other)?;
    for (case, product, vek, states, agrees) in CASES {
        let verdict = verify(bench, case, vek, product, at)?;
        let name = if vek.contains("invalid") { format!("{case} ({vek})") } else { (*case).into() };
        rows.push(bench.row(name, at, *states, &verdict, agrees));
    }
    // A VLEK lives for a year, and the recorded list is of a later one.
    for (at, states, code) in [
        (
            "2025-06-01T00:00:00Z",
            "valid chain; the recorded list is of a later time",
            "snp.crl-not-yet-valid",
        ),
        ("2026-09-01T00:00:00Z", "expired", "snp.vek-expired"),
    ] {
        let at: Time = at.parse().map_err(std::io::Error::other)?;
        let case = "snp/milan-v3-vlek-aws";
        let verdict = verify(bench, case, "vek.der", "milan", at)?;
        rows.push(bench.row(case.into(), at, states, &verdict, |verifier, _| verifier == code));
    }
    Ok(rows)
}

/// Verifies the report in a folder under AMD's recorded list.
pub(crate) fn verify(
    bench: &Bench,
    case: &str,
    vek: &str,
    product: &str,
    at: Time,
) -> std::io::Result<Result<Claims, Refusal>> {
    let report = bench.read(format!("{case}/report.bin"))?;
    let mut endorsements = Endorsements::new();
    for (kind, file) in [
        (kind::VEK, format!("{case}/{vek}")),
        (kind::CRL, format!("snp/_roots/{product}/crl-2026-08-19.der")),
    ] {
        endorsements.push(kind, bench.read(file)?).map_err(std::io::Error::other)?;
    }
    Ok(bench.verifier.verify(statement::SNP, &report, &endorsements, at))
}
