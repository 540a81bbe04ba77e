// SPDX-License-Identifier: Apache-2.0

//! What a Keep says of itself, and the evidence it asks for, carried to the host agent's own code.
//!
//! That code runs on a thread of its own: the thread that serves the Keep is confined to system
//! calls that making evidence or printing a line may well go beyond, and must be stoppable while
//! either takes its time. Sizes are those of the formats, and a Keep that floods its host with
//! events loses those that are too many.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keep_backend::{Claim, ClaimKind, EventSink, EvidenceSource};
use keep_launch::{Event, Evidence, MAX_EVENT, frame};
use sallyport::HostErrno;

use crate::Stop;
use crate::descriptor::Failure;
use crate::rate::Rate;

/// Events that are passed on at once, and then each second.
const BURST: u32 = 256;
const PER_SECOND: u32 = 32;
/// Claims that may wait for their evidence.
const MAX_PENDING: usize = 4;
/// How long to wait for evidence between two looks whether the Keep is to end.
const LOOK: Duration = Duration::from_millis(20);

/// Takes frames of [`Event`] out of a stream of bytes.
#[derive(Debug, Default)]
pub struct EventFrames {
    bytes: Vec<u8>,
}

impl EventFrames {
    /// Adds bytes and gives the events that are complete now.
    ///
    /// # Errors
    ///
    /// If something is no frame, or longer than an event can be; the stream is useless then.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<Event>> {
        self.bytes.extend_from_slice(bytes);
        let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut events = Vec::new();
        let mut rest = &self.bytes[..];
        while let Some((head, body)) = rest.split_first_chunk::<4>() {
            let len = u32::from_le_bytes(*head) as usize;
            if len > MAX_EVENT {
                return Err(malformed("an event is too long"));
            }
            let Some((encoding, behind)) = body.split_at_checked(len) else { break };
            events.push(Event::decode(encoding).map_err(|error| malformed(&error.to_string()))?);
            rest = behind;
        }
        self.bytes = rest.to_vec();
        Ok(events)
    }
}

/// Lets no more events through than a person can bear.
#[derive(Debug)]
pub struct EventRate {
    rate: Rate,
    dropped: u64,
}

impl Default for EventRate {
    fn default() -> Self {
        Self { rate: Rate::new(BURST, PER_SECOND), dropped: 0 }
    }
}

impl EventRate {
    /// Whether the next event may pass; call it once for each.
    pub fn allow(&mut self) -> bool {
        if self.rate.take(1) {
            return true;
        }
        self.dropped += 1;
        if self.dropped.is_power_of_two() {
            tracing::warn!(dropped = self.dropped, "the Keep makes too many events");
        }
        false
    }
}

enum Ask {
    Event(Event),
    Evidence(Claim),
}

/// The way to the host agent's code. The thread ends with it, after all it was given.
#[derive(Debug)]
pub struct Agent {
    asks: Option<SyncSender<Ask>>,
    answers: Receiver<Evidence>,
    thread: Option<JoinHandle<()>>,
    has_events: bool,
    has_evidence: bool,
    frames: EventFrames,
    rate: EventRate,
    kind: ClaimKind,
    claim: Vec<u8>,
    pending: usize,
    /// Frames of evidence that were not read yet.
    evidence: VecDeque<u8>,
}

