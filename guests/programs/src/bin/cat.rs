// SPDX-License-Identifier: Apache-2.0

//! Copies standard input to standard output in pieces of 64 KiB, below the buffers of `std`.

use std::fs::File;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

#[path = "../cabi.rs"]
mod cabi;

fn main() -> std::io::Result<()> {
    // SAFETY: both descriptors are open for the whole life of the program and never closed here.
    let (mut from, mut to) = unsafe {
        (ManuallyDrop::new(File::from_raw_fd(0)), ManuallyDrop::new(File::from_raw_fd(1)))
    };
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}
