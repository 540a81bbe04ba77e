// SPDX-License-Identifier: Apache-2.0

//! What a Keep says to firmware and hypervisor under SEV-SNP, as plain data and state machines.

#![no_std]
#![forbid(unsafe_code)]
