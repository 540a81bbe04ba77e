// SPDX-License-Identifier: Apache-2.0

//! What an enclave says of itself to another one on the same machine (SDM, "TARGETINFO", "REPORTDATA",
//! "REPORT").
//!
//! `EREPORT` writes a `Report` whose MAC only the enclave of the `TargetInfo` can check, because only it
//! gets that report key. A quoting enclave does so and then signs the `ReportBody`: it is the body of a quote.

use crate::bytes::is_zero;
#[cfg(feature = "host")]
pub use crate::host::report::{Report, ReportBody, TargetInfo};

/// Bytes of `TARGETINFO`.
pub const TARGET: usize = 512;
/// Bytes of `REPORT`.
pub const REPORT: usize = 432;

/// Whether bytes that the host brings can be a `TARGETINFO`; with others `EREPORT` faults. Whatever else they
/// say, a wrong target only makes a report that nobody can check.
#[must_use]
pub fn is_target(bytes: &[u8; TARGET]) -> bool {
    [(49, 50), (56, 64), (128, TARGET)].into_iter().all(|(from, to)| is_zero(bytes, from, to))
}
