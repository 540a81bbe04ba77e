// SPDX-License-Identifier: Apache-2.0

//! The service of a Drawbridge: routes, users, release of workloads to Keeps.

#![forbid(unsafe_code)]
