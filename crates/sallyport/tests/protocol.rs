// SPDX-License-Identifier: Apache-2.0

//! Numbers, places and bounds of the protocol, as its documentation states them.

use std::cell::Cell;
use std::collections::HashSet;

use proptest::prelude::*;
use sallyport::testing::MemoryWindow;
use sallyport::*;

fn boot() -> BootInfo {
    BootInfo {
        processors: 1,
        ram: 8 << 20,
        ram_limit: 4 << 30,
        tsc_khz: 2_500_000,
        input_len: 68_000,
        launch_len: 200,
        seeds: true,
        output: false,
        events: true,
        evidence: false,
        network: true,
    }
}

#[test]
fn the_header_survives_the_trip() {
    let window = MemoryWindow::default();
    boot().write(&window);
    assert_eq!(BootInfo::read(&window), Ok(boot()));
    assert_eq!(window.load(0), u64::from_le_bytes(*b"allyport"));
}

#[test]
fn each_word_of_the_header_is_bounded() {
    let limit = SHARED_SIZE as u64;
    for (at, bad) in [
        (0x00, 0),
        (0x08, 0),
        (0x08, 1),
        (0x08, 2),
        (0x08, 3),
        (0x08, 5),
        (0x10, 0),
        (0x10, (8 << 20) + 4096),
        (0x10, 8 << 30),
        (0x18, 4 << 20),
        (0x18, MAX_RAM + limit),
        (0x18, u64::MAX),
        (0x20, 99_999),
        (0x20, 100_000_001),
        (0x28, MAX_INPUT + 1),
        (0x30, MAX_LAUNCH + 1),
        (0x38, 32),
        (0x40, 0),
        (0x40, 8),
    ] {
        let window = MemoryWindow::default();
        boot().write(&window);
        window.store(at, bad);
        let lie = BootInfo::read(&window).expect_err("accepted");
        assert!(lie.to_string().starts_with("the host broke the protocol: "), "{lie}");
    }
    let window = MemoryWindow::default();
    BootInfo { tsc_khz: 0, ..boot() }.write(&window);
    assert!(BootInfo::read(&window).is_ok(), "no counter is no lie");
}

/// A call and its stream stand in the ring under numbers that never change.
#[test]
fn numbers_are_fixed() {
    let calls: Vec<_> = Call::ALL.iter().map(|call| (call.number(), call.name())).collect();
    let expected = [
        (1, "read"),
        (2, "write"),
        (3, "poll"),
        (4, "clock"),
        (5, "grow"),
        (6, "exit"),
        (7, "bind"),
        (8, "listen"),
        (9, "connect"),
        (10, "send"),
        (11, "shutdown"),
        (12, "close"),
        (13, "option"),
    ];
    assert_eq!(calls, expected);
    let streams: Vec<_> = Stream::ALL.iter().map(|stream| stream.name()).collect();
    let expected = [
        "stdin",
        "stdout",
        "stderr",
        "launch",
        "input",
        "report",
        "output",
        "seed",
        "log",
        "events",
        "report-data",
        "evidence",
    ];
    assert_eq!(streams, expected);
    assert!(Stream::ALL.iter().enumerate().all(|(n, stream)| stream.number() == n as u64));
    let errors: HashSet<_> = HostErrno::ALL.iter().map(|errno| errno.number()).collect();
    assert_eq!(
        errors,
        HashSet::from([5, 9, 11, 12, 13, 22, 24, 28, 32, 98, 99, 101, 104, 110, 111, 113])
    );
}

/// Writes down what a Keep asks, and answers with one value and status for all.
struct Scripted<'a> {
    window: &'a MemoryWindow,
    answered: Cell<u64>,
    status: u64,
    value: u64,
}

impl Doorbell for Scripted<'_> {
    fn ring(&mut self) {
        let submitted = self.window.load(0x1000);
        while self.answered.get() < submitted {
            let n = self.answered.get();
            let at = 0x6000 + (n % ENTRIES) as usize * 32;
            for (word, value) in [n, self.status, self.value].into_iter().enumerate() {
                self.window.store(at + word * 8, value);
            }
            self.answered.set(n + 1);
            self.window.store(0x2000, n + 1);
        }
    }
}

