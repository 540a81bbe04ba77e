// SPDX-License-Identifier: Apache-2.0

//! The claims of a certificate as JSON: one form for the service and for the tools.

use evidence_pki::hex;
use serde_json::{Value, json};
use steward_claims::CertificateClaims;

/// Hashes are hexadecimal digits, times as in RFC 3339, and what is not there is `null`.
pub fn to_json(claims: &CertificateClaims) -> Value {
    let svns: serde_json::Map<String, Value> =
        claims.svns.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "platform": claims.platform,
        "product": claims.product,
        "measurement": hex(&claims.measurement),
        "signer": claims.signer.as_deref().map(hex),
        "debug": claims.debug,
        "tcb_status": claims.tcb_status,
        "advisories": claims.advisories,
        "svns": svns,
        "workload": claims.workload.as_ref().map(|workload| json!({
            "digest": workload.digest(),
            "slug": workload.slug(),
        })),
        "policy": hex(&claims.policy),
        "policy_url": claims.policy_url,
        "evaluation_number": claims.evaluation_number,
        "verified_at": claims.verified_at.to_string(),
        "fresh": claims.fresh,
    })
}
