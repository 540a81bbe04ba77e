// SPDX-License-Identifier: Apache-2.0

//! The host agent's side: serves the processors of a Keep whose enclave lives in another process.
//!
//! Each processor that was started has a thread here, confined to the system calls that serving takes. The first one
//! that comes to an end ends all.

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use keep_backend::BackendError;
use keep_host::{Connected, Stop};
use keep_launch::Report;
use sallyport::RawWindow;

use crate::wire::{self, Word};

/// How a Keep came to an end.
#[derive(Debug)]
pub enum End {
    /// By a word of somebody.
    Result(Result<Report, BackendError>),
    /// Its process is gone. It may have left a word: see [`last_word`].
    Lost,
}

/// Puts the quoting enclave's `TARGETINFO` into the block: 0, or an error number for the Keep.
pub type Target = Box<dyn Fn(RawWindow) -> u64 + Send + Sync>;
/// Hears of each doorbell of a processor after it was answered.
pub type Rang = Box<dyn FnMut(RawWindow, u32) + Send>;

/// The processors of a Keep that is ready to run.
pub struct Serving {
    connected: Connected,
    /// By the processors' numbers.
    sockets: Vec<File>,
    target: Option<Target>,
    rang: Option<Mutex<Rang>>,
    threads: Mutex<Threads>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

/// Which processors were started.
#[derive(Debug, Default)]
struct Threads {
    started: Vec<bool>,
    handles: Vec<JoinHandle<()>>,
    /// Hears of the first end; none if no more are to be started.
    ends: Option<SyncSender<End>>,
}

impl Serving {
    /// Of a Keep whose processors have these sockets.
    ///
    /// # Errors
    ///
    /// If the host has no means for processors to wait for each other.
    pub fn new(connected: Connected, sockets: Vec<File>) -> io::Result<Self> {
        let started = vec![false; sockets.len()];
        let threads = Mutex::new(Threads { started, ..Threads::default() });
        Ok(Self { connected, sockets, target: None, rang: None, threads })
    }

    /// With somebody who knows for whom reports are made.
    #[must_use]
    pub fn with_target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// With somebody who hears of each doorbell.
    #[must_use]
    pub fn with_rang(mut self, rang: Rang) -> Self {
        self.rang = Some(Mutex::new(rang));
        self
    }

    /// The way to end it from elsewhere.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.connected.stop.clone()
    }

    /// Runs the first processor and all that it starts, until the Keep ends. When this returns, nothing of it is
    /// served any more. The calling thread is not confined: it goes on to other things.
    ///
    /// # Errors
    ///
    /// If the first thread cannot be started.
    pub fn run(self) -> Result<End, BackendError> {
        let (ends, end) = sync_channel(self.sockets.len().max(1));
        let serving = Arc::new(self);
        serving.threads().ends = Some(ends);
        serving.start(0)?;
        let end = end.recv().unwrap_or(End::Lost);
        serving.connected.stop.request();
        let handles = {
            let mut threads = serving.threads();
            threads.ends = None;
            std::mem::take(&mut threads.handles)
        };
        for handle in handles {
            // A thread that panics says so before.
            _ = handle.join();
        }
        Ok(end)
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        // Nothing in it is ever half changed.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread of a processor, if it was not: whether it does so now.
    fn start(self: &Arc<Self>, number: u32) -> Result<bool, BackendError> {
        let mut threads = self.threads();
        let Some(ends) = threads.ends.clone() else { return Ok(false) };
        match threads.started.get_mut(number as usize) {
            Some(started) if !*started => *started = true,
            _ => return Ok(false),
        }
        let serving = Arc::clone(self);
        let thread = std::thread::Builder::new().name(format!("keep-{number}"));
        let served = move || {
            let end = catch_unwind(AssertUnwindSafe(|| serving.serve(number)));
            let panicked = || {
                let cause = "a thread that served it panicked".into();
                End::Result(Err(BackendError::Keep { cause }))
            };
            // There is room for one of each; somebody else's may have come first, and nobody listens.
            _ = ends.try_send(end.unwrap_or_else(|_| panicked()));
        };
        let handle = thread
            .spawn(served)
            .map_err(|source| BackendError::Host { what: "start a thread".into(), source })?;
        threads.handles.push(handle);
        Ok(true)
    }

    fn serve(self: &Arc<Self>, number: u32) -> End {
        match self.turns(number) {
            Ok(end) => end,
            Err(error) => End::Result(Err(error)),
        }
    }

    fn turns(self: &Arc<Self>, number: u32) -> Result<End, BackendError> {
        let stop = &self.connected.stop;
        let _entered = stop.enter();
        if number == 0 {
            // The others are started from confined threads, and so they are.
            self.connected.confine(Vec::new(), Vec::new())?;
        }
        let Some(socket) = self.sockets.get(number as usize) else { return Ok(End::Lost) };
        let mut result = 0;
        loop {
            if stop.is_requested() {
                return Err(BackendError::Killed);
            }
            if wire::answer(socket, result).is_err() {
                return Ok(End::Lost);
            }
            let senseless = || {
                let cause = "the process of its enclave says what makes no sense".into();
                BackendError::Keep { cause }
            };
            result = match Word::read(Until { socket, stop }) {
                Ok(Word::Doorbell) => {
                    if let Some(report) = self.doorbell(number)? {
                        return Ok(End::Result(Ok(report)));
                    }
                    0
                }
                Ok(Word::Park(nanoseconds)) => {
                    let forever = nanoseconds == u64::MAX;
                    let timeout = (!forever).then(|| Duration::from_nanos(nanoseconds));
                    self.connected.tokens.park(number, timeout, stop);
                    0
                }
                Ok(Word::Wake(other)) => {
                    self.wake(other)?;
                    0
                }
                Ok(Word::Target) => match &self.target {
                    Some(target) => target(self.connected.window),
                    None => return Err(senseless()),
                },
                Err(_) if stop.is_requested() => return Err(BackendError::Killed),
                Err(error) if error.kind() != io::ErrorKind::InvalidData => return Ok(End::Lost),
                Ok(_) | Err(_) => return Err(senseless()),
            };
        }
    }

    /// Serves the shared block; the Keep's report, if it has ended.
    fn doorbell(&self, number: u32) -> Result<Option<Report>, BackendError> {
        let ended = self.connected.server.doorbell(number)?;
        if let Some(rang) = &self.rang {
            let mut rang = rang.lock().unwrap_or_else(PoisonError::into_inner);
            rang(self.connected.window, number);
        }
        let Some(ended) = ended else { return Ok(None) };
        ended.into_result()?;
        self.connected.server.report().map(Some)
    }

    /// Wakes a processor or starts it, if it exists.
    fn wake(self: &Arc<Self>, number: u64) -> Result<(), BackendError> {
        let Ok(number) = u32::try_from(number) else { return Ok(()) };
        if (number as usize) < self.sockets.len() && !self.start(number)? {
            self.connected.tokens.wake(number);
        }
        Ok(())
    }
}

/// Reads from the process until the Keep is to end.
struct Until<'a> {
    socket: &'a File,
    stop: &'a Stop,
}

impl Read for Until<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_requested() {
            return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
        }
        let mut socket = self.socket;
        socket.read(bytes)
    }
}

/// Why a process says that its Keep is broken, if it says so. It must have ended, or this waits for it.
#[must_use]
pub fn last_word(socket: &File) -> Option<String> {
    match Word::read(socket) {
        Ok(Word::Broken(cause)) => Some(cause),
        _ => None,
    }
}
