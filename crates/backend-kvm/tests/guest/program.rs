// SPDX-License-Identifier: Apache-2.0

//! The program of the tests of sockets: the launch message says which part to play. It has nothing
//! but the standard library, so that it is built in a moment, and runs as a process as well.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

#[path = "memory.rs"]
mod memory;
#[path = "reactor.rs"]
mod reactor;
#[path = "threads.rs"]
mod threads;
#[path = "vectors.rs"]
mod vectors;

fn main() {
    let mut launch = String::new();
    descriptor(3).read_to_string(&mut launch).expect("a launch message");
    let words: Vec<&str> = launch.split(' ').collect();
    match words[..] {
        ["echo", address, count] => echo(address, count.parse().expect("a number")),
        ["client", address, len] => client(address, len.parse().expect("a number")),
        ["reactor", address, count] => reactor::echo(address, count.parse().expect("a number")),
        ["pingpong", address] => reactor::pingpong(address),
        ["sink", address] => sink(address),
        ["source", address, len] => source(address, len.parse().expect("a number")),
        ["halves", address] => halves(address),
        ["reset", address] => reset(address),
        ["udp", address] => udp(address),
        ["names", address] => names(address),
        ["options"] => options(),
        ["refused", address] => refused(address),
        ["nothing"] => nothing(),
        ["limits", address, count] => limits(address, count.parse().expect("a number")),
        ["evidence"] => evidence(),
        ["sealing"] => sealing(),
        ["timeouts", address] => timeouts(address),
        ["vectors"] => vectors::all(),
        ["memory"] => memory::all(),
        ["raw"] => memory::raw(),
        ["threads", what] => threads::one(what),
        _ => panic!("what is {launch:?}?"),
    }
    // One version byte, variant `Exited`, code 0.
    descriptor(5).write_all(&[3, 1, 0]).expect("a report");
}

/// One of the descriptors that a program is given.
fn descriptor(number: i32) -> File {
    // SAFETY: it is open, and each is taken once.
    unsafe { File::from_raw_fd(number) }
}

fn say(text: &str) {
    println!("{text}");
}

/// Serves one connection after the other.
fn echo(address: &str, count: usize) {
    let listener = TcpListener::bind(address).expect("bound");
    say(&listener.local_addr().expect("an address").to_string());
    for _ in 0..count {
        let (mut stream, peer) = listener.accept().expect("a connection");
        assert_eq!(stream.peer_addr().expect("a peer"), peer);
        assert_eq!(stream.local_addr().expect("own").port(), listener.local_addr().expect("l").port());
        let mut buf = vec![0; 100_000];
        loop {
            match stream.read(&mut buf).expect("bytes") {
                0 => break,
                n => stream.write_all(&buf[..n]).expect("sent"),
            }
        }
    }
}

/// Sends more than fits anywhere while it reads it back.
fn client(address: &str, len: usize) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("an option");
    assert!(stream.nodelay().expect("an option"));
    let piece: Vec<u8> = (0..len.min(50_000)).map(|n| (n % 251) as u8).collect();
    let mut left = len;
    let mut back = vec![0; piece.len()];
    while left > 0 {
        let n = left.min(piece.len());
        stream.write_all(&piece[..n]).expect("sent");
        stream.read_exact(&mut back[..n]).expect("received");
        assert!(back[..n] == piece[..n], "changed on the way");
        left -= n;
    }
    stream.shutdown(Shutdown::Write).expect("shut");
    assert_eq!(stream.read(&mut back).expect("the end"), 0);
    say(&stream.local_addr().expect("an address").to_string());
}

/// Reads all that one connection gives, and says how much it was.
fn sink(address: &str) {
    let listener = TcpListener::bind(address).expect("bound");
    say(&listener.local_addr().expect("an address").to_string());
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut buf = vec![0; 1 << 20];
    let (mut total, mut sum) = (0_u64, 0_u64);
    loop {
        match stream.read(&mut buf).expect("bytes") {
            0 => break,
            n => {
                total += n as u64;
                sum = sum.wrapping_add(buf[..n].iter().map(|b| u64::from(*b)).sum());
            }
        }
    }
    stream.write_all(format!("{total} {sum}").as_bytes()).expect("sent");
}

/// Sends so many bytes, and ends at once: nothing may be lost.
fn source(address: &str, len: usize) {
    let listener = TcpListener::bind(address).expect("bound");
    say(&listener.local_addr().expect("an address").to_string());
    let (mut stream, _) = listener.accept().expect("a connection");
    let piece: Vec<u8> = (0..64 << 10).map(|n| (n % 253) as u8).collect();
    let mut left = len;
    while left > 0 {
        let n = left.min(piece.len());
        stream.write_all(&piece[..n]).expect("sent");
        left -= n;
    }
}

/// The peer sends no more, and still gets its answer.
fn halves(address: &str) {
    let listener = TcpListener::bind(address).expect("bound");
    say(&listener.local_addr().expect("an address").to_string());
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("bytes");
    assert_eq!(stream.read(&mut [0; 8]).expect("still the end"), 0);
    all.reverse();
    stream.write_all(&all).expect("sent");
    stream.shutdown(Shutdown::Write).expect("shut");
    assert_eq!(stream.write(b"x").expect_err("nothing more").kind(), std::io::ErrorKind::BrokenPipe);
}

