// SPDX-License-Identifier: Apache-2.0

//! Intel SGX and TDX: DCAP quotes, verified with the collateral that Intel's PCS serves.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod format;
mod json;
mod refusal;

pub use format::{Sgx, Tdx};
pub use json::collateral_json;
pub use refusal::DcapRefusal;

/// Intel's root, which all of this ends at: `Intel SGX Root CA`, DER.
pub const INTEL_ROOT: &[u8] = include_bytes!("../roots/intel-sgx-root-ca.der");
