// SPDX-License-Identifier: Apache-2.0

//! Executes the host calls of one Keep.
//!
//! Any thread may serve; the state is behind one lock, so each request is executed once and in
//! order, and a doorbell that finds a request being executed waits for it. Work per look at the
//! ring is bounded by the ring. After a Keep has ended, by its word or by a breach of the protocol,
//! nothing of it is executed any more.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keep_backend::{BackendError, NetworkLimits};
use keep_launch::{MAX_REPORT, Report};
use sallyport::{ClockId, FOREVER, HostEnd, HostErrno, RawWindow, Request, Stream, Watch, Window};

use crate::descriptor::{self, Failure, Interest};
use crate::log::Log;
use crate::poller::{self, Burst, Wake};
use crate::sockets::Sockets;
use crate::{Agent, Ended, Stop, Tokens};

/// Everything of the outside that a Keep can reach.
pub struct Streams {
    /// Standard input, output and error; `None` reads as end of file and swallows writes.
    pub stdio: [Option<File>; 3],
    /// The encoded launch message.
    pub launch: Vec<u8>,
    /// Module or artifact.
    pub input: File,
    /// Where an artifact goes, if anywhere.
    pub output: Option<File>,
    /// The archive that seeds the Keep's file system, if any.
    pub seed: Option<Box<dyn Read + Send>>,
    /// Hears of events and makes evidence, if anybody does.
    pub agent: Option<Agent>,
    /// What the Keep may do with sockets, if it has any.
    pub network: Option<NetworkLimits>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// The VMM's part of GROW.
pub trait Memory: Send {
    /// Adds `bytes` (a multiple of 2 MiB, not zero) or more of private memory behind what there
    /// is, and returns the new total.
    ///
    /// # Errors
    ///
    /// If there is no more; the Keep hears only that.
    fn grow(&mut self, bytes: u64) -> io::Result<u64>;
}

/// Serves one Keep. Clones serve the same one.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What all threads that serve a Keep share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// How many requests were answered, for those who only watch.
    answered: AtomicU64,
    pub(crate) watch: Watch<RawWindow>,
    pub(crate) wake: Wake,
    pub(crate) stop: Stop,
}

struct State {
    /// By which processors wake each other, if there are several.
    tokens: Option<Tokens>,
    /// The processor whose requests are served.
    processor: u32,
    end: HostEnd<RawWindow>,
    streams: Streams,
    sockets: Option<Sockets>,
    /// How much of the launch message was read.
    launched: usize,
    report: Vec<u8>,
    log: Log,
    /// A stream on which a write failed stays failed: what was submitted behind that write must
    /// not be written after a gap.
    failed: [Option<HostErrno>; Stream::ALL.len()],
    memory: Box<dyn Memory>,
    started: Instant,
    stop: Stop,
    burst: Burst,
    /// A POLL has waited for sockets.
    waited: bool,
    /// A POLL was left in the ring because it would have to wait.
    left: bool,
    outcome: Option<Result<Ended, BackendError>>,
    over: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl Server {
    /// A server for the Keep behind `window`, whose rings are still zero.
    ///
    /// # Errors
    ///
    /// If the operating system has no means to wait for sockets.
    pub fn new(
        window: RawWindow,
        streams: Streams,
        memory: Box<dyn Memory>,
        stop: Stop,
    ) -> io::Result<Self> {
        let state = State {
            end: HostEnd::new(window),
            sockets: streams.network.map(Sockets::new).transpose()?,
            streams,
            launched: 0,
            report: Vec::new(),
            log: Log::new(),
            failed: [None; Stream::ALL.len()],
            memory,
            started: Instant::now(),
            stop: stop.clone(),
            burst: Burst::new(),
            waited: false,
            left: false,
            outcome: None,
            over: false,
            tokens: None,
            processor: 0,
        };
        let shared = Shared {
            state: Mutex::new(state),
            answered: AtomicU64::new(0),
            watch: Watch::new(window),
            wake: Wake::default(),
            stop,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// For a Keep whose processors wake each other: one that waits goes on when its token is set.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        self.shared.state().tokens = (tokens.count() > 1).then_some(tokens);
        self
    }

    /// The Keep rang: answers all that it has submitted. `None`: let it go on.
    ///
    /// # Errors
    ///
    /// If the Keep broke the protocol, or was stopped. After an error or an end the server serves
    /// no more; asked again, it says that the Keep was stopped.
    pub fn doorbell(&self, processor: u32) -> Result<Option<Ended>, BackendError> {
        let mut state = self.shared.serve(Wait::Allowed, processor);
        match state.outcome.take() {
            Some(Ok(ended)) => return Ok(Some(ended)),
            Some(Err(error)) => return Err(error),
            None if state.over || state.stop.is_requested() => return Err(BackendError::Killed),
            None => {}
        }
        // Who waits in between is in no hurry.
        let waited = std::mem::take(&mut state.waited);
        let burst = if waited { None } else { state.burst.rang(Instant::now()) };
        drop(state);
        if let Some(length) = burst {
            poller::burst(&self.shared, length);
        }
        Ok(None)
    }

    /// What the Keep reported, decoded.
    ///
    /// # Errors
    ///
    /// If it reported nothing, or nothing that can be understood.
    pub fn report(&self) -> Result<Report, BackendError> {
        let report = std::mem::take(&mut self.shared.state().report);
        if report.is_empty() {
            return Err(BackendError::Keep { cause: "it ended without a report".into() });
        }
        Report::decode(&report)
            .map_err(|error| BackendError::Keep { cause: format!("its report is bad: {error}") })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Only a bug panics with the lock held; the ring's indices are moved last, so at worst a
        // request stays unanswered.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Executes what the ring holds now.
    fn serve(&self, wait: Wait, processor: u32) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.processor = processor;
        state.serve(wait);
        self.answered.store(state.end.answered(), Ordering::Release);
        state
    }

    /// Whether the Keep has asked for something that nobody has answered.
    pub(crate) fn is_pending(&self) -> bool {
        self.watch.submitted() != self.answered.load(Ordering::Acquire)
    }

    /// Executes what the ring holds, if anything, but does not wait for sockets, which the thread
    /// that rings can do better: it wakes up where the Keep goes on.
    pub(crate) fn serve_pending(&self) -> Served {
        if !self.is_pending() {
            return Served::Requests(0);
        }
        let before = self.answered.load(Ordering::Acquire);
        let state = self.serve(Wait::ForStreams, u32::MAX);
        match state.end.answered() - before {
            _ if state.over => Served::Over,
            0 if state.left => Served::Waits,
            n => Served::Requests(n),
        }
    }
}

/// What [`Shared::serve_pending`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// Executed so many requests.
    Requests(u64),
    /// Nothing: the next request has to wait for sockets, and the Keep has to ring for it.
    Waits,
    /// The Keep has ended.
    Over,
}

/// Whether a POLL may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Allowed,
    /// Not if sockets are among what it waits for: it is then left in the ring.
    ForStreams,
}

