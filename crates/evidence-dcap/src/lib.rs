// SPDX-License-Identifier: Apache-2.0

//! Intel SGX and TDX: DCAP quotes, verified with the collateral that Intel's PCS serves.
//!
//! A quote is signed by an attestation key; the quoting enclave vouches for that key in a report, which is
//! signed by a key of the platform, certified by Intel (PCK). What Intel thinks of the platform is in
//! collateral: revocation lists, TCB info and QE identity. Both are needed for a verdict, and all of it
//! ends at one pinned root.
//!
//! What is refused, and what is a claim: whatever is not genuine, not current or not described by Intel
//! is refused, also a revoked TCB. An outdated TCB, debug mode and attributes of the environment are
//! claims, because whether they are welcome is for a policy to say.
//!
//! - Versions 3, 4 and 5 of quotes; bodies of type 1 (SGX), 2 and 3 (TDX 1.0 and 1.5). Type 4 is refused.
//! - After a quote only zeros may follow; everything inside must fit exactly.
//! - Certification data of type 5 (the PCK certificate chain), or 3 if the chain is an endorsement.
//! - TCB info of version 3, QE identity of version 2. Without a QE identity the quoting enclave is held
//!   against what is known of Intel's, and the claims say that its status is unknown.
//!
//! [`SgxDevelopment`] verifies, by the same code, quotes of a stand-in of SGX under a local root. Neither takes
//! the other's.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use evidence_claims::Time;
//! use evidence_crypto::AwsLc;
//! use evidence_dcap::{DcapRefusal, Tdx, collateral_json};
//!
//! fn status(quote: &[u8], collateral: &[u8], now: Time) -> Result<String, DcapRefusal> {
//!     let tdx = Tdx::new(Arc::new(AwsLc));
//!     let claims = tdx.verify_quote(quote, &collateral_json(collateral)?, now)?;
//!     Ok(claims.tcb_status.map_or_else(String::new, |status| status.to_string()))
//! }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod chain;
mod claims;
mod collateral;
mod development;
mod document;
mod fields;
mod format;
mod json;
mod level;
mod memory;
mod parts;
mod pck;
mod quote;
mod refusal;
mod report;
mod root_signatures;
mod trace;
mod vendor;
mod verify;
mod what;

pub use collateral::Collateral;
pub use development::SgxDevelopment;
pub use document::{
    QeIdentity, Signed, Svn, SvnLevel, Tcb, TcbInfo, TcbLevel, TdxModule, TdxModuleIdentity,
};
pub use evidence_claims::Time;
pub use format::{Sgx, Tdx};
pub use json::collateral_json;
pub use parts::{ListFacts, Parts, PckCa, PckFacts};
pub use pck::PckExtensions;
pub use quote::{Body, Certification, INTEL_VENDOR, KEY_TYPE_ECDSA_P256, Quote, Tee};
pub use refusal::{DcapRefusal, Document, List, Part};
pub use report::{EnclaveReport, TdReport};

/// Intel's root, which all of this ends at: `Intel SGX Root CA`, DER. SHA-256:
/// `44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3`.
pub const INTEL_ROOT: &[u8] = include_bytes!("../roots/intel-sgx-root-ca.der");
