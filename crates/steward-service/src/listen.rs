// SPDX-License-Identifier: Apache-2.0

//! Connections: accepted up to a limit, served, and brought to an end when the service has to stop.
//!
//! HTTP/1.1 alone: a request for a certificate is one message each way, which a second protocol would
//! make no better, and every protocol is code that strangers talk to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_patience::Patience;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::{Service, http};

/// So long are requests given to finish after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);

/// A connection's buffer: the head of a request has to fit.
const BUFFER: usize = 32 << 10;

/// A socket that clients can connect to.
#[derive(Debug)]
pub struct Listening {
    socket: std::net::TcpListener,
}

impl Listening {
    /// Listens. At `::` that is both versions of IP, whatever the system's default is, and version 4 alone
    /// where there is no other. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(address: IpAddr, port: u16) -> io::Result<Self> {
        match Self::at(SocketAddr::new(address, port)) {
            Err(_) if address == Ipv6Addr::UNSPECIFIED && !has_ipv6() => {
                Self::at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            result => result,
        }
    }

    fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // A restarted service must not wait for connections of its predecessor to time out.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: socket.into() })
    }

    /// The address with the port that the system chose.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Whether a socket can be bound to an address of version 6.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

/// Ready at SIGTERM or SIGINT, of which the log tells.
///
/// # Errors
///
/// If the signals cannot be waited for.
pub fn until_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "stopping");
    })
}

/// Serves until `shutdown` is ready, then finishes what has begun. Without `tls` it
/// speaks plain HTTP, for a proxy in front of it.
///
/// # Errors
///
/// If the socket cannot be used.
pub async fn serve(
    service: Arc<Service>,
    listening: Listening,
    tls: Option<Arc<ServerConfig>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listening.socket)?;
    let acceptor = tls.map(TlsAcceptor::from);
    let routes = TowerToHyperService::new(http::routes(Arc::clone(&service)));
    let limits = service.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.timeout)
        .max_headers(64)
        .max_buf_size(BUFFER);
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let next = async {
            // Whoever finds no place waits in the socket's queue.
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let (stream, place) = tokio::select! {
            () = &mut shutdown => break,
            accepted = next => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: closing others takes a moment.
                    warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let (builder, routes, watcher) = (builder.clone(), routes.clone(), graceful.watcher());
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _place = place;
            let stream = Patience::new(stream, limits.timeout);
            let stream: Box<dyn Stream> = match acceptor {
                Some(acceptor) => match timeout(limits.timeout, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
                    Err(_) => return debug!("TLS handshake took too long"),
                },
                None => Box::new(stream),
            };
            let connection = builder.serve_connection(TokioIo::new(stream), routes);
            if let Err(error) = watcher.watch(connection).await {
                debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        warn!(seconds = GRACE.as_secs(), "some requests did not finish in time");
    }
    Ok(())
}

/// TCP, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
