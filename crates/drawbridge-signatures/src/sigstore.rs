// SPDX-License-Identifier: Apache-2.0

//! Sigstore bundles, verified offline against a trusted root that the caller gives.

use crate::SignatureError;

/// Longest bundle in bytes.
pub const MAX_BUNDLE: usize = 256 << 10;

/// Somebody whose signatures count: who vouches for them, and what they are called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// URL of the OpenID Connect issuer.
    pub issuer: String,
    /// The subject alternative name of the certificate: a mail address or URI.
    pub subject: String,
}

/// Certificate authorities and transparency logs that count: `trusted_root.json`.
#[derive(Debug, Clone)]
pub struct TrustedRoot {}

impl TrustedRoot {
    /// Reads `application/vnd.dev.sigstore.trustedroot+json;version=0.1`.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Malformed`].
    pub fn from_json(_json: &[u8]) -> Result<Self, SignatureError> {
        Err(SignatureError::Unsupported("a trusted root".into()))
    }
}

/// What a bundle proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who signed.
    pub identity: Identity,
    /// When the log took it in, in seconds since 1970.
    pub time: u64,
}

/// Checks that a bundle (`application/vnd.dev.sigstore.bundle.v0.3+json`) signs the content with that
/// SHA-256 digest, by one of `identities`.
///
/// # Errors
///
/// [`SignatureError`].
pub fn verify_sigstore(
    bundle: &[u8],
    _digest: &[u8; 32],
    _identities: &[Identity],
    _root: &TrustedRoot,
) -> Result<Verified, SignatureError> {
    if bundle.len() > MAX_BUNDLE {
        return Err(SignatureError::TooLong { what: "the bundle", limit: MAX_BUNDLE });
    }
    Err(SignatureError::Unsupported("a bundle".into()))
}
