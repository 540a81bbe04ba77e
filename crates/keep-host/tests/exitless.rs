// SPDX-License-Identifier: Apache-2.0

//! Serving by a thread that watches the ring, beside one that answers doorbells.

#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Seek};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use common::{keep, streams};
use keep_host::{Poller, Streams};
use sallyport::{ClockId, Stream};

#[test]
fn each_request_is_executed_once_and_in_order() {
    let mut out = tempfile::tempfile().unwrap();
    let mut keep =
        keep(Streams { stdio: [None, Some(out.try_clone().unwrap()), None], ..streams() });
    let poller = Poller::start(&keep.server, None).unwrap();
    let mut expected = Vec::new();
    let mut calls = 0;
    let rings = || *keep.rings.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    // On a busy machine the thread may take a while to get a processor.
    for n in 0_u32.. {
        let served = calls - rings();
        if (n > 20_000 && served > 1_000) || begun.elapsed() > Duration::from_secs(20) {
            break;
        }
        expected.extend_from_slice(&n.to_le_bytes());
        assert_eq!(keep.port.write_later(Stream::Stdout, &n.to_le_bytes()), Ok(Ok(4)));
        calls += 1;
        if n % 7 == 0 {
            keep.port.clock(ClockId::Monotonic).unwrap();
            calls += 1;
        }
        if n % 5_000 == 0 {
            // Long enough for the thread to go to sleep.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    keep.port.flush().unwrap();
    let rings = rings();
    let mut got = Vec::new();
    out.rewind().unwrap();
    out.read_to_end(&mut got).unwrap();
    assert!(got == expected);
    println!("{rings} doorbells for {calls} calls");
    if poller.is_some() {
        assert!(rings < calls, "no call was served without a doorbell");
    }
}

#[test]
fn it_ends_at_once_even_inside_a_blocking_call() {
    let mut keep = keep(streams());
    let poller = Poller::start(&keep.server, None).unwrap();
    for _ in 0..50 {
        keep.port.clock(ClockId::Monotonic).unwrap();
    }
    let begun = Instant::now();
    drop(poller);
    assert!(begun.elapsed() < Duration::from_millis(100));
}

/// A figure for the documentation, not a bar: see `docs/performance.md`.
#[test]
#[ignore = "a measurement"]
fn latency_of_small_calls() {
    let mut keep = keep(streams());
    let _poller = Poller::start(&keep.server, None).unwrap();
    let mut times: Vec<_> = (0..100_000)
        .map(|_| {
            let begun = Instant::now();
            keep.port.clock(ClockId::Monotonic).unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort();
    let rings = *keep.rings.lock().unwrap();
    println!("median {:?}, p99 {:?}, {rings} rings", times[50_000], times[99_000]);
}
