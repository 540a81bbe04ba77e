// SPDX-License-Identifier: Apache-2.0

//! Listening.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use enarx_config::Listen;

use crate::{Net, NetError, Stream};

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    local: SocketAddr,
}

impl Listener {
    pub(crate) async fn new(_: &Net, _: &Listen) -> Result<Self, NetError> {
        Err(NetError::NoIdentity)
    }

    /// The address that was bound, with the port that it has now.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next client that completed its handshake. Handshakes go on while others are accepted.
    ///
    /// # Errors
    ///
    /// Only of the listening socket itself: what a client does wrong ends its own connection.
    pub fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        Poll::Pending
    }

    /// Waits until [`Listener::poll_accept`] would not wait.
    pub fn poll_acceptable(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// See [`Listener::poll_accept`].
    ///
    /// # Errors
    ///
    /// See there.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }
}
