// SPDX-License-Identifier: Apache-2.0

//! Launches SGX enclaves, on paper: pages in their order, measurement, signature, the driver's
//! interface.

#![forbid(unsafe_code)]
