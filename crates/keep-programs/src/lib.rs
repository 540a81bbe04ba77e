// SPDX-License-Identifier: Apache-2.0

//! The programs of a Keep, built and embedded.
//!
//! Whoever launches a Keep needs these bytes, and whoever measures one needs the very same. They
//! are part of the host agent's executable, so that the two cannot be of different versions. The
//! build script makes them, or takes them from the folder that `ENARX_KEEP_PROGRAMS` names.

#![forbid(unsafe_code)]

/// The runtime: a static ELF that checks an artifact and runs it.
pub static RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keep-runtime"));

/// The compiler: a static ELF that turns a module into an artifact.
pub static COMPILER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keep-compiler"));

/// The initial image of a Keep that runs the runtime: an encoded `keep_image::Image`.
pub static RUNTIME_IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runtime.image"));

/// The initial image of a Keep that runs the compiler: an encoded `keep_image::Image`.
pub static COMPILER_IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/compiler.image"));

/// The kernel under both: for images of other programs, which tests of the kernel are.
pub static KERNEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keep-kernel"));
