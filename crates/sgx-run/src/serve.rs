// SPDX-License-Identifier: Apache-2.0

//! The host agent's side: serves the processors of a Keep whose enclave lives in another process.
//!
//! Each processor that was started has a thread here, confined to the system calls that serving takes. The first one
//! that comes to an end ends all.

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
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
    /// Which processors were asked for.
    started: Vec<AtomicBool>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

/// What a thread that serves a processor says to the one that starts them.
enum Said {
    /// The processor with this number is to be started.
    Start(u32),
    /// The Keep has come to an end.
    Over(Result<End, BackendError>),
}

impl Serving {
    /// Of a Keep whose processors have these sockets, as many as it was connected for.
    #[must_use]
    pub fn new(connected: Connected, sockets: Vec<File>) -> Self {
        let started = sockets.iter().map(|_| AtomicBool::new(false)).collect();
        Self { connected, sockets, target: None, rang: None, started }
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
    /// If a thread cannot be started, or confined.
    pub fn run(self) -> Result<End, BackendError> {
        let (says, said) = channel();
        let serving = &self;
        std::thread::scope(|scope| {
            // A thread starts here because that takes more system calls than serving does.
            let start = |number: u32| {
                let says: Sender<Said> = says.clone();
                let serve = move || {
                    let end = catch_unwind(AssertUnwindSafe(|| serving.serve(number, &says)));
                    let end = end.unwrap_or_else(|_| {
                        let cause = "a thread that served it panicked".into();
                        Err(BackendError::Keep { cause })
                    });
                    // After the first end nobody listens any more.
                    _ = says.send(Said::Over(end));
                };
                let thread = std::thread::Builder::new().name(format!("keep-{number}"));
                let started = thread.spawn_scoped(scope, serve).map(drop);
                started
                    .map_err(|source| BackendError::Host { what: "start a thread".into(), source })
            };
            let mut started = start(0);
            let end = loop {
                match started.map(|()| said.recv().unwrap_or(Said::Over(Ok(End::Lost)))) {
                    Ok(Said::Start(number)) => started = start(number),
                    Ok(Said::Over(end)) => break end,
                    Err(error) => break Err(error),
                }
            };
            // The first end is that of all.
            serving.connected.stop.request();
            end
        })
    }

    /// Serves a processor until the Keep ends.
    fn serve(&self, number: u32, says: &Sender<Said>) -> Result<End, BackendError> {
        let stop = &self.connected.stop;
        let _entered = stop.enter();
        self.connected.confine(Vec::new(), Vec::new())?;
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
                    self.wake(other, says);
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

    /// Wakes a processor, if it exists; the first time it is started too.
    fn wake(&self, number: u64, says: &Sender<Said>) {
        let Ok(number) = u32::try_from(number) else { return };
        self.connected.tokens.wake(number);
        let first = |started: &AtomicBool| !started.swap(true, Ordering::Relaxed);
        if number != 0 && self.started.get(number as usize).is_some_and(first) {
            // If nobody listens, the Keep is over.
            _ = says.send(Said::Start(number));
        }
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
