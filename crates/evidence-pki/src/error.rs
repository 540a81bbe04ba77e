// SPDX-License-Identifier: Apache-2.0

//! What can be wrong with a certificate, a revocation list or a request.

/// What is wrong with a certificate, a revocation list or a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The bytes are not the DER that they should be; names the element.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// More certificates in a chain, or bytes in one, than there may be.
    #[error("too many or too large: {0}")]
    TooLarge(&'static str),
    /// A kind of key or signature that plays no part in evidence.
    #[error("unsupported algorithm of a {0}")]
    UnsupportedAlgorithm(&'static str),
    /// A signature does not verify under the key that should have made it.
    #[error("the signature does not verify")]
    BadSignature,
    /// Issuer and subject do not fit together.
    #[error("issued by another authority")]
    WrongIssuer,
    /// Before `notBefore` or `thisUpdate`.
    #[error("not valid before {0}")]
    NotYetValid(crate::Time),
    /// After `notAfter` or `nextUpdate`.
    #[error("not valid after {0}")]
    Expired(crate::Time),
    /// A critical extension that nobody here knows.
    #[error("unknown critical extension {0}")]
    UnknownCritical(der::asn1::ObjectIdentifier),
    /// A certificate that may not issue certificates.
    #[error("not a certificate authority")]
    NotAnAuthority,
}

impl From<evidence_crypto::BadSignature> for PkiError {
    fn from(_: evidence_crypto::BadSignature) -> Self {
        Self::BadSignature
    }
}