fn port(window: &MemoryWindow, status: u64, value: u64) -> Port<&MemoryWindow, Scripted<'_>> {
    Port::new(window, Scripted { window, answered: Cell::new(0), status, value })
}

#[test]
fn a_request_stands_where_the_documentation_says() {
    let window = MemoryWindow::default();
    let mut port = port(&window, 0, 3);
    port.read(Stream::Input, &mut [0; 3]).unwrap().unwrap();
    port.write_later(Stream::Log, b"abc").unwrap().unwrap();
    let words = |at: usize| -> [u64; 8] { core::array::from_fn(|n| window.load(at + n * 8)) };
    assert_eq!(window.load(0x1000), 2);
    assert_eq!(words(0x4000), [1, 4, 0x20000, 3, 0, 0, 0, 0]);
    assert_eq!(words(0x4040), [2, 8, 0x100000, 3, 0, 0, 0, 0]);
    let mut got = [0; 3];
    window.read(0x100000, &mut got);
    assert_eq!(&got, b"abc");
}

/// Each call against each error: the ones on its list are passed on, all others are lies.
#[test]
fn only_errors_of_the_call_are_passed_on() {
    for status in 1..200 {
        let expect = |call: Call| match HostErrno::from_number(status) {
            Some(errno) if errno.may_answer(call) => Ok(errno),
            _ => Err(Lie::Status { call, status }),
        };
        let flat = |outcome: Outcome<u64>| outcome.map(|result| result.expect_err("no error"));
        let window = MemoryWindow::default;
        let read = port(&window(), status, 0).read(Stream::Stdin, &mut [0; 8]);
        assert_eq!(flat(read.map(|r| r.map(|n| n as u64))), expect(Call::Read));
        let write = port(&window(), status, 0).write(Stream::Stdout, b"x");
        assert_eq!(flat(write.map(|r| r.map(|n| n as u64))), expect(Call::Write));
        assert_eq!(flat(port(&window(), status, 0).poll(1, 0)), expect(Call::Poll));
        assert_eq!(flat(port(&window(), status, 0).grow(0, 2 << 20, 4 << 20)), expect(Call::Grow));
        let (handle, flags, address) = (made(3), tcp(), "127.0.0.1:80".parse().unwrap());
        let bind = port(&window(), status, 80).bind(handle, flags, address);
        assert_eq!(flat(bind.map(|r| r.map(u64::from))), expect(Call::Bind));
        let listen = port(&window(), status, 0).listen(handle, 1);
        assert_eq!(flat(listen.map(|r| r.map(|()| 0))), expect(Call::Listen));
        let connect = port(&window(), status, 0).connect(handle, flags, address);
        assert_eq!(flat(connect.map(|r| r.map(|()| 0))), expect(Call::Connect));
        let window_of_send = window();
        let mut sender = port(&window_of_send, status, 0);
        sender.begin(handle);
        assert_eq!(sender.send(handle, SocketKind::Stream, b"x"), Ok(1));
        match expect(Call::Send) {
            Ok(errno) => {
                sender.flush().unwrap();
                assert_eq!(sender.send_error(handle), Some(errno));
            }
            Err(lie) => assert_eq!(sender.flush(), Err(lie)),
        }
        let window_of_rest = window();
        let mut rest = port(&window_of_rest, status, 0);
        rest.close(handle).unwrap();
        assert_eq!(rest.flush(), Err(Lie::Status { call: Call::Close, status }));
        let clock = port(&window(), status, 0).clock(ClockId::Realtime);
        assert_eq!(clock, Err(Lie::Status { call: Call::Clock, status }));
    }
}

fn made(number: u64) -> Handle {
    Handle::new(number).unwrap()
}

fn tcp() -> SocketFlags {
    SocketFlags { kind: SocketKind::Stream, reuse: true, only_v6: false }
}

