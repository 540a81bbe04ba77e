// SPDX-License-Identifier: Apache-2.0

//! The lying host for a bounded time, and one that writes over everything while the Keep runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{ClockId, Doorbell, ExitKind, FOREVER, HostEnd, Lie, Port, Request, Stream};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_lie_is_believed(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        lying_host(&input);
    }
}

/// Reading goes by whole words; what is given is the bytes that were asked for, at each alignment and at
/// both ends of the block.
#[test]
fn what_was_written_is_read() {
    let block = Block::new();
    // SAFETY: the block outlives the window, and nothing else uses it.
    let window = unsafe { block.window() };
    let pattern: Vec<u8> = (0..80).map(|n: u8| n.wrapping_mul(37) | 1).collect();
    for start in [0, SHARED_SIZE - pattern.len()] {
        window.write(start, &pattern);
        for (from, len) in (0..17).flat_map(|from| (0..=64).map(move |len| (from, len))) {
            for from in [from, pattern.len() - len - from.min(pattern.len() - len)] {
                let mut into = vec![0; len + 2];
                window.read(start + from, &mut into[1..=len]);
                assert_eq!(into[1..=len], pattern[from..from + len]);
                assert_eq!((into[0], into[len + 1]), (0, 0));
            }
        }
    }
}

/// Answers each request by its length, which an honest host could have done.
struct Honest(HostEnd<RawWindow>);

impl Doorbell for Honest {
    fn ring(&mut self) {
        for _ in 0..self.0.pending().unwrap_or(0) {
            let value = match self.0.request() {
                Ok(Request::Read { len, .. } | Request::Write { len, .. }) => len as u64,
                Ok(Request::Poll { mask, .. }) => mask,
                Ok(Request::Grow { .. }) => 16 << 20,
                _ => 0,
            };
            self.0.answer(Ok(value));
        }
    }
}

/// One thread scribbles over the rings and the data while a Keep makes calls: each ends with a
/// result within its bounds or with a lie, and what was read once does not change.
#[test]
fn changes_under_our_feet_do_no_harm() {
    let block = Block::new();
    // SAFETY: the block outlives the threads of the scope below, and nothing else uses it.
    let window = unsafe { block.window() };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut x = 0x2545_f491_4f6c_dd1d_u64;
            while !done.load(Ordering::Relaxed) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let at = match x % 4 {
                    0 => 0x1040,
                    1 => 0x2000,
                    2 => 0x2400 + (x >> 8) as usize % 128 * 8,
                    _ => 0x20000 + (x >> 8) as usize % 64 * 8,
                };
                window.store(at, if x & 0x30 == 0 { x } else { x >> 32 & 3 });
                std::thread::sleep(Duration::from_micros(x >> 40 & 7));
            }
        });
        let end = Instant::now() + Duration::from_millis(1_500);
        let (mut lies, mut calls) = (0, 0);
        while Instant::now() < end {
            for at in [0x1000, 0x1040, 0x2000] {
                window.store(at, 0);
            }
            let mut port = Port::new(window, Honest(HostEnd::new(window)));
            let result = (|| -> Result<(), Lie> {
                for _ in 0..50 {
                    let mut buf = vec![0; 300];
                    if let Ok(n) = port.read(Stream::Input, &mut buf)? {
                        assert!(n <= 300);
                    }
                    let _ = port.write_later(Stream::Stdout, &[1; 100])?;
                    if let Ok(ready) = port.poll(Stream::POLLABLE, FOREVER)? {
                        assert_eq!(ready & !Stream::POLLABLE, 0);
                    }
                    assert!(port.clock(ClockId::Realtime)? <= i64::MAX as u64);
                    if let Ok(total) = port.grow(4 << 20, 2 << 20, 32 << 20)? {
                        assert!((6 << 20..=32 << 20).contains(&total));
                    }
                    calls += 5;
                }
                Ok(())
            })();
            lies += u32::from(result.is_err());
            port.post_exit(ExitKind::Finished, b"");
        }
        done.store(true, Ordering::Relaxed);
        assert!(lies > 0 && calls > 0, "{lies} lies, {calls} calls: nothing was tested");
    });
}

/// The block is copied as it is, to the byte, by both kinds of window.
#[test]
fn copies_are_exact_and_stay_inside() {
    let block = Block::new();
    // SAFETY: the block outlives the window.
    let raw = unsafe { block.window() };
    let memory = MemoryWindow::default();
    let windows: [&dyn Window; 2] = [&raw, &memory];
    for window in windows {
        for (at, len) in [(0, 1), (0x10001, 7), (0x10003, 4099), (crate::SHARED_SIZE - 9, 9)] {
            let data: Vec<u8> = (0..len).map(|n| (n * 31 + 1) as u8).collect();
            window.write(at, &data);
            let mut got = vec![0; len];
            window.read(at, &mut got);
            assert!(got == data);
        }
        window.store(0x18, 0x0102_0304_0506_0708);
        let mut got = [0; 8];
        window.read(0x18, &mut got);
        assert_eq!(got, [8, 7, 6, 5, 4, 3, 2, 1], "words are little endian");
        assert_eq!(window.load(0x18), 0x0102_0304_0506_0708);
    }
    assert!(raw.pointer(crate::SHARED_SIZE, 0).is_some());
    assert!(raw.pointer(crate::SHARED_SIZE, 1).is_none());
    assert!(raw.pointer(usize::MAX, 2).is_none());
    assert!(raw.pointer(1, usize::MAX).is_none());
}
