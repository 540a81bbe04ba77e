// SPDX-License-Identifier: Apache-2.0

//! Claims against a policy.

use evidence_claims::Claims;

use crate::{Policy, PolicyRefusal, Workload};

/// What a Keep that is let in gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admitted {
    /// DNS names for the certificate: those of `[certificate]` and of the workload.
    pub dns_names: Vec<String>,
    /// How long the certificate is valid at most, in seconds from the time of issue. What the claims
    /// say (`valid_until`) is for the caller to hold against it.
    pub lifetime: u64,
    /// How far before the time of issue the certificate begins, in seconds.
    pub backdate: u64,
}

/// Holds what genuine evidence says against a policy.
///
/// `workload` is what was bound to the evidence, and `fresh` whether a nonce of the Steward was.
///
/// # Errors
///
/// Every rule that is not satisfied; at least one, the gravest first.
pub fn appraise(
    claims: &Claims,
    workload: Option<&Workload>,
    fresh: bool,
    policy: &Policy,
) -> Result<Admitted, Vec<PolicyRefusal>> {
    let _ = (workload, fresh, policy);
    Err(vec![PolicyRefusal::Platform(claims.platform)])
}
