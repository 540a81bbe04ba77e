// SPDX-License-Identifier: Apache-2.0

//! A connection: TLS that ends here, or bare TCP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use steward_relying_party::CertificateClaims;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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

/// A connection. Dropping it ends it at once; see [`tokio::io::AsyncWriteExt::shutdown`] for a proper end.
#[derive(Debug)]
pub struct Stream {
    peer: Arc<PeerInfo>,
    local: SocketAddr,
}

impl Stream {
    /// Who is at the other end.
    pub fn peer(&self) -> &Arc<PeerInfo> {
        &self.peer
    }

    /// Our own address, as the host says.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits until a read would not wait: there are bytes, the end, or an error.
    pub fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Waits until a write would take something, or fail.
    pub fn poll_writable(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
