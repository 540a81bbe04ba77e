// SPDX-License-Identifier: Apache-2.0

//! Connections: accepted up to limits, served, and brought to an end when the server has to stop.
//!
//! HTTP/1.1 alone: a workload is one large answer, which a second protocol would make no better, and every
//! protocol is code that strangers talk to.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use http_patience::Patience;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::call::Peer;
use crate::{Service, routes};

/// A connection's buffer: the head of a request has to fit, and bodies come in such parts.
const BUFFER: usize = 64 << 10;

/// Listens. At `::` that is both versions of IP, whatever the system's default is.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restarted server must not wait for connections of its predecessor to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connections of each address.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    /// A place for that address, unless it has too many.
    fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Entered> {
        // The second half of an IPv6 address belongs to one customer.
        let address = match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
            v4 => v4,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Entered { addresses: Arc::clone(self), address })
    }
}

#[derive(Debug)]
struct Entered {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Adds to each request of a connection who is at its other end.
#[derive(Debug, Clone)]
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

/// Serves until `shutdown` is ready, then finishes what has begun.
pub(crate) async fn serve(
    service: Arc<Service>,
    listener: std::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let acceptor = tls.map(TlsAcceptor::from);
    let routes = TowerToHyperService::new(routes::routes(Arc::clone(&service)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(service.limits.timeout)
        .max_headers(64)
        .max_buf_size(BUFFER);
    let places = Arc::new(Semaphore::new(service.limits.connections));
    let addresses = Arc::new(Addresses::default());
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let next = async {
            // Whoever finds no place waits in the socket's queue.
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|accepted| (accepted, place))
        };
        let ((stream, address), place) = tokio::select! {
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
        let most = service.limits.connections_per_address;
        let Some(entered) = addresses.enter(address.ip(), most) else {
            debug!("too many connections of one address");
            continue;
        };
        let (builder, routes, watcher) = (builder.clone(), routes.clone(), graceful.watcher());
        let (acceptor, service) = (acceptor.clone(), Arc::clone(&service));
        tokio::spawn(async move {
            let _held = (place, entered);
            let _counted = service.metrics.connected();
            let limit = service.limits.timeout;
            let _ = stream.set_nodelay(true);
            let stream: Patience<TcpStream> = Patience::new(stream, limit);
            let ended = match acceptor {
                None => {
                    let routes = Peered { routes, peer: Peer::default() };
                    let connection = builder.serve_connection(TokioIo::new(stream), routes);
                    watcher.watch(connection).await
                }
                Some(acceptor) => match timeout(limit, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let certificates = stream.get_ref().1.peer_certificates();
                        let peer = Peer(certificates.map(Arc::from));
                        let routes = Peered { routes, peer };
                        let connection = builder.serve_connection(TokioIo::new(stream), routes);
                        watcher.watch(connection).await
                    }
                    Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
                    Err(_) => return debug!("TLS handshake took too long"),
                },
            };
            if let Err(error) = ended {
                debug!(%error, "connection ended");
            }
        });
    }
    info!("stopping");
    drop(listener);
    let grace = service.limits.grace;
    if timeout(grace, graceful.shutdown()).await.is_err() {
        warn!(seconds = grace.as_secs(), "some requests did not finish in time");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_an_address_are_given_back() {
        let addresses = Arc::new(Addresses::default());
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let same: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let first = addresses.enter(one, 2).unwrap();
        let second = addresses.enter(same, 2).unwrap();
        assert!(addresses.enter(one, 2).is_none());
        assert!(addresses.enter("192.0.2.2".parse().unwrap(), 2).is_some());
        drop(first);
        assert!(addresses.enter(one, 2).is_some());
        drop(second);
        assert!(addresses.0.lock().unwrap().is_empty());
        let near: IpAddr = "2001:db8::1".parse().unwrap();
        let _near = addresses.enter(near, 1).unwrap();
        assert!(addresses.enter("2001:db8::2".parse().unwrap(), 1).is_none());
        assert!(addresses.enter("2001:db8:0:1::1".parse().unwrap(), 1).is_some());
    }
}