/// Small sends become one request, and none is shown before somebody asks for it.
#[test]
fn sends_are_collected_and_put_off() {
    let window = MemoryWindow::default();
    let mut port = port(&window, 0, 0);
    port.begin(made(5));
    for _ in 0..100 {
        assert_eq!(port.send(made(5), SocketKind::Stream, b"abc"), Ok(3));
    }
    assert!(port.is_deferred());
    assert_eq!(window.load(0x1000), 0);
    assert_eq!(port.room(made(5)), SEND_WINDOW - 300);
    port.show().unwrap();
    assert!(!port.is_deferred());
    assert_eq!(window.load(0x1000), 1);
    let words: [u64; 8] = core::array::from_fn(|n| window.load(0x4000 + n * 8));
    assert_eq!(words, [10, 5, 0x100000, 300, 0, 0, 0, 0]);
    port.flush().unwrap();
    assert_eq!(port.room(made(5)), SEND_WINDOW);
    // Another socket's bytes are another request, and so is a datagram each.
    port.send(made(5), SocketKind::Stream, b"a").unwrap();
    port.send(made(6), SocketKind::Stream, b"b").unwrap();
    port.send(made(7), SocketKind::Datagram, b"c").unwrap();
    port.send(made(7), SocketKind::Datagram, b"").unwrap();
    port.flush().unwrap();
    assert_eq!(window.load(0x1000), 5);
}

#[test]
fn no_more_is_sent_than_the_window_holds() {
    let window = MemoryWindow::default();
    // This host keeps everything: it could send nothing.
    struct Keeps<'a>(&'a MemoryWindow, u64, u64);
    impl Doorbell for Keeps<'_> {
        fn ring(&mut self) {
            while self.1 < self.0.load(0x1000) {
                let (n, ring) = (self.1, (self.1 % ENTRIES) as usize);
                self.2 += self.0.load(0x4000 + ring * 64 + 24);
                for (word, value) in [n, 0, self.2].into_iter().enumerate() {
                    self.0.store(0x6000 + ring * 32 + word * 8, value);
                }
                self.1 += 1;
                self.0.store(0x2000, self.1);
            }
        }
    }
    let mut port = Port::new(&window, Keeps(&window, 0, 0));
    port.begin(made(0));
    let bytes = vec![1; 100_000];
    let mut sent = 0;
    for _ in 0..10 {
        sent += port.send(made(0), SocketKind::Stream, &bytes).unwrap();
    }
    assert_eq!((sent, port.room(made(0))), (SEND_WINDOW, 0));
    port.flush().unwrap();
    assert_eq!(port.room(made(0)), 0);
    // What an old socket left behind is none of the new one's concern.
    port.close(made(0)).unwrap();
    assert_eq!(port.room(made(0)), SEND_WINDOW);
}

#[test]
fn a_host_that_keeps_more_than_it_got_lies() {
    let window = MemoryWindow::default();
    let mut port = port(&window, 0, 4);
    port.begin(made(1));
    port.send(made(1), SocketKind::Stream, b"abc").unwrap();
    assert!(matches!(port.flush(), Err(Lie::Value { value: 4, .. })));
}

#[test]
fn a_port_is_the_one_that_was_asked_for() {
    for (asked, answered, sound) in [
        (0, 1, true),
        (0, 65_535, true),
        (0, 0, false),
        (0, 65_536, false),
        (80, 80, true),
        (80, 81, false),
    ] {
        let window = MemoryWindow::default();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], asked));
        let got = port(&window, 0, answered).bind(made(1), tcp(), address);
        assert_eq!(got.is_ok(), sound, "{asked} {answered} {got:?}");
    }
}

#[test]
fn a_silent_host_is_found_out() {
    struct Silent;
    impl Doorbell for Silent {
        fn ring(&mut self) {}
    }
    let window = MemoryWindow::default();
    assert_eq!(Port::new(&window, Silent).clock(ClockId::Realtime), Err(Lie::Silence));
    // Also if it claims to be awake.
    window.store(0x1040, 1);
    window.store(0x1000, 0);
    assert_eq!(Port::new(&window, Silent).clock(ClockId::Realtime), Err(Lie::Silence));
}

#[test]
fn a_short_write_without_an_error_is_a_lie() {
    let window = MemoryWindow::default();
    assert!(matches!(port(&window, 0, 1).write(Stream::Stdout, b"ab"), Err(Lie::Value { .. })));
    let window = MemoryWindow::default();
    let mut port = port(&window, 0, 1);
    assert_eq!(port.write_later(Stream::Stdout, b"ab"), Ok(Ok(2)));
    assert!(matches!(port.flush(), Err(Lie::Value { .. })));
}

