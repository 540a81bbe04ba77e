// SPDX-License-Identifier: Apache-2.0

//! The Keep's end: one method per host call, each of which checks its answer.
//!
//! A call that has an answer waits for it. Writes need not: [`Port::write_later`] copies the bytes
//! into a slot of the shared block, shows the request to the host (ringing if the host sleeps) and
//! goes on; only the *waiting* is left out, never the showing. Its slots are bounded, so a reader
//! that stops holds up the workload after 1 MiB, and its error is told to the next write on that
//! stream. At most one request that is waited for exists, and it is always the last.

use keep_layout::CHUNK;

use crate::{
    ANSWER_WORDS, ANSWERS, BULK, COMPLETED, Call, ClockId, ENTRIES, ExitKind, HOST_AWAKE,
    HostErrno, Lie, MAX_MESSAGE, MAX_TRANSFER, MESSAGE, REQUEST_WORDS, REQUESTS, Request, SLOT,
    SLOT_COUNT, SLOTS, SUBMITTED, Stream, Unchecked, Window, entry,
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
    /// Stream and length of a write that nobody waits for.
    later: Option<(Stream, u64)>,
}

/// The answer to the request that was waited for.
#[derive(Debug, Clone, Copy)]
struct Answer {
    error: Option<HostErrno>,
    value: Unchecked,
}

/// The Keep's end of the rings in one shared block.
#[derive(Debug)]
pub struct Port<W, D> {
    window: W,
    doorbell: D,
    submitted: u64,
    completed: u64,
    flights: [Flight; ENTRIES as usize],
    answer: Option<Answer>,
    /// The slot that the next write gets; slots are freed in the order in which they are taken.
    next_slot: usize,
    slots_used: usize,
    /// Errors of writes that nobody waited for, by stream.
    errors: [Option<HostErrno>; Stream::ALL.len()],
}

impl<W: Window, D: Doorbell> Port<W, D> {
    /// The end in a block whose rings are still zero.
    pub const fn new(window: W, doorbell: D) -> Self {
        Self {
            window,
            doorbell,
            submitted: 0,
            completed: 0,
            flights: [Flight { call: Call::Exit, later: None }; ENTRIES as usize],
            answer: None,
            next_slot: 0,
            slots_used: 0,
            errors: [None; Stream::ALL.len()],
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
    /// of those offered. Waits only while all slots are in use. An error of an earlier write on
    /// this stream is answered instead, once.
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in the answers to earlier writes.
    pub fn write_later(&mut self, stream: Stream, bytes: &[u8]) -> Outcome<usize> {
        self.reap()?;
        if self.slots_used == SLOT_COUNT && !bytes.is_empty() {
            self.wait_for(self.completed + 1)?;
        }
        if let Some(errno) = self.take_error(stream) {
            return Ok(Err(errno));
        }
        let mut taken = 0;
        for part in bytes.chunks(SLOT).take(SLOT_COUNT - self.slots_used) {
            let at = SLOTS + self.next_slot * SLOT;
            self.window.write(at, part);
            self.next_slot = (self.next_slot + 1) % SLOT_COUNT;
            self.slots_used += 1;
            let later = Some((stream, part.len() as u64));
            self.submit(&Request::Write { stream, at, len: part.len() }, later);
            taken += part.len();
        }
        if taken > 0 {
            self.show();
        }
        Ok(Ok(taken))
    }

    /// Waits for all writes; their errors are then in [`take_error`](Self::take_error).
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in their answers.
    pub fn flush(&mut self) -> Result<(), Lie> {
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
        match self.call(Request::Poll { mask, timeout })?.done() {
            Ok(ready) => ready.subset_of(mask).map(Ok),
            Err(errno) => Ok(Err(errno)),
        }
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
        // Room is left unless this is not the first exit; a ring that is full is only rung.
        if self.submitted - self.completed < ENTRIES {
            self.submit(&Request::Exit { kind, at: MESSAGE, len: message.len() }, None);
            self.publish();
        }
        self.doorbell.ring();
    }

    /// Asks and waits for the answer.
    fn call(&mut self, request: Request) -> Result<Answer, Lie> {
        self.answer = None;
        self.submit(&request, None);
        // Ringing is left to the wait: a host that is awake may be quicker than the doorbell.
        self.publish();
        self.wait_for(self.submitted)?;
        self.answer.take().ok_or(Lie::Silence)
    }

    /// Writes a request into the ring. Callers leave room: there are no more unanswered requests
    /// than slots, one that is waited for, and one EXIT.
    fn submit(&mut self, request: &Request, later: Option<(Stream, u64)>) {
        let at = entry(REQUESTS, REQUEST_WORDS, self.submitted);
        for (n, word) in request.encode().into_iter().enumerate() {
            self.window.store(at + n * 8, word);
        }
        self.flights[(self.submitted % ENTRIES) as usize] = Flight { call: request.call(), later };
        self.submitted += 1;
    }

    fn publish(&self) {
        self.window.store(SUBMITTED, self.submitted);
        self.window.fence();
    }

    /// Makes sure that the host sees all requests, or has seen them.
    fn show(&mut self) {
        self.publish();
        if !self.host_awake() {
            self.doorbell.ring();
        }
    }

    /// Only a hint: a host that claims to be awake and is not delays the Keep, as it always can.
    fn host_awake(&self) -> bool {
        self.window.load(HOST_AWAKE) != 0
    }

    /// Waits until `target` requests are answered.
    fn wait_for(&mut self, target: u64) -> Result<(), Lie> {
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
            let Flight { call, later } = self.flights[(self.completed % ENTRIES) as usize];
            let error = match (status, HostErrno::from_number(status)) {
                (0, _) => None,
                (_, Some(errno)) if errno.may_answer(call) => Some(errno),
                _ => return Err(Lie::Status { call, status }),
            };
            let answer = Answer { error, value: Unchecked::new(call.answer_name(), value) };
            self.completed += 1;
            match later {
                None => self.answer = Some(answer),
                Some((stream, len)) => {
                    self.slots_used -= 1;
                    answer.written(len)?;
                    if error.is_some() {
                        self.errors[stream as usize] = error;
                    }
                }
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
        }
    }
}
