// SPDX-License-Identifier: Apache-2.0

//! The Steward as a service: HTTP, TLS, limits, log, metrics.

#![forbid(unsafe_code)]
