// SPDX-License-Identifier: Apache-2.0

//! Connecting: to the first address of a peer that answers (after RFC 8305), then TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use enarx_config::{Peer, Prot};
use rustls::{ClientConnection, Connection};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::settings::{self, Scope};
use crate::{Net, NetError, Stream, stream};

/// How long one address has before the next is tried beside it (RFC 8305 §5).
const NEXT: Duration = Duration::from_millis(250);

/// Most addresses of a peer that are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects, with the addresses where they are known already.
pub(crate) async fn connect(
    net: &Net,
    peer: &Peer,
    addresses: Option<&[SocketAddr]>,
    scope: Scope,
) -> Result<Stream, NetError> {
    let called = called(peer);
    let place = net.place()?;
    // What is wrong with the settings is told before anybody is bothered.
    let tls = match peer.prot {
        Prot::Tls => {
            let config = net.shared.clients.get(&net.shared, peer, scope)?;
            let name = settings::server_name(peer)?;
            let connection = ClientConnection::new(config, name).map_err(|error| {
                NetError::Setting(format!("TLS with `{called}` cannot be set up: {error}"))
            })?;
            Some(connection)
        }
        Prot::Tcp => None,
    };
    let io = timeout(peer.timeouts.connect, async {
        let resolved;
        let addresses = match addresses {
            Some(addresses) => addresses,
            None => {
                let found = net.resolve(&peer.host).await?;
                resolved =
                    found.into_iter().map(|ip| SocketAddr::new(ip, peer.port)).collect::<Vec<_>>();
                &resolved
            }
        };
        let refused = |source| NetError::Connect { peer: called.clone(), source };
        reach(order(addresses)).await.map_err(refused)
    })
    .await
    .map_err(|_| NetError::Timeout { peer: called.clone(), what: "no address answers" })??;
    let _ = io.set_nodelay(true);
    let address =
        io.peer_addr().map_err(|source| NetError::Connect { peer: called.clone(), source })?;

    let idle = peer.timeouts.idle;
    let Some(connection) = tls else { return Ok(Stream::plain(io, address, place, idle)) };
    let handshake = stream::handshake(&io, Connection::Client(connection));
    let tls = timeout(peer.timeouts.handshake, handshake)
        .await
        .map_err(|_| NetError::Timeout { peer: called.clone(), what: "the TLS handshake" })?
        .map_err(|source| NetError::Handshake { peer: called.clone(), source: said(source) })?;
    Ok(Stream::secure(io, tls, address, place, idle))
}

/// `host:port`, for messages.
pub(crate) fn called(peer: &Peer) -> String {
    if peer.host.contains(':') {
        format!("[{}]:{}", peer.host, peer.port)
    } else {
        format!("{}:{}", peer.host, peer.port)
    }
}

/// A refusal of a certificate in its own words, which rustls wraps in names of its types.
fn said(error: io::Error) -> io::Error {
    let refusal =
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).and_then(|inner| {
            match inner {
                rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
                    Some(other.0.to_string())
                }
                _ => None,
            }
        });
    match refusal {
        Some(refusal) => io::Error::new(io::ErrorKind::InvalidData, refusal),
        None => error,
    }
}

/// The kinds of address in turn, beginning with the kind of the first.
fn order(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of = |six: bool| addresses.iter().copied().filter(move |one| one.is_ipv6() == six);
    let (mut these, mut others) = (of(first), of(!first));
    let mut out = Vec::new();
    while out.len() < MAX_ADDRESSES {
        let before = out.len();
        out.extend(these.next());
        out.extend(others.next());
        if out.len() == before {
            break;
        }
    }
    out
}

async fn reach(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts: JoinSet<io::Result<TcpStream>> = JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let more = match addresses.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
                true
            }
            None => false,
        };
        let result = if more {
            match timeout(NEXT, attempts.join_next()).await {
                Ok(result) => result,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match result {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last = error,
            Some(Err(_)) => {}
            None => return Err(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_addresses_take_turns() {
        let list: Vec<SocketAddr> =
            ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(|one| one.parse().unwrap()).to_vec();
        let expected: Vec<SocketAddr> =
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(|one| one.parse().unwrap()).to_vec();
        assert_eq!(order(&list), expected);
        assert_eq!(order(&[]), []);
        assert_eq!(order(&[list[0]; 30]).len(), MAX_ADDRESSES);
    }
}
