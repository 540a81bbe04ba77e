// SPDX-License-Identifier: Apache-2.0

//! Why no certificate is issued.

use core::fmt;

use evidence_claims::{Reason, Refusal, Time};
use evidence_pki::PkiError;
use steward_claims::ClaimsError;
use steward_policy::PolicyRefusal;

use crate::{MIN_LIFETIME, RequestRefusal, SignError};

/// Why no certificate is issued.
#[derive(Debug)]
pub enum IssueRefusal {
    /// The request itself is wrong.
    Request(RequestRefusal),
    /// The evidence is not genuine, or this cannot be told.
    Evidence(Refusal),
    /// The evidence is genuine, but the policy does not let it in; for all these reasons, at least one.
    Policy(Vec<PolicyRefusal>),
    /// The Steward cannot issue anything at all.
    Authority(AuthorityRefusal),
}

/// Whose turn it is after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The requester's: the request or its evidence is wrong (400 in HTTP).
    Client,
    /// The requester's: there is no evidence at all (401 in HTTP, as published).
    NoEvidence,
    /// Nobody's: all is genuine, but not welcome (403 in HTTP).
    Policy,
    /// The operator's of the Steward (500 in HTTP).
    Server,
}

impl IssueRefusal {
    /// The reason, or the first of several.
    fn reason(&self) -> Option<&dyn Reason> {
        match self {
            Self::Request(reason) => Some(reason),
            Self::Evidence(reason) => Some(reason.as_ref()),
            Self::Policy(reasons) => reasons.first().map(|reason| reason as &dyn Reason),
            Self::Authority(reason) => Some(reason),
        }
    }

    /// Each reason: one, but for a policy.
    pub fn reasons(&self) -> impl Iterator<Item = &dyn Reason> {
        let rest = match self {
            Self::Policy(reasons) => reasons.get(1..).unwrap_or_default(),
            _ => &[],
        };
        self.reason().into_iter().chain(rest.iter().map(|reason| reason as &dyn Reason))
    }

    /// A stable name for programs, see [`Reason::code`]; the first one if there are several reasons.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason().map_or("policy.refused", Reason::code)
    }

    /// The specification, and its section, that the (first) reason enforces.
    #[must_use]
    pub fn reference(&self) -> &'static str {
        self.reason().map_or("the Steward's policy", Reason::reference)
    }

    /// One sentence that says what to do about the (first) reason.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.reason().map_or("ask who runs this Steward", Reason::remedy)
    }

    /// Whose turn it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Request(RequestRefusal::NoEvidence) => Fault::NoEvidence,
            Self::Request(_) | Self::Evidence(_) => Fault::Client,
            Self::Policy(_) => Fault::Policy,
            Self::Authority(_) => Fault::Server,
        }
    }

    /// The status code for HTTP: 400, 401, 403 or 500.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.fault() {
            Fault::Client => 400,
            Fault::NoEvidence => 401,
            Fault::Policy => 403,
            Fault::Server => 500,
        }
    }
}

impl fmt::Display for IssueRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.reasons().enumerate() {
            write!(f, "{}{reason}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl core::error::Error for IssueRefusal {}

impl From<RequestRefusal> for IssueRefusal {
    fn from(reason: RequestRefusal) -> Self {
        Self::Request(reason)
    }
}

impl From<AuthorityRefusal> for IssueRefusal {
    fn from(reason: AuthorityRefusal) -> Self {
        Self::Authority(reason)
    }
}

/// Why a Steward can issue nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityRefusal {
    /// A certificate of its chain is not valid now.
    #[error("the certificate of the Steward itself is {0}")]
    NotValid(PkiError),
    /// Its certificate ends so soon that no certificate is worth it.
    #[error(
        "the certificate of the Steward itself ends at {0}, less than {MIN_LIFETIME} seconds from now"
    )]
    EndsSoon(Time),
    /// The claims do not fit into the extension of the certificate.
    #[error("what was verified cannot be written into a certificate: {0}")]
    Claims(ClaimsError),
    /// Its key does not sign.
    #[error("the Steward's key does not sign: {0}")]
    Sign(SignError),
}

impl AuthorityRefusal {
    /// Each code, once.
    pub const ALL_CODES: &[&str] =
        &["authority.not-valid", "authority.ends-soon", "authority.claims", "authority.sign"];
}

impl Reason for AuthorityRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotValid(_) => "authority.not-valid",
            Self::EndsSoon(_) => "authority.ends-soon",
            Self::Claims(_) => "authority.claims",
            Self::Sign(_) => "authority.sign",
        }
    }

    fn reference(&self) -> &'static str {
        match self {
            Self::NotValid(_) | Self::EndsSoon(_) => "RFC 5280, section 4.1.2.5",
            Self::Claims(_) => "Enarx, docs/certificate-profile.md",
            Self::Sign(_) => "Enarx, steward-core, Signer",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::NotValid(_) | Self::EndsSoon(_) => {
                "tell who runs this Steward to renew its certificate, or to set its clock"
            }
            Self::Claims(_) => "report this as a fault of the Steward, with the evidence",
            Self::Sign(_) => "tell who runs this Steward to look after its key or device",
        }
    }
}
