// SPDX-License-Identifier: Apache-2.0

//! A connection as the two streams of `wasi:io`.
//!
//! What a component writes is taken at once, up to [`MAX_WRITE`] bytes, and goes out at once as far
//! as there is room. The rest goes out in a task of its own, because a component may well wait for
//! the answer without looking at its output again; until it is gone the component may not write.
//! So a connection never holds more than that.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use keep_net::Stream;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Most that one read takes, whatever room the component offers.
const MAX_READ: usize = 64 << 10;
/// Most that a component may write in one call.
const MAX_WRITE: usize = 64 << 10;
/// How long a connection that the component is done with may still take to end properly.
const LINGER: Duration = Duration::from_secs(10);

/// Counts what still goes out, so that a program's last words are not lost with it.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing(Arc<watch::Sender<usize>>);

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    fn begin(&self) -> Going {
        self.0.send_modify(|count| *count += 1);
        Going(self.clone())
    }

    /// Waits until nothing goes out any more, but not for ever.
    pub(crate) async fn settle(&self) {
        let mut changes = self.0.subscribe();
        let _ = tokio::time::timeout(LINGER, changes.wait_for(|count| *count == 0)).await;
    }
}

/// Something that goes out.
#[derive(Debug)]
struct Going(Outgoing);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// A connection; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told when the task that sends has ended.
    sent: Notify,
    outgoing: Outgoing,
}

#[derive(Debug)]
struct State {
    stream: Stream,
    /// The component reads no more, or there is no more.
    read_closed: bool,
    /// What did not fit yet.
    pending: Bytes,
    /// Whether a task sends.
    sending: bool,
    write: Write,
    /// Why writing ended, until the component has heard of it.
    failed: Option<io::Error>,
}

/// How far the end of writing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Open,
    /// The end follows what is pending.
    Closing,
    Closed,
}

impl State {
    /// Sends what there is to send; ready once there is nothing left to do.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let result = ready!(self.try_send(cx));
        if let Err(error) = result {
            self.pending.clear();
            self.write = Write::Closed;
            self.failed.get_or_insert(error);
        }
        Poll::Ready(())
    }

    fn try_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write == Write::Closed {
            return Poll::Ready(Ok(()));
        }
        while !self.pending.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(count.min(self.pending.len()));
        }
        if self.write == Write::Closing {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.write = Write::Closed;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl Connection {
    pub(crate) fn new(stream: Stream, outgoing: &Outgoing) -> Self {
        let state = State {
            stream,
            read_closed: false,
            pending: Bytes::new(),
            sending: false,
            write: Write::Open,
            failed: None,
        };
        let outgoing = outgoing.clone();
        Self {
            shared: Arc::new(Shared { state: Mutex::new(state), sent: Notify::new(), outgoing }),
        }
    }

    /// The half that is read.
    pub(crate) fn input(&self) -> Input {
        Input(self.clone())
    }

    /// The half that is written.
    pub(crate) fn output(&self) -> Output {
        Output(self.clone())
    }

    /// Reads no more.
    pub(crate) fn close_input(&self) {
        self.state().read_closed = true;
    }

    /// Writes no more: the peer is told once everything else is sent.
    pub(crate) fn close_output(&self) {
        let mut state = self.state();
        if state.write == Write::Open {
            state.write = Write::Closing;
            self.send(&mut state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends now what can be sent now, and leaves the rest to a task.
    fn send(&self, state: &mut State) {
        if state.sending || state.send(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        state.sending = true;
        let (connection, going) = (self.clone(), self.shared.outgoing.begin());
        tokio::spawn(async move {
            let mut tick = pin!(tokio::time::sleep(LINGER));
            let mut was_closing = false;
            poll_fn(|cx| {
                let mut state = connection.state();
                while state.send(cx).is_pending() {
                    ready!(tick.as_mut().poll(cx));
                    // Only a connection at its end may not take for ever: while it is in use, how
                    // long a peer may be silent is the entry's `idle_timeout`.
                    if was_closing {
                        state.write = Write::Closed;
                    }
                    was_closing = state.write == Write::Closing;
                    tick.as_mut().reset(Instant::now() + LINGER);
                }
                Poll::Ready(())
            })
            .await;
            connection.state().sending = false;
            connection.shared.sent.notify_waiters();
            drop(going);
        });
    }
}

/// What arrives.
#[derive(Debug)]
pub(crate) struct Input(Connection);

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut state = self.0.state();
        if state.read_closed {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        let cx = &mut Context::from_waker(Waker::noop());
        if state.stream.poll_readable(cx).is_pending() {
            return Ok(Bytes::new());
        }
        let mut buffer = vec![0; size.min(MAX_READ)];
        let mut room = ReadBuf::new(&mut buffer);
        match Pin::new(&mut state.stream).poll_read(cx, &mut room) {
            Poll::Pending => Ok(Bytes::new()),
            Poll::Ready(Ok(())) if room.filled().is_empty() => {
                state.read_closed = true;
                Err(StreamError::Closed)
            }
            Poll::Ready(Ok(())) => {
                let count = room.filled().len();
                buffer.truncate(count);
                Ok(buffer.into())
            }
            Poll::Ready(Err(error)) => {
                state.read_closed = true;
                Err(StreamError::LastOperationFailed(error.into()))
            }
        }
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        poll_fn(|cx| {
            let mut state = self.0.state();
            if state.read_closed {
                Poll::Ready(())
            } else {
                state.stream.poll_readable(cx).map(drop)
            }
        })
        .await;
    }
}

/// What is sent.
#[derive(Debug)]
pub(crate) struct Output(Connection);

impl Output {
    /// The room there is, or why there will be none any more.
    fn room(state: &mut State) -> StreamResult<usize> {
        match (state.failed.take(), state.write) {
            (Some(error), _) => Err(StreamError::LastOperationFailed(error.into())),
            (None, Write::Closing | Write::Closed) => Err(StreamError::Closed),
            (None, Write::Open) if state.sending => Ok(0),
            (None, Write::Open) => Ok(MAX_WRITE),
        }
    }
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.0.state();
        let room = Self::room(&mut state)?;
        if bytes.len() > room {
            return Err(StreamError::trap("more was written than there is room for"));
        }
        state.pending = bytes;
        self.0.send(&mut state);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What is written is on its way already.
        Self::room(&mut self.0.state()).map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Self::room(&mut self.0.state())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        loop {
            // Listened for before looked at, so that nothing falls in between.
            let sent = self.0.shared.sent.notified();
            if !self.0.state().sending {
                return;
            }
            sent.await;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.0.close_output();
    }
}
