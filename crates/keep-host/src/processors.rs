// SPDX-License-Identifier: Apache-2.0

//! Runs a Keep: each of its processors on a thread of its own, until the first of them comes to an end.
//!
//! What a processor is, a virtual CPU or a thread of an enclave in another process, its backend knows
//! ([`Processor`]). What is the same for all of them is here:
//!
//! - The thread that [runs](Processors::run) them is not confined: it goes on to other things afterwards.
//!   It starts all others, which takes more system calls than serving does: the first processor at once,
//!   each further one when somebody wakes it for the first time.
//! - A thread confines itself before it enters its processor, and then never leaves: it serves the
//!   doorbells, and parks, wakes and interrupts processors.
//! - The first end is that of all. The others are interrupted wherever they are, and waited for; what they
//!   say then is not heard. A thread that panics has come to an end too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keep_backend::{BackendError, host};
use keep_launch::Report;
use sallyport::RawWindow;

use crate::{Connected, Stop};

/// Why a processor has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The Keep wants its submissions looked at.
    Doorbell,
    /// It sleeps until its token is set, for so long at most; `None`: for ever.
    Park(Option<Duration>),
    /// It wakes the processor with this number, if there is one; the first time, that one starts.
    Wake(u32),
    /// It interrupts the processor with this number, if there is one.
    Interrupt(u32),
    /// There is nothing left to do for it; or a signal came.
    Interrupted,
}

/// A processor of a Keep, with whatever its kind does between the Keep's calls.
pub trait Processor: Send {
    /// Why it is not run again, beside what any Keep ends with.
    type End: From<BackendError> + Send;

    /// Requests (`ioctl`) that running it makes, those by which the Keep is given memory included.
    fn ioctls(&self) -> Vec<u32> {
        Vec::new()
    }

    /// System calls that running it makes, beside those that serving takes anyway.
    fn syscalls(&self) -> Vec<i64> {
        Vec::new()
    }

    /// Runs it until the host is needed. If `interrupt` says so, it is interrupted first, as soon as it can
    /// be, and the word taken back. The signal of [`Stop`] makes it come back.
    ///
    /// # Errors
    ///
    /// If it cannot be run again. The Keep has come to its end then.
    fn run(&mut self, interrupt: &AtomicBool) -> Result<Exit, Self::End>;
}

/// Hears of each doorbell after it was answered, and of the processor that rang.
pub type Rang = Box<dyn FnMut(RawWindow, u32) + Send>;

/// The processors of a Keep that is ready to run, and what serves them.
pub struct Processors<P> {
    /// By their numbers.
    processors: Vec<P>,
    running: Running,
}

impl<P> std::fmt::Debug for Processors<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processors")
            .field("count", &self.processors.len())
            .field("connected", &self.running.connected)
            .finish_non_exhaustive()
    }
}

impl<P> Processors<P> {
    /// Of a Keep that was connected for so many.
    #[must_use]
    pub fn new(connected: Connected, processors: Vec<P>) -> Self {
        let states = processors.iter().map(|_| State::default()).collect();
        Self { processors, running: Running { connected, states, rang: None } }
    }

    /// Each of them, before they run.
    pub fn each(&mut self) -> &mut [P] {
        &mut self.processors
    }

    /// Has somebody hear of each doorbell, such as a test whose host lies.
    pub fn on_doorbell(&mut self, rang: Rang) {
        self.running.rang = Some(Mutex::new(rang));
    }

    /// The way to end the Keep from elsewhere.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.running.connected.stop.clone()
    }
}

