// SPDX-License-Identifier: Apache-2.0

//! Why a login fails.

use oidc_discovery::{DiscoveryError, FetchError};

/// Why a login fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The issuer cannot be used.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A request has no usable answer.
    #[error("the issuer cannot be asked")]
    Fetch(#[from] FetchError),
    /// The person said no.
    #[error("the login was refused at the issuer's page")]
    Denied,
    /// Nobody approved in time.
    #[error("the login was not approved in time; begin again")]
    Expired,
    /// A machine cannot log in without a secret.
    #[error("logging in as a machine needs the client's secret")]
    NoSecret,
    /// The issuer refuses, with an error of RFC 6749, §5.2.
    #[error("the issuer refuses: {code}{}", .description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// The name of the error, such as `invalid_client`.
        code: String,
        /// The issuer's explanation, made printable and cut to 200 characters.
        description: Option<String>,
    },
    /// The issuer's answer is not what the standard says.
    #[error("the answer of the issuer cannot be used: {0}")]
    Answer(&'static str),
}

impl LoginError {
    /// Whether the issuer has no use for this refresh token (or client) any more.
    pub fn is_invalid_grant(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "invalid_grant")
    }
}
