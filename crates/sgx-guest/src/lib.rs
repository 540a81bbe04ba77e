// SPDX-License-Identifier: Apache-2.0

//! What a Keep in an SGX enclave knows of the hardware, as data and logic.
//!
//! An enclave talks to its processor through structures in memory and learns what happened to it from others:
//! reports, key requests, state save areas. This crate has all of these as plain values that are written to
//! bytes and read from bytes, and the decisions that follow from them. It runs no instruction that only an
//! enclave has. So the Keep's platform layer is left with moving bytes, the host's side and a stand-in share
//! one definition of each structure, and everything here is tested on any machine.
//!
//! Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3D ("SDM"), chapters "Enclave
//! Access Control and Data Structures", "Enclave Operation", "Enclave Exiting Events" and "SGX Instruction
//! References". Numbers are little-endian; lengths are in bytes.
//!
//! | module | what |
//! |---|---|
//! | [`attributes`] | what an enclave is allowed, and **what a Keep must never be** |
//! | [`page`] | types and rights of pages, `SECINFO`, `TCS` |
//! | [`report`] | `TARGETINFO`, `REPORTDATA`, `REPORT` |
//! | [`seal`] | the key that a Keep seals with |
//! | `key` | `KEYREQUEST`, all keys |
//! | [`ssa`] | state save areas: `GPRSGX`, `EXITINFO`, `EXINFO` |
//! | [`exception`] | what an exception means |
//! | `range` | pointers: wholly inside or wholly outside |
//! | [`enclu`] | numbers of leaf functions, error codes |
//!
//! What only processor and host do with these, or whoever checks a Keep, is in the folder `host`. The feature of
//! that name adds it, under the same paths; a Keep is built without, and has nothing of it to be trusted.
//!
//! None of it has run on hardware yet.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod attributes;
mod bytes;
pub mod enclu;
pub mod exception;
#[cfg(feature = "host")]
mod host;
pub mod page;
pub mod report;
pub mod seal;
pub mod ssa;

pub use bytes::{Align64, Align128, Align512, LayoutError};
#[cfg(feature = "host")]
pub use host::{key, range};
