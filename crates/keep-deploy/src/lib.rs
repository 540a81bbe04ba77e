// SPDX-License-Identifier: Apache-2.0

//! The way of a workload into an empty Keep: evidence, certificate, release, digests, compiler.

#![forbid(unsafe_code)]
