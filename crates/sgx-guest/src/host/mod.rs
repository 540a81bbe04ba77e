// SPDX-License-Identifier: Apache-2.0

//! What a Keep itself never does with the structures: what the processor reads and writes of them, the host
//! prepares, and whoever checks a Keep has to know. It is not part of a Keep's program.

pub(crate) mod attributes;
pub(crate) mod enclu;
pub mod key;
pub(crate) mod numbers;
pub(crate) mod page;
pub mod range;
pub(crate) mod report;
pub(crate) mod ssa;
