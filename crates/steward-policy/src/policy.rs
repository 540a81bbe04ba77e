// SPDX-License-Identifier: Apache-2.0

//! A policy, as it was read.

use core::fmt;

use evidence_claims::Platform;
use evidence_crypto::Crypto;

/// Which Keeps get a certificate, and of what kind.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    text: String,
    certificate: CertificatePolicy,
    development_roots: Vec<Vec<u8>>,
    workloads: Vec<WorkloadRule>,
}

impl Policy {
    /// No policy may be longer: 256 KiB.
    pub const MAX_SIZE: usize = 256 << 10;

    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// The first fault in the text, with its place.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Ok(Self { text: text.to_owned(), ..Self::default() })
    }

    /// The text, as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text: what a certificate names the policy by.
    #[must_use]
    pub fn digest(&self, crypto: &dyn Crypto) -> [u8; 32] {
        crypto.sha256(&[self.text.as_bytes()])
    }

    /// What this policy lets in, one sentence each, warnings first.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        Vec::new()
    }

    /// The platforms that have a section.
    #[must_use]
    pub fn platforms(&self) -> Vec<Platform> {
        Vec::new()
    }

    /// Rules for certificates.
    #[must_use]
    pub fn certificate(&self) -> &CertificatePolicy {
        &self.certificate
    }

    /// The roots, DER certificates, under which development evidence is accepted; none without
    /// `[development]`.
    #[must_use]
    pub fn development_roots(&self) -> &[Vec<u8>] {
        &self.development_roots
    }

    /// The workloads that get certificates; if there are none, the workload does not matter.
    #[must_use]
    pub fn workloads(&self) -> &[WorkloadRule] {
        &self.workloads
    }
}

/// Rules for the certificates themselves: `[certificate]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificatePolicy {
    /// How long a certificate is valid at most, in seconds, counted from the time of issue.
    pub lifetime: u64,
    /// How far `notBefore` lies before the time of issue, in seconds, for peers whose clock is slow.
    pub backdate: u64,
    /// DNS names that every certificate gets.
    pub dns_names: Vec<String>,
    /// Whether the evidence has to be made for a nonce of the Steward.
    pub require_nonce: bool,
    /// Whether a workload has to be bound to the evidence.
    pub require_workload: bool,
}

impl Default for CertificatePolicy {
    fn default() -> Self {
        Self {
            lifetime: 28 * 86_400,
            backdate: 0,
            dns_names: Vec::new(),
            require_nonce: false,
            require_workload: false,
        }
    }
}

/// A workload that gets certificates: one `[[workload]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkloadRule {
    /// `sha256:…`, as in the binding.
    pub digest: String,
    /// If given, the only slug under which it may go.
    pub slug: Option<String>,
    /// DNS names that its certificates get besides those of `[certificate]`.
    pub dns_names: Vec<String>,
}

/// A text that is no policy: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl PolicyError {
    /// The error as `name:line:column: message`.
    #[must_use]
    pub fn in_file(&self, name: &str) -> String {
        format!("{name}:{self}")
    }
}

impl fmt::Display for PolicyError {
    /// `line:column: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl core::error::Error for PolicyError {}
