// SPDX-License-Identifier: Apache-2.0

//! Why a peer is not who one wants to talk to.

use evidence_claims::Reason;
use evidence_pki::{PkiError, Time};
use steward_claims::ClaimsError;

/// What is wrong with a certificate, or missing in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartyRefusal {
    /// Bytes that are no certificate.
    #[error("the {which} cannot be read: {error}")]
    Malformed {
        /// Which certificate.
        which: &'static str,
        /// What is wrong.
        error: PkiError,
    },
    /// More certificates than [`crate::MAX_CHAIN`], or more authorities above one another than a Steward has.
    #[error("the chain has too many certificates")]
    ChainTooLong,
    /// A certificate is used before or after its time.
    #[error("the {which} is {error}")]
    Time {
        /// Which certificate.
        which: &'static str,
        /// Before or after, and when.
        error: PkiError,
    },
    /// The chain leads to no root that is trusted.
    #[error("the chain leads to none of the trusted roots")]
    UntrustedRoot,
    /// A certificate has the right issuer's name and not its signature.
    #[error("a signature in the chain does not verify")]
    Signature,
    /// A certificate was issued by one that may not issue it.
    #[error("a certificate in the chain was issued by one that is no authority for it")]
    Authority,
    /// A critical extension that nobody here knows.
    #[error("in the chain: {error}")]
    Critical {
        /// Which one.
        error: PkiError,
    },
    /// The leaf is none that a Steward issues to Keeps.
    #[error("the certificate is not made for a Keep: it is an authority's, or not for TLS")]
    Profile,
    /// The leaf says nothing about a Keep.
    #[error("the certificate has no claims extension")]
    NoClaims,
    /// The claims cannot be read.
    #[error("the claims extension: {0}")]
    Claims(#[from] ClaimsError),
    /// The Keep is not protected at all.
    #[error("this is a development Keep: its host can read and change it")]
    Development,
    /// On another platform.
    #[error("the platform is `{found}`")]
    Platform {
        /// Its name.
        found: String,
    },
    /// Other code.
    #[error("the measurement is {found}")]
    Measurement {
        /// In hexadecimal digits.
        found: String,
    },
    /// Somebody else's code.
    #[error("the signer is {found}")]
    Signer {
        /// In hexadecimal digits.
        found: String,
    },
    /// The vendor calls the platform something else.
    #[error("the TCB status is {found}")]
    TcbStatus {
        /// The vendor's word.
        found: String,
    },
    /// An advisory concerns the platform.
    #[error("the advisory {found} concerns the platform")]
    Advisory {
        /// The first one that is not allowed.
        found: String,
    },
    /// A part of the platform is too old, or its version is not stated.
    #[error("the security version `{name}` is not stated to be {least} or more")]
    Svn {
        /// Its name.
        name: String,
        /// The least that is demanded.
        least: u64,
    },
    /// Another workload.
    #[error("the workload is {found}")]
    Workload {
        /// Its digest.
        found: String,
    },
    /// Another policy let the Keep in.
    #[error("the policy that let the Keep in is {found}")]
    Policy {
        /// SHA-256 of its text, in hexadecimal digits.
        found: String,
    },
    /// The evidence was verified too long ago.
    #[error("the evidence was verified at {verified_at}, which is too long ago")]
    Age {
        /// When it was verified.
        verified_at: Time,
    },
    /// The evidence was not made for a nonce.
    #[error("the evidence was not made for a nonce of the Steward")]
    NotFresh,
}

impl PartyRefusal {
    /// The code of each variant.
    pub const ALL_CODES: &[&str] = &[
        "party.malformed",
        "party.chain-too-long",
        "party.time",
        "party.untrusted-root",
        "party.signature",
        "party.authority",
        "party.critical",
        "party.profile",
        "party.no-claims",
        "party.claims",
        "party.development",
        "party.platform",
        "party.measurement",
        "party.signer",
        "party.tcb-status",
        "party.advisory",
        "party.svn",
        "party.workload",
        "party.policy",
        "party.age",
        "party.not-fresh",
    ];
}

impl Reason for PartyRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "party.malformed",
            Self::ChainTooLong => "party.chain-too-long",
            Self::Time { .. } => "party.time",
            Self::UntrustedRoot => "party.untrusted-root",
            Self::Signature => "party.signature",
            Self::Authority => "party.authority",
            Self::Critical { .. } => "party.critical",
            Self::Profile => "party.profile",
            Self::NoClaims => "party.no-claims",
            Self::Claims(_) => "party.claims",
            Self::Development => "party.development",
            Self::Platform { .. } => "party.platform",
            Self::Measurement { .. } => "party.measurement",
            Self::Signer { .. } => "party.signer",
            Self::TcbStatus { .. } => "party.tcb-status",
            Self::Advisory { .. } => "party.advisory",
            Self::Svn { .. } => "party.svn",
            Self::Workload { .. } => "party.workload",
            Self::Policy { .. } => "party.policy",
            Self::Age { .. } => "party.age",
            Self::NotFresh => "party.not-fresh",
        }
    }

    fn reference(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "RFC 5280, section 4.1",
            Self::ChainTooLong | Self::UntrustedRoot => "RFC 5280, section 6.1",
            Self::Time { .. } => "RFC 5280, section 4.1.2.5",
            Self::Signature => "RFC 5280, section 4.1.1.3",
            Self::Authority => "RFC 5280, section 4.2.1.9",
            Self::Critical { .. } => "RFC 5280, section 4.2",
            Self::Profile => "docs/certificate-profile.md, The certificate of a Keep",
            _ => "docs/certificate-profile.md, What the Steward verified",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::ChainTooLong => "Have the peer send a Steward's chain.",
            Self::Time { .. } => "Have the Keep renew its certificate, or set the clock right.",
            Self::UntrustedRoot => "Trust the root of the peer's Steward, if you do trust it.",
            Self::Signature | Self::Authority | Self::Critical { .. } => {
                "Do not talk to this peer: its chain is not what it claims to be."
            }
            Self::Profile | Self::NoClaims | Self::Claims(_) => {
                "Have the peer present a certificate that a Steward issued to a Keep."
            }
            Self::Development => {
                "Talk to a Keep on hardware, or allow development Keeps for a trial."
            }
            Self::TcbStatus { .. } | Self::Advisory { .. } | Self::Svn { .. } => {
                "Have the machine of the Keep updated."
            }
            Self::Age { .. } | Self::NotFresh => {
                "Have the Keep ask its Steward for a new certificate, with a nonce."
            }
            Self::Platform { .. }
            | Self::Measurement { .. }
            | Self::Signer { .. }
            | Self::Workload { .. }
            | Self::Policy { .. } => "Talk to another Keep, or demand what this one is.",
        }
    }
}
