// SPDX-License-Identifier: Apache-2.0

//! The Keep's end: one method per host call, each of which checks its answer.
//!
//! A call that has an answer waits for it. Writes need not: [`Port::write_later`] copies the bytes
//! into the outbox of the shared block, shows the request to the host (ringing if the host sleeps) and
//! goes on; only the *waiting* is left out, never the showing. The outbox is bounded, so a reader
//! that stops holds up the workload after 1 MiB, and its error is told to the next write on that
//! stream. At most one request that is waited for exists, and it is always the last.
//!
//! Sends to sockets are put off further: they are collected there, and shown to the host only
//! with the next call that is, since a program that has answered one request commonly waits for
//! another, and one exit then does for both. Whoever uses a [`Port`] sees to it that this does not
//! take long: see [`Port::is_deferred`] and [`Port::show`].

mod outbox;
mod socket;

use keep_layout::CHUNK;

use self::outbox::{LEAST, Outbox};
use self::socket::{Sending, Staged};

use crate::{
    ANSWER_WORDS, ANSWERS, BULK, COMPLETED, Call, ClockId, ENTRIES, Events, ExitKind, GRANTS,
    Grant, HANDLES, HOST_AWAKE, Handle, HostErrno, Lie, MAX_MESSAGE, MAX_TRANSFER, MESSAGE,
    REQUEST_WORDS, REQUESTS, Request, SUBMITTED, Stream, Unchecked, Window, entry,
};

/// How often to look for an answer while the host is awake before ringing nevertheless: some tens
/// of microseconds, which is about what ringing costs.
const SPINS: u32 = 2_000;
/// How often the host may return from the doorbell without an answer before it counts as silent.
const RINGS: u32 = 64;

/// How a Keep makes its host look at the ring.
pub trait Doorbell {
    /// Leaves the Keep; returns when the host has answered all that was submitted before.
    fn ring(&mut self);
    /// Lets a little time pass while waiting for a host that is awake.
    fn relax(&mut self) {
        core::hint::spin_loop();
    }
}

/// The result of a host call: a checked answer, or an honest error, or a lie.
pub type Outcome<T> = Result<Result<T, HostErrno>, Lie>;

/// A request that has no answer yet.
#[derive(Debug, Clone, Copy)]
struct Flight {
    call: Call,
    kind: Kind,
    /// What it gives back to the outbox.
    cost: usize,
}

/// What an answer is for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Somebody waits for it.
    Awaited,
    /// A write to this stream that nobody waits for, of so many bytes.
    Write(Stream, u64),
    /// A send of so many bytes. The last number is the `life` of the socket that it was for.
    Send(Handle, u32, u32),
    /// Nobody wants to know.
    Ignored,
}

/// The answer to the request that was waited for.
#[derive(Debug, Clone, Copy)]
struct Answer {
    error: Option<HostErrno>,
    value: Unchecked,
}

/// The Keep's end of the rings in one shared block.
///
/// It knows `N` sockets; fewer than all are for tests that have little room.
#[derive(Debug)]
pub struct Port<W, D, const N: usize = HANDLES> {
    window: W,
    doorbell: D,
    submitted: u64,
    completed: u64,
    flights: [Flight; ENTRIES as usize],
    answer: Option<Answer>,
    /// Room for bytes that are not waited for.
    outbox: Outbox,
    /// Errors of writes that nobody waited for, by stream.
    errors: [Option<HostErrno>; Stream::ALL.len()],
    sending: [Sending; N],
    /// Bytes for a socket that are not submitted yet, at the end of the outbox.
    staged: Option<Staged>,
    /// What the host was last shown of `submitted`.
    shown: u64,
}

impl<W: Window, D: Doorbell> Port<W, D> {
    /// The end in a block whose rings are still zero.
    pub const fn new(window: W, doorbell: D) -> Self {
        Self::with_sockets(window, doorbell)
    }
}

impl<W: Window, D: Doorbell, const N: usize> Port<W, D, N> {
    /// As [`Port::new`], for sockets whose handles are below `N`.
    pub const fn with_sockets(window: W, doorbell: D) -> Self {
        Self {
            window,
            doorbell,
            submitted: 0,
            completed: 0,
            flights: [Flight { call: Call::Exit, kind: Kind::Ignored, cost: 0 }; ENTRIES as usize],
            answer: None,
            outbox: Outbox::new(),
            errors: [None; Stream::ALL.len()],
            sending: [Sending { in_flight: 0, queued: 0, error: None, life: 0 }; N],
            staged: None,
            shown: 0,
        }
    }