#[test]
fn an_answer_must_be_to_the_request_it_stands_for() {
    struct Tampering<'a>(&'a MemoryWindow, usize, u64);
    impl Doorbell for Tampering<'_> {
        fn ring(&mut self) {
            self.0.store(0x2000, 1);
            self.0.store(self.1, self.2);
        }
    }
    let read = |at, word| {
        let window = MemoryWindow::default();
        Port::new(&window, Tampering(&window, at, word)).read(Stream::Input, &mut [0; 8])
    };
    assert_eq!(read(0x6010, 8), Ok(Ok(8)));
    assert_eq!(read(0x6000, 1), Err(Lie::Sequence { expected: 0, got: 1 }));
    assert_eq!(read(0x2000, 2), Err(Lie::Completed(2)));
    assert_eq!(read(0x2000, u64::MAX), Err(Lie::Completed(u64::MAX)));
}

#[test]
fn a_stream_goes_one_way() {
    for &stream in Stream::ALL {
        let read = Request::Read { stream, at: DATA, len: 1 };
        let write = Request::Write { stream, at: DATA, len: 1 };
        let (good, bad) = if stream.is_readable() { (read, write) } else { (write, read) };
        assert_eq!(Request::decode(&good.encode()), Ok(good));
        assert_eq!(Request::decode(&bad.encode()), Err(HostErrno::BadStream));
    }
}

/// A host that is awake and slow: it answers one request each time that the Keep looks in vain.
#[test]
fn writes_wait_only_when_the_ring_is_full() {
    struct Slow<'a>(Scripted<'a>, &'a Cell<u32>);
    impl Doorbell for Slow<'_> {
        fn ring(&mut self) {
            panic!("the host is awake");
        }
        fn relax(&mut self) {
            self.1.set(self.1.get() + 1);
            let all = self.0.window.load(0x1000);
            self.0.window.store(0x1000, self.0.answered.get() + 1);
            self.0.ring();
            self.0.window.store(0x1000, all);
        }
    }
    let window = MemoryWindow::default();
    window.store(0x1040, 1);
    let waits = Cell::new(0);
    let host = Scripted { window: &window, answered: Cell::new(0), status: 0, value: 1 };
    let mut port = Port::new(&window, Slow(host, &waits));
    // Two entries are left for the end of the Keep.
    let full = ENTRIES as u32 - 2;
    for _ in 0..full {
        assert_eq!(port.write_later(Stream::Stdout, b"x"), Ok(Ok(1)));
    }
    assert_eq!(waits.get(), 0);
    for n in 1..100 {
        assert_eq!(port.write_later(Stream::Stdout, b"x"), Ok(Ok(1)));
        assert_eq!(waits.get(), n, "one more is answered for each that is taken");
    }
    port.flush().unwrap();
    assert_eq!(waits.get(), 99 + full);
}

/// Bytes that went out before an error count; the error is told by the next write.
#[test]
fn a_partial_write_is_told_as_such() {
    let window = MemoryWindow::default();
    assert_eq!(port(&window, 28, 1).write(Stream::Stdout, b"ab"), Ok(Ok(1)));
}

