// SPDX-License-Identifier: Apache-2.0

//! Reads standard input to its end, reports what it got, and uses both outputs.

use std::io::Read;

#[path = "../cabi.rs"]
mod cabi;

fn main() {
    let mut input = Vec::new();
    let result = std::io::stdin().read_to_end(&mut input);
    println!("out: {} bytes, {}", input.len(), if result.is_ok() { "ok" } else { "error" });
    eprintln!("err: sum {}", input.iter().map(|b| u64::from(*b)).sum::<u64>());
}
