// SPDX-License-Identifier: Apache-2.0

//! Sockets, events and evidence, by a real program in a real Keep, and as a process beside it.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use common::{Running, on_both};
use keep_backend::NetworkLimits;

fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_u32;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..len).map(next).collect()
}

#[test]
fn one_connection_after_the_other_is_echoed() {
    on_both(|backend| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut keep = Running::start(backend, &format!("echo {address} 3"));
            let at = keep.line();
            for len in [1, 5_000, 3_000_000] {
                let data = noise(len);
                let mut stream = TcpStream::connect(&at).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let sent = data.clone();
                let thread = std::thread::spawn(move || {
                    writer.write_all(&sent).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                thread.join().unwrap();
                assert!(back == data, "{len} bytes came back as {}", back.len());
            }
            keep.finish();
        }
    });
}
