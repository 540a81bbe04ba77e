// SPDX-License-Identifier: Apache-2.0

//! Keys that sign what hardware launches, and what they sign.
//!
//! The processor holds an image against a signature before it runs: a *SIGSTRUCT* on SGX, an *ID block* with its
//! authentication on SEV-SNP. Reports then name the signer, so that a policy can accept everything that
//! somebody signed. Forms are those that Intel and AMD publish; the file that carries both,
//! [`Signatures`], is the published one (`enarx.sig`).
//!
//! ```
//! use launch_keys::SevKey;
//!
//! let key = SevKey::generate()?;
//! let same = SevKey::from_pem(&key.to_pem()?)?;
//! assert_eq!(key.digest(), same.digest());
//! # Ok::<(), launch_keys::KeyError>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod sev;
mod sgx;
mod signatures;
mod sigstruct;

pub use sev::{
    ID_KEY_SIGNATURE, IdBlock, IdSigners, SevKey, check_id_auth, check_id_key_signature, id_auth,
    sign_id_key,
};
pub use sgx::SgxKey;
pub use signatures::{SevSignature, Signatures};
pub use sigstruct::{Enclave, INTEL as SIGSTRUCT_INTEL, SIGSTRUCT, Sigstruct, sigstruct_date};

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It cannot be read.
    #[error("it is no key of that kind: {0}")]
    Malformed(&'static str),
    /// The library refused.
    #[error("the key cannot sign")]
    Signing,
    /// There is no randomness, or no luck.
    #[error("no key could be made")]
    Generating,
    /// A signature is not by the key that it names.
    #[error("the signature does not verify")]
    BadSignature,
}
