// SPDX-License-Identifier: Apache-2.0

//! The image builder: one code path for a launch and for the offline measurement.
//!
//! An image is what a Keep's memory and processor hold before the first instruction: kernel,
//! program, page tables, descriptor tables, registers. [`Image::build`] makes it from two ELF
//! files and from nothing else, so the same files give the same bytes on any machine and for any
//! amount of memory. That happens when Enarx is built; [`Image::encode`] and [`Image::decode`]
//! carry the result into the `enarx` binary, and a launch only copies pages.
//!
//! Loading and measuring are both a [`Sink`] of the same [`Image::load`], so they cannot drift.

#![forbid(unsafe_code)]

mod blob;
mod cpu;
mod elf;
mod error;
mod functions;
mod image;
mod measure;
mod place;
mod rewrite;
mod settle;
mod tables;

pub use cpu::Start;
pub use error::{BuildError, DecodeError, Part};
pub use image::{Image, PageKind, Run, Sink};
pub use measure::{ALGORITHM, Measurer};
pub use rewrite::Syscalls;
