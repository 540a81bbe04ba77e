// SPDX-License-Identifier: Apache-2.0

//! Chores.

fn main() {}
