// SPDX-License-Identifier: Apache-2.0

//! Ends the Keep when this program is told to end, and then ends by the same signal.
//!
//! The signals are blocked in all threads and one thread waits for them, so nothing ever runs in a
//! signal handler and a Keep is ended from ordinary code. A shell that sees its command die by
//! SIGINT stops its script, which an exit code of 130 would not make it do; therefore the program
//! really dies by the signal once everything is tidied up. A second signal does not wait for that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use keep_backend::Killer;

/// Why a Keep was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// This signal came.
    Signal(i32),
    /// The time is over.
    Timeout,
}

/// Waits for signals from its making on.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    signal: Option<i32>,
    /// What has to be ended, by the number of its guard.
    guarded: BTreeMap<u64, Guarded>,
    guards: u64,
}

struct Guarded {
    killer: Box<dyn Killer>,
    timed_out: bool,
}

impl Watch {
    /// Starts to wait. Call it before any other thread is made.
    pub(crate) fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let signals = Signals::wanted();
        signals.block();
        let waiting = Arc::clone(&shared);
        thread::Builder::new()
            .name("signals".into())
            .stack_size(64 << 10)
            .spawn(move || {
                loop {
                    let signal = signals.wait();
                    if waiting.lock().signal.is_some() {
                        die_by(signal);
                    }
                    waiting.interrupt(signal);
                }
            })
            .context("cannot start a thread")?;
        Ok(Self(shared))
    }

    /// Ends what is behind `killer` at a signal, also at one that came already, and after `limit`.
    pub(crate) fn guard(&self, killer: Box<dyn Killer>, limit: Option<Duration>) -> Result<Guard> {
        let number = {
            let mut state = self.0.lock();
            if state.signal.is_some() {
                killer.kill();
            }
            state.guards += 1;
            let number = state.guards;
            state.guarded.insert(number, Guarded { killer, timed_out: false });
            number
        };
        let guard = Guard { shared: Arc::clone(&self.0), number };
        if let Some(limit) = limit {
            let shared = Arc::clone(&self.0);
            thread::Builder::new()
                .name("timeout".into())
                .stack_size(64 << 10)
                .spawn(move || {
                    thread::sleep(limit);
                    shared.time_out(number);
                })
                .context("cannot start a thread")?;
        }
        Ok(guard)
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.0.lock().signal
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interrupt(&self, signal: i32) {
        let mut state = self.lock();
        state.signal.get_or_insert(signal);
        for guarded in state.guarded.values() {
            guarded.killer.kill();
        }
    }

    /// Ends the Keep of this guard, if it still runs.
    fn time_out(&self, number: u64) {
        if let Some(guarded) = self.lock().guarded.get_mut(&number) {
            guarded.timed_out = true;
            guarded.killer.kill();
        }
    }
}

/// Something that is ended at a signal.
pub(crate) struct Guard {
    shared: Arc<Shared>,
    number: u64,
}

impl Guard {
    /// It has ended: whether it was made to.
    pub(crate) fn finish(self) -> Option<Interruption> {
        let state = self.shared.lock();
        match state.guarded.get(&self.number) {
            Some(Guarded { timed_out: true, .. }) => Some(Interruption::Timeout),
            _ => state.signal.map(Interruption::Signal),
        }
    }

    /// A way to end it from elsewhere, harmless once it has ended.
    pub(crate) fn handle(&self) -> Ender {
        Ender { shared: Arc::clone(&self.shared), number: self.number }
    }
}

/// Ends what a guard is for.
pub(crate) struct Ender {
    shared: Arc<Shared>,
    number: u64,
}

impl Ender {
    /// Ends it now.
    pub(crate) fn end(&self) {
        if let Some(guarded) = self.shared.lock().guarded.get(&self.number) {
            guarded.killer.kill();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.lock().guarded.remove(&self.number);
    }
}

/// The signals that ask a program to end.
#[derive(Clone, Copy)]
struct Signals(libc::sigset_t);

impl Signals {
    /// Those that this program has not been told to ignore, as `nohup` does.
    fn wanted() -> Self {
        // SAFETY: both structures are plain integers, for which zero is a value, and are filled by
        // the calls that get a valid pointer to them.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut action);
                if action.sa_sigaction != libc::SIG_IGN {
                    libc::sigaddset(&mut set, signal);
                }
            }
            Self(set)
        }
    }

    fn block(&self) {
        // SAFETY: the set was filled in `wanted`.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &self.0, std::ptr::null_mut()) };
    }

    fn wait(&self) -> i32 {
        loop {
            let mut signal = 0;
            // SAFETY: the set was filled in `wanted`, and `signal` is valid for the write.
            if unsafe { libc::sigwait(&self.0, &mut signal) } == 0 {
                return signal;
            }
        }
    }
}

/// Ends this program by a signal.
pub(crate) fn die_by(signal: i32) -> ! {
    // SAFETY: plain calls on an initialised set; nothing of this program is used after them.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
        libc::raise(signal);
        // Only if the signal does not end a program.
        libc::_exit(128 + signal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Count(Arc<AtomicU32>);

    impl Killer for Count {
        fn kill(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn watch() -> (Watch, Arc<AtomicU32>, Box<dyn Killer>) {
        let count = Arc::new(AtomicU32::new(0));
        (Watch(Arc::default()), Arc::clone(&count), Box::new(Count(count)))
    }

    #[test]
    fn a_signal_ends_the_keep_and_is_told() {
        let (watch, count, killer) = watch();
        let guard = watch.guard(killer, None).unwrap();
        watch.0.interrupt(libc::SIGTERM);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(guard.finish(), Some(Interruption::Signal(libc::SIGTERM)));
    }

    #[test]
    fn a_signal_between_two_keeps_ends_the_second() {
        let (watch, count, killer) = watch();
        watch.0.interrupt(libc::SIGTERM);
        let _guard = watch.guard(killer, None).unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn time_ends_the_keep() {
        let (watch, count, killer) = watch();
        let guard = watch.guard(killer, Some(Duration::from_millis(5))).unwrap();
        while count.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(guard.finish(), Some(Interruption::Timeout));
    }

    #[test]
    fn a_signal_ends_all_keeps_and_time_only_its_own() {
        let (watch, first, killer) = watch();
        let one = watch.guard(killer, None).unwrap();
        let second = Arc::new(AtomicU32::new(0));
        let two = watch
            .guard(Box::new(Count(Arc::clone(&second))), Some(Duration::from_millis(5)))
            .unwrap();
        while second.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(first.load(Ordering::SeqCst), 0);
        assert_eq!(two.finish(), Some(Interruption::Timeout));
        watch.0.interrupt(libc::SIGINT);
        assert_eq!(first.load(Ordering::SeqCst), 1);
        assert_eq!(one.finish(), Some(Interruption::Signal(libc::SIGINT)));
    }

    #[test]
    fn the_time_of_one_keep_does_not_end_the_next() {
        let (watch, count, killer) = watch();
        drop(watch.guard(killer, Some(Duration::from_millis(20))).unwrap());
        let guard = watch.guard(Box::new(Count(Arc::clone(&count))), None).unwrap();
        thread::sleep(Duration::from_millis(60));
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert_eq!(guard.finish(), None);
    }
}
