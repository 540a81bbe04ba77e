// SPDX-License-Identifier: Apache-2.0

//! Copies of recorded evidence that were tampered with. Each must be refused, and for its own reason.

use evidence_verifier::Time;

use crate::{Bench, Row, quotes, reports};

/// Name of a case and the codes that are the right reason.
type Reasons = &'static [(&'static str, &'static [&'static str])];

const SNP: Reasons = &[
    ("impostor-milan", &["snp.vek-signature"]),
    ("milan-chip-id-bit", &["snp.chip-id"]),
    ("milan-empty", &["snp.length"]),
    ("milan-measurement-bit", &["snp.signature"]),
    ("milan-policy-debug-set", &["snp.signature"]),
    ("milan-report-data-bit", &["snp.signature"]),
    ("milan-reported-tcb-raised", &["snp.tcb"]),
    ("milan-sig-high-bytes", &["snp.signature-encoding"]),
    ("milan-sig-r-bit", &["snp.signature"]),
    ("milan-sig-s-bit", &["snp.signature"]),
    ("milan-sig-zero", &["snp.signature"]),
    ("milan-sigalgo-2", &["snp.signature-algorithm"]),
    ("milan-trailing-byte", &["snp.length"]),
    ("milan-truncated", &["snp.length"]),
    ("milan-vek-of-other-chip", &["snp.chip-id"]),
    ("milan-vek-tbs-bit", &["snp.vek-name"]),
    ("milan-version-99", &["snp.version"]),
];

/// The same changes were made to a quote of SGX and one of TDX.
const QUOTES: Reasons = &[
    ("attkey-bit", &["dcap.qe-report-data"]),
    ("collateral-expired", &["dcap.crl-expired"]),
    ("collateral-not-yet", &["dcap.crl-not-yet-valid"]),
    ("crls-swapped", &["dcap.crl-issuer"]),
    ("header-version", &["dcap.quote-version", "dcap.quote"]),
    ("measurement-bit", &["dcap.quote-signature"]),
    ("pck-cert-bit", &["dcap.certificate-signature"]),
    ("pck-chain-of-other-platform", &["dcap.pck-crl-missing", "dcap.qe-report-signature"]),
    ("pck-crl-missing", &["dcap.pck-crl-missing"]),
    ("qe-auth-bit", &["dcap.qe-report-data"]),
    ("qe-report-bit", &["dcap.qe-report-signature"]),
    ("qe-sig-bit", &["dcap.qe-report-signature"]),
    ("qeidentity-edited", &["dcap.qe-identity-signature"]),
    ("qeidentity-other-tee", &["dcap.qe-identity-id"]),
    ("quote-sig-bit", &["dcap.quote-signature"]),
    ("report-data-bit", &["dcap.quote-signature"]),
    ("tcbinfo-edited", &["dcap.tcb-info-signature"]),
    ("tcbinfo-other-fmspc", &["dcap.fmspc", "dcap.tcb-info-id"]),
    ("tcbinfo-reserialised", &["dcap.tcb-info-signature"]),
    ("tcbinfo-sig-zero", &["dcap.tcb-info-signature"]),
    ("truncated", &["dcap.quote"]),
];

pub(crate) fn run(bench: &Bench) -> std::io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let at: Time = "2026-09-01T00:00:00Z".parse().map_err(std::io::Error::other)?;
    for name in bench.names("derived/snp")? {
        let case = format!("derived/snp/{name}");
        let verdict = reports::verify(bench, &case, "vek.der", "milan", at)?;
        let states = format!("refuse: {}", name.replace('-', " "));
        rows.push(bench.row(case, at, states, &verdict, |code, _| is_reason(SNP, &name, code)));
    }
    for tee in ["sgx", "tdx"] {
        for name in bench.names(&format!("derived/{tee}"))? {
            let case = format!("derived/{tee}/{name}");
            let about = bench.json(format!("{case}/case.json"))?;
            let at = Time::from_unix(about["now"].as_u64().unwrap_or(0));
            let why = about["why"].as_str().unwrap_or_default();
            let verdict =
                quotes::verify(bench, tee, &case, &format!("{case}/collateral.json"), at)?;
            // A QE identity is no platform's own: that of another TDX platform serves as well.
            let control = name == "v5-qeidentity-other-tee";
            let states = format!("{}: {why}", if control { "accept (control)" } else { "refuse" });
            let short = name.strip_prefix("v5-").unwrap_or(&name);
            rows.push(bench.row(case, at, states, &verdict, |code, policy| {
                if control { policy == "admitted" } else { is_reason(QUOTES, short, code) }
            }));
        }
    }
    Ok(rows)
}

fn is_reason(reasons: Reasons, name: &str, code: &str) -> bool {
    reasons.iter().any(|(case, codes)| *case == name && codes.contains(&code))
}
