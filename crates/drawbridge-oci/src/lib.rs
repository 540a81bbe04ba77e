// SPDX-License-Identifier: Apache-2.0

//! A workload as an OCI artifact, to and from any registry.

#![forbid(unsafe_code)]
