// SPDX-License-Identifier: Apache-2.0

//! Verifies AMD SEV-SNP attestation reports, and development evidence, which has the same format.
//!
//! [`Snp`] holds a report against the product's root, which is built in: root, intermediate authority,
//! VEK (VCEK or VLEK), report, with the root's revocation list, all at a given time. [`Development`] does
//! the same for evidence that a local root vouches for; the two never accept each other's. Both yield
//! [`evidence_claims::Claims`] for what is genuine. Whether debugging, a migration agent, an old TCB or a
//! VMPL other than 0 is welcome, a policy says.
//!
//! ```
//! # use std::sync::Arc;
//! use evidence_claims::{Endorsements, Reason, kind};
//! use evidence_crypto::AwsLc;
//! use evidence_snp::Snp;
//!
//! let snp = Snp::new(Arc::new(AwsLc));
//! let (report, vek, crl) = ([0; 1184], [0x30, 0], [0x30, 0]); // From the firmware, and from AMD's KDS.
//! let mut endorsements = Endorsements::new();
//! endorsements.push(kind::VEK, &vek[..])?;
//! endorsements.push(kind::CRL, &crl[..])?;
//! let refusal = snp.verify_report(&report, &endorsements, "2026-09-01T00:00:00Z".parse()?).unwrap_err();
//! assert_eq!(refusal.code(), "snp.version");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod authority;
mod bits;
mod chain;
mod claims;
mod development;
mod examine;
mod fields;
mod memory;
mod parts;
mod refusal;
mod report;
mod roots;
mod rules;
mod snp;
mod vek;

pub use bits::{platform_bits, policy_bits};
pub use development::Development;
pub use parts::{ListFacts, VekFacts};
pub use refusal::{Part, SnpRefusal};
pub use report::{REPORT_SIZE, Report, TcbLayout, offset, product_of_cpuid};
pub use snp::{ProductRoots, Snp};
pub use vek::{VekExtensions, oid};
