// SPDX-License-Identifier: Apache-2.0

//! A host that drops, delays, repeats, reorders and invents answers, to a real kernel in a real virtual
//! machine.
//!
//! What the ends of the protocol make of lies is tested where they are, in `sallyport`, and by a
//! fuzzer. Here is what comes of it for whoever waits for a Keep: it ends, with a sentence that says
//! what the host did, and nothing hangs. A host that is merely slow is no liar, and its Keep
//! goes on.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backend_kvm::{Kvm, Liar};
use backend_sgx_sim::Hostile;
use common::{Place, Running, guest, sgx_sim};
use keep_backend::{Backend, BackendError, NetworkLimits};
use keep_image::Image;
use keep_launch::Report;
use sallyport::{RawWindow, Window};

/// Longer than anything here takes on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(60);

/// How many requests the host has answered, and the answers: see `sallyport`.
const COMPLETED: usize = 0x2000;
const ANSWERS: usize = 0x6000;
const ENTRIES: u64 = 128;

fn entry(number: u64) -> usize {
    ANSWERS + (number % ENTRIES) as usize * 32
}

fn answer(window: RawWindow, number: u64) -> [u64; 4] {
    std::array::from_fn(|word| window.load(entry(number) + word * 8))
}

fn put(window: RawWindow, number: u64, answer: [u64; 4]) {
    for (word, value) in answer.into_iter().enumerate() {
        window.store(entry(number) + word * 8, value);
    }
}

/// What a host has done after a ring.
#[derive(Debug, Clone, Copy)]
struct Answered {
    window: RawWindow,
    /// The first that was answered by this ring, and the first that was not.
    from: u64,
    to: u64,
}

/// A lie, told after a ring; false if there was no occasion for it.
type Lie = fn(Answered) -> bool;

/// Withholds what was answered.
fn drop_it(Answered { window, from, to }: Answered) -> bool {
    window.store(COMPLETED, from);
    from < to
}

/// Gives the last answer but one once more, in the place of the last.
fn repeat(Answered { window, from, to }: Answered) -> bool {
    if to < 2 || from == to {
        return false;
    }
    put(window, to - 1, answer(window, to - 2));
    true
}

/// Exchanges the last two answers.
fn reorder(Answered { window, from, to }: Answered) -> bool {
    if to - from < 2 {
        return false;
    }
    let (last, other) = (answer(window, to - 1), answer(window, to - 2));
    put(window, to - 1, other);
    put(window, to - 2, last);
    true
}

/// Claims to have answered what nobody asked.
fn hurry(Answered { window, to, .. }: Answered) -> bool {
    window.store(COMPLETED, to + 1);
    true
}

/// Takes back what the Keep has seen already.
fn take_back(Answered { window, from, .. }: Answered) -> bool {
    if from > 0 {
        window.store(COMPLETED, from - 1);
    }
    from > 0
}

/// An error that there is not.
fn invent_error(Answered { window, from, to }: Answered) -> bool {
    if from < to {
        window.store(entry(to - 1) + 8, 9999);
    }
    from < to
}

/// A number that no call can give.
fn invent_value(Answered { window, from, to }: Answered) -> bool {
    if from < to {
        window.store(entry(to - 1) + 8, 0);
        window.store(entry(to - 1) + 16, u64::MAX);
    }
    from < to
}

/// What is told, how long, and what the Keep says about it.
struct Case {
    name: &'static str,
    lie: Lie,
    /// So many rings in a row, from the first occasion on.
    times: u32,
    says: Option<&'static str>,
}

const EVER: u32 = u32::MAX;

const CASES: &[Case] = &[
    Case { name: "dropped", lie: drop_it, times: EVER, says: Some("it does not answer") },
    Case { name: "late", lie: drop_it, times: 5, says: None },
    Case { name: "repeated", lie: repeat, times: 1, says: Some("is marked") },
    Case { name: "reordered", lie: reorder, times: 1, says: Some("is marked") },
    Case { name: "ahead", lie: hurry, times: 1, says: Some("it cannot have answered") },
    Case { name: "taken back", lie: take_back, times: 1, says: Some("it cannot have answered") },
    Case { name: "error", lie: invent_error, times: 1, says: Some("cannot fail with error 9999") },
    Case { name: "value", lie: invent_value, times: 1, says: Some("ffff cannot be the") },
];

