// SPDX-License-Identifier: Apache-2.0

//! The workload's standard streams: byte for byte, in time, in one piece, with back-pressure.

use std::io::{Read as _, Write as _};
use std::process::Stdio as Pipe;
use std::thread;
use std::time::{Duration, Instant};

use keep_launch::Stdio;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

use crate::host::Workload;

/// Copies stdin to stdout, 64 KiB at a time; exits with the error of a write that fails.
const CAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 3)
    (func (export "_start") (local $error i32)
        (loop $again
            (i32.store (i32.const 0) (i32.const 65536))
            (i32.store (i32.const 4) (i32.const 65536))
            (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $exit (i32.const 100))))
            (if (i32.load (i32.const 8)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (local.set $error
                    (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
                (if (local.get $error) (then (call $exit (local.get $error))))
                (br $again))))))"#;

/// Polls stdin together with a clock and exits with the kind of the first event: 0 clock, 1 stdin.
fn poll(milliseconds: u64) -> String {
    let nanoseconds = milliseconds * 1_000_000;
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start")
                (i32.store8 (i32.const 8) (i32.const 1))
                (i32.store (i32.const 64) (i32.const 1))
                (i64.store (i32.const 72) (i64.const {nanoseconds}))
                (if (call $poll (i32.const 0) (i32.const 200) (i32.const 2) (i32.const 400))
                    (then (call $exit (i32.const 100))))
                (call $exit (i32.load8_u (i32.const 210)))))"#
    )
}

#[test]
fn what_goes_in_comes_out() {
    let mut started = Workload::new(CAT).start(Workload::command());
    let mut stdin = started.child.stdin.take().expect("a pipe");
    let bytes: Vec<u8> =
        (0..5_000_011_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = bytes.clone();
    let sender = thread::spawn(move || stdin.write_all(&sent));
    let ended = started.finish();
    sender.join().expect("joined").expect("sent");
    assert_eq!(ended.code(), 0);
    assert!(ended.stdout == bytes, "{} bytes came out", ended.stdout.len());
}

#[test]
fn a_file_can_be_stdin() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), b"from a file").expect("written");
    let mut command = Workload::command();
    command.stdin(file.reopen().expect("opened"));
    assert_eq!(Workload::new(CAT).start(command).finish().stdout, b"from a file");
    let mut command = Workload::command();
    command.stdin(file.reopen().expect("opened"));
    assert_eq!(Workload::new(poll(10_000)).start(command).finish().code(), 1);
}

#[test]
fn no_byte_waits_for_the_next() {
    let mut started = Workload::new(CAT).start(Workload::command());
    let mut stdout = started.child.stdout.take().expect("a pipe");
    for byte in *b"abc" {
        let mut got = [0];
        started.child.stdin.as_mut().expect("a pipe").write_all(&[byte]).expect("sent");
        stdout.read_exact(&mut got).expect("received");
        assert_eq!(got, [byte]);
    }
    assert_eq!(started.finish().code(), 0);
}

#[test]
fn one_write_leaves_in_one_piece() {
    // A socket of this kind keeps the bounds of each write.
    let (here, there) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a socket pair");
    let mut command = Workload::command();
    command.stdout(Pipe::from(there));
    let mut started = Workload::new(CAT).start(command);
    let bytes = vec![7; 65536];
    started.child.stdin.as_mut().expect("a pipe").write_all(&bytes).expect("sent");
    let mut got = vec![0; 1 << 20];
    let (received, _) = recv(&here, &mut got[..], RecvFlags::empty()).expect("received");
    assert!(received > 4096, "a write of up to 65536 bytes came as {received}");
    drop(here);
    started.finish();
}

#[test]
fn a_reader_that_goes_away_is_an_error_not_the_end() {
    let mut started = Workload::new(CAT).start(Workload::command());
    drop(started.child.stdout.take());
    started.child.stdin.as_mut().expect("a pipe").write_all(b"x").expect("sent");
    assert_eq!(started.finish().code(), 29, "the error is `io`, as Wasmtime has it");
}

#[test]
fn a_slow_reader_holds_the_workload_up() {
    let mut started = Workload::new(CAT).start(Workload::command());
    let mut stdin = started.child.stdin.take().expect("a pipe");
    let sender = thread::spawn(move || {
        let start = Instant::now();
        stdin.write_all(&vec![1; 1 << 20]).map(|()| start.elapsed())
    });
    thread::sleep(Duration::from_millis(300));
    let ended = started.finish();
    let taken = sender.join().expect("joined").expect("sent");
    assert!(taken >= Duration::from_millis(250), "1 MiB was taken in {taken:?} with no reader");
    assert_eq!(ended.stdout.len(), 1 << 20);
}

#[test]
fn poll_sees_the_clock_when_stdin_is_silent() {
    let mut started = Workload::new(poll(30)).start(Workload::command());
    // Stdin stays open: it is only silent.
    let stdin = started.child.stdin.take();
    let ended = started.finish();
    drop(stdin);
    assert_eq!(ended.code(), 0);
}

