// SPDX-License-Identifier: Apache-2.0

//! Ends with the code given as first argument; without one, by returning an error from `main`.

#[path = "../cabi.rs"]
mod cabi;

fn main() -> Result<(), String> {
    match std::env::args().nth(1) {
        Some(code) => std::process::exit(code.parse().map_err(|e| format!("{code}: {e}"))?),
        None => Err("no code was given".into()),
    }
}
