// SPDX-License-Identifier: Apache-2.0

//! Why there is no identity.

use attested_request::RequestRefusal;
use evidence_claims::Reason as _;
use evidence_pki::{PkiError, Time};
use steward_relying_party::PartyRefusal;

/// Why a Keep has no identity, or not the one that it was offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The processor lacks what keys are computed with.
    #[error("this processor lacks instructions that the Keep's cryptography is written in")]
    Cpu,
    /// The operating system gives no random numbers.
    #[error("there are no random numbers to make a key of")]
    Random,
    /// Slug or digest are none.
    #[error("the workload cannot be bound to evidence: {0}")]
    Binding(RequestRefusal),
    /// The platform gives no evidence, with its reason.
    #[error("the platform gives no evidence: {0}")]
    NoEvidence(String),
    /// The key does not sign.
    #[error("the key of this Keep does not sign")]
    Sign,
    /// The answer is longer than [`MAX_ANSWER`](crate::MAX_ANSWER).
    #[error("the answer has more than {} bytes", crate::MAX_ANSWER)]
    TooLong,
    /// The answer is no chain of certificates.
    #[error("the answer is no chain of certificates: {0}")]
    Malformed(PkiError),
    /// The first certificate is not of this Keep's key.
    #[error("the certificate is of another key than the one that this Keep made")]
    OtherKey,
    /// The chain leads to no root that was named, is not valid now, or the claims are not those of this Keep.
    #[error("{0}")]
    Chain(PartyRefusal),
    /// The certificate states another workload than this Keep's, or one where none was bound.
    #[error("the certificate states another workload: {0}")]
    Workload(String),
    /// The certificate says that the evidence was not new, though a nonce was bound.
    #[error("the certificate says that the evidence was made for no nonce")]
    NotFresh,
    /// The certificate ends at once.
    #[error("the certificate ends at {0}, too soon to be of use")]
    EndsAtOnce(Time),
}

impl IdentityError {
    /// The stable name of the error, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Cpu => "identity.cpu",
            Self::Random => "identity.random",
            Self::Binding(_) => "identity.binding",
            Self::NoEvidence(_) => "identity.no-evidence",
            Self::Sign => "identity.sign",
            Self::TooLong => "identity.too-long",
            Self::Malformed(_) => "identity.malformed",
            Self::OtherKey => "identity.other-key",
            Self::Chain(_) => "identity.chain",
            Self::Workload(_) => "identity.workload",
            Self::NotFresh => "identity.not-fresh",
            Self::EndsAtOnce(_) => "identity.ends-at-once",
        }
    }

    /// What to do, for people.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Cpu => "run it on x86-64 with AES, ADX, BMI2 and AVX2: Broadwell, Zen, or later",
            Self::Random | Self::Sign => "this is a fault of the Keep itself; please report it",
            Self::Binding(_) => {
                "give a slug `[host[:port]/]user/repo[:tag]` and a digest `sha256:…`"
            }
            Self::NoEvidence(_) => {
                "check that the backend can attest; for development, run `enarx dev init`"
            }
            Self::Chain(refusal) if refusal.code() == "party.time" => {
                "compare this machine's clock with the Steward's, and look at its certificates"
            }
            Self::Chain(refusal) if refusal.code() == "party.untrusted-root" => {
                "name the root of this Steward with `--steward-ca`, if it is the one you mean"
            }
            Self::EndsAtOnce(_) => "give certificates a longer lifetime in the Steward's policy",
            Self::TooLong
            | Self::Malformed(_)
            | Self::OtherKey
            | Self::Chain(_)
            | Self::Workload(_)
            | Self::NotFresh => {
                "the Steward answered with what is not to be believed: check its address, its root and \
                 its version"
            }
        }
    }
}