impl<P: Processor> Processors<P> {
    /// Runs the first processor and all that are woken, until the Keep ends. When this returns, nothing of
    /// it runs or is served any more.
    ///
    /// # Errors
    ///
    /// The first end, if it is none with a report: that of a processor or of the Keep, or that a thread
    /// cannot be started or confined, or that it panicked.
    pub fn run(self) -> Result<Report, P::End> {
        let Self { mut processors, running } = self;
        let running = &running;
        // A thread only borrows its processor: what ending one takes, who is confined need not be allowed.
        let mut waiting: Vec<Option<&mut P>> = processors.iter_mut().map(Some).collect();
        let (says, said) = channel();
        std::thread::scope(|scope| {
            let nobody = || BackendError::Keep { cause: "nobody serves it".into() };
            let mut start = |number: u32| {
                let processor = waiting.get_mut(number as usize).and_then(Option::take);
                let processor = processor.ok_or_else(nobody)?;
                let says = says.clone();
                let serve = move || {
                    let run = AssertUnwindSafe(|| running.run(number, processor, &says));
                    let end = catch_unwind(run).unwrap_or_else(|_| {
                        let cause = "a thread that served it panicked".into();
                        Err(BackendError::Keep { cause }.into())
                    });
                    // After the first end nobody listens any more.
                    _ = says.send(Said::Over(end));
                };
                let thread = std::thread::Builder::new().name(format!("keep-{number}"));
                let started = thread.spawn_scoped(scope, serve).map(drop);
                started.map_err(host("start a thread"))
            };
            let mut first_end = || {
                start(0)?;
                loop {
                    match said.recv() {
                        Ok(Said::Start(number)) => start(number)?,
                        Ok(Said::Over(end)) => return end,
                        Err(_) => return Err(nobody().into()),
                    }
                }
            };
            let end = first_end();
            running.connected.stop.request();
            end
        })
    }
}

/// What a thread that runs a processor says to the one that starts them.
enum Said<E> {
    /// The processor with this number is to be started.
    Start(u32),
    /// The Keep has come to an end.
    Over(Result<Report, E>),
}

/// What is known of a processor from outside.
#[derive(Debug, Default)]
struct State {
    /// Whether it was asked for.
    is_started: AtomicBool,
    /// Whether it is to be interrupted.
    interrupt: AtomicBool,
}

/// What the threads share.
struct Running {
    connected: Connected,
    /// By the processors' numbers.
    states: Vec<State>,
    rang: Option<Mutex<Rang>>,
}

impl Running {
    /// Runs a processor on this thread until the Keep ends.
    fn run<P: Processor>(
        &self,
        number: u32,
        processor: &mut P,
        says: &Sender<Said<P::End>>,
    ) -> Result<Report, P::End> {
        let Connected { stop, tokens, .. } = &self.connected;
        let _entered = stop.enter_as(Some(number));
        self.connected.confine(processor.ioctls(), processor.syscalls())?;
        // There is one for each processor.
        let own = &self.states[number as usize];
        loop {
            if stop.is_requested() {
                return Err(BackendError::Killed.into());
            }
            match processor.run(&own.interrupt)? {
                Exit::Doorbell => {
                    if let Some(report) = self.doorbell(number)? {
                        return Ok(report);
                    }
                }
                Exit::Park(timeout) => {
                    tokens.park(number, timeout, stop);
                }
                Exit::Wake(other) => {
                    tokens.wake(other);
                    let first = |state: &State| !state.is_started.swap(true, Ordering::Relaxed);
                    if other != 0 && self.states.get(other as usize).is_some_and(first) {
                        // If nobody listens, the Keep is over.
                        _ = says.send(Said::Start(other));
                    }
                }
                Exit::Interrupt(other) => {
                    if let Some(state) = self.states.get(other as usize) {
                        state.interrupt.store(true, Ordering::SeqCst);
                        stop.interrupt(other);
                    }
                }
                Exit::Interrupted => {}
            }
        }
    }

    /// Serves the shared block; the Keep's report, if it has ended by its own word.
    fn doorbell(&self, number: u32) -> Result<Option<Report>, BackendError> {
        let Connected { server, window, .. } = &self.connected;
        let ended = server.doorbell(number)?;
        if let Some(rang) = &self.rang {
            let mut rang = rang.lock().unwrap_or_else(PoisonError::into_inner);
            rang(*window, number);
        }
        let Some(ended) = ended else { return Ok(None) };
        ended.into_result()?;
        server.report().map(Some)
    }
}
