// SPDX-License-Identifier: Apache-2.0

//! Certificate requests that the published Enarx made, before a Steward with a key for tests.

use std::sync::Arc;

use evidence_verifier::{Endorsements, Time, Verifier};
use steward_core::certificate::{Profile, Template, name};
use steward_core::key::RustCryptoKey;
use steward_core::{Authority, IssueRefusal, Setup, Signer};
use steward_policy::Policy;

use crate::{Bench, POLICY, Row};

/// Both requests carry collateral of this time.
const AT: &str = "2023-02-10T00:00:00Z";

/// A policy for what these requests lack today: a QE identity, and an up-to-date platform.
const LENIENT: &str = r#"
[sgx]
any_code = true
require_qe_identity = false
accepted_tcb_statuses = ["UpToDate", "OutOfDate"]
"#;

pub(crate) fn run(bench: &Bench) -> std::io::Result<Vec<Row>> {
    let at: Time = AT.parse().map_err(std::io::Error::other)?;
    let strict = authority(bench, POLICY, at).map_err(std::io::Error::other)?;
    let lenient = authority(bench, LENIENT, at).map_err(std::io::Error::other)?;
    let snp = bench.read("enarx/milan-snp.csr.der")?;
    let sgx = bench.read("enarx/icelake-sgx-xeon.csr.der")?;
    let draft = bench.read("csr/lamps-tcgAttestTpmCertify.csr.pem")?;
    let draft = evidence_pki::pem_blocks(&draft, "CERTIFICATE REQUEST")
        .map_err(std::io::Error::other)?
        .concat();
    let expired: Time = "2026-09-01T00:00:00Z".parse().map_err(std::io::Error::other)?;
    Ok(vec![
        row(&strict, "enarx/milan-snp", &snp, at, "valid", |_, policy| policy == "certificate"),
        row(
            &strict,
            "enarx/milan-snp",
            &snp,
            expired,
            "its revocation list is stale",
            |code, _| code == "snp.crl-expired",
        ),
        row(
            &strict,
            "enarx/icelake-sgx-xeon",
            &sgx,
            at,
            "genuine, OutOfDate, no QE identity: refuse unless a policy allows it",
            |_, policy| {
                policy.contains("policy.tcb-status") && policy.contains("policy.qe-identity")
            },
        ),
        row(
            &lenient,
            "enarx/icelake-sgx-xeon (policy that allows it)",
            &sgx,
            at,
            "as above",
            |_, policy| policy == "certificate",
        ),
        row(
            &strict,
            "csr/lamps-tcgAttestTpmCertify",
            &draft,
            at,
            "old syntax, signed by another key",
            |code, _| code.starts_with("csr."),
        ),
    ])
}

fn row(
    authority: &Authority,
    case: &str,
    csr: &[u8],
    at: Time,
    states: &str,
    agrees: fn(&str, &str) -> bool,
) -> Row {
    let (verifier, policy) = match authority.issue(csr, at, [7; 16]) {
        Ok(_) => ("genuine".to_owned(), "certificate".to_owned()),
        Err(refusal @ IssueRefusal::Policy(_)) => {
            let codes: Vec<_> = refusal.reasons().map(evidence_verifier::Reason::code).collect();
            ("genuine".to_owned(), codes.join(", "))
        }
        Err(refusal) => (refusal.code().to_owned(), "–".to_owned()),
    };
    let agrees = agrees(&verifier, &policy);
    Row { case: case.into(), at, states: states.into(), verifier, policy, agrees }
}

fn authority(
    bench: &Bench,
    policy: &str,
    at: Time,
) -> Result<Authority, Box<dyn std::error::Error + Send + Sync>> {
    let signer = RustCryptoKey::from_pem(include_bytes!("test-key.pem"))?;
    let subject = name(None, "Steward for tests");
    let template = Template {
        random: [1; 16],
        subject: &subject,
        public_key: signer.public_key(),
        not_before: at.minus(86_400),
        not_after: at.plus(10 * 365 * 86_400),
        profile: Profile::Authority { path_length: 0 },
    };
    let certificate = template.self_sign(bench.crypto.as_ref(), &signer)?;
    Ok(Authority::new(Setup {
        crypto: Arc::clone(&bench.crypto),
        verifier: Verifier::new(Arc::clone(&bench.crypto)),
        chain: vec![certificate],
        signer: Box::new(signer),
        policy: Policy::parse(policy)?,
        policy_url: None,
        nonce_key: None,
        endorsements: Endorsements::new(),
    })?)
}
