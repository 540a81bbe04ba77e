// SPDX-License-Identifier: Apache-2.0

//! The enarx command line.

fn main() {}