#[test]
fn poll_sees_stdin_before_the_clock() {
    let mut started = Workload::new(poll(60_000)).start(Workload::command());
    thread::sleep(Duration::from_millis(100));
    let mut stdin = started.child.stdin.take().expect("a pipe");
    stdin.write_all(b"x").expect("sent");
    let start = Instant::now();
    let ended = started.finish();
    drop(stdin);
    assert_eq!(ended.code(), 1);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn poll_sees_the_end_of_stdin() {
    let started = Workload::new(poll(60_000)).start(Workload::command());
    assert_eq!(started.finish().code(), 1, "`finish` closes stdin");
}

#[test]
fn streams_can_be_nothing_or_one_another() {
    let mut workload = Workload::new(crate::running::HELLO);
    workload.launch.stdio = [Stdio::Null, Stdio::Null, Stdio::Null];
    assert_eq!(workload.run().stdout, b"");
    workload.launch.stdio = [Stdio::Null, Stdio::Stderr, Stdio::Null];
    let ended = workload.run();
    assert_eq!((&ended.stdout[..], &ended.stderr[..]), (&b""[..], &b"hello\n"[..]));
    let mut cat = Workload::new(CAT);
    cat.launch.stdio[0] = Stdio::Null;
    assert_eq!(cat.run().code(), 0, "nothing ends at once");
}

#[test]
fn nothing_else_is_executable_and_nothing_is_both() {
    let mut started = Workload::new(CAT).start(Workload::command());
    let stdin = started.child.stdin.as_mut().expect("a pipe");
    stdin.write_all(b"x").expect("sent");
    let mut got = [0];
    started.child.stdout.as_mut().expect("a pipe").read_exact(&mut got).expect("received");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", started.child.id())).expect("maps");
    started.finish();
    let executable: Vec<_> = maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.contains('x')))
        .filter(|line| !line.ends_with("[vdso]") && !line.ends_with("[vsyscall]"))
        .collect();
    assert_eq!(executable.len(), 2, "the program's text and the artifact's: {maps}");
    assert!(executable.iter().all(|line| line.contains(" r-xp ")), "{maps}");
    assert!(!maps.contains("wx"), "{maps}");
}

#[test]
fn all_parts_of_one_write_leave_together() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\40\00\00\00\02\00\00\00\00\00\00\00\00\00\00\00\42\00\00\00\03\00\00\00")
        (data (i32.const 64) "ab\nc\n")
        (func (export "_start")
            (if (call $write (i32.const 1) (i32.const 0) (i32.const 3) (i32.const 32))
                (then (call $exit (i32.const 1))))
            (call $exit (i32.load (i32.const 32)))))"#;
    let (here, there) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a socket pair");
    let mut command = Workload::command();
    command.stdout(Pipe::from(there));
    let ended = Workload::new(module).start(command).finish();
    assert_eq!(ended.code(), 5);
    let mut got = [0; 16];
    let (received, _) = recv(&here, &mut got[..], RecvFlags::empty()).expect("received");
    assert_eq!(&got[..received], b"ab\nc\n");
}

#[test]
fn wrong_pointers_are_errors_as_in_wasmtime() {
    let run = |call: &str| {
        let module = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (import "wasi_snapshot_preview1" "fd_write"
                    (func $write (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 16) "\ff\ff\00\00\02\00\00\00")
                (func (export "_start") (call $exit {call})))"#
        );
        let ended = Workload::new(module).run();
        assert_eq!(ended.stdout, b"", "{call}");
        ended
    };
    for (call, message) in [
        (
            "(call $write (i32.const 1) (i32.const 65534) (i32.const 1) (i32.const 0))",
            "Pointer out of bounds",
        ),
        (
            "(call $write (i32.const 1) (i32.const 65536) (i32.const 1) (i32.const 0))",
            "Pointer out of bounds",
        ),
        (
            "(call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 0))",
            "Pointer out of bounds",
        ),
        (
            "(call $write (i32.const 1) (i32.const 17) (i32.const 1) (i32.const 0))",
            "Pointer not aligned",
        ),
    ] {
        let ended = run(call);
        assert!(ended.trap().contains(message), "{call}: {}", ended.trap());
    }
    for fd in [0, 9, -1] {
        let call =
            format!("(call $write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))");
        assert_eq!(run(&call).code(), 8, "no descriptor {fd} to write to");
    }
}

#[test]
fn a_closed_stream_stays_closed() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\01\00\00\00")
        (data (i32.const 16) "x")
        (func (export "_start")
            ;; stdout takes the place of stderr, and its own place is closed by that.
            (if (call $renumber (i32.const 1) (i32.const 2)) (then (call $exit (i32.const 1))))
            (if (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $exit (i32.const 2))))
            (if (i32.ne (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 8))
                (then (call $exit (i32.const 3))))
            (if (call $close (i32.const 2)) (then (call $exit (i32.const 4))))
            (call $exit (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    let ended = Workload::new(module).run();
    assert_eq!((ended.code(), &ended.stdout[..], &ended.stderr[..]), (8, &b"x"[..], &b""[..]));
}