/// What to answer, if anything.
type Answer = Result<u64, (Failure, u64)>;

impl State {
    /// Executes what the ring holds now.
    fn serve(&mut self, wait: Wait) {
        self.left = false;
        let pending = match self.end.pending() {
            Ok(_) if self.over => return,
            Ok(pending) => pending,
            Err(breach) => {
                return self.finish(Err(BackendError::Keep { cause: breach.to_string() }));
            }
        };
        for _ in 0..pending {
            let answer = match self.end.request() {
                Ok(Request::Exit { kind, at, len }) => {
                    let ended = Ended::new(*self.end.window(), kind, at, len);
                    if let Some(sockets) = &mut self.sockets {
                        sockets.drain(&self.stop);
                    }
                    return self.finish(Ok(ended));
                }
                Ok(request) => self.execute(request, wait),
                Err(errno) => Err((errno.into(), 0)),
            };
            match answer {
                Err((Failure::WouldWait, _)) => {
                    self.left = true;
                    return;
                }
                Ok(value) => self.end.answer(Ok(value)),
                Err((Failure::Errno(errno), done)) => self.end.answer(Err((errno, done))),
                Err((Failure::Stopped, _)) => return self.finish(Err(BackendError::Killed)),
            }
        }
    }

    fn finish(&mut self, outcome: Result<Ended, BackendError>) {
        if !self.over {
            self.over = true;
            self.outcome = Some(outcome);
        }
    }

    fn execute(&mut self, request: Request, wait: Wait) -> Answer {
        let plain = |failure| (failure, 0);
        match request {
            Request::Read { stream, at, len } => self.read(stream, at, len).map_err(plain),
            Request::Write { stream, at, len } => self.write(stream, at, len),
            Request::Poll { mask, timeout, grants, grants_len, events, events_len } => {
                let window = *self.end.window();
                if let Some(sockets) = &mut self.sockets {
                    sockets.grant(window, grants, grants_len).map_err(|e| plain(e.into()))?;
                }
                self.poll(mask, timeout, events, events_len, wait).map_err(plain)
            }
            Request::Clock { clock } => Ok(self.clock(clock)),
            Request::Grow { bytes } => self.memory.grow(bytes).map_err(|error| {
                tracing::debug!(%error, bytes, "cannot give the Keep more memory");
                (HostErrno::NoMemory.into(), 0)
            }),
            // Handled by the caller.
            Request::Exit { .. } => Err((HostErrno::Invalid.into(), 0)),
            Request::Bind { .. }
            | Request::Listen { .. }
            | Request::Connect { .. }
            | Request::Send { .. }
            | Request::Shutdown { .. }
            | Request::Close { .. }
            | Request::Option { .. } => self.socket(request).map_err(|errno| plain(errno.into())),
        }
    }

