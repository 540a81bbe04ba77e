// SPDX-License-Identifier: Apache-2.0

//! Each host call, from the Keep's end of the rings to real descriptors and back.

#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use common::{keep, null, streams};
use keep_backend::BackendError;
use keep_host::{Ended, Streams};
use keep_launch::Report;
use sallyport::{ClockId, ENTRIES, ExitKind, FOREVER, HostErrno, MAX_TRANSFER, Stream, Window};

/// Bytes of one write.
const PIECE: usize = 64 << 10;

fn pipe() -> (File, File) {
    let mut fds = [0; 2];
    // SAFETY: two descriptors fit, and they are ours alone.
    unsafe {
        assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(fds[0]).into(), OwnedFd::from_raw_fd(fds[1]).into())
    }
}

fn with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

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
fn streams_reach_the_keep_whole() {
    let data = noise(3 * MAX_TRANSFER + 17);
    let seed = noise(200_000);
    let mut keep = keep(Streams {
        stdio: [Some(with(b"in")), None, None],
        input: with(&data),
        seed: Some(Box::new(std::io::Cursor::new(seed.clone()))),
        ..streams()
    });
    for (stream, expected) in [
        (Stream::Stdin, &b"in"[..]),
        (Stream::Launch, b"launch"),
        (Stream::Input, &data),
        (Stream::Seed, &seed),
    ] {
        let mut got = Vec::new();
        let mut buf = vec![0; 5_000_000];
        loop {
            match keep.port.read(stream, &mut buf).unwrap().unwrap() {
                0 => break,
                n => got.extend_from_slice(&buf[..n]),
            }
        }
        assert!(got == expected, "{} differs", stream.name());
    }
}

#[test]
fn a_stream_that_was_not_handed_out_does_not_exist() {
    let mut keep = keep(streams());
    assert_eq!(keep.port.read(Stream::Seed, &mut [0; 8]), Ok(Err(HostErrno::BadStream)));
    assert_eq!(keep.port.write(Stream::Output, b"x"), Ok(Err(HostErrno::BadStream)));
    // Nor do the wrong directions.
    assert_eq!(keep.port.write(Stream::Stdin, b"x"), Ok(Err(HostErrno::BadStream)));
    assert_eq!(keep.port.read(Stream::Stdout, &mut [0; 8]), Ok(Err(HostErrno::BadStream)));
}

#[test]
fn absent_standard_streams_are_empty_and_swallow() {
    let mut keep = keep(streams());
    assert_eq!(keep.port.read(Stream::Stdin, &mut [0; 8]), Ok(Ok(0)));
    assert_eq!(keep.port.write(Stream::Stdout, b"x"), Ok(Ok(1)));
    let ready = Stream::Stdin.bit() | Stream::Stderr.bit();
    assert_eq!(keep.port.poll(ready, FOREVER), Ok(Ok(ready)));
}

#[test]
fn writes_keep_their_order_whichever_way_they_are_made() {
    let mut out = tempfile::tempfile().unwrap();
    let mut keep =
        keep(Streams { stdio: [None, Some(out.try_clone().unwrap()), None], ..streams() });
    let data = noise(5 << 20);
    let mut rest = &data[..];
    let mut step = 1;
    while !rest.is_empty() {
        let part = &rest[..step.min(rest.len())];
        let n = if step % 3 == 0 {
            keep.port.write(Stream::Stdout, part)
        } else {
            keep.port.write_later(Stream::Stdout, part)
        };
        let n = n.unwrap().unwrap();
        assert!(n > 0);
        rest = &rest[n..];
        step = step * 5 / 3 + 1;
        if step > 3 << 20 {
            step = 1;
        }
    }
    keep.port.flush().unwrap();
    let mut got = Vec::new();
    out.rewind().unwrap();
    out.read_to_end(&mut got).unwrap();
    assert!(got == data);
}

#[test]
fn a_broken_pipe_is_told_once_to_each_later_write() {
    let (reader, writer) = pipe();
    drop(reader);
    let mut keep = keep(Streams { stdio: [None, Some(writer), None], ..streams() });
    assert_eq!(keep.port.write_later(Stream::Stdout, b"lost"), Ok(Ok(4)));
    assert_eq!(keep.port.write_later(Stream::Stderr, b"fine"), Ok(Ok(4)));
    assert_eq!(keep.port.write_later(Stream::Stdout, b"x"), Ok(Err(HostErrno::Pipe)));
    assert_eq!(keep.port.write(Stream::Stdout, b"x"), Ok(Err(HostErrno::Pipe)));
    keep.port.flush().unwrap();
    assert_eq!(keep.port.take_error(Stream::Stdout), None);
}

