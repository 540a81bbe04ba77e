// SPDX-License-Identifier: Apache-2.0

//! Launches SGX enclaves, on paper: everything about a launch that can be known without the hardware.
//!
//! A [`Plan`] says which pages an enclave begins with, in which order. [`Plan::load`] hands it to a [`Sink`]:
//! a driver, a stand-in, or the [`Measurer`], so that a launch and an offline measurement cannot drift.
//! [`sign`] says what of it a signature covers, and holds a signature against it before the processor does;
//! [`einit()`] does what the processor does.
//!
//! Of a running enclave, [`epcm`] knows which changes to its pages are possible and who has to accept them, and
//! [`keys`] what its keys and reports depend on. [`driver`] has the numbers and structures of Linux's
//! `/dev/sgx_enclave`, [`cpuid`] what a processor offers, [`image`] how the image of a Keep becomes a plan.
//!
//! No line of this crate talks to a device; none of it has run on hardware yet.
//!
//! ```
//! use sgx_guest::page::{Rights, SecInfo};
//! use sgx_launch::{Content, Plan, Region, Secs};
//!
//! let secs = Secs::keep(0x10000, 0x10000, [7; 64])?;
//! let mut plan = Plan::new(secs);
//! plan.push(Region::measured(0, SecInfo::reg(Rights::RX), Content::Bytes(&[0x90; 4096])))?;
//! assert_eq!(plan.measured_bytes(), 4096);
//! let mrenclave = plan.measure();
//! # assert_ne!(mrenclave, [0; 32]);
//! # Ok::<(), sgx_launch::PlanError>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cpuid;
pub mod driver;
mod einit;
pub mod epcm;
pub mod image;
pub mod keys;
mod measure;
mod plan;
mod secs;
pub mod sign;

pub use einit::{Identity, einit};
pub use measure::Measurer;
pub use plan::{Content, Page, Plan, PlanError, Region, Sink};
pub use secs::{CreateError, Secs};
