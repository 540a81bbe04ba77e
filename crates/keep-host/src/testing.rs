// SPDX-License-Identifier: Apache-2.0

//! A Keep that writes what the fuzzer likes into the shared block, against a real [`Server`].
//!
//! Whatever it does, the server must not panic, must come back from each doorbell, must leave alone
//! what it was not given, and must serve nothing once the Keep has ended. Waiting is the one thing
//! that a Keep may rightly ask for, so requests to wait are made short first.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keep_backend::{BackendError, Claim, ClaimKind, EvidenceSource, NetworkLimits};
use keep_launch::{Evidence, MAX_REPORT};

use sallyport::testing::{Block, Bytes};
use sallyport::{
    Call, DATA, ENTRIES, Handle, RawWindow, Request, SHARED_SIZE, SocketFlags, SocketKind,
    SocketOption, Stream, Window,
};

use crate::{Agent, Ended, Memory, Server, Stop, Streams};

const SUBMITTED: usize = 0x1000;
const REQUESTS: usize = 0x4000;

/// Between rings and data there is nothing that the server may write, nor before the completions.
const UNTOUCHED: [(usize, usize); 3] = [(0, 0x1000), (0x3000, 0x4000), (0x7000, DATA)];
const CANARY: &[u8] = b"nobody was given this descriptor";

/// A file that exists only in memory.
fn file(content: &[u8]) -> File {
    // SAFETY: the name ends with null; the result is checked, and ours alone.
    let mut file: File = unsafe {
        let fd = libc::memfd_create(c"keep".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd).into()
    };
    file.write_all(content).expect("memory can be written");
    file.rewind().expect("memory can be rewound");
    file
}

/// Grows to 64 MiB, and checks what it is asked for.
struct Ram(Arc<AtomicU64>);