/// The peer breaks the connection.
fn reset(address: &str) {
    let listener = TcpListener::bind(address).expect("bound");
    say(&listener.local_addr().expect("an address").to_string());
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut buf = [0; 5];
    stream.read_exact(&mut buf).expect("bytes");
    let error = stream.read(&mut buf).expect_err("a broken connection");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    let error = loop {
        match stream.write(b"anybody there?") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
    // The listener is as good as before.
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.write_all(b"fine").expect("sent");
}

/// Questions and answers, as with a DNS server.
fn udp(address: &str) {
    let peer: SocketAddr = address.parse().expect("an address");
    let any = if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("bound");
    socket.connect(peer).expect("connected");
    assert_eq!(socket.peer_addr().expect("a peer"), peer);
    assert_ne!(socket.local_addr().expect("an address").port(), 0);
    let mut buf = [0; 2000];
    for n in 0..50_usize {
        let question = vec![n as u8; n * 20];
        assert_eq!(socket.send(&question).expect("sent"), question.len());
        let (len, from) = socket.recv_from(&mut buf).expect("an answer");
        assert_eq!(from, peer);
        assert_eq!(buf[..len], question[..], "datagrams keep their bounds");
    }
    // Peeking leaves it there; what does not fit is cut.
    socket.send(b"0123456789").expect("sent");
    assert_eq!(socket.peek(&mut buf[..4]).expect("a look"), 4);
    assert_eq!(socket.recv(&mut buf[..4]).expect("a part"), 4);
    // Several at once come in order.
    for n in 0..10_u8 {
        socket.send(&[n; 3]).expect("sent");
    }
    for n in 0..10_u8 {
        assert_eq!(socket.recv(&mut buf).expect("an answer"), 3);
        assert_eq!(buf[..3], [n; 3]);
    }
    socket.set_read_timeout(Some(Duration::from_millis(30))).expect("an option");
    let error = socket.recv(&mut buf).expect_err("silence");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
    socket.set_nonblocking(true).expect("an option");
    assert_eq!(socket.recv(&mut buf).expect_err("silence").kind(), std::io::ErrorKind::WouldBlock);
}

/// Errors of connecting and binding.
fn names(taken: &str) {
    let error = TcpListener::bind(taken).expect_err("in use");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}");
    let error = TcpListener::bind("198.51.100.7:0").expect_err("not ours");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable, "{error}");
    let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let error = TcpStream::connect(free).expect_err("nobody there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
    let wait = Duration::from_secs(5);
    let error = TcpStream::connect_timeout(&free, wait).expect_err("nobody there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
    // The port is free again.
    drop(TcpListener::bind(free).expect("bound"));
    // To itself, over both families.
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).expect("bound");
        let there = listener.local_addr().expect("an address");
        let mut here = TcpStream::connect(there).expect("connected");
        let (mut other, peer) = listener.accept().expect("a connection");
        assert_eq!(peer, here.local_addr().expect("an address"));
        assert_eq!(here.peer_addr().expect("a peer"), there);
        here.write_all(b"over").expect("sent");
        let mut buf = [0; 4];
        other.read_exact(&mut buf).expect("received");
        assert_eq!(&buf, b"over");
        listener.set_nonblocking(true).expect("an option");
        let error = listener.accept().expect_err("nobody");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

unsafe extern "C" {
    fn socket(family: i32, kind: i32, protocol: i32) -> i32;
    fn getsockopt(fd: i32, level: i32, name: i32, value: *mut i32, len: *mut u32) -> i32;
    fn setsockopt(fd: i32, level: i32, name: i32, value: *const i32, len: u32) -> i32;
    fn socketpair(family: i32, kind: i32, protocol: i32, fds: *mut i32) -> i32;
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// What there is, and what there is not.
fn options() {
    let get = |fd: i32, level, name| {
        let (mut value, mut len) = (-1, 4);
        // SAFETY: both point to what lives.
        match unsafe { getsockopt(fd, level, name, &mut value, &mut len) } {
            0 => Ok(value),
            _ => Err(errno()),
        }
    };
    let set = |fd: i32, level, name, value: i32| {
        // SAFETY: as above.
        match unsafe { setsockopt(fd, level, name, &value, 4) } {
            0 => Ok(()),
            _ => Err(errno()),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let fd = listener.as_raw_fd();
    assert_eq!(get(fd, 1, 3), Ok(1), "SO_TYPE");
    assert_eq!(get(fd, 1, 30), Ok(1), "SO_ACCEPTCONN");
    assert_eq!(get(fd, 1, 39), Ok(2), "SO_DOMAIN");
    assert_eq!(get(fd, 1, 38), Ok(6), "SO_PROTOCOL");
    assert_eq!(get(fd, 1, 4), Ok(0), "SO_ERROR");
    assert_eq!(get(fd, 1, 2), Ok(1), "SO_REUSEADDR is what Rust sets");
    assert_eq!(get(fd, 6, 4), Ok(7200), "TCP_KEEPIDLE");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let fd = stream.as_raw_fd();
    for (level, name, value) in [(1, 9, 1), (6, 4, 60), (6, 5, 10), (6, 6, 5), (6, 1, 1)] {
        set(fd, level, name, value).expect("an option");
        assert_eq!(get(fd, level, name), Ok(value), "{level} {name}");
    }
    set(fd, 1, 7, 1 << 16).expect("SO_SNDBUF");
    assert_eq!(set(fd, 6, 4, 0), Err(22));
    assert_eq!(set(fd, 99, 1, 1), Err(92));
    assert_eq!(get(fd, 6, 9999), Err(92));
    assert_eq!(set(1, 1, 9, 1), Err(88), "standard output is no socket");
    // SAFETY: no pointers, and one that lives.
    unsafe {
        assert_eq!((socket(1, 1, 0), errno()), (-1, 97), "AF_UNIX");
        assert_eq!((socket(16, 3, 0), errno()), (-1, 97), "AF_NETLINK");
        assert_eq!(socket(2, 3, 1), -1, "raw");
        assert_eq!((socket(2, 1, 17), errno()), (-1, 93), "TCP by the number of UDP");
        assert_eq!(socketpair(1, 1, 0, [0; 2].as_mut_ptr()), -1);
    }
}

/// Neither listening nor connecting is allowed, as the host says.
fn refused(address: &str) {
    let listened = TcpListener::bind("127.0.0.1:0").map(drop).map_err(|e| e.kind());
    let connected = TcpStream::connect(address).map(drop).map_err(|e| e.kind());
    let udp = UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect(address)).map_err(|e| e.kind());
    say(&format!("{listened:?} {connected:?} {udp:?}"));
}

/// There are no sockets at all.
fn nothing() {
    for (family, kind) in [(2, 1), (2, 2), (10, 1), (10, 2)] {
        // SAFETY: no pointers.
        assert_eq!((unsafe { socket(family, kind, 0) }, errno()), (-1, 13));
    }
}

/// So many sockets and no more; one that is closed makes room for another.
fn limits(address: &str, count: usize) {
    let mut open: Vec<_> = (0..count).map(|_| TcpStream::connect(address).expect("connected")).collect();
    let error = TcpStream::connect(address).expect_err("one too many");
    assert_eq!(error.raw_os_error(), Some(24), "{error}");
    open.pop();
    let mut last = TcpStream::connect(address).expect("connected");
    last.write_all(b"x").expect("sent");
}

/// Events, and evidence for two report data.
fn evidence() {
    let (mut events, mut ask, mut answers) = (descriptor(7), descriptor(8), descriptor(9));
    let mut launch_event = |bytes: &[u8]| {
        let mut frame = (bytes.len() as u32).to_le_bytes().to_vec();
        frame.extend(bytes);
        events.write_all(&frame).expect("an event");
    };
    // Version, variant `Warning`, a string of two bytes.
    launch_event(&[3, 3, 2, b'h', b'i']);
    for byte in [7_u8, 9] {
        ask.write_all(&[byte; 64]).expect("asked");
        let mut len = [0; 4];
        answers.read_exact(&mut len).expect("an answer");
        let mut answer = vec![0; u32::from_le_bytes(len) as usize];
        answers.read_exact(&mut answer).expect("an answer");
        let seen = answer.windows(64).any(|part| part == [byte; 64]);
        assert!(seen, "the evidence is for other report data: {answer:?}");
    }
    launch_event(&[2, 3, 3, b'b', b'y', b'e']);
}

/// Asks twice for the platform's key, and prints it.
fn sealing() {
    unsafe extern "C" {
        fn syscall(number: i64, ...) -> i64;
    }
    let ask = || {
        let mut key = [0_u8; 32];
        // SAFETY: the call writes that many bytes, or none.
        let done = unsafe { syscall(0x5ea1, key.as_mut_ptr()) };
        if done == 0 { Ok(key) } else { Err(std::io::Error::last_os_error().raw_os_error()) }
    };
    let first = ask();
    assert_eq!(ask(), first);
    match first {
        Ok(key) => say(&format!("{key:02x?}")),
        Err(code) => {
            assert_eq!(code, Some(38), "ENOSYS");
            say("none");
        }
    }
    // SAFETY: as above; there is no memory at this address.
    assert_eq!(unsafe { syscall(0x5ea1, 16_usize) }, -1);
}

/// Waiting ends when it is to.
fn timeouts(address: &str) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("an option");
    // Linux counts in ticks of its own.
    let set = stream.read_timeout().expect("an option").expect("a time");
    assert!((50..70).contains(&set.as_millis()), "{set:?}");
    let begun = std::time::Instant::now();
    let error = stream.read(&mut [0; 8]).expect_err("silence");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(50));
    // A peer that reads nothing: sending ends in a timeout, too.
    stream.set_write_timeout(Some(Duration::from_millis(50))).expect("an option");
    let piece = vec![0; 1 << 20];
    let error = loop {
        match stream.write(&piece) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
}
