// SPDX-License-Identifier: Apache-2.0

//! Prints its arguments, one a line, then its environment, sorted.

#[path = "../cabi.rs"]
mod cabi;

fn main() {
    for (i, arg) in std::env::args().enumerate() {
        println!("arg {i} {arg:?}");
    }
    let mut vars: Vec<_> = std::env::vars().collect();
    vars.sort();
    for (name, value) in vars {
        println!("env {name} {value:?}");
    }
}