impl Agent {
    /// Starts the thread, if there is anything for it to do. The Keep makes claims of that kind.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(
        mut source: Option<Box<dyn EvidenceSource>>,
        mut sink: Option<EventSink>,
        kind: ClaimKind,
    ) -> io::Result<Option<Self>> {
        if source.is_none() && sink.is_none() {
            return Ok(None);
        }
        let (has_events, has_evidence) = (sink.is_some(), source.is_some());
        let (asks, asked) = sync_channel(BURST as usize);
        let (answer, answers) = sync_channel(MAX_PENDING);
        let thread = thread::Builder::new().name("keep-agent".into()).spawn(move || {
            for ask in asked {
                match (ask, &mut source, &mut sink) {
                    (Ask::Event(event), _, Some(sink)) => sink(event),
                    (Ask::Evidence(claim), Some(source), _) => {
                        // The Keep may have ended meanwhile.
                        _ = answer.send(source.evidence(&claim));
                    }
                    _ => {}
                }
            }
        })?;
        Ok(Some(Self {
            asks: Some(asks),
            answers,
            thread: Some(thread),
            has_events,
            has_evidence,
            frames: EventFrames::default(),
            rate: EventRate::default(),
            kind,
            claim: Vec::new(),
            pending: 0,
            evidence: VecDeque::new(),
        }))
    }

    /// Whether anybody hears of events.
    pub fn has_events(&self) -> bool {
        self.has_events
    }

    /// Whether anybody makes evidence.
    pub fn has_evidence(&self) -> bool {
        self.has_evidence
    }

    /// The Keep has written to the stream of events.
    pub(crate) fn write_events(&mut self, bytes: &[u8]) -> Result<(), HostErrno> {
        if !self.has_events {
            return Err(HostErrno::BadStream);
        }
        let events = self.frames.push(bytes).map_err(|error| {
            tracing::debug!(%error, "the Keep's events make no sense");
            HostErrno::Io
        })?;
        for event in events {
            if !self.rate.allow() {
                continue;
            }
            let Some(asks) = &self.asks else { return Err(HostErrno::Io) };
            match asks.try_send(Ask::Event(event)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => tracing::warn!("an event of the Keep was lost"),
                Err(TrySendError::Disconnected(_)) => return Err(HostErrno::Io),
            }
        }
        Ok(())
    }

    /// The Keep has written a claim, or a part of one.
    pub(crate) fn write_report_data(&mut self, bytes: &[u8]) -> Result<(), HostErrno> {
        if !self.has_evidence {
            return Err(HostErrno::BadStream);
        }
        for byte in bytes {
            self.claim.push(*byte);
            let Some(claim) = self.kind.claim(&self.claim) else { continue };
            self.claim.clear();
            if self.pending == MAX_PENDING {
                return Err(HostErrno::NoSpace);
            }
            let asks = self.asks.as_ref().ok_or(HostErrno::Io)?;
            asks.try_send(Ask::Evidence(claim)).map_err(|_| HostErrno::Io)?;
            self.pending += 1;
        }
        Ok(())
    }

    /// The Keep reads evidence: waits for it if it was asked for and is not there yet.
    pub(crate) fn read_evidence(&mut self, len: usize, stop: &Stop) -> Result<Vec<u8>, Failure> {
        if !self.has_evidence {
            return Err(HostErrno::BadStream.into());
        }
        while self.evidence.is_empty() && len > 0 {
            if self.pending == 0 {
                return Err(HostErrno::Again.into());
            }
            if stop.is_requested() {
                return Err(Failure::Stopped);
            }
            match self.answers.recv_timeout(LOOK) {
                Ok(evidence) => {
                    self.pending -= 1;
                    self.evidence.extend(frame(&evidence.encode()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(HostErrno::Io.into()),
            }
        }
        let len = len.min(self.evidence.len());
        Ok(self.evidence.drain(..len).collect())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.asks.take());
        // What was said last is heard before the Keep counts as ended.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that makes evidence panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(message: &str) -> Event {
        Event::Warning { message: message.into() }
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let all = [frame(&warning("a").encode()), frame(&warning("bc").encode())].concat();
        for cut in 0..=all.len() {
            let mut frames = EventFrames::default();
            let mut events = frames.push(&all[..cut]).unwrap();
            events.extend(frames.push(&all[cut..]).unwrap());
            assert_eq!(events, [warning("a"), warning("bc")]);
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        assert!(EventFrames::default().push(&[0xff; 4]).is_err());
        assert!(EventFrames::default().push(&[1, 0, 0, 0, 9]).is_err());
    }

    #[test]
    fn a_flood_is_cut_off() {
        let mut rate = EventRate::default();
        assert_eq!((0..10_000).filter(|_| rate.allow()).count(), BURST as usize);
        assert_eq!(rate.dropped, 10_000 - u64::from(BURST));
    }
}
