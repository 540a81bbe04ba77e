// SPDX-License-Identifier: Apache-2.0

//! How fast the verifier is beside its peers, on one core: `cargo run --release` here.
//!
//! Machines are noisy and differ; ratios of two sides that run in turn say more than times. So each row
//! runs both sides alternately, many times, and compares their medians.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use dcap_qvl::verify::QuoteVerifier;
use evidence_crypto::AwsLc;
use evidence_dcap::{Sgx, Tdx};
use evidence_pki::{Certificate, Crl, PublicKey};
use evidence_snp::Snp;
use evidence_verifier::Format;
use peers::{QuoteCase, SNP_TIME, SnpCase};

/// Rounds of one row; each runs both sides.
const ROUNDS: usize = 300;

fn main() {
    let Some(folder) = peers::folder() else { return };
    println!("| what | ours, ms | the other, ms | ours is so many times as fast |");
    println!("|---|---|---|---|");
    for case in SnpCase::all(&folder) {
        if ["snp/milan-v3-oak-oc-staging", "snp/genoa-v5-lunal", "snp/turin-v5-microsoft"]
            .contains(&case.name.as_str())
        {
            snp(&case);
        }
    }
    for (name, kind) in [
        ("sgx/sw-hardening-azure 2025-08-30", "SGX quote v3"),
        ("tdx/gcp-uptodate 2025-07-13", "TDX quote v4"),
        ("tdx/v5-uptodate 2026-03-05", "TDX quote v5"),
    ] {
        if let Some(case) = QuoteCase::all(&folder).iter().find(|case| case.name == name) {
            quote(case, kind);
        }
    }
}

fn snp(case: &SnpCase) {
    let full = Snp::new(Arc::new(AwsLc)).forgetful();
    let remembering = Snp::new(Arc::new(AwsLc));
    let endorsements = case.endorsements();
    let ours = |snp: &Snp| {
        black_box(snp.verify(black_box(&case.report), &endorsements, SNP_TIME)).expect("genuine");
    };
    let authorities = case.sev_authorities();
    let product = case.product;
    row(
        &format!("SNP report, chain and CRL ({product}); `sev` without CRL"),
        || ours(&full),
        || case.verify_by_sev(&authorities).expect("genuine"),
    );

    // The bare signature checks: ASK, VEK and CRL by RSA, report by P-384; everything parsed before.
    let root = |name: &str| {
        let path = format!(
            "{}/../crates/evidence-snp/roots/{product}/{name}.der",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::read(path).expect("a root")
    };
    let (ark, ask) = (root("ark"), root("ask"));
    let (ark, ask) =
        (Certificate::parse(&ark).expect("ARK"), Certificate::parse(&ask).expect("ASK"));
    let vek = Certificate::parse(&case.vek).expect("VEK");
    let crl = Crl::parse(&case.crl).expect("CRL");
    let rsa = |key: PublicKey<'_>| match key {
        PublicKey::Rsa(key) => UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key.to_vec()),
        _ => panic!("AMD's authorities have RSA keys"),
    };
    let PublicKey::P384(point) = vek.key else { panic!("chips have P-384 keys") };
    let (ark_key, ask_key) = (rsa(ark.key), rsa(ask.key));
    let vek_key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
    let signature: Vec<u8> = [0x2a0, 0x2e8]
        .iter()
        .flat_map(|at| case.report[*at..at + 48].iter().rev().copied())
        .collect();
    let report = || vek_key.verify(&case.report[..0x2a0], &signature).expect("signed");
    row(
        &format!("the same; its four bare signature checks in aws-lc-rs ({product})"),
        || ours(&full),
        || {
            for (key, signed) in
                [(&ark_key, ask.signature), (&ask_key, vek.signature), (&ark_key, crl.signature)]
            {
                key.verify(signed.message, signed.value).expect("signed");
            }
            report();
        },
    );
    ours(&remembering);
    row(
        &format!("the same with the VEK already seen; one bare P-384 check ({product})"),
        || ours(&remembering),
        report,
    );
}

fn quote(case: &QuoteCase, kind: &str) {
    let sgx = Sgx::new(Arc::new(AwsLc));
    let tdx = Tdx::new(Arc::new(AwsLc));
    let (sgx_full, tdx_full) =
        (Sgx::new(Arc::new(AwsLc)).forgetful(), Tdx::new(Arc::new(AwsLc)).forgetful());
    let (full, remembering): (&dyn Format, &dyn Format) =
        if case.is_tdx { (&tdx_full, &tdx) } else { (&sgx_full, &sgx) };
    let ours = |format: &dyn Format| {
        black_box(format.verify(black_box(&case.quote), &case.endorsements, case.at))
            .expect("genuine");
    };
    let peer = QuoteVerifier::new_prod();
    let theirs = || {
        black_box(peer.verify(black_box(&case.quote), &case.collateral, case.at.unix()))
            .expect("genuine");
    };
    row(&format!("{kind} with collateral; `dcap-qvl` (ring)"), || ours(full), theirs);
    ours(remembering);
    row(
        &format!("{kind}, collateral already seen; `dcap-qvl` (ring)"),
        || ours(remembering),
        theirs,
    );
}

/// Runs both sides in turn and prints their medians and the ratio.
fn row(what: &str, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
    let time = |side: &mut dyn FnMut()| {
        let start = Instant::now();
        side();
        start.elapsed()
    };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 20 {
        let (one, other) = (time(&mut ours), time(&mut theirs));
        // The first rounds warm caches up.
        if round >= 20 {
            left.push(one);
            right.push(other);
        }
    }
    let (left, right) = (median(left), median(right));
    let ratio = right.as_secs_f64() / left.as_secs_f64();
    println!("| {what} | {:.3} | {:.3} | {ratio:.2} |", ms(left), ms(right));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
