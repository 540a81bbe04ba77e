// SPDX-License-Identifier: Apache-2.0

//! A connection: TLS that ends here, or bare TCP.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::Connection;
use rustls::pki_types::CertificateDer;
use steward_relying_party::CertificateClaims;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use crate::tls::Tls;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Its address, as the host says.
    pub address: SocketAddr,
    /// The chain that it showed and that counted, leaf first; empty if it showed none.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What its Steward says of it, if it is a Keep.
    pub claims: Option<CertificateClaims>,
    /// The protocol that both agreed on by ALPN.
    pub alpn: Option<Vec<u8>>,
}

/// A connection.
///
/// Written bytes leave at once as far as the host takes them; the rest of one write is kept and
/// leaves with the next call of any kind that may wait. A proper end is
/// [`poll_shutdown`](AsyncWrite::poll_shutdown); dropping a connection ends it without a word, which
/// a peer that speaks TLS takes for an attack.
#[derive(Debug)]
pub struct Stream {
    io: TcpStream,
    tls: Option<Box<Tls>>,
    peer: Arc<PeerInfo>,
    local: SocketAddr,
    idle: Option<Idle>,
    closed: bool,
    _place: OwnedSemaphorePermit,
}

/// Ends a connection on which nothing happens.
#[derive(Debug)]
struct Idle {
    after: Duration,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Idle {
    /// Waits until nothing has happened for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let end = self.last + self.after;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(end);
        }
    }
}

impl Stream {
    pub(crate) fn plain(
        io: TcpStream,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
        idle: Option<Duration>,
    ) -> Self {
        let peer = PeerInfo { address, certificates: Vec::new(), claims: None, alpn: None };
        Self::new(io, None, peer, place, idle)
    }

    /// Over a connection whose handshake is complete.
    pub(crate) fn secure(
        io: TcpStream,
        tls: Box<Tls>,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
        idle: Option<Duration>,
    ) -> Self {
        let connection = &tls.connection;
        let certificates: Vec<_> = connection
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|one| one.clone().into_owned())
            .collect();
        let claims = certificates.first().and_then(|leaf| crate::verify::claims(leaf));
        let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
        Self::new(io, Some(tls), PeerInfo { address, certificates, claims, alpn }, place, idle)
    }

    fn new(
        io: TcpStream,
        tls: Option<Box<Tls>>,
        peer: PeerInfo,
        place: OwnedSemaphorePermit,
        idle: Option<Duration>,
    ) -> Self {
        let local = io.local_addr().unwrap_or_else(|_| SocketAddr::from(([0; 4], 0)));
        let idle = idle.map(|after| {
            let last = Instant::now();
            Idle { after, last, sleep: Box::pin(tokio::time::sleep_until(last + after)) }
        });
        Self { io, tls, peer: Arc::new(peer), local, idle, closed: false, _place: place }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Arc<PeerInfo> {
        &self.peer
    }

    /// Our own address, as the host says.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether what is said stays between the Keep and its peer.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Waits until a read would not wait: there are bytes (how many, at least), the end (0 bytes),
    /// or an error, which the next read tells.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let result = match &mut self.tls {
            Some(tls) => tls.poll_fill(&self.io, cx),
            None => {
                let mut byte = [0];
                self.io.poll_peek(cx, &mut ReadBuf::new(&mut byte))
            }
        };
        match self.or_idle(result, cx) {
            Poll::Ready(Ok(count)) => Poll::Ready(count),
            Poll::Ready(Err(_)) => Poll::Ready(0),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits until a write would take something, or fail.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closed {
            return Poll::Ready(());
        }
        match &mut self.tls {
            Some(tls) => tls.poll_send(&self.io, cx).map(|_| ()),
            None => self.io.poll_write_ready(cx).map(|_| ()),
        }
    }

    /// Whether written bytes are still here because the host did not take them.
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.connection.wants_write())
    }

    /// As a read, but leaves the bytes where they are; fewer than there are may be shown.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.tls {
            Some(tls) => match tls.poll_fill(&self.io, cx) {
                Poll::Ready(Ok(_)) => Poll::Ready(tls.peek(into)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            },
            None => self.io.poll_peek(cx, &mut ReadBuf::new(into)),
        };
        self.or_idle(result, cx)
    }

    /// Writes as much of these parts as is taken, in one record where they fit.
    pub fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let result = match &mut self.tls {
            Some(tls) => tls.poll_write(&self.io, cx, parts),
            None => Pin::new(&mut self.io).poll_write_vectored(cx, parts),
        };
        self.or_idle(result, cx)
    }

    /// Passes a result on and remembers that something happened; fails if nothing did for too long.
    fn or_idle<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Some(idle) = &mut self.idle else { return result };
        if result.is_ready() {
            idle.last = Instant::now();
            return result;
        }
        ready!(idle.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = match &mut this.tls {
            Some(tls) => tls.poll_read(&this.io, cx, into),
            None => Pin::new(&mut this.io).poll_read(cx, into),
        };
        this.or_idle(result, cx)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = match &mut this.tls {
            Some(tls) => tls.poll_send(&this.io, cx),
            None => Poll::Ready(Ok(())),
        };
        this.or_idle(result, cx)
    }

    /// Says that nothing more comes (`close_notify`, RFC 8446 §6.1), then ends our half of the
    /// connection. The peer may go on writing.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(tls) = &mut this.tls {
            if !this.closed {
                this.closed = true;
                tls.connection.send_close_notify();
            }
            let sent = tls.poll_send(&this.io, cx);
            ready!(this.or_idle(sent, cx))?;
        }
        this.closed = true;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// Completes a handshake over a fresh connection.
pub(crate) async fn handshake(io: &TcpStream, connection: Connection) -> io::Result<Box<Tls>> {
    let mut tls = Box::new(Tls::new(connection));
    std::future::poll_fn(|cx| tls.poll_handshake(io, cx)).await?;
    Ok(tls)
}
