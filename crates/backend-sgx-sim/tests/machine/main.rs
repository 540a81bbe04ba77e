// SPDX-License-Identifier: Apache-2.0

//! The machine, with enclaves made for it: each leaf function, each exception, each lie of a host.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod enclave;
mod exceptions;
mod hostile;
mod launch;
mod leaves;
mod pages;
mod threads;
