// SPDX-License-Identifier: Apache-2.0

//! The two programs, as they are embedded, run as plain processes.
//!
//! In a Keep the very same bytes run on our own kernel; what these tests fix is how the programs
//! themselves behave, whatever is beneath them.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod artifacts;
mod host;
mod refusals;
mod running;
mod sockets;
mod streams;
