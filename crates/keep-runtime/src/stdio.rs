// SPDX-License-Identifier: Apache-2.0

//! The workload's stdin, stdout and stderr: the program's own descriptors, without a thread.
//!
//! Wasmtime's own stdin reads ahead on a second thread. A Keep has one thread, and must not take
//! bytes that the workload never asked for. So: a read that may block simply blocks, since the
//! workload could do nothing else meanwhile; only when it waits for stdin *or* something else does
//! the event loop watch the descriptor. Output is never held back: when a host call of the
//! workload returns, all that it wrote was taken by the descriptor. A full pipe blocks the
//! workload, which is the back-pressure.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use keep_engine::program::descriptor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Most that one read takes, whatever room the workload offers.
const MAX_READ: usize = 64 << 10;
/// Most that a component may write in one call, as in Wasmtime.
const MAX_WRITE: usize = 64 << 10;

/// Stdin. Copies share the descriptor, and so their place in it.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    watch: Arc<OnceLock<Option<AsyncFd<BorrowedFd<'static>>>>>,
}

impl Input {
    pub(crate) fn new() -> Self {
        Self { watch: Arc::default() }
    }

    fn fd() -> BorrowedFd<'static> {
        descriptor(0)
    }

    /// Whether a read would not block.
    fn is_ready() -> bool {
        ready(Self::fd(), PollFlags::IN, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    fn read_now(size: usize) -> StreamResult<Bytes> {
        let mut buffer = vec![0; size.min(MAX_READ)];
        match read(Self::fd(), &mut buffer) {
            Ok(0) => Err(StreamError::Closed),
            Ok(count) => {
                buffer.truncate(count);
                Ok(buffer.into())
            }
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The event loop's watch, or none where a descriptor cannot be watched (files and the like):
    /// those are always ready.
    fn watch(&self) -> Option<&AsyncFd<BorrowedFd<'static>>> {
        self.watch
            .get_or_init(|| {
                // SAFETY: the descriptor is open from the start to the end of the program, and is
                // never made to refer to something else.
                unsafe { AsyncFd::register_with_interest(Self::fd(), Interest::READABLE) }.ok()
            })
            .as_ref()
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        rustix::termios::isatty(Self::fd())
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 || !Self::is_ready() { Ok(Bytes::new()) } else { Self::read_now(size) }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 { Ok(Bytes::new()) } else { Self::read_now(size) }
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        // The watch reports edges: what it says is only a reason to look again.
        while !Self::is_ready() {
            let Some(watch) = self.watch() else { return };
            match watch.readable().await {
                Ok(mut guard) => guard.clear_ready(),
                Err(_) => return,
            }
        }
    }
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(match Self::read_now(buffer.remaining()) {
            Ok(bytes) => {
                buffer.put_slice(&bytes);
                Ok(())
            }
            Err(StreamError::Closed) => Ok(()),
            Err(StreamError::LastOperationFailed(error) | StreamError::Trap(error)) => {
                Err(io::Error::other(error.to_string()))
            }
        })
    }
}

/// Stdout or stderr.
#[derive(Debug, Clone)]
pub(crate) struct Output(i32);

impl Output {
    /// For the program's descriptor of this number.
    pub(crate) fn new(to: i32) -> Self {
        Self(to)
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        rustix::termios::isatty(descriptor(self.0))
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        write_all(descriptor(self.0), &bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match write_all(descriptor(self.0), bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(StreamError::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(StreamError::LastOperationFailed(error) | StreamError::Trap(error)) => {
                Err(io::Error::other(error.to_string()))
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads into a buffer until one read succeeds; nothing read is the end.
pub(crate) fn read(from: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::read(from, &mut *buffer) {
            Err(Errno::INTR) => {}
            // Somebody else made the descriptor non-blocking.
            Err(Errno::AGAIN) => {
                ready(from, PollFlags::IN, None);
            }
            result => return result,
        }
    }
}

/// Writes some bytes of these, at least one, and waits until there is room.
pub(crate) fn write(to: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    loop {
        let result = match parts {
            [part] => rustix::io::write(to, part),
            parts => rustix::io::writev(to, parts),
        };
        match result {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                ready(to, PollFlags::OUT, None);
            }
            result => return result,
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> StreamResult<()> {
    while !bytes.is_empty() {
        match write(to, &[IoSlice::new(bytes)]) {
            Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) => return Err(failed(error.into())),
        }
    }
    Ok(())
}

/// Waits for a descriptor. An error counts as ready: the read or write that follows names it.
fn ready(fd: BorrowedFd<'_>, what: PollFlags, timeout: Option<&Timespec>) -> bool {
    let mut fds = [PollFd::new(&fd, what)];
    loop {
        match poll(&mut fds, timeout) {
            Ok(count) => return count > 0,
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// As Wasmtime reports it: a reader that went away closes the stream, everything else is an error.
pub(crate) fn failed(error: io::Error) -> StreamError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        StreamError::Closed
    } else {
        StreamError::LastOperationFailed(error.into())
    }
}
