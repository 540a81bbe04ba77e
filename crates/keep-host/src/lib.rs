// SPDX-License-Identifier: Apache-2.0

//! The host's side of a Keep: serves its calls on descriptors handed out by us, under seccomp.
//!
//! The Keep is an attacker here. It reaches the outside only through [`Server`], which knows thirteen
//! calls and twelve streams, looks at each request once, and has no way to name a file, a process or
//! a descriptor that it was not given. Sockets it has within limits, or none. [`Processors`] runs it, one
//! thread for each processor; [`Stop`] ends it from outside, also in the middle of a blocking call.
//! [`seed`] is the archive by which host folders get into a Keep.

pub mod seed;

#[cfg(target_os = "linux")]
mod agent;
#[cfg(target_os = "linux")]
mod connect;
#[cfg(target_os = "linux")]
mod descriptor;
#[cfg(target_os = "linux")]
mod ended;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
mod poller;
#[cfg(target_os = "linux")]
mod processors;
#[cfg(target_os = "linux")]
mod rate;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(target_os = "linux")]
mod stop;
#[cfg(target_os = "linux")]
mod tokens;

#[cfg(all(target_os = "linux", any(test, feature = "testing")))]
#[doc(hidden)]
pub mod testing;

#[cfg(target_os = "linux")]
pub use agent::{Agent, EventFrames, EventRate};
#[cfg(target_os = "linux")]
pub use connect::{Connected, Sizes, connect};
#[cfg(target_os = "linux")]
pub use ended::Ended;
#[cfg(target_os = "linux")]
pub use poller::Poller;
#[cfg(target_os = "linux")]
pub use processors::{Exit, Processor, Processors, Rang};
#[cfg(target_os = "linux")]
pub use seccomp::{Allow, Filter, FilterError, Scope};
#[cfg(target_os = "linux")]
pub use server::{Memory, Server, Streams};
#[cfg(target_os = "linux")]
pub use stop::{Entered, Stop};
#[cfg(target_os = "linux")]
pub use tokens::Tokens;