/// Runs a client that sends 500 KB and reads them back, on a host that lies from one ring on; how it
/// ended, and whether a lie was told.
fn run(
    place: Place,
    image: &Image<'_>,
    case: &Case,
    after: u32,
) -> (Result<Report, BackendError>, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut bytes = [0; 8192];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            if stream.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    });
    let told = Arc::new(AtomicBool::new(false));
    let (tells, lie) = (Arc::clone(&told), case.lie);
    let (mut rings, mut left) = (0, case.times);
    // How many are answered, and how many the Keep was shown.
    let (mut answered, mut shown) = (0, 0);
    let mut liar: Liar = Box::new(move |window: RawWindow| {
        // So slow that the server has no reason to answer without being rung for: it would do so behind
        // the liar's back.
        std::thread::sleep(Duration::from_micros(300));
        rings += 1;
        let now = window.load(COMPLETED);
        if now != shown {
            answered = now;
        }
        if rings > after && left > 0 {
            if lie(Answered { window, from: shown, to: answered }) {
                tells.store(true, Ordering::SeqCst);
            }
            if tells.load(Ordering::SeqCst) {
                left -= 1;
            }
        } else {
            // What was withheld is given.
            window.store(COMPLETED, answered);
        }
        shown = window.load(COMPLETED);
    });
    let mut keep = Running::start_by(&format!("client {at} 500000"), |mut spec| {
        spec.network = Some(NetworkLimits::all());
        match place {
            Place::SgxSim => {
                let liar = Box::new(move |window: RawWindow, _: u32| (*liar)(window));
                let hostile = Hostile { liar: Some(liar), ..Hostile::default() };
                sgx_sim().launch_hostile(image, spec, hostile).unwrap()
            }
            _ => Kvm::new().launch_lying(image, spec, liar).unwrap(),
        }
    });
    let end = keep.end_within(LIMIT);
    drop(keep.rest());
    // If nobody came, it still waits.
    _ = std::net::TcpStream::connect(at);
    peer.join().unwrap();
    (end, told.load(Ordering::SeqCst))
}

fn ends_and_says_so(place: Place, backend: &dyn Backend) {
    let Some(guest) = guest() else { return };
    if backend.probe().iter().any(|datum| !datum.pass) {
        return println!("skipped: {} does not work here", backend.name());
    }
    let image = Image::build(keep_programs::KERNEL, guest).unwrap();
    for case in CASES {
        let mut noticed = 0;
        for after in [0, 3, 7, 15] {
            let (end, told) = run(place, &image, case, after);
            println!("{} after {after}: {told}, {end:?}", case.name);
            match (&end, case.says) {
                (Ok(Report::Exited { code: 0 }), None) => noticed += u32::from(told),
                // There was no occasion, or nobody wanted to know that answer.
                (Ok(Report::Exited { code: 0 }), Some(_)) => {}
                (Err(BackendError::Keep { cause }), Some(says)) => {
                    let named = cause.contains("the host broke the protocol");
                    assert!(told && named && cause.contains(says), "{}: {cause}", case.name);
                    noticed += 1;
                }
                _ => panic!("{} after {after}: {end:?}", case.name),
            }
        }
        assert!(noticed >= 3, "{}: noticed {noticed} times", case.name);
    }
}

#[test]
fn a_keep_that_is_lied_to_ends_and_says_so() {
    ends_and_says_so(Place::Kvm, &Kvm::new());
}

#[test]
fn a_keep_in_an_enclave_that_is_lied_to_ends_and_says_so() {
    ends_and_says_so(Place::SgxSim, &sgx_sim());
}
