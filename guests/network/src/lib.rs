// SPDX-License-Identifier: Apache-2.0

//! What the programs share: sockets by their names, and tokio's streams as hyper wants them.

mod threads;

use std::future::Future;
use std::io;
use std::os::fd::FromRawFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The descriptor with a name, from `FD_NAMES`.
pub fn descriptor(name: &str) -> io::Result<i32> {
    let names = std::env::var("FD_NAMES").map_err(io::Error::other)?;
    let at = names.split(':').position(|known| known == name);
    let at = at.ok_or_else(|| io::Error::other(format!("no descriptor is called {name}")))?;
    i32::try_from(at).map_err(io::Error::other)
}

/// The socket with a name, as one that accepts.
pub fn listener(name: &str) -> io::Result<TcpListener> {
    // SAFETY: the descriptor is one that this program was started with, and used only here.
    let listener = unsafe { std::net::TcpListener::from_raw_fd(descriptor(name)?) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The socket with a name, as one that is connected.
pub fn connection(name: &str) -> io::Result<TcpStream> {
    // SAFETY: as above.
    let stream = unsafe { std::net::TcpStream::from_raw_fd(descriptor(name)?) };
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

/// Runs on one thread.
pub fn run(main: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(main)
}

/// A stream of tokio's for hyper.
pub struct Io(pub TcpStream);

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 8192];
        let len = bytes.len().min(room.remaining());
        let mut buffer = ReadBuf::new(&mut bytes[..len]);
        let result = Pin::new(&mut self.0).poll_read(cx, &mut buffer);
        room.put_slice(buffer.filled());
        result
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
