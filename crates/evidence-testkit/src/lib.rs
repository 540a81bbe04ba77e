// SPDX-License-Identifier: Apache-2.0

//! For tests: a synthetic AMD and a synthetic Intel, which sign whatever a test wants.
//!
//! The vendors' own evidence shows that what is good is accepted. Most rules of a verifier concern what no
//! vendor ever signs: a chip id of the wrong length under a good signature, a revoked intermediate, a TCB
//! level with a status that nobody knows. Here each structure has a builder whose defaults are valid at
//! [`NOW`], and each part of which a test can replace, leave out or corrupt, before the signature or after.
//!
//! ```
//! use evidence_testkit::amd::{Amd, Product};
//!
//! let amd = Amd::get();
//! let good = amd.sample(Product::Milan, 3);
//! let debug = amd.report(Product::Milan, 3).policy(0xb_0000).sign(amd.vek_key());
//! assert_eq!(good.report.len(), debug.len());
//! ```
//!
//! All keys are made anew in each process and are worth nothing. This is code for tests: it panics where
//! a test asks for what cannot be.

#![forbid(unsafe_code)]

pub mod amd;
pub mod certificate;
pub mod csr;
pub mod der_writer;
pub mod intel;
pub mod keys;
pub mod replay;
pub mod statement;

use evidence_pki::Time;

/// The time at which everything that the builders make by default is valid: 2027-01-15T08:00:00Z.
pub const NOW: Time = Time::from_unix(1_800_000_000);

/// Seconds of a day.
pub const DAY: u64 = 86_400;
