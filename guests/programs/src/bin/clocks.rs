// SPDX-License-Identifier: Apache-2.0

//! Clocks, random numbers and `poll_oneoff`, with checks.
//!
//! `clocks` checks what holds anywhere; `clocks poll MS` waits for standard input or the time,
//! whichever is first, and says which it was.

use std::time::{Duration, Instant, SystemTime};

#[path = "../cabi.rs"]
mod cabi;

#[repr(C)]
#[derive(Clone, Copy)]
struct Subscription {
    userdata: u64,
    tag: u8,
    body: Body,
}

#[repr(C)]
#[derive(Clone, Copy)]
union Body {
    clock: Clock,
    descriptor: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Clock {
    id: u32,
    timeout: u64,
    precision: u64,
    flags: u16,
}

#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
struct Event {
    userdata: u64,
    error: u16,
    kind: u8,
    bytes: u64,
    flags: u16,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn poll_oneoff(subs: *const Subscription, events: *mut Event, n: usize, got: *mut usize)
    -> u16;
    fn random_get(buffer: *mut u8, len: usize) -> u16;
    fn clock_res_get(id: u32, resolution: *mut u64) -> u16;
    fn sched_yield() -> u16;
}

const CLOCK_MONOTONIC: u32 = 1;
const EVENT_CLOCK: u8 = 0;
const EVENT_READ: u8 = 1;

fn timer(userdata: u64, after: Duration) -> Subscription {
    let clock =
        Clock { id: CLOCK_MONOTONIC, timeout: after.as_nanos() as u64, precision: 0, flags: 0 };
    Subscription { userdata, tag: EVENT_CLOCK, body: Body { clock } }
}

fn poll(subs: &[Subscription]) -> Vec<Event> {
    let mut events = vec![Event::default(); subs.len()];
    let mut got = 0;
    // SAFETY: both arrays have `subs.len()` elements of the layout that preview1 fixes.
    let errno = unsafe { poll_oneoff(subs.as_ptr(), events.as_mut_ptr(), subs.len(), &mut got) };
    assert_eq!(errno, 0, "poll_oneoff");
    events.truncate(got);
    events
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // SAFETY: the buffer has that length.
    assert_eq!(unsafe { random_get(bytes.as_mut_ptr(), len) }, 0, "random_get");
    bytes
}

fn main() {
    let args: Vec<_> = std::env::args().collect();
    if args.get(1).is_some_and(|a| a == "poll") {
        let wait = Duration::from_millis(args.get(2).and_then(|n| n.parse().ok()).unwrap_or(100));
        let stdin = Subscription { userdata: 2, tag: EVENT_READ, body: Body { descriptor: 0 } };
        let events = poll(&[timer(1, wait), stdin]);
        let first = events.iter().map(|e| e.userdata).max();
        println!("{}", if first == Some(2) { "input" } else { "timeout" });
        return;
    }

    let mut last = Instant::now();
    for _ in 0..10_000 {
        let now = Instant::now();
        assert!(now >= last, "time ran backwards");
        last = now;
    }
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("before 1970");
    assert!(wall > Duration::from_secs(1_700_000_000), "the wall clock says {wall:?}");
    for id in [0, CLOCK_MONOTONIC] {
        let mut resolution = 0;
        // SAFETY: the pointer is to a `u64`.
        assert_eq!(unsafe { clock_res_get(id, &mut resolution) }, 0);
        assert!((1..=1_000_000_000).contains(&resolution), "resolution {resolution}");
    }

    for millis in [0, 1, 20] {
        let start = Instant::now();
        std::thread::sleep(Duration::from_millis(millis));
        assert!(start.elapsed() >= Duration::from_millis(millis), "woke too early");
    }
    let start = Instant::now();
    let events = poll(&[timer(1, Duration::from_secs(60)), timer(2, Duration::from_millis(5))]);
    assert!(events.iter().any(|e| e.userdata == 2 && e.kind == EVENT_CLOCK && e.error == 0));
    assert!(start.elapsed() < Duration::from_secs(30), "waited for the later of two times");

    let (a, b) = (random(64), random(64));
    assert_ne!(a, b, "random numbers repeat");
    let ones: u32 = random(100_000).iter().map(|b| b.count_ones()).sum();
    assert!((396_000..404_000).contains(&ones), "{ones} of 800000 random bits are set");
    assert!(random(0).is_empty());
    // SAFETY: takes nothing and returns an error number.
    assert_eq!(unsafe { sched_yield() }, 0);
    println!("clocks: all good");
}
