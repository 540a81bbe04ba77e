// SPDX-License-Identifier: Apache-2.0

//! How fast sockets of a Keep are beside those of a process: measurements, to be asked for.
//!
//! `cargo test --release -p backend-kvm --test speed -- --ignored --nocapture`

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use common::{Running, on_all};

/// Small questions and answers on connections that stay, as many as `width` at a time.
fn turns(width: usize, count: usize) {
    on_all(|place| {
        let mut keep = Running::start(place, &format!("reactor 127.0.0.1:0 {width}"));
        let at = keep.line();
        let mut open: Vec<_> = (0..width).map(|_| TcpStream::connect(&at).unwrap()).collect();
        open.iter().for_each(|stream| stream.set_nodelay(true).unwrap());
        let mut buf = [7; 128];
        let begun = Instant::now();
        for _ in 0..count / width {
            for stream in &mut open {
                stream.write_all(&buf).unwrap();
            }
            for stream in &mut open {
                stream.read_exact(&mut buf).unwrap();
            }
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        println!("{place:?}: {rate:.0} turns/s, {width} at a time");
        drop(open);
        keep.line();
        keep.finish();
    });
}

#[test]
#[ignore = "a measurement"]
fn turn_by_turn() {
    turns(1, 20_000);
    turns(16, 50_000);
    turns(64, 50_000);
}

#[test]
#[ignore = "a measurement"]
fn new_connections() {
    on_all(|place| {
        const COUNT: usize = 3_000;
        let mut keep = Running::start(place, &format!("reactor 127.0.0.1:0 {COUNT}"));
        let at = keep.line();
        let mut buf = [7; 128];
        let begun = Instant::now();
        for _ in 0..COUNT {
            let mut stream = TcpStream::connect(&at).unwrap();
            stream.write_all(&buf).unwrap();
            stream.read_exact(&mut buf).unwrap();
        }
        println!("{place:?}: {:.0} connections/s", COUNT as f64 / begun.elapsed().as_secs_f64());
        keep.line();
        keep.finish();
    });
}

#[test]
#[ignore = "a measurement"]
fn bulk() {
    const LEN: usize = 1 << 30;
    on_all(|place| {
        let mut keep = Running::start(place, &format!("source 127.0.0.1:0 {LEN}"));
        let mut stream = TcpStream::connect(keep.line()).unwrap();
        let mut buf = vec![0; 1 << 18];
        let begun = Instant::now();
        let mut total = 0;
        loop {
            match stream.read(&mut buf).unwrap() {
                0 => break,
                n => total += n,
            }
        }
        assert_eq!(total, LEN);
        let rate = LEN as f64 / begun.elapsed().as_secs_f64() / 1e9;
        println!("{place:?}: {rate:.2} GB/s out");
        keep.finish();

        let mut keep = Running::start(place, "sink 127.0.0.1:0");
        let mut stream = TcpStream::connect(keep.line()).unwrap();
        let begun = Instant::now();
        for _ in 0..LEN / buf.len() {
            stream.write_all(&buf).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let rate = LEN as f64 / begun.elapsed().as_secs_f64() / 1e9;
        println!("{place:?}: {rate:.2} GB/s in");
        keep.finish();
    });
}
