// SPDX-License-Identifier: Apache-2.0

//! Asks the services of processor vendors within bounds, and keeps what they say in files that are whole or absent.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