    /// Reads up to `buf.len()` bytes, at most [`MAX_TRANSFER`]; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if the host claims to have read more than was asked for.
    pub fn read(&mut self, stream: Stream, buf: &mut [u8]) -> Outcome<usize> {
        let len = buf.len().min(MAX_TRANSFER);
        let n = match self.call(Request::Read { stream, at: BULK, len })?.done() {
            Ok(n) => n.at_most(len as u64)? as usize,
            Err(errno) => return Ok(Err(errno)),
        };
        self.window.read(BULK, &mut buf[..n]);
        Ok(Ok(n))
    }

    /// Writes at most [`MAX_TRANSFER`] bytes and waits until they are written; answers how many.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if the host claims to have written more, or fewer without an error.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> Outcome<usize> {
        self.reap()?;
        if let Some(errno) = self.take_error(stream) {
            return Ok(Err(errno));
        }
        let len = bytes.len().min(MAX_TRANSFER);
        self.window.write(BULK, &bytes[..len]);
        let answer = self.call(Request::Write { stream, at: BULK, len })?;
        let n = answer.written(len as u64)? as usize;
        // Some bytes went out before it failed: the next write will hear of the error.
        Ok(match answer.error {
            Some(errno) if n == 0 => Err(errno),
            _ => Ok(n),
        })
    }

    /// Gives bytes to the host to write and does not wait; answers how many it took, at least one
    /// of those offered. Waits only while there is no room for them. An error of an earlier write on
    /// this stream is answered instead, once.
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in the answers to earlier writes.
    pub fn write_later(&mut self, stream: Stream, bytes: &[u8]) -> Outcome<usize> {
        self.reap()?;
        self.seal()?;
        let mut place = match bytes.len() {
            0 => None,
            len => Some(self.outbox_room(len.min(LEAST))?),
        };
        if let Some(errno) = self.take_error(stream) {
            return Ok(Err(errno));
        }
        let mut taken = 0;
        while let Some((at, room)) = place {
            let rest = &bytes[taken..];
            let part = &rest[..rest.len().min(room)];
            self.window.write(at, part);
            let kind = Kind::Write(stream, part.len() as u64);
            let cost = self.outbox.take(part.len());
            self.submit(&Request::Write { stream, at, len: part.len() }, kind, cost)?;
            taken += part.len();
            let rest = bytes.len() - taken;
            place = if rest == 0 { None } else { self.outbox.room(rest.min(LEAST)) };
        }
        if taken > 0 {
            self.show()?;
        }
        Ok(Ok(taken))
    }

    /// Waits for all writes; their errors are then in [`take_error`](Self::take_error).
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in their answers.
    pub fn flush(&mut self) -> Result<(), Lie> {
        self.seal()?;
        self.wait_for(self.submitted)
    }

    /// Takes the error of a write on `stream` that nobody waited for.
    pub fn take_error(&mut self, stream: Stream) -> Option<HostErrno> {
        self.errors[stream as usize].take()
    }

    /// Waits until a stream in `mask` is ready or `timeout` nanoseconds have passed; answers which
    /// are ready. [`FOREVER`](crate::FOREVER) waits without end.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if the host names a stream that was not asked for.
    pub fn poll(&mut self, mask: u64, timeout: u64) -> Outcome<u64> {
        Ok(self.wait(mask, timeout, &[], 0)?.map(|(ready, _)| ready))
    }

    /// As [`Port::poll`], and waits for sockets too, after telling the host what it may deliver.
    /// All events are to be taken by [`Port::next_event`] before any other call is made.
    ///
    /// # Errors
    ///
    /// A [`Lie`] as for [`Port::poll`], or if there are more events than there is room for.
    pub fn exchange(
        &mut self,
        mask: u64,
        timeout: u64,
        grants: &[Grant],
    ) -> Outcome<(u64, Events)> {
        self.wait(mask, timeout, grants, MAX_TRANSFER)
    }

    fn wait(
        &mut self,
        mask: u64,
        timeout: u64,
        grants: &[Grant],
        room: usize,
    ) -> Outcome<(u64, Events)> {
        let grants = &grants[..grants.len().min(HANDLES)];
        for (n, grant) in grants.iter().enumerate() {
            self.window.store(GRANTS + n * Grant::SIZE, grant.encode());
        }
        let request = Request::Poll {
            mask,
            timeout,
            grants: GRANTS,
            grants_len: grants.len() * Grant::SIZE,
            events: BULK,
            events_len: room,
        };
        let value = match self.call(request)?.done() {
            Ok(value) => value,
            Err(errno) => return Ok(Err(errno)),
        };
        let (ready, len) = value.halves("streams that are ready", "amount of events");
        let len = len.multiple_of(8, 0..=room as u64)? as usize;
        Ok(Ok((ready.subset_of(mask)?, Events { at: BULK, end: BULK + len })))
    }

    /// The host's time in nanoseconds, at most `i64::MAX`. It may be any time at all, also one
    /// before the last: whoever shows it must see to it that no clock runs backwards.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if the host has no time, or one that cannot be expressed.
    pub fn clock(&mut self, clock: ClockId) -> Result<u64, Lie> {
        match self.call(Request::Clock { clock })?.done() {
            Ok(time) => time.at_most(i64::MAX as u64),
            Err(errno) => Err(Lie::Status { call: Call::Clock, status: errno.number() }),
        }
    }

    /// Asks for `bytes` more private memory, behind the `have` bytes that there are; answers the
    /// new total, which may be more than asked for but not more than `limit`.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if the new total is less, above `limit`, or not a multiple of 2 MiB.
    pub fn grow(&mut self, have: u64, bytes: u64, limit: u64) -> Outcome<u64> {
        match self.call(Request::Grow { bytes })?.done() {
            Ok(total) => total.multiple_of(CHUNK, have.saturating_add(bytes)..=limit).map(Ok),
            Err(errno) => Ok(Err(errno)),
        }
    }

    /// Ends the Keep. Writes that were not waited for are done first, since the host keeps the
    /// order. May be called in any state, also after a [`Lie`].
    pub fn exit(&mut self, kind: ExitKind, message: &[u8]) -> ! {
        self.post_exit(kind, message);
        loop {
            self.doorbell.ring();
        }
    }

    /// The part of [`exit`](Self::exit) that returns if the host does.
    #[doc(hidden)]
    pub fn post_exit(&mut self, kind: ExitKind, message: &[u8]) {
        let message = &message[..message.len().min(MAX_MESSAGE)];
        self.window.write(MESSAGE, message);
        if let Some(Staged { handle, at, len, .. }) = self.staged.take() {
            self.put(&Request::Send { handle, at, len }, Kind::Ignored, 0);
        }
        self.put(&Request::Exit { kind, at: MESSAGE, len: message.len() }, Kind::Ignored, 0);
        self.publish();
        self.doorbell.ring();
    }

    /// Where there is room for a piece of `least` bytes, and how much; waits until there is.
    fn outbox_room(&mut self, least: usize) -> Result<(usize, usize), Lie> {
        loop {
            if let Some((at, room)) = self.outbox.room(least) {
                return Ok((at, room));
            }
            self.publish();
            self.wait_for(self.completed + 1)?;
        }
    }

    /// Asks and waits for the answer.
    fn call(&mut self, request: Request) -> Result<Answer, Lie> {
        self.seal()?;
        self.answer = None;
        self.submit(&request, Kind::Awaited, 0)?;
        // Ringing is left to the wait: a host that is awake may be quicker than the doorbell.
        self.publish();
        self.wait_for(self.submitted)?;
        self.answer.take().ok_or(Lie::Silence)
    }

    /// Writes a request into the ring, after waiting for room if there is too little. Some is left
    /// for [`Port::post_exit`], which cannot wait.
    fn submit(&mut self, request: &Request, kind: Kind, cost: usize) -> Result<(), Lie> {
        while self.submitted - self.completed >= ENTRIES - 2 {
            self.publish();
            self.wait_for(self.completed + 1)?;
        }
        self.put(request, kind, cost);
        Ok(())
    }

    /// Writes a request into the ring, unless it is full.
    fn put(&mut self, request: &Request, kind: Kind, cost: usize) {
        if self.submitted - self.completed >= ENTRIES {
            return;
        }
        let at = entry(REQUESTS, REQUEST_WORDS, self.submitted);
        for (n, word) in request.encode().into_iter().enumerate() {
            self.window.store(at + n * 8, word);
        }
        self.flights[(self.submitted % ENTRIES) as usize] =
            Flight { call: request.call(), kind, cost };
        self.submitted += 1;
    }

    fn publish(&mut self) {
        self.shown = self.submitted;
        self.window.store(SUBMITTED, self.submitted);
        self.window.fence();
    }

    /// Makes sure that the host sees all requests, or has seen them.
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in the answers to earlier requests.
    pub fn show(&mut self) -> Result<(), Lie> {
        self.seal()?;
        self.publish();
        if !self.host_awake() {
            self.doorbell.ring();
        }
        Ok(())
    }

    /// Only a hint: a host that claims to be awake and is not delays the Keep, as it always can.
    fn host_awake(&self) -> bool {
        self.window.load(HOST_AWAKE) != 0
    }

    /// Waits until `target` requests are answered.
    fn wait_for(&mut self, target: u64) -> Result<(), Lie> {
        if self.shown != self.submitted {
            self.publish();
        }
        for _ in 0..RINGS {
            for _ in 0..SPINS {
                self.reap()?;
                if self.completed >= target {
                    return Ok(());
                }
                if !self.host_awake() {
                    break;
                }
                self.doorbell.relax();
            }
            self.doorbell.ring();
        }
        self.reap()?;
        if self.completed >= target { Ok(()) } else { Err(Lie::Silence) }
    }

    /// Takes all answers that are there.
    fn reap(&mut self) -> Result<(), Lie> {
        let completed = self.window.load(COMPLETED);
        if completed < self.completed || completed > self.submitted {
            return Err(Lie::Completed(completed));
        }
        while self.completed < completed {
            let at = entry(ANSWERS, ANSWER_WORDS, self.completed);
            let [got, status, value] = core::array::from_fn(|n| self.window.load(at + n * 8));
            if got != self.completed {
                return Err(Lie::Sequence { expected: self.completed, got });
            }
            let Flight { call, kind, cost } = self.flights[(self.completed % ENTRIES) as usize];
            let error = match (status, HostErrno::from_number(status)) {
                (0, _) => None,
                (_, Some(errno)) if errno.may_answer(call) => Some(errno),
                _ => return Err(Lie::Status { call, status }),
            };
            let answer = Answer { error, value: Unchecked::new(call.answer_name(), value) };
            self.completed += 1;
            self.outbox.give_back(cost);
            match kind {
                Kind::Awaited => self.answer = Some(answer),
                Kind::Write(stream, len) => {
                    answer.written(len)?;
                    if error.is_some() {
                        self.errors[stream as usize] = error;
                    }
                }
                Kind::Send(handle, len, life) => {
                    let sending = &mut self.sending[handle.index()];
                    // The socket may be closed, and another one have its handle.
                    if sending.life == life {
                        let limit = u64::from(sending.queued) + u64::from(len);
                        sending.in_flight -= len;
                        sending.queued = answer.value.at_most(limit)? as u32;
                        sending.error = sending.error.or(error);
                    }
                }
                Kind::Ignored => {}
            }
        }
        Ok(())
    }
}

impl Answer {
    /// The value of a call that gives one only if it succeeds.
    fn done(self) -> Result<Unchecked, HostErrno> {
        self.error.map_or(Ok(self.value), Err)
    }

    /// How many of `len` bytes were written: all, unless there is an error.
    fn written(self, len: u64) -> Result<u64, Lie> {
        let least = if self.error.is_some() { 0 } else { len };
        self.value.multiple_of(1, least..=len)
    }
}

impl Call {
    /// What the answer is, in a message about one that cannot be.
    const fn answer_name(self) -> &'static str {
        match self {
            Self::Read => "number of bytes read",
            Self::Write => "number of bytes written",
            Self::Poll => "streams that are ready",
            Self::Clock => "time",
            Self::Grow => "new amount of memory",
            Self::Exit => "answer to exit",
            Self::Bind => "port",
            Self::Send => "number of unsent bytes",
            Self::Listen | Self::Connect | Self::Shutdown | Self::Close | Self::Option => {
                "answer to a call that gives none"
            }
        }
    }
}
