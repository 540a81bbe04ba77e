// SPDX-License-Identifier: Apache-2.0

//! Says that it runs, then never stops and never calls the host again.

use std::io::Write;

fn main() {
    println!("busy");
    let _ = std::io::stdout().flush();
    let mut n = 0u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}
