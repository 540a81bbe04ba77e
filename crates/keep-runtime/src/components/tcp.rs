// SPDX-License-Identifier: Apache-2.0

//! `wasi:sockets/tcp` and `tcp-create-socket`, governed by Enarx.toml.
//!
//! A socket here is a promise first: it becomes a connection or a listener of the Keep only when it
//! is clear which entry of the file it belongs to. What the component reads and writes is what is
//! inside of TLS; where the entry says `prot = "tcp"`, there is none.
//!
//! To bind only notes the address: the socket is bound when it listens, and that it cannot be is said
//! then. The options of a socket are kept and have no effect, except that what is impossible is
//! refused; buffers and keep-alive are the host's matter, who could ignore them anyway.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keep_launch::Event;
use keep_net::{Listener, NetError, Stream};
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Network, Pollable, SocketError, SocketResult,
    subscribe,
};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;

use super::bindings::tcp::{Host, HostTcpSocket, ShutdownType};
use super::bindings::tcp_create_socket;
use super::stream::Connection;
use super::{SocketsView, warn};
use enarx_config::Listen;

/// The resource `tcp-socket`.
#[allow(unreachable_pub, reason = "generated code names it as if it were public")]
#[derive(Debug)]
pub struct TcpSocket {
    family: IpAddressFamily,
    stage: Stage,
    options: Options,
}

#[derive(Debug)]
enum Stage {
    Fresh,
    /// `start-bind` was called, and what it noted.
    Binding(SocketAddr, Option<Listen>),
    Bound(SocketAddr, Option<Listen>),
    Connecting(AbortOnDropJoinHandle<Result<Stream, NetError>>),
    /// The attempt ended, and the component has not asked yet.
    Attempted(Result<Stream, NetError>),
    /// Connected, with our address and the peer's.
    Connected(Connection, SocketAddr, SocketAddr),
    /// `start-listen` was called.
    Starting(Listener),
    Listening(Listener),
    /// An attempt to connect failed: nothing can become of it.
    Failed,
}

/// Values that a component may set and read.
#[derive(Debug, Clone, Copy)]
struct Options {
    keep_alive: bool,
    idle_time: Duration,
    interval: Duration,
    count: u32,
    hop_limit: u8,
    receive_buffer: u64,
    send_buffer: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_alive: false,
            idle_time: Duration::from_secs(7200),
            interval: Duration::from_secs(75),
            count: 9,
            hop_limit: 64,
            receive_buffer: 64 << 10,
            send_buffer: 64 << 10,
        }
    }
}

impl TcpSocket {
    fn new(family: IpAddressFamily, stage: Stage) -> Self {
        Self { family, stage, options: Options::default() }
    }

    /// Whether an address is of the socket's family, and no IPv4 address in disguise.
    fn fits(&self, address: SocketAddr) -> bool {
        match (self.family, address.ip()) {
            (IpAddressFamily::Ipv4, IpAddr::V4(_)) => true,
            (IpAddressFamily::Ipv6, IpAddr::V6(ip)) => ip.to_ipv4_mapped().is_none(),
            _ => false,
        }
    }
}

fn family(address: SocketAddr) -> IpAddressFamily {
    if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }
}

/// The code for a failed attempt. What exactly was wrong is said as a warning, since codes are few.
fn code(error: &NetError) -> ErrorCode {
    match error {
        NetError::Resolve { .. } => ErrorCode::RemoteUnreachable,
        NetError::Connect { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            io::ErrorKind::TimedOut => ErrorCode::Timeout,
            _ => ErrorCode::RemoteUnreachable,
        },
        NetError::Timeout { .. } => ErrorCode::Timeout,
        NetError::TooManySockets => ErrorCode::NewSocketLimit,
        NetError::Bind { source, .. } => match source.kind() {
            io::ErrorKind::AddrInUse => ErrorCode::AddressInUse,
            io::ErrorKind::PermissionDenied => ErrorCode::AccessDenied,
            _ => ErrorCode::AddressNotBindable,
        },
        // The peer is there, and is not the one that Enarx.toml wants.
        NetError::Handshake { .. } => ErrorCode::ConnectionAborted,
        _ => ErrorCode::Unknown,
    }
}

impl Host for SocketsView<'_> {}

impl tcp_create_socket::Host for SocketsView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Ok(self.table.push(TcpSocket::new(family, Stage::Fresh))?)
    }
}

