// SPDX-License-Identifier: Apache-2.0

//! The smallest program with all of Rust's standard library behind it.

fn main() {
    println!("Hello from Rust!");
}