/// What was submitted behind a write that failed must not be written after a gap.
#[test]
fn a_stream_that_failed_stays_failed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the name ends with null.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let open = || File::options().read(true).write(true).open(&path).unwrap();
    let both = open();
    let writer = File::options().write(true).open(&path).unwrap();
    drop(both);
    let mut keep = keep(Streams { stdio: [None, Some(writer), None], ..streams() });
    assert_eq!(keep.port.write(Stream::Stdout, b"lost"), Ok(Err(HostErrno::Pipe)));
    // There is a reader again.
    let _reader = open();
    assert_eq!(keep.port.write(Stream::Stdout, b"after a gap"), Ok(Err(HostErrno::Pipe)));
}

#[test]
fn a_full_device_fails_with_its_own_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut keep = keep(Streams { output: Some(full), ..streams() });
    assert_eq!(keep.port.write(Stream::Output, b"x"), Ok(Err(HostErrno::NoSpace)));
}

#[test]
fn a_non_blocking_descriptor_blocks_all_the_same() {
    let (reader, mut writer) = pipe();
    // SAFETY: plain calls on a descriptor that is open.
    unsafe {
        use std::os::fd::AsRawFd;
        assert_eq!(libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK), 0);
    }
    let mut keep = keep(Streams { stdio: [Some(reader), None, None], ..streams() });
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        writer.write_all(b"late").unwrap();
    });
    let mut buf = [0; 16];
    assert_eq!(keep.port.read(Stream::Stdin, &mut buf), Ok(Ok(4)));
    assert_eq!(&buf[..4], b"late");
    late.join().unwrap();
}

#[test]
fn a_write_that_is_taken_in_pieces_is_finished() {
    let (mut reader, writer) = pipe();
    // SAFETY: plain calls on a descriptor that is open.
    unsafe {
        use std::os::fd::AsRawFd;
        assert_eq!(libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK), 0);
    }
    let data = noise(700_000);
    let drain = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        got
    });
    let mut keep = keep(Streams { stdio: [None, Some(writer), None], ..streams() });
    assert_eq!(keep.port.write(Stream::Stdout, &data), Ok(Ok(data.len())));
    drop(keep);
    assert!(drain.join().unwrap() == data);
}

#[test]
fn poll_waits_for_time_and_for_streams() {
    let (reader, mut writer) = pipe();
    let mut keep = keep(Streams { stdio: [Some(reader), Some(null()), None], ..streams() });
    let begun = Instant::now();
    assert_eq!(keep.port.poll(Stream::Stdin.bit(), 20_000_000), Ok(Ok(0)));
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!(keep.port.poll(0, 1_000_000), Ok(Ok(0)));
    let both = Stream::Stdin.bit() | Stream::Stdout.bit();
    assert_eq!(keep.port.poll(both, FOREVER), Ok(Ok(Stream::Stdout.bit())));
    writer.write_all(b"x").unwrap();
    assert_eq!(keep.port.poll(both, FOREVER), Ok(Ok(both)));
    let mut buf = [0; 1];
    assert_eq!(keep.port.read(Stream::Stdin, &mut buf), Ok(Ok(1)));
    drop(writer);
    // The end of a stream is something to read.
    assert_eq!(keep.port.poll(Stream::Stdin.bit(), FOREVER), Ok(Ok(Stream::Stdin.bit())));
}

#[test]
fn clocks_tell_the_time() {
    let mut keep = keep(streams());
    let unix = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let before = unix();
    let now = keep.port.clock(ClockId::Realtime).unwrap();
    assert!((before..=unix()).contains(&now));
    let first = keep.port.clock(ClockId::Monotonic).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    let second = keep.port.clock(ClockId::Monotonic).unwrap();
    assert!(second >= first + 2_000_000);
    assert!(second < 60_000_000_000, "the clock does not begin with the Keep");
}

#[test]
fn memory_grows_to_its_limit() {
    let mut keep = keep(streams());
    assert_eq!(keep.port.grow(4 << 20, 2 << 20, 16 << 20), Ok(Ok(6 << 20)));
    assert_eq!(keep.port.grow(6 << 20, 32 << 20, 64 << 20), Ok(Err(HostErrno::NoMemory)));
    assert_eq!(keep.port.grow(6 << 20, 10 << 20, 16 << 20), Ok(Ok(16 << 20)));
}

