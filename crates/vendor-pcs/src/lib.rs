// SPDX-License-Identifier: Apache-2.0

//! Certificates, revocation lists and TCB information of Intel: from a PCS or PCCS, checked and cached.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
