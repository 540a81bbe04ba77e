// SPDX-License-Identifier: Apache-2.0

//! The runtime Keep program: checks an artifact, maps it and runs it under WASI.
//!
//! The program is the binary of this crate, behind the feature `program`; `keep-programs` builds it
//! as a static ELF and embeds it. Here lies the part of it that needs no Wasmtime: the accounting
//! of memory, what Enarx.toml allows a component on the network, and how a module lays out what it
//! says about sockets.

#![forbid(unsafe_code)]

pub mod budget;
#[cfg(feature = "program")]
pub mod policy;
pub mod wire;
