// SPDX-License-Identifier: Apache-2.0

//! TLS over a socket of the host.
//!
//! Each call to the host leaves the Keep, so few and large ones are made: what the socket has is
//! taken in pieces of 64 KiB and handed to rustls record by record, and all records of a write
//! leave together. What rustls has no room for yet stays here as ciphertext.

use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// Most ciphertext that is taken from a socket at once, in bytes.
const PIECE: usize = 64 << 10;

/// Most ciphertext that one write leaves behind when the host takes nothing, in bytes; further writes
/// wait until it has left.
const UNSENT: usize = 64 << 10;

thread_local! {
    /// Where ciphertext arrives, for all connections: between two calls nothing of it is needed.
    static ARRIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One side of a TLS connection.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) connection: Connection,
    /// Ciphertext that rustls has no room for yet, from `taken` on.
    waiting: Vec<u8>,
    taken: usize,
    /// Whether the socket came to its end.
    ended: bool,
    /// What went wrong for good.
    failed: Option<(io::ErrorKind, String)>,
}

impl Tls {
    pub(crate) fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(UNSENT));
        Self { connection, waiting: Vec::new(), taken: 0, ended: false, failed: None }
    }

    /// Until both sides agree, and all that has to be said for that has left.
    pub(crate) fn poll_handshake(
        &mut self,
        io: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(io, cx))?;
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(io, cx))?;
        }
    }

    /// Waits until there is plaintext, and says how much at least; 0 at the end.
    pub(crate) fn poll_fill(
        &mut self,
        io: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.connection.reader().fill_buf() {
                Ok(plaintext) => return Poll::Ready(Ok(plaintext.len())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_receive(io, cx))?;
        }
    }

    /// The plaintext that is there; nothing is taken.
    pub(crate) fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut reader = self.connection.reader();
        let plaintext = reader.fill_buf()?;
        let count = plaintext.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), plaintext.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    pub(crate) fn poll_read(
        &mut self,
        io: &TcpStream,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.poll_fill(io, cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        // As much as there is without asking the host again.
        while into.remaining() > 0 {
            let count = match self.connection.reader().read(into.initialize_unfilled()) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.taken >= self.waiting.len() || self.feed_waiting().is_err() {
                        break;
                    }
                    continue;
                }
                Err(_) => break,
            };
            if count == 0 {
                break;
            }
            into.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write(
        &mut self,
        io: &TcpStream,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // What was taken before goes first, so that no more than one write is ever kept here.
        ready!(self.poll_send(io, cx))?;
        let count = self.connection.writer().write_vectored(parts)?;
        match self.poll_send(io, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    /// Until the host took all that is to be sent.
    pub(crate) fn poll_send(
        &mut self,
        io: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Socket(io)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(io.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gets some ciphertext to rustls.
    fn poll_receive(&mut self, io: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some((kind, message)) = &self.failed {
            return Poll::Ready(Err(io::Error::new(*kind, message.clone())));
        }
        let result = if self.taken < self.waiting.len() {
            self.feed_waiting()
        } else {
            match self.receive(io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The readiness that was known has been used up, so this registers the waker.
                    ready!(io.poll_read_ready(cx))?;
                    Ok(())
                }
                result => result,
            }
        };
        if let Err(error) = &result {
            self.failed = Some((error.kind(), error.to_string()));
        }
        // Answers to what came, or the alert that says why this is the end. What the host does not
        // take now leaves with a later call.
        if self.connection.wants_write() {
            let _ = self.connection.write_tls(&mut Socket(io));
        }
        Poll::Ready(result)
    }

    /// Takes what the socket has.
    fn receive(&mut self, io: &TcpStream) -> io::Result<()> {
        ARRIVED.with_borrow_mut(|arrived| {
            arrived.resize(PIECE, 0);
            let count = io.try_read(arrived)?;
            if count == 0 {
                self.ended = true;
                self.connection.read_tls(&mut io::empty())?;
                return Ok(());
            }
            let piece = arrived.get(..count).unwrap_or_default();
            let used = feed(&mut self.connection, piece)?;
            self.waiting.clear();
            self.taken = 0;
            self.waiting.extend_from_slice(piece.get(used..).unwrap_or_default());
            Ok(())
        })
    }

    fn feed_waiting(&mut self) -> io::Result<()> {
        let piece = self.waiting.get(self.taken..).unwrap_or_default();
        self.taken += feed(&mut self.connection, piece)?;
        if self.taken >= self.waiting.len() {
            // Hundreds of connections wait most of the time; none keeps room for what it does not have.
            self.waiting = Vec::new();
            self.taken = 0;
        }
        Ok(())
    }
}

/// Gives rustls as much ciphertext as it has room for; returns how much that was.
fn feed(connection: &mut Connection, piece: &[u8]) -> io::Result<usize> {
    let mut rest = piece;
    while !rest.is_empty() {
        // As soon as there is plaintext, more of it would only lie around.
        if matches!(connection.reader().fill_buf(), Ok(plaintext) if !plaintext.is_empty()) {
            break;
        }
        if connection.read_tls(&mut rest)? == 0 {
            // After `close_notify` nothing counts.
            rest = &[];
        }
        connection
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    Ok(piece.len() - rest.len())
}

/// A socket to which rustls writes.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
