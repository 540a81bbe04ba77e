// SPDX-License-Identifier: Apache-2.0

//! Serving by a thread that watches the ring, beside one that answers doorbells.

#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use common::{keep, streams};
use keep_backend::BackendError;
use keep_host::{Poller, Streams};
use sallyport::{ClockId, Stream, Window};

/// Far more than it takes, for machines that are busy; far less than forever.
const PROMPT: Duration = Duration::from_secs(1);

/// Where the block says whether a thread of the host watches the ring.
const HOST_AWAKE: usize = 0x1040;

#[test]
fn each_request_is_executed_once_and_in_order() {
    let mut out = tempfile::tempfile().unwrap();
    let mut keep =
        keep(Streams { stdio: [None, Some(out.try_clone().unwrap()), None], ..streams() });
    let poller = Poller::new(&keep.server);
    let mut expected = Vec::new();
    let mut calls = 0;
    let rings = || *keep.rings.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    let mut awake = false;
    // On a busy machine the thread may take a while to get a processor.
    for n in 0_u32.. {
        let served = calls - rings();
        awake |= keep.window.load(HOST_AWAKE) == 1;
        if (n > 20_000 && served > 20 && awake) || begun.elapsed() > Duration::from_secs(20) {
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
    let quiet = Instant::now();
    while keep.window.load(HOST_AWAKE) == 1 {
        assert!(quiet.elapsed() < PROMPT, "the thread watches though nobody asks");
        std::thread::yield_now();
    }
    let rings = rings();
    let mut got = Vec::new();
    out.rewind().unwrap();
    out.read_to_end(&mut got).unwrap();
    assert!(got == expected);
    println!("{rings} doorbells for {calls} calls");
    drop(poller);
    if std::thread::available_parallelism().unwrap().get() > 1 {
        assert!(rings < calls, "no call was served without a doorbell");
        assert!(awake, "the Keep was never told that it need not ring");
    }
}

/// Whichever thread has the lock and blocks, and whichever waits for it: both leave.
#[test]
fn both_threads_leave_a_blocking_call() {
    let (stdin, _keep_open) = std::io::pipe().unwrap();
    let stdin = File::from(OwnedFd::from(stdin));
    let mut keep = keep(Streams { stdio: [Some(stdin), None, None], ..streams() });
    let poller = Poller::new(&keep.server);
    let stop = keep.stop.clone();
    let (about_to_block, signal) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        signal.recv().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let begun = Instant::now();
        stop.request();
        begun.elapsed()
    });
    let entered = keep.stop.enter();
    for _ in 0..500 {
        keep.port.clock(ClockId::Monotonic).unwrap();
    }
    about_to_block.send(()).unwrap();
    assert!(keep.port.read(Stream::Stdin, &mut [0; 8]).is_err());
    drop(entered);
    assert!(killer.join().unwrap() < PROMPT);
    let begun = Instant::now();
    drop(poller);
    assert!(begun.elapsed() < PROMPT);
    assert!(matches!(keep.last.lock().unwrap().take(), Some(Err(BackendError::Killed))));
}

/// Figures for the documentation, not bars. An exit is taken to cost what it was measured to cost
/// under a hypervisor without help from the processor.
#[test]
#[ignore = "a measurement"]
fn latency_of_small_calls() {
    for exitless in [false, true] {
        let mut keep = common::keep_with_exit(streams(), Duration::from_micros(26));
        let poller = exitless.then(|| Poller::new(&keep.server));
        for (name, pause) in [("one after another", 0), ("every 50 us", 50), ("every 1 ms", 1_000)]
        {
            let before = *keep.rings.lock().unwrap();
            let calls = if pause < 1_000 { 10_000 } else { 500 };
            let mut times: Vec<_> = (0..calls)
                .map(|_| {
                    let begun = Instant::now();
                    keep.port.clock(ClockId::Monotonic).unwrap();
                    let took = begun.elapsed();
                    while begun.elapsed() < Duration::from_micros(pause) {}
                    took
                })
                .collect();
            times.sort();
            let rings = *keep.rings.lock().unwrap() - before;
            println!(
                "exitless {exitless}, {name}: median {:?}, p99 {:?}, {rings} rings in {calls} calls",
                times[calls / 2],
                times[calls * 99 / 100],
            );
        }
        drop(poller);
    }
    let filter = keep_host::Filter::new(&keep_host::Allow::default()).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            filter.install(keep_host::Scope::Thread).unwrap();
            println!("installing the filter: {:?}", begun.elapsed());
        });
    });
    println!("a thread with a filter: {:?}", begun.elapsed());
}
