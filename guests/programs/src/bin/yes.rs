// SPDX-License-Identifier: Apache-2.0

//! Writes lines of `y` until nobody reads them, or as many MiB as the first argument says.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

fn main() {
    let limit = std::env::args().nth(1).and_then(|n| n.parse::<u64>().ok()).map(|n| n << 20);
    // SAFETY: descriptor 1 is open for the whole life of the program and never closed here.
    let mut out = unsafe { ManuallyDrop::new(File::from_raw_fd(1)) };
    let block = b"y\n".repeat(32 << 10);
    let mut written = 0;
    while limit.is_none_or(|limit| written < limit) {
        match out.write(&block) {
            Ok(n) => written += n as u64,
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return,
            Err(e) => {
                eprintln!("yes: {e}");
                std::process::exit(2);
            }
        }
    }
}