    fn socket(&mut self, request: Request) -> Result<u64, HostErrno> {
        let window = *self.end.window();
        let Some(sockets) = &mut self.sockets else {
            let access = HostErrno::Access.may_answer(request.call());
            return Err(if access { HostErrno::Access } else { HostErrno::Io });
        };
        let answer = match request {
            Request::Bind { handle, flags, address } => sockets.bind(handle, flags, &address),
            Request::Listen { handle, backlog } => sockets.listen(handle, backlog),
            Request::Connect { handle, flags, address } => sockets.connect(handle, flags, &address),
            Request::Send { handle, at, len } => sockets.send(handle, window, at, len),
            Request::Shutdown { handle } => sockets.shutdown(handle),
            Request::Close { handle } => Ok(sockets.close(handle)),
            Request::Option { handle, option, value } => sockets.option(handle, option, value),
            _ => Err(HostErrno::Invalid),
        };
        // The kernel below knows more errors than the protocol.
        answer.map_err(|errno| if errno.may_answer(request.call()) { errno } else { HostErrno::Io })
    }

    fn read(&mut self, stream: Stream, at: usize, len: usize) -> Result<u64, Failure> {
        let window = *self.end.window();
        let n = match stream {
            Stream::Stdin => match &self.streams.stdio[0] {
                Some(file) => descriptor::read(file.as_fd(), window, at, len, &self.stop)?,
                None => 0,
            },
            Stream::Input => {
                descriptor::read(self.streams.input.as_fd(), window, at, len, &self.stop)?
            }
            Stream::Launch => {
                let rest = &self.streams.launch[self.launched..];
                let part = &rest[..len.min(rest.len())];
                window.write(at, part);
                self.launched += part.len();
                part.len()
            }
            Stream::Seed => self.read_seed(at, len)?,
            Stream::Evidence => {
                let agent = self.streams.agent.as_mut().ok_or(HostErrno::BadStream)?;
                let bytes = agent.read_evidence(len, &self.stop)?;
                window.write(at, &bytes);
                bytes.len()
            }
            _ => return Err(HostErrno::BadStream.into()),
        };
        Ok(n as u64)
    }

    /// The archive is made as it is read, and goes through a buffer of ours: a `Read` must not be
    /// given memory that a Keep is changing.
    fn read_seed(&mut self, at: usize, len: usize) -> Result<usize, Failure> {
        let seed = self.streams.seed.as_mut().ok_or(HostErrno::BadStream)?;
        let mut buffer = [0; 64 << 10];
        let mut done = 0;
        while done < len {
            if self.stop.is_requested() {
                return Err(Failure::Stopped);
            }
            let part = (len - done).min(buffer.len());
            let n = match seed.read(&mut buffer[..part]) {
                Ok(n) => n.min(part),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The Keep cannot say which file it was, so it is not asked to.
                Err(error) => {
                    self.finish(Err(crate::seed::error(error)));
                    return Err(Failure::Stopped);
                }
            };
            self.end.window().write(at + done, &buffer[..n]);
            done += n;
            if n == 0 {
                break;
            }
        }
        Ok(done)
    }

    fn write(&mut self, stream: Stream, at: usize, len: usize) -> Answer {
        if let Some(errno) = self.failed[stream as usize] {
            return Err((errno.into(), 0));
        }
        let result = self.write_once(stream, at, len);
        if let Err((Failure::Errno(errno), _)) = result {
            self.failed[stream as usize] = Some(errno);
        }
        result
    }

    fn write_once(&mut self, stream: Stream, at: usize, len: usize) -> Answer {
        let window = *self.end.window();
        let file = match stream {
            Stream::Stdout => &self.streams.stdio[1],
            Stream::Stderr => &self.streams.stdio[2],
            Stream::Output if self.streams.output.is_some() => &self.streams.output,
            Stream::Report => {
                let have = self.report.len();
                if MAX_REPORT - have < len {
                    return Err((HostErrno::NoSpace.into(), 0));
                }
                self.report.resize(have + len, 0);
                window.read(at, &mut self.report[have..]);
                return Ok(len as u64);
            }
            Stream::Events | Stream::ReportData => {
                let agent = self.streams.agent.as_mut();
                let agent = agent.ok_or((HostErrno::BadStream.into(), 0))?;
                let mut bytes = vec![0; len];
                window.read(at, &mut bytes);
                let written = match stream {
                    Stream::Events => agent.write_events(&bytes),
                    _ => agent.write_report_data(&bytes),
                };
                return written.map(|()| len as u64).map_err(|errno| (errno.into(), 0));
            }
            Stream::Log => {
                self.log.write(window, at, len);
                return Ok(len as u64);
            }
            _ => return Err((HostErrno::BadStream.into(), 0)),
        };
        if let Some(file) = file {
            descriptor::write_all(file.as_fd(), window, at, len, &self.stop)
                .map_err(|(failure, done)| (failure, done as u64))?;
        }
        Ok(len as u64)
    }

