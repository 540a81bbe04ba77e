// SPDX-License-Identifier: Apache-2.0

//! What can keep development evidence from being made.

use evidence_pki::{PkiError, SignError, Time};

/// Why there is no root, no attester or no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DevelopmentError {
    /// The cryptographic library failed, which it does without random numbers or memory only.
    #[error("the cryptographic library could not {0}")]
    Library(&'static str),
    /// A file is no PEM of a private key (PKCS#8, P-384 or P-256).
    #[error("not the PEM of a private key in PKCS#8, on P-384 or P-256")]
    Key,
    /// A file is no PEM of one certificate.
    #[error("not the PEM of a certificate: {0}")]
    Certificate(PkiError),
    /// There is not exactly one certificate.
    #[error("not exactly one certificate")]
    CertificateCount,
    /// The private key is not that of the certificate.
    #[error("the private key is not that of the certificate")]
    KeyMismatch,
    /// The certificate cannot issue others, so that it is no root.
    #[error("the certificate is not that of a root")]
    NotARoot,
    /// The root is not valid at that time.
    #[error("the root is not valid at {0}")]
    RootTime(Time),
    /// The published form takes keys on P-384 alone.
    #[error("the published form of evidence takes keys on P-384 only")]
    KeyType,
}

/// The library says nothing but that it failed.
impl From<SignError> for DevelopmentError {
    fn from(_: SignError) -> Self {
        Self::Library("sign")
    }
}