proptest! {
    /// What is decoded is well-formed, and is the one encoding of itself.
    #[test]
    fn decoding_is_strict(
        words in any::<[u64; 8]>(),
        call in 0..15_u64,
        stream in 0..13_u64,
        small in any::<[u32; 3]>(),
        shape in any::<u8>(),
    ) {
        let mut words = words;
        words[0] = call;
        words[1] = stream;
        if shape & 1 == 0 { words[2..5].copy_from_slice(&small.map(|n| u64::from(n >> 10))); }
        if shape & 2 == 0 { words[5..8].fill(0); }
        if shape & 4 == 0 { words[4] = 0; }
        if shape & 8 == 0 { words[1] = 0; }
        if shape & 16 == 0 { words[2] &= 7; }
        if let Ok(request) = Request::decode(&words) {
            prop_assert_eq!(request.encode(), words);
            if let Request::Read { stream, at, len } | Request::Write { stream, at, len } = request {
                prop_assert!(at >= DATA && at + len <= SHARED_SIZE);
                prop_assert_eq!(stream.is_readable(), request.call() == Call::Read);
            }
        }
    }

    /// Every well-formed request survives the trip.
    #[test]
    fn requests_survive_the_trip(at in DATA..=SHARED_SIZE, len in 0..SHARED_SIZE, n in any::<u64>()) {
        let len = len.min(SHARED_SIZE - at);
        let address = if n % 2 == 0 {
            std::net::SocketAddr::from(((n as u32).to_le_bytes(), at as u16))
        } else {
            std::net::SocketAddrV6::new(u128::from(n).into(), at as u16, 0, n as u32).into()
        };
        let udp = SocketFlags { kind: SocketKind::Datagram, reuse: false, only_v6: true };
        let option = SocketOption::ALL[(n % 6) as usize];
        for request in [
            Request::Read { stream: Stream::Seed, at, len },
            Request::Write { stream: Stream::Output, at, len },
            Request::Poll {
                mask: n & Stream::POLLABLE,
                timeout: n,
                grants: at & !7,
                grants_len: len.min(HANDLES * 8) & !7,
                events: at & !7,
                events_len: len & !7,
            },
            Request::Bind { handle: made(n % 1024), flags: tcp(), address },
            Request::Connect { handle: made(n % 1024), flags: udp, address },
            Request::Listen { handle: made(n % 1024), backlog: (n % 4097) as u32 },
            Request::Send { handle: made(n % 2048), at, len },
            Request::Shutdown { handle: made(n % 2048) },
            Request::Close { handle: made(n % 2048) },
            Request::Option { handle: made(n % 2048), option, value: n % (option.limit() + 1) },
            Request::Clock { clock: ClockId::Monotonic },
            Request::Grow { bytes: (n % 1000 + 1) << 21 },
            Request::Exit { kind: ExitKind::Killed, at, len: len.min(MAX_MESSAGE) },
        ] {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    /// A checked answer is what the check says, or there is none.
    #[test]
    fn checks_hold(value in any::<u64>(), limit in any::<u64>(), shift in 0..64_u32) {
        let answer = || Unchecked::new("answer", value >> shift);
        prop_assert!(answer().at_most(limit).is_ok_and(|n| n <= limit) == (value >> shift <= limit));
        prop_assert!(answer().subset_of(limit).map_or(value >> shift & !limit != 0, |n| n & !limit == 0));
        let aligned = answer().multiple_of(1 << 21, 4 << 20..=limit);
        prop_assert!(aligned.is_err() || value >> shift <= limit && (value >> shift) % (1 << 21) == 0);
    }

    /// An event is read as it was written, with the bytes behind it, whatever else is in the block.
    #[test]
    fn events_survive_the_trip(
        picks in proptest::collection::vec((0..6_u8, 0..2048_u64, 0..4000_usize, any::<bool>()), 0..20),
    ) {
        let window = MemoryWindow::default();
        let mut at = 0x20000;
        let mut expected = Vec::new();
        for (kind, number, len, more) in picks {
            let handle = made(number);
            let local = std::net::SocketAddr::from(([10, 0, 0, 1], len as u16));
            let peer = std::net::SocketAddrV6::new(u128::from(number).into(), 7, 0, 3).into();
            let event = match kind {
                0 => SocketEvent::Data { handle, len, more },
                1 => SocketEvent::Room { handle, queued: 0 },
                2 => SocketEvent::End { handle },
                3 => SocketEvent::Failed { handle, errno: HostErrno::Reset },
                4 => SocketEvent::Connected { handle, local },
                _ => SocketEvent::Accepted {
                    listener: handle, handle: made(number % 1024 + 1024), peer, local,
                },
            };
            let (words, count) = event.encode();
            for word in &words[..count] {
                window.store(at, *word);
                at += 8;
            }
            if kind == 0 {
                window.write(at, &vec![number as u8; len]);
                at += len.next_multiple_of(8);
            }
            expected.push(event);
        }
        let value = ((at - 0x20000) as u64) << 32;
        let mut port = port(&window, 0, value);
        let (ready, mut events) = port.exchange(0, 0, &[]).unwrap().unwrap();
        prop_assert_eq!(ready, 0);
        for event in expected {
            prop_assert_eq!(port.next_event(&mut events), Ok(Some(event)));
            if let SocketEvent::Data { handle, len, .. } = event {
                let mut got = vec![0; len];
                port.payload(&mut events, &mut got).unwrap();
                prop_assert!(got.iter().all(|byte| *byte == handle.index() as u8));
            }
        }
        prop_assert_eq!(port.next_event(&mut events), Ok(None));
    }
}
