// SPDX-License-Identifier: Apache-2.0

//! Reads its key for sealing, and prints 32 bits of a digest of it, by which keys can be told apart.

use std::fs::{self, File};

fn main() -> std::io::Result<()> {
    let key = fs::read("/sealing/key")?;
    assert_eq!(key.len(), 32);
    // The folder can only be read.
    for path in ["/sealing/key", "/sealing/new"] {
        assert!(File::options().write(true).create(true).open(path).is_err(), "{path}");
    }
    fs::remove_file("/sealing/key").expect_err("the key is to stay");
    // FNV-1a.
    let digest = key.iter().fold(0x811c_9dc5_u32, |digest, byte| {
        (digest ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    println!("{digest:08x}");
    Ok(())
}
