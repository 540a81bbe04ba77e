// SPDX-License-Identifier: Apache-2.0

//! `fetch URL…`: writes status and body, or the code of the error, for each.

use std::io::Write as _;

fn main() {
    for url in std::env::args().skip(1) {
        match components::fetch(&url) {
            Ok((status, body)) => {
                println!("{status} {url}");
                std::io::stdout().write_all(&body).expect("stdout");
            }
            Err(code) => println!("{code:?} {url}"),
        }
    }
}
