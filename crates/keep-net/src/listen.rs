// SPDX-License-Identifier: Apache-2.0

//! Listening: many handshakes at once, and connections that are ready.
//!
//! A client that is slow, silent or hostile costs one of [`MAX_HANDSHAKES`] places for at most the
//! time of a handshake. When all places are taken, the client that has had the longest time loses
//! its own: so those who come to talk get in, however many come only to stand in the door.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use enarx_config::{Listen, Prot};
use rustls::{Connection, ServerConfig, ServerConnection};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};

use crate::{Net, NetError, Stream, settings, stream};

/// Most handshakes of one listening socket that go on at a time.
pub const MAX_HANDSHAKES: usize = 256;

/// Connections that the host keeps for us before we take them.
const BACKLOG: u32 = 1024;

/// Most that is done before others get their turn.
const MAX_TURNS: u32 = 64;

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// A socket that accepts connections.
pub struct Listener {
    io: TcpListener,
    local: SocketAddr,
    config: Option<Arc<ServerConfig>>,
    handshake: Duration,
    idle: Option<Duration>,
    places: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
    /// A place for the next connection.
    next: Option<OwnedSemaphorePermit>,
    /// Waits for such a place when there is none.
    waiting: Option<Waiting>,
    /// Rests when the host could not give us a connection.
    rest: Option<Pin<Box<tokio::time::Sleep>>>,
    handshakes: JoinSet<Option<Stream>>,
    /// The handshakes, the oldest first; some may be over.
    oldest: VecDeque<AbortHandle>,
    /// Clients that wait to be accepted.
    ready: VecDeque<Stream>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("local", &self.local)
            .field("handshakes", &self.handshakes.len())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl Listener {
    pub(crate) fn new(net: &Net, listen: &Listen) -> Result<Self, NetError> {
        let config = match listen.prot {
            Prot::Tls => Some(Arc::new(settings::server(&net.shared, listen)?)),
            Prot::Tcp => None,
        };
        let place = net.place()?;
        let (io, local) = bind(listen)?;
        Ok(Self {
            io,
            local,
            config,
            handshake: listen.timeouts.handshake,
            idle: listen.timeouts.idle,
            places: Arc::clone(&net.places),
            _place: place,
            next: None,
            waiting: None,
            rest: None,
            handshakes: JoinSet::new(),
            oldest: VecDeque::new(),
            ready: VecDeque::new(),
        })
    }

    /// The address that was bound, with the port that it has now.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next client that completed its handshake. Handshakes go on while others are accepted, and
    /// whenever the event loop runs.
    ///
    /// # Errors
    ///
    /// Only of the listening socket itself: what a client does wrong ends its own connection.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        for _ in 0..MAX_TURNS {
            while let Poll::Ready(Some(done)) = self.handshakes.poll_join_next(cx) {
                self.ready.extend(done.ok().flatten());
            }
            if let Some(stream) = self.ready.pop_front() {
                return Poll::Ready(Ok(stream));
            }
            if let Some(rest) = &mut self.rest {
                if rest.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.rest = None;
            }
            let Poll::Ready(place) = self.poll_place(cx) else { return Poll::Pending };
            match self.io.poll_accept(cx) {
                Poll::Ready(Ok((io, address))) => self.start(io, address, place),
                Poll::Ready(Err(error)) => {
                    self.next = Some(place);
                    match error.kind() {
                        // The client went away before we looked.
                        io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::Interrupted => {}
                        io::ErrorKind::InvalidInput => return Poll::Ready(Err(error)),
                        // The host is short of something; that may pass.
                        _ => {
                            let rest = tokio::time::sleep(Duration::from_millis(100));
                            self.rest = Some(Box::pin(rest));
                        }
                    }
                }
                Poll::Pending => {
                    self.next = Some(place);
                    return Poll::Pending;
                }
            }
        }
        // Others first; there is more to do here.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until [`Listener::poll_accept`] would not wait.
    pub fn poll_acceptable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ready.is_empty()
            && let Ok(stream) = std::task::ready!(self.poll_accept(cx))
        {
            self.ready.push_front(stream);
        }
        Poll::Ready(())
    }

    /// See [`Listener::poll_accept`].
    ///
    /// # Errors
    ///
    /// See there.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// A place among all sockets that may be open.
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<OwnedSemaphorePermit> {
        if let Some(place) = self.next.take() {
            return Poll::Ready(place);
        }
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            self.waiting = None;
            return Poll::Ready(place);
        }
        // Whoever stands in the door the longest makes room.
        self.turn_away();
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(Arc::clone(&self.places).acquire_owned()));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(Ok(place)) => {
                self.waiting = None;
                Poll::Ready(place)
            }
            // The semaphore is never closed.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    fn start(&mut self, io: TcpStream, address: SocketAddr, place: OwnedSemaphorePermit) {
        // Without it small answers would wait for the acknowledgement of what went before.
        let _ = io.set_nodelay(true);
        let Some(config) = self.config.clone() else {
            self.ready.push_back(Stream::plain(io, address, place, self.idle));
            return;
        };
        if self.handshakes.len() >= MAX_HANDSHAKES {
            self.turn_away();
        }
        let Ok(connection) = ServerConnection::new(config) else { return };
        let (time, idle) = (self.handshake, self.idle);
        let task = self.handshakes.spawn(async move {
            let connection = Connection::Server(connection);
            let tls = tokio::time::timeout(time, stream::handshake(&io, connection)).await;
            let tls = tls.ok()?.ok()?;
            Some(Stream::secure(io, tls, address, place, idle))
        });
        self.oldest.push_back(task);
        while self.oldest.front().is_some_and(AbortHandle::is_finished) {
            self.oldest.pop_front();
        }
        if self.oldest.len() > 2 * MAX_HANDSHAKES {
            self.oldest.retain(|one| !one.is_finished());
        }
    }

    /// Ends the handshake that has gone on for the longest time.
    fn turn_away(&mut self) {
        while let Some(oldest) = self.oldest.pop_front() {
            if !oldest.is_finished() {
                oldest.abort();
                return;
            }
        }
    }
}

fn bind(listen: &Listen) -> Result<(TcpListener, SocketAddr), NetError> {
    let address = SocketAddr::new(listen.addr, listen.port);
    let bound = match bind_at(address) {
        // "Every interface" of a host that has no IPv6.
        Err(_) if listen.addr == Listen::DEFAULT_ADDR => {
            bind_at(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), listen.port))
        }
        bound => bound,
    };
    let refused = |source| NetError::Bind { address, source };
    let io = bound.map_err(refused)?;
    let local = io.local_addr().map_err(refused)?;
    Ok((io, local))
}

fn bind_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A Keep that starts again must not wait for connections of the one before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
