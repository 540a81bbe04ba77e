// SPDX-License-Identifier: Apache-2.0

//! Serves host calls without an exit: a thread that watches the ring while the Keep is busy with
//! the host.
//!
//! An exit costs the Keep tens of microseconds, a look at the ring far less than one. But a thread
//! that looks is a processor that does nothing else, so it looks only after the Keep has rung
//! several times in short succession, stops shortly after the last request, and if that turned out
//! to be of little use, it waits longer before it lets itself be woken again. On a machine with
//! one processor it never looks. And it is not even started for a Keep that has little to ask: a
//! thread costs as much as half a dozen exits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::Server;
use crate::server::{Served, Shared};

/// Doorbells that follow each other within this time are a burst,
const GAP: Duration = Duration::from_micros(200);
/// if there are so many.
const BURST: u32 = 3;
/// The thread is started when a burst gets that long.
const START: u32 = 32;
/// How long to watch after the last request.
const LINGER: Duration = Duration::from_micros(100);
/// Watching was of use if it served so many requests.
const USEFUL: u64 = 8;
/// Longest time not to be woken after watching was of little use.
const MAX_PAUSE: Duration = Duration::from_millis(64);
/// Looks at the ring between two looks at the clock.
const LOOKS: u32 = 64;
/// The thread formats messages at most.
const STACK: usize = 256 << 10;

/// Notices bursts of doorbells.
#[derive(Debug)]
pub(crate) struct Burst {
    last: Option<Instant>,
    count: u32,
}

impl Burst {
    pub(crate) const fn new() -> Self {
        Self { last: None, count: 0 }
    }

    /// Counts a doorbell; how long the burst is by now, if there is one.
    pub(crate) fn rang(&mut self, now: Instant) -> Option<u32> {
        let close = self.last.is_some_and(|last| now.saturating_duration_since(last) < GAP);
        self.count = if close { self.count.saturating_add(1) } else { 1 };
        self.last = Some(now);
        (self.count >= BURST).then_some(self.count)
    }
}

/// Starts and wakes the thread.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    thread: OnceLock<(Thread, Instant)>,
    handle: Mutex<Option<JoinHandle<()>>>,
    /// Whether the thread may be started: there is a [`Poller`], and no attempt has failed.
    enabled: AtomicBool,
    /// Set to wake it, cleared by it before it goes to sleep.
    wanted: AtomicBool,
    closing: AtomicBool,
    /// Nanoseconds on the thread's clock before which it is not to be woken.
    not_before: AtomicU64,
}

/// A burst of doorbells is under way, and is `length` long.
pub(crate) fn burst(shared: &Arc<Shared>, length: u32) {
    let wake = &shared.wake;
    match wake.thread.get() {
        Some((thread, epoch)) => {
            let late_enough = since(*epoch) >= wake.not_before.load(Ordering::Relaxed);
            if late_enough && !wake.wanted.swap(true, Ordering::Relaxed) {
                thread.unpark();
            }
        }
        None if length >= START && wake.enabled.swap(false, Ordering::Relaxed) => start(shared),
        None => {}
    }
}

/// Starts the thread, which begins by watching. The calling thread's confinement is its own.
fn start(shared: &Arc<Shared>) {
    let wake = &shared.wake;
    let mine = Arc::clone(shared);
    let builder = thread::Builder::new().name("keep-poller".into()).stack_size(STACK);
    wake.wanted.store(true, Ordering::Relaxed);
    match builder.spawn(move || run(&mine)) {
        Ok(handle) => {
            // Nobody else starts one: `enabled` was taken back before.
            let _ = wake.thread.set((handle.thread().clone(), Instant::now()));
            *wake.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        }
        Err(error) => tracing::debug!(%error, "host calls will take an exit each"),
    }
}

fn since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Whether there is a processor to spare.
fn has_two_processors() -> bool {
    // Not `available_parallelism`, which reads files to learn of quotas: this is part of each
    // start. Where a quota leaves less than it seems, watching is of little use, which is noticed.
    // SAFETY: the set is plain data for which zero is a value, and is as long as we say.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set) == 0 && libc::CPU_COUNT(&set) > 1
    }
}

/// Allows the server to start the thread, from within a doorbell, when it pays. The thread ends
/// with this value, which must go before the shared block does.
#[derive(Debug)]
#[must_use]
pub struct Poller {
    shared: Arc<Shared>,
}

impl Poller {
    /// For the Keep that `server` serves.
    pub fn new(server: &Server) -> Self {
        let shared = Arc::clone(server.shared());
        shared.wake.enabled.store(has_two_processors(), Ordering::Relaxed);
        Self { shared }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        let wake = &self.shared.wake;
        wake.enabled.store(false, Ordering::Relaxed);
        let handle = wake.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(handle) = handle else { return };
        wake.closing.store(true, Ordering::Release);
        handle.thread().unpark();
        // It may be in a call that blocks; nobody waits for the answer any more.
        self.shared.stop.request();
        if handle.join().is_err() {
            tracing::error!("the thread that serves the Keep without exits panicked");
        }
    }
}

fn run(shared: &Shared) {
    let wake = &shared.wake;
    let mut pause = Duration::ZERO;
    while !wake.closing.load(Ordering::Acquire) {
        if !wake.wanted.load(Ordering::Relaxed) {
            thread::park();
            continue;
        }
        let Some(served) = watch(shared) else { return };
        if served >= USEFUL {
            pause = Duration::ZERO;
        } else {
            pause = (pause * 2).clamp(Duration::from_millis(1), MAX_PAUSE);
            if let Some((_, epoch)) = wake.thread.get() {
                let not_before = since(*epoch).saturating_add(pause.as_nanos() as u64);
                wake.not_before.store(not_before, Ordering::Relaxed);
            }
        }
        wake.wanted.store(false, Ordering::Relaxed);
    }
}

/// Serves until the Keep has been quiet for a while; how many requests, or `None` once it has
/// ended.
fn watch(shared: &Shared) -> Option<u64> {
    // Only here can it be in a call that blocks; asleep, it needs no signal.
    let _entered = shared.stop.enter();
    shared.watch.set_awake(true);
    let served = linger(shared);
    shared.watch.set_awake(false);
    // What was submitted before the Keep could see that is served here; the rest comes with a ring.
    let served = served?;
    match shared.serve_pending() {
        Served::Requests(n) => Some(served + n),
        Served::Waits => Some(served),
        Served::Over => None,
    }
}

fn linger(shared: &Shared) -> Option<u64> {
    let mut served = 0;
    let mut last = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if shared.is_pending() {
                break;
            }
            std::hint::spin_loop();
        }
        match shared.serve_pending() {
            Served::Over => return None,
            Served::Waits => return Some(served),
            Served::Requests(0) if last.elapsed() > LINGER => return Some(served),
            Served::Requests(0) => {}
            Served::Requests(n) => {
                served += n;
                last = Instant::now();
            }
        }
        if shared.stop.is_requested() || shared.wake.closing.load(Ordering::Relaxed) {
            return Some(served);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_burst_wakes() {
        let mut burst = Burst::new();
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        assert_eq!(burst.rang(at(0)), None);
        assert_eq!(burst.rang(at(100)), None);
        assert_eq!(burst.rang(at(250)), Some(3));
        assert_eq!(burst.rang(at(400)), Some(4));
        assert_eq!(burst.rang(at(700)), None, "a pause ends the burst");
        assert_eq!(burst.rang(at(750)), None);
        assert_eq!(burst.rang(at(800)), Some(3));
    }
}
