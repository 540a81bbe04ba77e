// SPDX-License-Identifier: Apache-2.0

//! A workload repository that releases workloads to attested Keeps.

fn main() {}
