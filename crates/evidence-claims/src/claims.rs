// SPDX-License-Identifier: Apache-2.0

//! What every format of evidence says.

use core::fmt;

use evidence_pki::Time;
use serde::Serialize;

use crate::Detail;

/// What genuine evidence says, and how far it can be relied on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Claims {
    /// The kind of trusted execution environment.
    pub platform: Platform,
    /// The vendor's name for the processor: `Milan`, `Genoa`, `Turin`, or `FMSPC 00606a000000`;
    /// `development` if there is none behind it, `snp-sim` or `sgx-sim` if a stand-in plays it.
    pub product: String,
    /// The launch measurement: SNP `MEASUREMENT`, `MRENCLAVE` or `MRTD`; 32 or 48 bytes.
    pub measurement: Vec<u8>,
    /// Who signed what was launched: SNP `AUTHOR_KEY_DIGEST` if there was an author key, `MRSIGNER`.
    pub signer: Option<Vec<u8>>,
    /// What the attester bound to the evidence.
    pub report_data: [u8; 64],
    /// Whether the host may look into the environment. Policies refuse it.
    pub debug: bool,
    /// The vendor's word on the platform; `None` where the vendor says none (AMD).
    pub tcb_status: Option<TcbStatus>,
    /// The vendor's advisories that concern this platform, sorted, each once.
    pub advisories: Vec<String>,
    /// Security version numbers by name, in the order of the evidence.
    pub svns: Vec<Svn>,
    /// The lowest `tcbEvaluationDataNumber` of the collateral.
    pub evaluation_number: Option<u32>,
    /// The time for which all of this was verified.
    pub verified_at: Time,
    /// The end of the first part of the endorsements to end. Nothing derived may outlive it.
    pub valid_until: Time,
    /// What only this format says.
    pub detail: Detail,
}

impl Claims {
    /// Claims with nothing optional in them.
    #[must_use]
    pub fn new(
        platform: Platform,
        product: impl Into<String>,
        measurement: impl Into<Vec<u8>>,
        report_data: [u8; 64],
        verified_at: Time,
        valid_until: Time,
        detail: Detail,
    ) -> Self {
        Self {
            platform,
            product: product.into(),
            measurement: measurement.into(),
            signer: None,
            report_data,
            debug: false,
            tcb_status: None,
            advisories: Vec::new(),
            svns: Vec::new(),
            evaluation_number: None,
            verified_at,
            valid_until,
            detail,
        }
    }
}

/// A kind of trusted execution environment, or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Platform {
    /// No protection: evidence in the format of SEV-SNP or SGX, signed under a local development root.
    Development,
    /// Intel SGX.
    Sgx,
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl Platform {
    /// The name in certificates, policies and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Sgx => "sgx",
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A security version number with its name, for example `reported.snp` 24.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Svn {
    /// What it counts.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
}

/// Intel's word on a platform (Intel PCS API v4, TCB info, `tcbStatus`; Intel QvL for the last two).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum TcbStatus {
    /// Nothing to do.
    UpToDate,
    /// Up to date, but the software inside has to be hardened.
    SWHardeningNeeded,
    /// Up to date, but the platform's configuration wants a change.
    ConfigurationNeeded,
    /// Both of the two above.
    ConfigurationAndSWHardeningNeeded,
    /// Below the recommended level.
    OutOfDate,
    /// Below the recommended level, and the configuration wants a change.
    OutOfDateConfigurationNeeded,
    /// The platform is up to date now, but was not when the TD started.
    TDRelaunchAdvised,
    /// As before, and the configuration wants a change.
    TDRelaunchAdvisedConfigurationNeeded,
    /// Not to be trusted at all.
    Revoked,
}

impl TcbStatus {
    /// Every status, mildest first.
    pub const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SWHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSWHardeningNeeded,
        Self::TDRelaunchAdvised,
        Self::TDRelaunchAdvisedConfigurationNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
    ];

    /// Intel's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SWHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TDRelaunchAdvised => "TDRelaunchAdvised",
            Self::TDRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
