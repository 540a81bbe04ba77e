// SPDX-License-Identifier: Apache-2.0

//! One decision: asked of the library, counted, and logged in one line.
//!
//! The line has what an auditor asks for (which platform, which code, which certificate) and nothing that
//! is secret or that a client could use to write lines of its own: no request, no key, no free text.

use std::time::{Duration, Instant};

use evidence_claims::statement;
use evidence_pki::hex;
use steward_core::{AttestedRequest, Fault, IssueRefusal, Issued};
use tracing::{error, info};

use crate::problem::{Http, Problem};
use crate::{Service, clock};

const LOG: &str = "steward::decision";

/// Random bytes for a serial number or a nonce; `None` if the system has none.
pub(crate) fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

fn internal() -> Box<Problem> {
    Box::new(Http::Internal.into())
}

/// Decides about one request.
pub(crate) fn decide(service: &Service, csr: &[u8]) -> Result<Issued, Box<Problem>> {
    let start = Instant::now();
    let serial = random().ok_or_else(internal)?;
    match service.authority.issue(csr, clock::now(), serial) {
        Ok(issued) => {
            tell_issued(service, &issued, start.elapsed());
            Ok(issued)
        }
        Err(refusal) => {
            let platform =
                AttestedRequest::parse(csr).map_or("", |request| match request.platform {
                    statement::DEVELOPMENT | statement::DEVELOPMENT_SGX => "development",
                    statement::SGX => "sgx",
                    statement::SNP => "snp",
                    statement::TDX => "tdx",
                    _ => "",
                });
            Err(tell_refused(service, &refusal, platform, start.elapsed()))
        }
    }
}

/// Decides about a bundle: all of it or nothing. The answer is the published `Output` in DER.
pub(crate) fn decide_bundle(service: &Service, bundle: &[u8]) -> Result<Vec<u8>, Box<Problem>> {
    let start = Instant::now();
    let mut failed = false;
    let mut serials = || {
        random().unwrap_or_else(|| {
            failed = true;
            [0; 16]
        })
    };
    let answer = service.authority.issue_bundle(bundle, clock::now(), &mut serials);
    match answer {
        Ok(_) if failed => Err(internal()),
        Ok(bundle) => {
            let duration = start.elapsed();
            for issued in bundle.issued() {
                tell_issued(service, issued, duration);
            }
            Ok(bundle.der())
        }
        Err(refusal) => Err(tell_refused(service, &refusal, "", start.elapsed())),
    }
}

fn tell_issued(service: &Service, issued: &Issued, duration: Duration) {
    let claims = issued.claims();
    service.metrics.issued(platform_label(&claims.platform));
    service.metrics.decided(duration);
    info!(
        target: LOG,
        outcome = "issued",
        platform = claims.platform,
        product = claims.product,
        measurement = hex(&claims.measurement),
        workload = claims.workload.as_ref().map(|workload| workload.digest()),
        serial = hex(issued.serial()),
        not_after = %issued.not_after(),
        duration_us = duration.as_micros() as u64,
        "decision"
    );
}

fn tell_refused(
    service: &Service,
    refusal: &IssueRefusal,
    platform: &'static str,
    duration: Duration,
) -> Box<Problem> {
    service.metrics.refused(platform, refusal.code());
    service.metrics.decided(duration);
    if refusal.fault() == Fault::Server {
        error!(code = refusal.code(), %refusal, "no certificate can be issued");
    }
    let codes: Vec<_> = refusal.reasons().map(|reason| reason.code()).collect();
    info!(
        target: LOG,
        outcome = "refused",
        code = refusal.code(),
        codes = codes.join(","),
        platform,
        duration_us = duration.as_micros() as u64,
        "decision"
    );
    Box::new(Problem::from(refusal))
}

/// Platforms as labels: a fixed set, whatever the library learns.
fn platform_label(platform: &str) -> &'static str {
    ["development", "sgx", "snp", "tdx"]
        .into_iter()
        .find(|known| *known == platform)
        .unwrap_or("other")
}
