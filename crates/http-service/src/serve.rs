// SPDX-License-Identifier: Apache-2.0

//! Connections: accepted up to limits, served, and brought to an end when the service has to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::addresses::Addresses;
use crate::patience::Patience;
use crate::{HttpMetrics, Listening};

/// Most header lines of a request.
const MAX_HEADERS: usize = 64;

/// How long to wait when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time; whoever finds no place waits in the socket's queue.
    pub connections: usize,
    /// Connections at one time of one address, of one /64 for IPv6; more are closed.
    pub connections_per_address: usize,
    /// For each of: TLS handshake, head of a request, next bytes of an answer.
    pub timeout: Duration,
    /// Requests are given so long to finish when the service has to stop.
    pub grace: Duration,
    /// Bytes of a connection's buffer: the head of a request has to fit, and bodies come in such parts.
    pub buffer: usize,
}

impl Default for Limits {
    /// 1,024 connections, of whatever address, 10 seconds for everything, 32 KiB.
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: usize::MAX,
            timeout: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            buffer: 32 << 10,
        }
    }
}

/// Who is at the other end of a connection; an extension of each of its requests.
///
/// The certificates that were offered in the handshake, leaf first, with proof of possession of the first.
#[derive(Debug, Clone, Default)]
pub struct Peer(pub Option<Arc<[CertificateDer<'static>]>>);

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

/// What a service is made of.
#[derive(Debug)]
pub struct Service {
    /// What is at each path.
    pub routes: Router,
    /// Its TLS; without, it speaks plain HTTP, for a proxy in front of it.
    pub tls: Option<Arc<ServerConfig>>,
    /// What clients may take.
    pub limits: Limits,
    /// Where connections are counted.
    pub metrics: HttpMetrics,
}

impl Service {
    /// Serves until `shutdown` is ready, then finishes what has begun, for at most [`Limits::grace`].
    ///
    /// # Errors
    ///
    /// If the socket cannot be used.
    pub async fn serve(
        self,
        listening: Listening,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = listening.into_tokio()?;
        let limits = self.limits;
        let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let addresses = Arc::new(Addresses::default());
        let graceful = GracefulShutdown::new();
        let client = self.client();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let (stream, address, place) = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&listener, &places) => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of descriptors, most likely: closing others takes a moment.
                        warn!(%error, "cannot accept a connection");
                        sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            let most = limits.connections_per_address;
            let Some(entered) = addresses.enter(address.ip(), most) else {
                debug!("too many connections of one address");
                continue;
            };
            let (client, watcher) = (client.clone(), graceful.watcher());
            tokio::spawn(async move {
                let _held = (place, entered, client.metrics.connected());
                client.serve(stream, watcher).await;
            });
        }
        drop(listener);
        if timeout(limits.grace, graceful.shutdown()).await.is_err() {
            let seconds = limits.grace.as_secs();
            warn!(seconds, "some requests did not finish in time");
        }
        Ok(())
    }

    fn client(self) -> Client {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.timeout)
            .max_headers(MAX_HEADERS)
            .max_buf_size(self.limits.buffer);
        Client {
            http,
            routes: TowerToHyperService::new(self.routes),
            tls: self.tls.map(TlsAcceptor::from),
            timeout: self.limits.timeout,
            metrics: self.metrics,
        }
    }
}

/// A connection for which there is a place.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, place))
}

/// What one connection needs.
#[derive(Clone)]
struct Client {
    http: http1::Builder,
    routes: TowerToHyperService<Router>,
    tls: Option<TlsAcceptor>,
    timeout: Duration,
    metrics: HttpMetrics,
}

impl Client {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        let _ = stream.set_nodelay(true);
        let stream = Patience::new(stream, self.timeout);
        let Some(tls) = &self.tls else {
            return self.speak(stream, Peer::default(), watcher).await;
        };
        match timeout(self.timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let peer = Peer(stream.get_ref().1.peer_certificates().map(Arc::from));
                self.speak(stream, peer, watcher).await;
            }
            Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
            Err(_) => debug!("TLS handshake took too long"),
        }
    }

    async fn speak<S>(&self, stream: S, peer: Peer, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let routes = Peered { routes: self.routes.clone(), peer };
        let connection = self.http.serve_connection(TokioIo::new(stream), routes);
        if let Err(error) = watcher.watch(connection).await {
            debug!(%error, "connection ended");
        }
    }
}

/// Adds to each request of a connection who is at its other end.
struct Peered {
    routes: TowerToHyperService<Router>,
    peer: Peer,
}

impl HyperService<Request<Incoming>> for Peered {
    type Response = <TowerToHyperService<Router> as HyperService<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as HyperService<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as HyperService<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.routes.call(request)
    }
}
