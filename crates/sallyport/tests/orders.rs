// SPDX-License-Identifier: Apache-2.0

//! Both ends of the rings under loom, in every order in which two threads can run.
//!
//! The indices and the word that says whether the host is awake are atomics; everything else is
//! plain memory, on which loom reports an access that nothing orders. The thread that rings and
//! the thread that watches serve behind one lock, as a host does.

use std::collections::HashMap;
use std::fmt;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Arc, Mutex};

use sallyport::{ClockId, Doorbell, HostEnd, Port, Request, Stream, Watch, Window};

const SUBMITTED: usize = 0x1000;
const HOST_AWAKE: usize = 0x1040;
const COMPLETED: usize = 0x2000;
/// As many entries of the rings as the longest model uses, and the first words of two pieces of the outbox.
const PLAIN: [(usize, usize); 4] =
    [(0x4000, 3 * 8), (0x6000, 3 * 4), (0x10_0000, 1), (0x10_0040, 1)];

struct Block {
    atomics: HashMap<usize, AtomicU64>,
    plain: HashMap<usize, UnsafeCell<u64>>,
}

// SAFETY: loom reports a race on a cell of `plain` as a failure of the test.
unsafe impl Sync for Block {}
// SAFETY: as above.
unsafe impl Send for Block {}

impl Block {
    fn new() -> Self {
        let words = [SUBMITTED, HOST_AWAKE, COMPLETED];
        let plain = PLAIN.iter().flat_map(|&(at, n)| (0..n).map(move |n| at + n * 8));
        Self {
            atomics: words.into_iter().map(|at| (at, AtomicU64::new(0))).collect(),
            plain: plain.map(|at| (at, UnsafeCell::new(0))).collect(),
        }
    }

    fn get(&self, at: usize) -> u64 {
        // SAFETY: races are loom's to find.
        self.plain[&at].with(|word| unsafe { *word })
    }

    fn set(&self, at: usize, to: u64) {
        // SAFETY: races are loom's to find.
        self.plain[&at].with_mut(|word| unsafe { *word = to });
    }
}

#[derive(Clone)]
struct Shared(Arc<Block>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Window for Shared {
    fn load(&self, at: usize) -> u64 {
        match self.0.atomics.get(&at) {
            Some(word) => word.load(Ordering::Acquire),
            None => self.0.get(at),
        }
    }
    fn store(&self, at: usize, word: u64) {
        match self.0.atomics.get(&at) {
            Some(atomic) => atomic.store(word, Ordering::Release),
            None => self.0.set(at, word),
        }
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.0.get(at).to_le_bytes()[..into.len()]);
    }
    fn write(&self, at: usize, from: &[u8]) {
        let mut word = [0; 8];
        word[..from.len()].copy_from_slice(from);
        self.0.set(at, u64::from_le_bytes(word));
    }
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// A host that writes down what it is asked to write.
struct Host {
    end: HostEnd<Shared>,
    written: Vec<u8>,
}

impl Host {
    fn serve(&mut self) {
        for _ in 0..self.end.pending().unwrap() {
            let value = match self.end.request().unwrap() {
                Request::Write { at, len, .. } => {
                    let mut bytes = vec![0; len];
                    self.end.window().read(at, &mut bytes);
                    self.written.extend(bytes);
                    len as u64
                }
                Request::Clock { .. } => self.written.len() as u64,
                other => panic!("{other:?}"),
            };
            self.end.answer(Ok(value));
        }
    }
}

struct Bell(Arc<Mutex<Host>>);

impl Doorbell for Bell {
    fn ring(&mut self) {
        self.0.lock().unwrap().serve();
    }
    fn relax(&mut self) {
        loom::thread::yield_now();
    }
}

/// Runs a Keep beside a host thread that watches the ring `looks` times and then goes to sleep;
/// returns what was written when both are done.
fn model(looks: usize, keep: fn(&mut Port<Shared, Bell, 0>), expected: &'static [u8]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let window = Shared(Arc::new(Block::new()));
        let host = Host { end: HostEnd::new(window.clone()), written: Vec::new() };
        let host = Arc::new(Mutex::new(host));
        let watcher = {
            let (watch, host) = (Watch::new(window.clone()), Arc::clone(&host));
            loom::thread::spawn(move || {
                let mut seen = 0;
                let mut look = || {
                    let submitted = watch.submitted();
                    if submitted != seen {
                        seen = submitted;
                        host.lock().unwrap().serve();
                    }
                };
                watch.set_awake(true);
                for _ in 0..looks {
                    look();
                    loom::thread::yield_now();
                }
                watch.set_awake(false);
                look();
            })
        };
        keep(&mut Port::with_sockets(window, Bell(Arc::clone(&host))));
        watcher.join().unwrap();
        assert_eq!(host.lock().unwrap().written, expected, "lost, doubled or out of order");
    });
}

#[test]
fn nothing_that_is_not_waited_for_is_left_lying() {
    model(1, |keep| _ = keep.write_later(Stream::Stdout, b"a").unwrap(), b"a");
}

#[test]
fn writes_stay_in_order() {
    let keep = |keep: &mut Port<Shared, Bell, 0>| {
        keep.write_later(Stream::Stdout, b"a").unwrap().unwrap();
        keep.write_later(Stream::Stdout, b"b").unwrap().unwrap();
    };
    model(1, keep, b"ab");
}

#[test]
fn an_answer_is_seen_whole_and_after_what_came_before_it() {
    let keep = |keep: &mut Port<Shared, Bell, 0>| {
        keep.write_later(Stream::Stdout, b"a").unwrap().unwrap();
        // The clock of this host counts what was written.
        assert_eq!(keep.clock(ClockId::Monotonic), Ok(1));
    };
    model(1, keep, b"a");
}
