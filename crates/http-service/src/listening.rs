// SPDX-License-Identifier: Apache-2.0

//! The socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 1024;

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
        socket.listen(BACKLOG)?;
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

    pub(crate) fn into_tokio(self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket)
    }
}

/// Whether a socket can be bound to an address of version 6.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}
