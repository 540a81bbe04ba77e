// SPDX-License-Identifier: Apache-2.0

//! Users and repositories, and to whom a repository's workloads are released.

use serde::{Deserialize, Serialize};

/// What is stored of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The subject that the OpenID Connect provider gives to the user.
    pub subject: String,
}

/// What is stored of a repository. `{"public": true}` is the published form, and still enough.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Whether anybody may read everything.
    #[serde(default)]
    pub public: bool,
    /// For a repository that is not public: Keeps to which workloads are released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Keys (PEM, SPKI) of which one must have signed each tag; without any, tags need no signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// Identities of which one must have signed each tag by sigstore: issuer and subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<(String, String)>,
}

impl Repository {
    /// Who may read.
    #[must_use]
    pub fn access(&self) -> Access {
        match (self.public, &self.release) {
            (true, _) => Access::Public,
            (false, Some(_)) => Access::Attested,
            (false, None) => Access::Owner,
        }
    }
}

/// Who may read a repository's workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Anybody.
    Public,
    /// The owner.
    Owner,
    /// The owner, and Keeps with a certificate that meets the release policy.
    Attested,
}

/// What a Keep's certificate has to say so that a workload is released to it. The workload's own digest is
/// always demanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// URL of the Steward that Keeps are to ask.
    pub steward: String,
    /// Roots of that Steward, PEM; the only ones that count.
    pub roots: String,
    /// Platforms, as they are called in certificates (`snp`, `sgx`, `tdx`); empty: all but development.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Measurements in hexadecimal digits; empty: the Steward's policy decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<String>,
    /// Signers of measured images in hexadecimal digits; empty: the Steward's policy decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// TCB statuses as they are called in certificates; empty: the Steward's policy decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcb_statuses: Vec<String>,
    /// Whether evidence that proves nothing will do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_development: bool,
    /// Oldest age in seconds of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
}
