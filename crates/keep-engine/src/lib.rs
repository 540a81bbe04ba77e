// SPDX-License-Identifier: Apache-2.0

//! The one Wasmtime configuration that compiler and runtime share.
//!
//! Native code runs only in an engine that is set up exactly like the one it was compiled for: how
//! large a linear memory's reservation is decides which bounds checks the compiler left out. So the
//! two Keep programs have no configuration of their own; both take this one, and each artifact is
//! signed together with its identity. Wasmtime compares the settings once more by
//! itself when it loads an artifact.
//!
//! What a guest may use is what Wasmtime 48 offers by default: everything of WebAssembly 3.0 (SIMD,
//! tail calls, garbage collection, exceptions, 64-bit and multiple memories), atomics, and
//! components.

#![deny(unsafe_code)]

pub mod cpu;
pub mod world;

#[cfg(feature = "program")]
mod config;
#[cfg(feature = "program")]
pub mod program;

#[cfg(feature = "program")]
pub use config::{config, identity};

/// Written into each artifact and compared when it is loaded. Wasmtime by itself would compare its
/// major version only, but nothing promises that code made by one patch release runs in another.
pub const VERSION: &str = "enarx 1, wasmtime 48.0.8";

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_that_is_built() {
        let lock = include_str!("../../../Cargo.lock");
        let (_, wasmtime) =
            lock.split_once("name = \"wasmtime\"\nversion = \"").expect("in the lock");
        let (version, _) = wasmtime.split_once('"').expect("a quoted version");
        assert!(super::VERSION.ends_with(&format!("wasmtime {version}")), "built: {version}");
    }
}