    /// Waits for streams and, if there is room for their events, sockets.
    fn poll(
        &mut self,
        mask: u64,
        timeout: u64,
        events: usize,
        events_len: usize,
        wait: Wait,
    ) -> Result<u64, Failure> {
        let window = *self.end.window();
        let timeout = match timeout {
            FOREVER => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        };
        let token = self.tokens.as_ref().and_then(|tokens| tokens.fd(self.processor));
        let take = || self.tokens.as_ref().is_some_and(|tokens| tokens.take(self.processor));
        let (Some(sockets), true) = (&mut self.sockets, events_len > 0) else {
            let ready = poll_streams(&self.streams, mask, timeout, [None, token], &self.stop)?;
            take();
            return Ok(ready);
        };
        // A deadline too far for the clock is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (mut looked, mut woken) = (false, false);
        loop {
            if self.stop.is_requested() {
                return Err(Failure::Stopped);
            }
            let mut bytes = 0;
            if looked || sockets.is_active() {
                bytes = sockets.events(window, events, events_len);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let is_over = bytes > 0 || (woken || left == Some(Duration::ZERO)) && looked;
            let mut ready = 0;
            if mask != 0 || token.is_some() {
                // Streams and sockets together; the sockets' set is one more descriptor to it.
                let wait_for = if is_over || wait == Wait::ForStreams {
                    Some(Duration::ZERO)
                } else {
                    sockets.patience(left)
                };
                self.waited |= wait_for != Some(Duration::ZERO);
                let others = [Some(sockets.fd()), token];
                ready = poll_streams(&self.streams, mask, wait_for, others, &self.stop)?;
                woken |= take();
            }
            if is_over || ready & mask != 0 {
                return Ok(ready & mask | (bytes as u64) << 32);
            }
            let nothing = mask != 0 || token.is_some() || wait == Wait::ForStreams;
            let left = if nothing { Some(Duration::ZERO) } else { left };
            self.waited |= left != Some(Duration::ZERO);
            sockets.wait(left).map_err(|error| {
                tracing::debug!(%error, "cannot wait for the Keep's sockets");
                HostErrno::Io
            })?;
            if wait == Wait::ForStreams && looked && !sockets.is_active() {
                return Err(Failure::WouldWait);
            }
            looked = true;
        }
    }

    /// The monotonic clock begins with the Keep: how long the machine has been up is none of its
    /// business.
    fn clock(&self, clock: ClockId) -> u64 {
        let time = match clock {
            ClockId::Monotonic => self.started.elapsed(),
            ClockId::Realtime => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        };
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The bits of streams in the answer of [`descriptor::poll`].
const STREAM_BITS: u64 = (1 << descriptor::STREAMS) - 1;

/// Waits for streams and two further descriptors, which are no streams and have no bits.
fn poll_streams(
    streams: &Streams,
    mask: u64,
    timeout: Option<Duration>,
    others: [Option<BorrowedFd<'_>>; 2],
    stop: &Stop,
) -> Result<u64, Failure> {
    let stdio = [Stream::Stdin, Stream::Stdout, Stream::Stderr];
    let mut interests: [Option<Interest<'_>>; descriptor::MAX_POLL] = [None; _];
    let mut ready = 0;
    for (n, stream) in stdio.into_iter().enumerate() {
        if mask & stream.bit() == 0 {
            continue;
        }
        match &streams.stdio[n] {
            Some(file) => {
                let fd: BorrowedFd<'_> = file.as_fd();
                interests[n] = Some(Interest { fd, write: !stream.is_readable() });
            }
            // Nothing ever blocks.
            None => ready |= stream.bit(),
        }
    }
    for (interest, fd) in interests[descriptor::STREAMS..].iter_mut().zip(others) {
        *interest = fd.map(|fd| Interest { fd, write: false });
    }
    let timeout = if ready != 0 { Some(Duration::ZERO) } else { timeout };
    // The bit of a standard stream is its number, in both worlds.
    Ok((ready | descriptor::poll(&interests, timeout, stop)?) & STREAM_BITS)
}
