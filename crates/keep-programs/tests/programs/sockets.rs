// SPDX-License-Identifier: Apache-2.0

//! Sockets of modules, call by call: what each answers, and what it leaves in memory.
//!
//! Over bare TCP, so that the tests see every byte; that TLS makes no difference to a module is tested
//! with whole programs.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

use keep_launch::{Network, Refusal, Sockets};

use crate::host::Workload;

/// The calls, and `expect`: exits with `code` if two numbers differ.
const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $flags (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_recv"
        (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_send"
        (func $send (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (global $fd (mut i32) (i32.const 0))
    (func $expect (param $code i32) (param $found i32) (param $wanted i32)
        (if (i32.ne (local.get $found) (local.get $wanted)) (then (call $exit (local.get $code)))))
    ;; The part at 0 names that many bytes at 1024, the one at 8 those at 2048.
    (func $parts (param $one i32) (param $two i32)
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (local.get $one))
        (i32.store (i32.const 8) (i32.const 2048)) (i32.store (i32.const 12) (local.get $two)))
    ;; A subscription at 256 + 48 n: kind 0 waits that many milliseconds, 1 and 2 for a descriptor.
    (func $sub (param $n i32) (param $kind i32) (param $what i32) (local $at i32)
        (local.set $at (i32.add (i32.const 256) (i32.mul (local.get $n) (i32.const 48))))
        (i64.store (local.get $at) (i64.extend_i32_u (local.get $n)))
        (i64.store offset=8 (local.get $at) (i64.extend_i32_u (local.get $kind)))
        (i32.store offset=16 (local.get $at)
            (select (i32.const 1) (local.get $what) (i32.eqz (local.get $kind))))
        (i64.store offset=24 (local.get $at)
            (i64.mul (i64.extend_i32_u (local.get $what)) (i64.const 1000000)))
        (i64.store offset=32 (local.get $at) (i64.const 0))
        (i64.store offset=40 (local.get $at) (i64.const 0)))
"#;

fn module(body: &str) -> Workload {
    Workload::new(format!("(module {IMPORTS} (func (export \"_start\") {body}))"))
}

/// With the three streams and these entries.
fn with_files(mut workload: Workload, entries: &str) -> Workload {
    let streams = "{ kind = 'stdin' }, { kind = 'stdout' }, { kind = 'stderr' }";
    let network = Network { max_sockets: 100, ..Network::default() };
    let config = format!("files = [{streams}, {entries}]");
    workload.launch.sockets = Some(Sockets { config, files: Vec::new(), network });
    workload
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn listen(port: u16) -> String {
    format!("{{ kind = 'listen', name = 'a', prot = 'tcp', addr = '127.0.0.1', port = {port} }}")
}

const SERVER: &str = r#"
    ;; Nobody is there: a call that does not wait says so, and a wait ends with its time.
    (call $expect (i32.const 10) (call $flags (i32.const 3) (i32.const 4)) (i32.const 0))
    (call $expect (i32.const 11) (call $accept (i32.const 3) (i32.const 0) (i32.const 100)) (i32.const 6))
    (call $sub (i32.const 0) (i32.const 0) (i32.const 10))
    (call $sub (i32.const 1) (i32.const 1) (i32.const 3))
    (call $expect (i32.const 12)
        (call $poll (i32.const 256) (i32.const 512) (i32.const 2) (i32.const 100)) (i32.const 0))
    (call $expect (i32.const 13) (i32.load (i32.const 100)) (i32.const 1))
    (call $expect (i32.const 14) (i32.load8_u (i32.const 522)) (i32.const 0))
    ;; Says that it is ready, and waits for a client.
    (i32.store8 (i32.const 1024) (i32.const 0x72))
    (call $parts (i32.const 1) (i32.const 0))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
    (call $sub (i32.const 0) (i32.const 1) (i32.const 3))
    (call $expect (i32.const 15)
        (call $poll (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 100)) (i32.const 0))
    (call $expect (i32.const 16) (i32.load16_u (i32.const 520)) (i32.const 0))
    (call $expect (i32.const 17) (call $accept (i32.const 3) (i32.const 4) (i32.const 100)) (i32.const 0))
    (global.set $fd (i32.load (i32.const 100)))
    (call $expect (i32.const 18) (i32.gt_u (global.get $fd) (i32.const 4)) (i32.const 1))
    (call $expect (i32.const 19) (call $stat (global.get $fd) (i32.const 128)) (i32.const 0))
    (call $expect (i32.const 20) (i32.load8_u (i32.const 128)) (i32.const 6))
    (call $expect (i32.const 21) (i32.load16_u (i32.const 130)) (i32.const 4))
    ;; Looks at two bytes, then waits for all six in two parts.
    (call $sub (i32.const 0) (i32.const 1) (global.get $fd))
    (call $expect (i32.const 22)
        (call $poll (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 100)) (i32.const 0))
    (call $parts (i32.const 2) (i32.const 4))
    (call $expect (i32.const 23)
        (call $recv (global.get $fd) (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 100) (i32.const 104))
        (i32.const 0))
    (call $expect (i32.const 24) (i32.load (i32.const 100)) (i32.const 2))
    (call $expect (i32.const 25) (i32.load16_u (i32.const 1024)) (i32.const 0x6261))
    (call $expect (i32.const 26) (call $flags (global.get $fd) (i32.const 0)) (i32.const 0))
    (call $expect (i32.const 27)
        (call $recv (global.get $fd) (i32.const 0) (i32.const 2) (i32.const 2) (i32.const 100) (i32.const 104))
        (i32.const 0))
    (call $expect (i32.const 28) (i32.load (i32.const 100)) (i32.const 6))
    (call $expect (i32.const 29) (i32.load (i32.const 2048)) (i32.const 0x66656463))
    ;; Now there is nothing.
    (call $expect (i32.const 30) (call $flags (global.get $fd) (i32.const 4)) (i32.const 0))
    (call $expect (i32.const 31) (call $read (global.get $fd) (i32.const 0) (i32.const 1) (i32.const 100))
        (i32.const 6))
    (call $expect (i32.const 32) (call $flags (global.get $fd) (i32.const 0)) (i32.const 0))
    ;; Answers in two parts, ends its half, and sees the client's end.
    (call $expect (i32.const 33)
        (call $send (global.get $fd) (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 100)) (i32.const 0))
    (call $expect (i32.const 34) (i32.load (i32.const 100)) (i32.const 6))
    (call $expect (i32.const 35) (call $shutdown (global.get $fd) (i32.const 2)) (i32.const 0))
    (call $expect (i32.const 36) (call $write (global.get $fd) (i32.const 0) (i32.const 1) (i32.const 100))
        (i32.const 64))
    (call $expect (i32.const 37) (call $read (global.get $fd) (i32.const 0) (i32.const 1) (i32.const 100))
        (i32.const 0))
    (call $expect (i32.const 38) (i32.load (i32.const 100)) (i32.const 0))
    ;; What does not go, goes wrong as it should.
    (call $expect (i32.const 40) (call $seek (global.get $fd) (i64.const 0) (i32.const 0) (i32.const 136))
        (i32.const 70))
    (call $expect (i32.const 41) (call $accept (global.get $fd) (i32.const 0) (i32.const 100)) (i32.const 28))
    (call $expect (i32.const 42) (call $accept (i32.const 1) (i32.const 0) (i32.const 100)) (i32.const 57))
    (call $expect (i32.const 43) (call $accept (i32.const 99) (i32.const 0) (i32.const 100)) (i32.const 8))
    (call $expect (i32.const 44) (call $accept (i32.const 3) (i32.const 0) (i32.const -2)) (i32.const 21))
    (call $expect (i32.const 45) (call $read (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 100))
        (i32.const 53))
    (call $expect (i32.const 46) (call $prestat (i32.const 3) (i32.const 100)) (i32.const 8))
    (i32.store (i32.const 0) (i32.const -8))
    (call $expect (i32.const 47) (call $read (global.get $fd) (i32.const 0) (i32.const 1) (i32.const 100))
        (i32.const 21))
    (call $parts (i32.const 1) (i32.const 0))
    ;; The entry after it swallows everything, and takes the connection's number over.
    (call $expect (i32.const 50) (call $write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 100))
        (i32.const 0))
    (call $expect (i32.const 51) (call $read (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 100))
        (i32.const 0))
    (call $expect (i32.const 52) (i32.load (i32.const 100)) (i32.const 0))
    (call $expect (i32.const 53) (call $renumber (global.get $fd) (i32.const 4)) (i32.const 0))
    (call $expect (i32.const 54) (call $close (global.get $fd)) (i32.const 8))
    (call $expect (i32.const 55) (call $close (i32.const 4)) (i32.const 0))
    (call $expect (i32.const 56) (call $close (i32.const 4)) (i32.const 8))
    ;; A closed one is ready at once, with its error; a time far off does not matter.
    (call $sub (i32.const 0) (i32.const 2) (i32.const 4))
    (call $sub (i32.const 1) (i32.const 0) (i32.const 100000))
    (call $expect (i32.const 57)
        (call $poll (i32.const 256) (i32.const 512) (i32.const 2) (i32.const 100)) (i32.const 0))
    (call $expect (i32.const 58) (i32.load (i32.const 100)) (i32.const 1))
    (call $expect (i32.const 59) (i32.load16_u (i32.const 520)) (i32.const 8))
"#;

#[test]
fn a_server_call_by_call() {
    let port = free_port();
    let workload = with_files(module(SERVER), &format!("{}, {{ kind = 'null' }}", listen(port)));
    let mut started = workload.start(Workload::command());
    let mut ready = [0];
    let is_ready = started.child.stdout.as_mut().unwrap().read_exact(&mut ready);
    if is_ready.is_ok() {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(b"abc").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        client.write_all(b"def").unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcdef");
        client.shutdown(Shutdown::Write).unwrap();
    }
    assert_eq!(started.finish().code(), 0);
}

#[test]
fn a_connection_that_is_there_from_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = r#"
        (call $parts (i32.const 5) (i32.const 0))
        (call $expect (i32.const 10)
            (call $recv (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 100) (i32.const 104))
            (i32.const 0))
        (call $expect (i32.const 11) (i32.load (i32.const 100)) (i32.const 5))
        (call $expect (i32.const 12) (call $write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 100))
            (i32.const 0))"#;
    let entry = format!("{{ kind = 'connect', host = 'localhost', prot = 'tcp', port = {port} }}");
    let started = with_files(module(body), &entry).start(Workload::command());
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello").unwrap();
    let mut all = Vec::new();
    // The module ends without a word; what it wrote comes, and a proper end.
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");
    drop(peer);
    assert_eq!(started.finish().code(), 0);
}

#[test]
fn directories_come_after_sockets() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "text").unwrap();
    let body = r#"
        (call $expect (i32.const 10) (call $prestat (i32.const 3) (i32.const 100)) (i32.const 0))
        (call $expect (i32.const 11) (i32.load8_u (i32.const 100)) (i32.const 1))
        (call $expect (i32.const 12) (call $prestat (i32.const 4) (i32.const 100)) (i32.const 0))
        (call $expect (i32.const 13) (i32.load8_u (i32.const 100)) (i32.const 0))
        (call $expect (i32.const 14) (i32.load (i32.const 104)) (i32.const 5))
        (i32.store8 (i32.const 1024) (i32.const 0x66))
        (call $expect (i32.const 15)
            (call $open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0)
                (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 100))
            (i32.const 54))
        (call $expect (i32.const 16)
            (call $open (i32.const 4) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0)
                (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 100))
            (i32.const 0))
        (call $parts (i32.const 4) (i32.const 0))
        (call $expect (i32.const 17)
            (call $read (i32.load (i32.const 100)) (i32.const 0) (i32.const 1) (i32.const 104))
            (i32.const 0))
        (call $expect (i32.const 18) (i32.load (i32.const 1024)) (i32.const 0x74786574))
        (call $expect (i32.const 19) (call $close (i32.const 3)) (i32.const 0))
        (call $expect (i32.const 20) (call $accept (i32.const 3) (i32.const 0) (i32.const 100)) (i32.const 8))"#;
    let workload = module(body).folder(folder.path(), "/data");
    assert_eq!(with_files(workload, &listen(free_port())).run().code(), 0);
}

#[test]
fn sockets_that_cannot_be_had_stop_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ended = with_files(module(""), &listen(port)).run();
    let (reason, message) = ended.refusal();
    assert_eq!(reason, Refusal::Network);
    assert!(message.contains("`a`") && message.contains("cannot listen"), "{message}");

    let entry =
        format!("{{ kind = 'connect', host = '127.0.0.1', prot = 'tcp', port = {} }}", free_port());
    let ended = with_files(module(""), &entry).run();
    let (reason, message) = ended.refusal();
    assert_eq!(reason, Refusal::Network);
    assert!(message.contains("cannot connect"), "{message}");
}