impl Memory for Ram {
    fn grow(&mut self, bytes: u64) -> io::Result<u64> {
        assert!(bytes > 0 && bytes.is_multiple_of(2 << 20));
        let total = self.0.load(Ordering::Relaxed);
        match total.checked_add(bytes) {
            Some(total) if total <= 64 << 20 => {
                self.0.store(total, Ordering::Relaxed);
                Ok(total)
            }
            _ => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }
}

struct NoEvidence;

impl EvidenceSource for NoEvidence {
    fn evidence(&mut self, _: &Claim) -> Evidence {
        Evidence::Refused { message: "there is none".into() }
    }
}

fn agent() -> Agent {
    let agent =
        Agent::start(Some(Box::new(NoEvidence)), Some(Box::new(|_| {})), ClaimKind::ReportData);
    agent.expect("a thread can be started").expect("there is something to do")
}

/// Runs the Keep that `input` describes.
pub fn hostile_keep(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    let block = Block::new();
    // SAFETY: the block outlives the server, which ends with this function.
    let window = unsafe { block.window() };
    let mut canary = file(CANARY);
    let out = file(b"");
    let given = bytes.byte();
    let streams = Streams {
        stdio: [
            (given & 1 != 0).then(|| file(b"standard input")),
            (given & 2 != 0).then(|| out.try_clone().expect("a descriptor is left")),
            // Written to, this one fails.
            (given & 4 != 0).then(|| File::open("/dev/null").expect("the null device exists")),
        ],
        launch: vec![0x11; usize::from(bytes.byte())],
        input: file(&[0x22; 300]),
        output: (given & 8 != 0).then(|| file(b"")),
        seed: (given & 16 != 0).then(|| -> Box<dyn Read + Send> { Box::new(&[0x33; 100][..]) }),
        agent: (given & 32 != 0).then(agent),
        network: (given & 64 != 0).then_some(NetworkLimits {
            max_sockets: 4,
            listen: true,
            connect: given & 128 != 0,
        }),
    };
    for (begin, end) in UNTOUCHED {
        window.write(begin, &vec![0x5a; end - begin]);
    }
    let ram = Arc::new(AtomicU64::new(4 << 20));
    let stop = Stop::new().expect("the handler can be installed");
    let server = Server::new(window, streams, Box::new(Ram(Arc::clone(&ram))), stop)
        .expect("a descriptor is left");

    let (mut submitted, mut over) = (0, false);
    while !bytes.is_empty() {
        submit(window, &mut bytes, &mut submitted);
        match server.doorbell(0) {
            Ok(None) => assert!(!over, "it goes on after its end"),
            Ok(Some(ended)) => {
                assert!(!over, "it ended twice");
                over = true;
                check_message(ended);
            }
            Err(BackendError::Killed) => assert!(over, "nobody stopped it"),
            Err(_) => {
                assert!(!over, "it failed after its end");
                over = true;
            }
        }
    }
    // Whether or not there is one, asking for the report does no harm.
    _ = server.report();

    assert_eq!(canary.stream_position().expect("it is a file"), 0);
    let mut content = Vec::new();
    canary.read_to_end(&mut content).expect("it can be read");
    assert_eq!(content, CANARY);
    for (begin, end) in UNTOUCHED {
        let mut now = vec![0; end - begin];
        window.read(begin, &mut now);
        assert!(now.iter().all(|&byte| byte == 0x5a), "written at {begin:#x} or after");
    }
    drop(server);
    let mut out = out;
    let written = out.seek(SeekFrom::End(0)).expect("it is a file");
    assert!(written <= (submitted as u128 * SHARED_SIZE as u128) as u64 || over);
    assert!(ram.load(Ordering::Relaxed) <= 64 << 20);
}

fn check_message(ended: Ended) {
    if let Err(error) = ended.into_result() {
        let text = error.to_string();
        assert!(text.len() <= 4 * sallyport::MAX_MESSAGE);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    }
}

/// Writes some requests, sound ones and others, and moves the index, soundly or not.
fn submit(window: RawWindow, bytes: &mut Bytes<'_>, submitted: &mut u64) {
    let count = match bytes.byte() {
        kind @ 0..240 => u64::from(kind % 5),
        kind => u64::from(kind % 40),
    };
    for n in 0..count {
        let at = REQUESTS + (submitted.wrapping_add(n) % ENTRIES) as usize * 64;
        let mut words = if bytes.byte() < 200 {
            sound(bytes).encode()
        } else {
            core::array::from_fn(|_| bytes.word())
        };
        if bytes.byte() > 200 {
            words[usize::from(bytes.byte() % 8)] = bytes.word();
        }
        if words[0] == Call::Poll.number() {
            words[3] = words[3].min(1_000);
        }
        if matches!(Call::from_number(words[0]), Some(Call::Bind | Call::Connect)) {
            // Nobody outside is to be bothered.
            words[3] = 4 | words[3] & 0xffff_0000;
            (words[4], words[5]) = (0x0100_007f, 0);
        }
        for (n, word) in words.into_iter().enumerate() {
            window.store(at + n * 8, word);
        }
    }
    if bytes.byte() < 245 {
        *submitted = submitted.wrapping_add(count);
    } else {
        *submitted = bytes.word();
        // Entries of the ring that were not written hold old requests, or zeros: both are served.
    }
    if bytes.byte() > 230 {
        let at = bytes.place();
        let guarded = UNTOUCHED.iter().any(|&(begin, end)| (begin..end).contains(&at));
        let ring = (REQUESTS..REQUESTS + 2048).contains(&at);
        if !guarded && !ring {
            window.store(at, bytes.word());
        }
    }
    window.store(SUBMITTED, *submitted);
}

/// A request that may well be served.
fn sound(bytes: &mut Bytes<'_>) -> Request {
    let stream = Stream::ALL[usize::from(bytes.byte()) % Stream::ALL.len()];
    let at = DATA + bytes.word() as usize % (SHARED_SIZE - DATA);
    let len = (bytes.word() as usize % (1 << 14)).min(SHARED_SIZE - at);
    match bytes.byte() {
        0..100 if stream.is_readable() => Request::Read { stream, at, len },
        0..100 => Request::Write { stream, at, len },
        100..120 => Request::Poll {
            mask: u64::from(bytes.byte()) & Stream::POLLABLE,
            timeout: 1,
            grants: DATA,
            grants_len: usize::from(bytes.byte() % 8) * 8,
            events: at & !7,
            events_len: (len / 2) & !7,
        },
        120..140 => sound_socket(bytes, at, len),
        140..160 => Request::Clock { clock: sallyport::ClockId::Monotonic },
        160..200 => Request::Grow { bytes: bytes.word().saturating_mul(2 << 20) & !0x1f_ffff },
        200..240 => Request::Write { stream: Stream::Report, at, len: MAX_REPORT.min(len * 64) },
        kind => {
            let kind = sallyport::ExitKind::ALL[usize::from(kind % 4)];
            Request::Exit { kind, at, len: len.min(sallyport::MAX_MESSAGE) }
        }
    }
}

fn sound_socket(bytes: &mut Bytes<'_>, at: usize, len: usize) -> Request {
    let handle = Handle::new(u64::from(bytes.byte() % 3)).unwrap_or_else(|| unreachable!());
    let kind =
        if bytes.byte().is_multiple_of(2) { SocketKind::Stream } else { SocketKind::Datagram };
    let flags = SocketFlags { kind, reuse: true, only_v6: false };
    // Ports of a range in which somebody may listen: an earlier call of this very Keep.
    let address = ([127, 0, 0, 1], u16::from(bytes.byte() % 4) * 11_111).into();
    match bytes.byte() % 8 {
        0 => Request::Bind { handle, flags, address },
        1 => Request::Listen { handle, backlog: 5 },
        2 | 3 => Request::Connect { handle, flags, address },
        4 | 5 => Request::Send { handle, at, len },
        6 => Request::Shutdown { handle },
        _ if len.is_multiple_of(2) => Request::Close { handle },
        _ => Request::Option { handle, option: SocketOption::NoDelay, value: 1 },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 400,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn no_keep_breaks_out(input in proptest::collection::vec(any::<u8>(), 0..600)) {
            hostile_keep(&input);
        }
    }

    /// A Keep with a second processor changes the ring while the first one rings.
    #[test]
    fn changes_under_our_feet_do_no_harm() {
        let block = Block::new();
        // SAFETY: the block outlives the threads of the scope below.
        let window = unsafe { block.window() };
        let done = AtomicBool::new(false);
        let stop = Stop::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut x = 0x9e37_79b9_7f4a_7c15_u64;
                while !done.load(Ordering::Relaxed) {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    // Mostly what the word at that place may be; but no call may wait.
                    let place = (x >> 16) % 5;
                    let word = match (place, x >> 32) {
                        (_, any) if any % 16 == 0 => any & !3,
                        (0, call) => [1, 2, 4, 5, 6, 2][(call % 6) as usize],
                        (1, stream) => stream % 9,
                        (2, at) if at % 2 == 0 => DATA as u64 + at % 0x10_0000,
                        (2, kind) => kind >> 1 & 3,
                        (3, at) if at % 4 == 0 => DATA as u64 + at % 0x10_0000,
                        (3, len) => len % 5000,
                        (_, more) => {
                            if more % 4 == 0 {
                                more % 100
                            } else {
                                0
                            }
                        }
                    };
                    let at =
                        REQUESTS + (x as usize >> 8) % ENTRIES as usize * 64 + place as usize * 8;
                    window.store(at, word);
                }
            });
            let end = Instant::now() + Duration::from_millis(1_500);
            let mut served = 0_usize;
            while Instant::now() < end {
                for at in [SUBMITTED, 0x2000] {
                    window.store(at, 0);
                }
                for n in 0..ENTRIES as usize {
                    window.store(0x6000 + n * 32 + 8, u64::MAX);
                }
                let streams = Streams {
                    stdio: [None, None, None],
                    launch: vec![0; 100],
                    input: file(&[0; 1000]),
                    output: Some(file(b"")),
                    seed: None,
                    agent: None,
                    network: None,
                };
                let memory = Box::new(Ram(Arc::new(AtomicU64::new(0))));
                let server = Server::new(window, streams, memory, stop.clone()).unwrap();
                for round in 1..50 {
                    window.store(SUBMITTED, round * 8);
                    let outcome = server.doorbell(0);
                    let status = |n: usize| window.load(0x6000 + n * 32 + 8);
                    served += (0..ENTRIES as usize).filter(|&n| status(n) == 0).count();
                    match outcome {
                        Ok(None) => {}
                        Ok(Some(ended)) => {
                            check_message(ended);
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(served > 0, "no request was ever well-formed: nothing was tested");
        });
    }
}
