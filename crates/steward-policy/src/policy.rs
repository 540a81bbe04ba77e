// SPDX-License-Identifier: Apache-2.0

//! A policy, as it was read: one struct a section.

use core::fmt;

use evidence_claims::{Platform, SnpProduct, TcbStatus, TcbVersion};
use evidence_crypto::Crypto;
use semver::VersionReq;

use crate::{explain, parse};

/// Which Keeps get a certificate, and of what kind.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub(crate) text: String,
    pub(crate) sgx: Option<SgxPolicy>,
    pub(crate) snp: Option<SnpPolicy>,
    pub(crate) tdx: Option<TdxPolicy>,
    pub(crate) development: Option<DevelopmentPolicy>,
    pub(crate) certificate: CertificatePolicy,
    pub(crate) workloads: Vec<WorkloadRule>,
}

impl Policy {
    /// No policy may be longer: 256 KiB.
    pub const MAX_SIZE: usize = 256 << 10;

    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// A fault in the text, with its place.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        parse::policy(text)
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

    /// What this policy lets in: plain sentences, those that warn begin with `Warning:`.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        explain::policy(self)
    }

    /// The platforms that have a section; all others are refused.
    #[must_use]
    pub fn platforms(&self) -> Vec<Platform> {
        [
            (self.sgx.is_some(), Platform::Sgx),
            (self.snp.is_some(), Platform::Snp),
            (self.tdx.is_some(), Platform::Tdx),
            (self.development.is_some(), Platform::Development),
        ]
        .into_iter()
        .filter_map(|(there, platform)| there.then_some(platform))
        .collect()
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
        self.development.as_ref().map_or(&[], |section| &section.roots)
    }

    /// The workloads that get certificates; if there are none, the workload does not matter.
    #[must_use]
    pub fn workloads(&self) -> &[WorkloadRule] {
        &self.workloads
    }
}

/// Which code may run: the rules that the platforms have in common. Empty lists are not looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct CodePolicy {
    pub(crate) signer: Vec<Vec<u8>>,
    pub(crate) hash: Vec<Vec<u8>>,
    pub(crate) hash_blacklist: Vec<Vec<u8>>,
    pub(crate) any_code: bool,
}

/// What Intel says of a platform: the rules that SGX and TDX have in common.
#[derive(Debug, Clone)]
pub(crate) struct IntelPolicy {
    pub(crate) accepted_tcb_statuses: Vec<TcbStatus>,
    pub(crate) tcb_grace_days: u64,
    pub(crate) min_tcb_evaluation_data_number: Option<u32>,
    pub(crate) allowed_advisories: Option<Vec<String>>,
    pub(crate) require_qe_identity: bool,
    pub(crate) allow_smt: bool,
    pub(crate) allow_cached_keys: bool,
    pub(crate) allow_dynamic_platform: bool,
}

/// `[sgx]`.
#[derive(Debug, Clone)]
pub(crate) struct SgxPolicy {
    pub(crate) code: CodePolicy,
    pub(crate) intel: IntelPolicy,
    /// Bits of `ATTRIBUTES.FLAGS` that may be set.
    pub(crate) features: Option<u64>,
    pub(crate) enclave_security_version: Option<u16>,
    pub(crate) enclave_product_id: Option<u16>,
    /// Bits of `MISCSELECT` that may be set.
    pub(crate) misc_select: Option<u32>,
    pub(crate) config_id: Option<[u8; 64]>,
    pub(crate) config_svn: Option<u16>,
    pub(crate) family_id: Option<[u8; 16]>,
    pub(crate) ext_prod_id: Option<[u8; 16]>,
}

/// `[snp]`.
#[derive(Debug, Clone)]
pub(crate) struct SnpPolicy {
    pub(crate) code: CodePolicy,
    pub(crate) id_key_digest: Vec<[u8; 48]>,
    pub(crate) id_key_digest_blacklist: Vec<[u8; 48]>,
    pub(crate) abi: Option<VersionReq>,
    pub(crate) policy_flags: Option<PolicyFlags>,
    pub(crate) platform_info: PlatformInfo,
    pub(crate) vmpl: Vec<u32>,
    pub(crate) min_guest_svn: u32,
    pub(crate) host_data: Vec<[u8; 32]>,
    pub(crate) family_id: Vec<[u8; 16]>,
    pub(crate) image_id: Vec<[u8; 16]>,
    pub(crate) products: Vec<SnpProduct>,
    pub(crate) allow_vlek: bool,
    pub(crate) csp_ids: Vec<String>,
    pub(crate) chip_ids: Vec<[u8; 64]>,
    pub(crate) minimum_tcb: Vec<(SnpProduct, TcbVersion)>,
}

/// `policy_flags` of `[snp]`, as bits of a guest's `POLICY`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicyFlags {
    /// Permissions to the host that may be given.
    pub(crate) may: u64,
    /// Demands on the host that must be made.
    pub(crate) must: u64,
}

/// `platform_info_flags` of `[snp]`, as bits of `PLATFORM_INFO`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PlatformInfo {
    /// Bits that are looked at.
    pub(crate) mask: u64,
    /// Their values.
    pub(crate) value: u64,
}

/// `[tdx]`.
#[derive(Debug, Clone)]
pub(crate) struct TdxPolicy {
    pub(crate) code: CodePolicy,
    pub(crate) intel: IntelPolicy,
    pub(crate) mr_config_id: Vec<[u8; 48]>,
    pub(crate) mr_owner: Vec<[u8; 48]>,
    pub(crate) mr_owner_config: Vec<[u8; 48]>,
    pub(crate) rtmrs: [Vec<[u8; 48]>; 4],
    pub(crate) mr_seam: Vec<[u8; 48]>,
    pub(crate) mr_service_td: Vec<[u8; 48]>,
    pub(crate) require_sept_ve_disable: bool,
    pub(crate) allow_pks: bool,
    pub(crate) allow_key_locker: bool,
    pub(crate) xfam: Option<u64>,
    pub(crate) min_tee_tcb_svn: Option<[u8; 16]>,
}

/// `[development]`.
#[derive(Debug, Clone)]
pub(crate) struct DevelopmentPolicy {
    /// For evidence whose format has no section of its own below.
    pub(crate) code: CodePolicy,
    pub(crate) roots: Vec<Vec<u8>>,
    /// `[development.sgx]`.
    pub(crate) sgx: Option<SgxPolicy>,
    /// `[development.snp]`.
    pub(crate) snp: Option<SnpPolicy>,
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
