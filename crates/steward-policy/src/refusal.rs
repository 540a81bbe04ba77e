// SPDX-License-Identifier: Apache-2.0

//! Why a policy refuses a Keep whose evidence is genuine.

use evidence_claims::{Platform, Reason};

/// A rule of the policy that a Keep does not satisfy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyRefusal {
    /// The policy has no section for this platform.
    #[error("the policy has no section `[{0}]`")]
    Platform(Platform),
}

impl PolicyRefusal {
    /// The code of each variant.
    pub const ALL_CODES: &[&str] = &["policy.platform"];
}

impl Reason for PolicyRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Platform(_) => "policy.platform",
        }
    }

    fn reference(&self) -> &'static str {
        "docs/steward-policy.md, platforms"
    }

    fn remedy(&self) -> &'static str {
        "Run the Keep on a platform that the policy names."
    }
}
