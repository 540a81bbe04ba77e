// SPDX-License-Identifier: Apache-2.0

//! Serves host calls without an exit: a thread that watches the ring while the Keep is busy with
//! the host.
//!
//! An exit costs the Keep tens of microseconds, a look at the ring far less than one. But a thread
//! that looks is a processor that does nothing else, so it looks only after the Keep has rung
//! several times in short succession, stops shortly after the last request, and if that turned out
//! to be of little use, it waits longer before it lets itself be woken again. On a machine with
//! one processor it never looks.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use keep_backend::BackendError;

use crate::server::Shared;
use crate::{Filter, Scope, Server};

/// Doorbells that follow each other within this time are a burst,
const GAP: Duration = Duration::from_micros(200);
/// if there are so many.
const BURST: u32 = 3;
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

    /// Counts a doorbell; whether a burst is under way.
    pub(crate) fn rang(&mut self, now: Instant) -> bool {
        let close = self.last.is_some_and(|last| now.saturating_duration_since(last) < GAP);
        self.count = if close { self.count.saturating_add(1) } else { 1 };
        self.last = Some(now);
        self.count >= BURST
    }
}

/// Wakes the thread.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    thread: OnceLock<(Thread, Instant)>,
    /// Set to wake it, cleared by it before it goes to sleep.
    wanted: AtomicBool,
    closing: AtomicBool,
    /// Nanoseconds on the thread's clock before which it is not to be woken.
    not_before: AtomicU64,
}

impl Wake {
    /// Wakes the thread if there is one, it sleeps, and it wants to be woken.
    pub(crate) fn wake(&self) {
        let Some((thread, epoch)) = self.thread.get() else { return };
        let late_enough = since(*epoch) >= self.not_before.load(Ordering::Relaxed);
        if late_enough && !self.wanted.swap(true, Ordering::Relaxed) {
            thread.unpark();
        }
    }
}

fn since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The thread. It ends with this value, which must go before the shared block does.
#[derive(Debug)]
pub struct Poller {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Starts the thread, asleep and under `filter`, or `None` where watching cannot pay.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn start(server: &Server, filter: Option<Filter>) -> io::Result<Option<Self>> {
        if thread::available_parallelism().is_ok_and(|n| n.get() < 2) {
            return Ok(None);
        }
        let shared = Arc::clone(server.shared());
        let run = move || {
            if let Some(Err(source)) = filter.map(|filter| filter.install(Scope::Thread)) {
                let what = "confine the thread that serves the Keep".into();
                return shared.fail(BackendError::Host { what, source: io::Error::other(source) });
            }
            run(&shared);
        };
        let shared = Arc::clone(server.shared());
        let thread =
            thread::Builder::new().name("keep-poller".into()).stack_size(STACK).spawn(run)?;
        // A second poller for the same Keep would only never be woken.
        let _ = shared.wake.thread.set((thread.thread().clone(), Instant::now()));
        Ok(Some(Self { shared, thread: Some(thread) }))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.wake.closing.store(true, Ordering::Release);
        thread.thread().unpark();
        // It may be in a call that blocks; nobody waits for the answer any more.
        self.shared.stop.request();
        if thread.join().is_err() {
            tracing::error!("the thread that serves the Keep without exits panicked");
        }
    }
}

fn run(shared: &Shared) {
    let _entered = shared.stop.enter();
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
    shared.watch.set_awake(true);
    let served = linger(shared);
    shared.watch.set_awake(false);
    // What was submitted before the Keep could see that is served here; the rest comes with a ring.
    Some(served? + shared.serve_pending()?)
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
        match shared.serve_pending()? {
            0 if last.elapsed() > LINGER => return Some(served),
            0 => {}
            n => {
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
        assert!(!burst.rang(at(0)));
        assert!(!burst.rang(at(100)));
        assert!(burst.rang(at(250)));
        assert!(burst.rang(at(400)));
        assert!(!burst.rang(at(700)), "a pause ends the burst");
        assert!(!burst.rang(at(750)));
        assert!(burst.rang(at(800)));
    }
}