#[test]
fn a_finished_keep_has_its_report() {
    let mut keep = keep(streams());
    let report = Report::Exited { code: 42 };
    let bytes = report.encode();
    let (a, b) = bytes.split_at(1);
    keep.port.write_later(Stream::Report, a).unwrap().unwrap();
    keep.port.write_later(Stream::Report, b).unwrap().unwrap();
    keep.port.post_exit(ExitKind::Finished, b"");
    assert!(matches!(keep.last.lock().unwrap().take(), Some(Ok(Ended::Finished))));
    assert_eq!(keep.server.report().unwrap(), report);
    assert!(matches!(keep.server.doorbell(0), Err(BackendError::Killed)));
}

#[test]
fn a_report_is_bounded_and_must_be_sound() {
    let mut kept = keep(streams());
    let chunk = vec![1; PIECE];
    let fitting = (0..100).take_while(|_| kept.port.write(Stream::Report, &chunk) == Ok(Ok(PIECE)));
    assert_eq!(fitting.count(), keep_launch::MAX_REPORT / PIECE);
    assert!(matches!(kept.server.report(), Err(BackendError::Keep { .. })));
    let none = keep(streams());
    assert!(matches!(none.server.report(), Err(BackendError::Keep { .. })));
}

#[test]
fn a_panic_carries_its_message_and_ends_all_service() {
    let mut out = tempfile::tempfile().unwrap();
    let mut keep =
        keep(Streams { stdio: [None, Some(out.try_clone().unwrap()), None], ..streams() });
    keep.port.write_later(Stream::Stdout, b"before").unwrap().unwrap();
    keep.port.post_exit(ExitKind::Panic, b"it \x1b[31mbroke");
    let last = keep.last.lock().unwrap().take();
    let Some(Ok(ended)) = last else { panic!("{last:?}") };
    assert_eq!(ended, Ended::Panic("it \u{fffd}[31mbroke".into()));
    assert!(matches!(ended.into_result(), Err(BackendError::Keep { .. })));
    assert!(keep.port.write(Stream::Stdout, b"after").is_err(), "nobody answers any more");
    let mut got = String::new();
    out.rewind().unwrap();
    out.read_to_string(&mut got).unwrap();
    assert_eq!(got, "before");
}

#[test]
fn a_breach_ends_all_service() {
    let mut out = tempfile::tempfile().unwrap();
    let mut keep =
        keep(Streams { stdio: [None, Some(out.try_clone().unwrap()), None], ..streams() });
    keep.window.store(0x1000, ENTRIES + 1);
    let breach = keep.server.doorbell(0);
    assert!(matches!(breach, Err(BackendError::Keep { .. })), "{breach:?}");
    keep.window.store(0x1000, 0);
    assert!(keep.port.write(Stream::Stdout, b"after").is_err());
    assert_eq!(out.seek(std::io::SeekFrom::End(0)).unwrap(), 0);
}

#[test]
fn a_reader_that_stops_holds_up_the_writer() {
    let (mut reader, writer) = pipe();
    let mut keep = keep(Streams { stdio: [None, Some(writer), None], ..streams() });
    let total = 20 * PIECE;
    let drain = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        got.len()
    });
    let begun = Instant::now();
    let bytes = vec![7; total];
    let mut done = 0;
    while done < total {
        done += keep.port.write_later(Stream::Stdout, &bytes[done..]).unwrap().unwrap();
    }
    assert!(begun.elapsed() > Duration::from_millis(40));
    drop(keep);
    assert_eq!(drain.join().unwrap(), total);
}

#[test]
fn a_blocked_call_ends_when_the_keep_is_stopped() {
    // Each blocks for good: a read of an empty pipe, a wait, a write to a pipe nobody reads.
    type Block = fn(&mut common::Keep);
    let blocks: [Block; 3] = [
        |keep| _ = keep.port.read(Stream::Stdin, &mut [0; 8]),
        |keep| _ = keep.port.poll(Stream::Stdin.bit(), FOREVER),
        |keep| _ = keep.port.write(Stream::Stdout, &[0; 500_000]),
    ];
    for block in blocks {
        let (stdin, _keep_open) = pipe();
        let (_not_read, stdout) = pipe();
        let mut keep = keep(Streams { stdio: [Some(stdin), Some(stdout), None], ..streams() });
        let stop = keep.stop.clone();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            let begun = Instant::now();
            stop.request();
            begun.elapsed()
        });
        let entered = keep.stop.enter();
        block(&mut keep);
        drop(entered);
        assert!(matches!(keep.last.lock().unwrap().take(), Some(Err(BackendError::Killed))));
        assert!(killer.join().unwrap() < Duration::from_secs(1));
    }
}
