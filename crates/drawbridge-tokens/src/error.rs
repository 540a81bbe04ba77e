// SPDX-License-Identifier: Apache-2.0

//! Why a token is refused.

/// Why a token is refused.
///
/// Neither message nor code holds any part of the token beyond the names of its key and algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is no JSON Web Token in compact form, or a part of it cannot be read.
    #[error("the token is not a JSON Web Token: {0}")]
    Malformed(&'static str),
    /// Its algorithm is none that this server takes.
    #[error("tokens signed with {0:?} are not taken here")]
    Algorithm(String),
    /// The issuer has no key of that name, or none that fits the algorithm.
    #[error("the issuer has no key {} for {algorithm}", .kid.as_deref().unwrap_or("without a name"))]
    UnknownKey {
        /// The name of the key, if the token has one; cut to 100 characters.
        kid: Option<String>,
        /// The algorithm of the token.
        algorithm: &'static str,
    },
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim that has to be there is missing.
    #[error("the token does not have the claim {0:?}")]
    MissingClaim(&'static str),
    /// Another issuer made it.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for another service.
    #[error("the token is for another audience")]
    Audience,
    /// Its time is over.
    #[error("the token has expired; log in again")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet; compare the clocks of this server and the issuer")]
    NotYetValid,
    /// No keys of the issuer are known, or they are too old to be relied on.
    #[error("the keys of the issuer cannot be had for the moment")]
    KeysUnavailable,
}

impl TokenError {
    /// A name for this kind of error that never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed-token",
            Self::Algorithm(_) => "algorithm-not-allowed",
            Self::UnknownKey { .. } => "unknown-key",
            Self::Signature => "wrong-signature",
            Self::MissingClaim(_) => "missing-claim",
            Self::Issuer => "wrong-issuer",
            Self::Audience => "wrong-audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::KeysUnavailable => "keys-unavailable",
        }
    }

    /// Whether the token may be good and only cannot be judged now (status 503 rather than 401).
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::KeysUnavailable)
    }
}