impl HostTcpSocket for SocketsView<'_> {
    fn start_bind(
        &mut self,
        this: Resource<TcpSocket>,
        _: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let net = self.net.as_ref();
        let socket = self.table.get_mut(&this)?;
        let local = SocketAddr::from(local);
        match socket.stage {
            Stage::Fresh => {}
            Stage::Binding(..) => return Err(ErrorCode::ConcurrencyConflict.into()),
            _ => return Err(ErrorCode::InvalidState.into()),
        }
        if !socket.fits(local) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        // A port that the system chooses is no use to a server here, and a client may have it.
        let listen = if local.port() == 0 {
            None
        } else {
            let listen = net.and_then(|net| net.policy.listen_at(local));
            Some(listen.ok_or(ErrorCode::AccessDenied)?)
        };
        socket.stage = Stage::Binding(local, listen);
        Ok(())
    }

    fn finish_bind(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let socket = self.table.get_mut(&this)?;
        match std::mem::replace(&mut socket.stage, Stage::Fresh) {
            Stage::Binding(local, listen) => {
                socket.stage = Stage::Bound(local, listen);
                Ok(())
            }
            other => {
                socket.stage = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn start_connect(
        &mut self,
        this: Resource<TcpSocket>,
        _: Resource<Network>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        let net = self.net.clone();
        let socket = self.table.get_mut(&this)?;
        let remote = SocketAddr::from(remote);
        match socket.stage {
            Stage::Fresh | Stage::Bound(..) => {}
            Stage::Connecting(_) | Stage::Attempted(_) => {
                return Err(ErrorCode::ConcurrencyConflict.into());
            }
            _ => return Err(ErrorCode::InvalidState.into()),
        }
        if !socket.fits(remote) || remote.ip().is_unspecified() || remote.port() == 0 {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let net = net.ok_or(ErrorCode::AccessDenied)?;
        let Some(peer) = net.policy.peer_at(remote).cloned() else {
            warn(&format!(
                "a connection to {remote} was refused: Enarx.toml does not name it. Add it to \
                 `allow_connect` in `[network]`, by name if the program resolves one"
            ));
            return Err(ErrorCode::AccessDenied.into());
        };
        let attempt = async move { net.net.connect_to(&peer, &[remote]).await };
        socket.stage = Stage::Connecting(wasmtime_wasi::runtime::spawn(attempt));
        Ok(())
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let outgoing = self.net.as_ref().map(|net| net.outgoing.clone());
        let outgoing = outgoing.ok_or(ErrorCode::InvalidState)?;
        let socket = self.table.get_mut(&this)?;
        let result = match std::mem::replace(&mut socket.stage, Stage::Failed) {
            Stage::Attempted(result) => result,
            Stage::Connecting(mut attempt) => {
                match Pin::new(&mut attempt).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(result) => result,
                    Poll::Pending => {
                        socket.stage = Stage::Connecting(attempt);
                        return Err(ErrorCode::WouldBlock.into());
                    }
                }
            }
            other => {
                socket.stage = other;
                return Err(ErrorCode::NotInProgress.into());
            }
        };
        let stream = result.map_err(|error| {
            warn(&error.to_string());
            SocketError::from(code(&error))
        })?;
        let (local, remote) = (stream.local_addr(), stream.peer().address);
        let connection = Connection::new(stream, &outgoing);
        socket.stage = Stage::Connected(connection.clone(), local, remote);
        self.streams(&this, &connection)
    }

    async fn start_listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let net = self.net.clone();
        let socket = self.table.get_mut(&this)?;
        let listen = match &socket.stage {
            Stage::Bound(_, Some(listen)) => listen.clone(),
            Stage::Bound(_, None) => return Err(ErrorCode::AccessDenied.into()),
            Stage::Starting(_) => return Err(ErrorCode::ConcurrencyConflict.into()),
            _ => return Err(ErrorCode::InvalidState.into()),
        };
        let net = net.ok_or(ErrorCode::AccessDenied)?;
        let listener = net.net.listen(&listen).await.map_err(|error| {
            warn(&error.to_string());
            SocketError::from(code(&error))
        })?;
        super::tell(Event::Listening {
            name: listen.name,
            address: listener.local_addr().to_string(),
        });
        socket.stage = Stage::Starting(listener);
        Ok(())
    }

    fn finish_listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let socket = self.table.get_mut(&this)?;
        match std::mem::replace(&mut socket.stage, Stage::Failed) {
            Stage::Starting(listener) => {
                socket.stage = Stage::Listening(listener);
                Ok(())
            }
            other => {
                socket.stage = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }

    fn accept(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)>
    {
        let outgoing = self.net.as_ref().map(|net| net.outgoing.clone());
        let outgoing = outgoing.ok_or(ErrorCode::InvalidState)?;
        let socket = self.table.get_mut(&this)?;
        let options = socket.options;
        let Stage::Listening(listener) = &mut socket.stage else {
            return Err(ErrorCode::InvalidState.into());
        };
        let stream = match listener.poll_accept(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result?,
            Poll::Pending => return Err(ErrorCode::WouldBlock.into()),
        };
        let (local, remote) = (stream.local_addr(), stream.peer().address);
        let connection = Connection::new(stream, &outgoing);
        let stage = Stage::Connected(connection.clone(), local, remote);
        let accepted = TcpSocket { family: family(local), stage, options };
        let accepted = self.table.push(accepted)?;
        let (input, output) = self.streams(&accepted, &connection)?;
        Ok((accepted, input, output))
    }

    fn local_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        match &self.table.get(&this)?.stage {
            Stage::Bound(local, _) | Stage::Connected(_, local, _) => Ok((*local).into()),
            Stage::Starting(listener) | Stage::Listening(listener) => {
                Ok(listener.local_addr().into())
            }
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn remote_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        match &self.table.get(&this)?.stage {
            Stage::Connected(_, _, remote) => Ok((*remote).into()),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn is_listening(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(matches!(self.table.get(&this)?.stage, Stage::Listening(_)))
    }

    fn address_family(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&this)?.family)
    }

    fn set_listen_backlog_size(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        let socket = self.table.get(&this)?;
        match socket.stage {
            _ if value == 0 => Err(ErrorCode::InvalidArgument.into()),
            Stage::Connecting(_) | Stage::Attempted(_) | Stage::Connected(..) => {
                Err(ErrorCode::InvalidState.into())
            }
            _ => Ok(()),
        }
    }

    fn keep_alive_enabled(&mut self, this: Resource<TcpSocket>) -> SocketResult<bool> {
        Ok(self.table.get(&this)?.options.keep_alive)
    }

    fn set_keep_alive_enabled(
        &mut self,
        this: Resource<TcpSocket>,
        value: bool,
    ) -> SocketResult<()> {
        self.table.get_mut(&this)?.options.keep_alive = value;
        Ok(())
    }

    fn keep_alive_idle_time(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(nanoseconds(self.table.get(&this)?.options.idle_time))
    }

    fn set_keep_alive_idle_time(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.table.get_mut(&this)?.options.idle_time = Duration::from_nanos(positive(value)?);
        Ok(())
    }

    fn keep_alive_interval(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(nanoseconds(self.table.get(&this)?.options.interval))
    }

    fn set_keep_alive_interval(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.table.get_mut(&this)?.options.interval = Duration::from_nanos(positive(value)?);
        Ok(())
    }

    fn keep_alive_count(&mut self, this: Resource<TcpSocket>) -> SocketResult<u32> {
        Ok(self.table.get(&this)?.options.count)
    }

    fn set_keep_alive_count(&mut self, this: Resource<TcpSocket>, value: u32) -> SocketResult<()> {
        positive(value.into())?;
        self.table.get_mut(&this)?.options.count = value;
        Ok(())
    }

    fn hop_limit(&mut self, this: Resource<TcpSocket>) -> SocketResult<u8> {
        Ok(self.table.get(&this)?.options.hop_limit)
    }

    fn set_hop_limit(&mut self, this: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        positive(value.into())?;
        self.table.get_mut(&this)?.options.hop_limit = value;
        Ok(())
    }

    fn receive_buffer_size(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.table.get(&this)?.options.receive_buffer)
    }

    fn set_receive_buffer_size(
        &mut self,
        this: Resource<TcpSocket>,
        value: u64,
    ) -> SocketResult<()> {
        self.table.get_mut(&this)?.options.receive_buffer = positive(value)?;
        Ok(())
    }

    fn send_buffer_size(&mut self, this: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.table.get(&this)?.options.send_buffer)
    }

    fn set_send_buffer_size(&mut self, this: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.table.get_mut(&this)?.options.send_buffer = positive(value)?;
        Ok(())
    }

    fn subscribe(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn shutdown(&mut self, this: Resource<TcpSocket>, how: ShutdownType) -> SocketResult<()> {
        let Stage::Connected(connection, ..) = &self.table.get(&this)?.stage else {
            return Err(ErrorCode::InvalidState.into());
        };
        if matches!(how, ShutdownType::Receive | ShutdownType::Both) {
            connection.close_input();
        }
        if matches!(how, ShutdownType::Send | ShutdownType::Both) {
            connection.close_output();
        }
        Ok(())
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl SocketsView<'_> {
    /// The two streams of a connection, as children of its socket.
    fn streams(
        &mut self,
        socket: &Resource<TcpSocket>,
        connection: &Connection,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let input: DynInputStream = Box::new(connection.input());
        let output: DynOutputStream = Box::new(connection.output());
        Ok((self.table.push_child(input, socket)?, self.table.push_child(output, socket)?))
    }
}

fn positive(value: u64) -> SocketResult<u64> {
    if value == 0 { Err(ErrorCode::InvalidArgument.into()) } else { Ok(value) }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        match &mut self.stage {
            Stage::Connecting(attempt) => {
                let result = attempt.await;
                self.stage = Stage::Attempted(result);
            }
            Stage::Listening(listener) => poll_fn(|cx| listener.poll_acceptable(cx)).await,
            _ => {}
        }
    }
}
