// SPDX-License-Identifier: Apache-2.0

//! The host agent's side: serves the processors of a Keep whose enclave lives in another process.
//!
//! To the host agent a processor is the socket at whose other end a thread of that process enters the enclave. What
//! comes from there is the Keep's word.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use keep_backend::BackendError;
use keep_host::{Connected, Exit, Processor, Processors, Rang, Stop};
use keep_launch::Report;
use sallyport::RawWindow;

use crate::wire::{self, Word};

/// How a Keep came to an end without a report.
#[derive(Debug)]
pub enum End {
    /// It is known why.
    Known(BackendError),
    /// Its process is gone. It may have left a word: see [`last_word`].
    Lost,
}

impl From<BackendError> for End {
    fn from(error: BackendError) -> Self {
        Self::Known(error)
    }
}

/// Puts the quoting enclave's `TARGETINFO` into the block: 0, or an error number for the Keep.
pub type Target = Arc<dyn Fn(RawWindow) -> u64 + Send + Sync>;

/// The processors of a Keep that is ready to run.
#[derive(Debug)]
pub struct Serving {
    processors: Processors<Remote>,
}

impl Serving {
    /// Of a Keep whose processors have these sockets, as many as it was connected for.
    #[must_use]
    pub fn new(connected: Connected, sockets: Vec<File>) -> Self {
        let (window, stop) = (connected.window, connected.stop.clone());
        let remote =
            |socket| Remote { socket, window, stop: stop.clone(), target: None, result: 0 };
        let processors = sockets.into_iter().map(remote).collect();
        Self { processors: Processors::new(connected, processors) }
    }

    /// With somebody who knows for whom reports are made.
    #[must_use]
    pub fn with_target(mut self, target: Target) -> Self {
        for processor in self.processors.each() {
            processor.target = Some(Arc::clone(&target));
        }
        self
    }

    /// With somebody who hears of each doorbell.
    #[must_use]
    pub fn with_rang(mut self, rang: Rang) -> Self {
        self.processors.on_doorbell(rang);
        self
    }

    /// The way to end it from elsewhere.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.processors.stop()
    }

    /// Runs the Keep until it ends: see [`Processors::run`].
    ///
    /// # Errors
    ///
    /// How it ended, if it left no report.
    pub fn run(self) -> Result<Report, End> {
        self.processors.run()
    }
}

/// A processor that is a thread of another process.
struct Remote {
    socket: File,
    window: RawWindow,
    stop: Stop,
    target: Option<Target>,
    /// What its last word is answered with; it waits for that. The first answer of all starts it.
    result: u64,
}

impl Processor for Remote {
    type End = End;

    fn run(&mut self, _: &AtomicBool) -> Result<Exit, End> {
        let result = std::mem::take(&mut self.result);
        wire::answer(&self.socket, result).map_err(|_| End::Lost)?;
        let senseless = || {
            let cause = "the process of its enclave says what makes no sense".into();
            Err(BackendError::Keep { cause }.into())
        };
        match Word::read(Until { socket: &self.socket, stop: &self.stop }) {
            Ok(Word::Doorbell) => Ok(Exit::Doorbell),
            Ok(Word::Park(nanoseconds)) => {
                let forever = nanoseconds == u64::MAX;
                Ok(Exit::Park((!forever).then(|| Duration::from_nanos(nanoseconds))))
            }
            // No processor has a number that large.
            Ok(Word::Wake(other)) => Ok(Exit::Wake(u32::try_from(other).unwrap_or(u32::MAX))),
            Ok(Word::Target) => {
                let Some(target) = &self.target else { return senseless() };
                self.result = target(self.window);
                Ok(Exit::Interrupted)
            }
            Err(_) if self.stop.is_requested() => Ok(Exit::Interrupted),
            Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(End::Lost),
            Ok(_) | Err(_) => senseless(),
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
