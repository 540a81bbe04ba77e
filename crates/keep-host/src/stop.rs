// SPDX-License-Identifier: Apache-2.0

//! Ends a Keep from any thread, wherever its own threads are.
//!
//! Threads that serve a Keep block in the kernel: in the virtual CPU, in a read of standard input,
//! in a write to a pipe that nobody reads. A signal gets them out of all of these, and they look
//! at a flag before they go in again. Between the look and the call a signal would be lost, so it
//! is sent again until the thread has left. That costs nothing while nobody stops anything, which
//! waiting for a second descriptor on each call would.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use keep_backend::Killer;

/// How long to wait before a signal is sent again.
const AGAIN: Duration = Duration::from_millis(2);
/// How long to try. A thread that is still there then hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to end a Keep from any thread, and to learn that it is to end. Clones are the same.
#[derive(Debug, Clone)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    /// The threads, and the processor that one runs.
    threads: Mutex<Vec<(libc::pthread_t, Option<u32>)>>,
    left: Condvar,
}

impl Inner {
    fn threads(&self) -> MutexGuard<'_, Vec<(libc::pthread_t, Option<u32>)>> {
        // A list of numbers is never half changed.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signal that only interrupts.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

impl Stop {
    /// A new one; the first in a process installs the handler of the signal.
    ///
    /// # Errors
    ///
    /// If the handler cannot be installed.
    pub fn new() -> io::Result<Self> {
        static HANDLER: OnceLock<Option<i32>> = OnceLock::new();
        extern "C" fn nothing(_: libc::c_int) {}
        let failed = HANDLER.get_or_init(|| {
            // SAFETY: all fields are plain data for which zero is a value.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // Without SA_RESTART, so that calls end with EINTR.
            action.sa_sigaction = nothing as *const () as libc::sighandler_t;
            // SAFETY: the handler does nothing, so it is safe at any moment.
            let done = unsafe { libc::sigaction(signal(), &action, std::ptr::null_mut()) };
            (done != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL))
        });
        match failed {
            Some(errno) => Err(io::Error::from_raw_os_error(*errno)),
            None => Ok(Self { inner: Arc::default() }),
        }
    }

    /// Registers the calling thread as one that serves the Keep, until the value is dropped.
    pub fn enter(&self) -> Entered {
        self.enter_as(None)
    }

    /// The same for a thread that runs a processor.
    pub(crate) fn enter_as(&self, processor: Option<u32>) -> Entered {
        // SAFETY: has no preconditions.
        let thread = unsafe { libc::pthread_self() };
        self.inner.threads().push((thread, processor));
        Entered { stop: self.clone(), thread, not_send: std::marker::PhantomData }
    }

    /// Interrupts the thread that runs a processor, if one does, whatever it is doing. Done between
    /// two calls of its, that may be lost.
    pub(crate) fn interrupt(&self, processor: u32) {
        let threads = self.inner.threads();
        let runs = threads.iter().find(|(_, runs)| *runs == Some(processor));
        if let Some(&(thread, _)) = runs {
            // SAFETY: as in `request`.
            unsafe { libc::pthread_kill(thread, signal()) };
        }
    }

    /// Whether the Keep is to end. To be asked whenever a call was interrupted.
    pub fn is_requested(&self) -> bool {
        self.inner.requested.load(Ordering::Relaxed)
    }

    /// Asks all registered threads to leave and waits until they have, the calling one excepted.
    pub fn request(&self) {
        self.inner.requested.store(true, Ordering::SeqCst);
        // SAFETY: has no preconditions.
        let own = unsafe { libc::pthread_self() };
        let end = Instant::now() + PATIENCE;
        let mut threads = self.inner.threads();
        while threads.iter().any(|&(thread, _)| thread != own) && Instant::now() < end {
            for &(thread, _) in threads.iter().filter(|&&(thread, _)| thread != own) {
                // SAFETY: a thread is in the list only while it lives: it removes itself, under
                // the lock that we hold.
                unsafe { libc::pthread_kill(thread, signal()) };
            }
            let wait = self.inner.left.wait_timeout(threads, AGAIN);
            threads = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Killer for Stop {
    fn kill(&self) {
        self.request();
    }
}

/// A thread that serves a Keep; see [`Stop::enter`].
#[derive(Debug)]
pub struct Entered {
    stop: Stop,
    thread: libc::pthread_t,
    /// It must be dropped by the thread that it stands for.
    not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut threads = self.stop.inner.threads();
        if let Some(at) = threads.iter().position(|&(thread, _)| thread == self.thread) {
            threads.swap_remove(at);
        }
        self.stop.inner.left.notify_all();
    }
}
