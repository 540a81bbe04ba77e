// SPDX-License-Identifier: Apache-2.0

//! Calls on sockets: TCP and connected UDP, over IPv4 and IPv6. The host carries the bytes; what it
//! says of them is taken in by [`crate::net`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use keep_fs::{Errno, abi};
use sallyport::{FOREVER, Handle, Port, SocketEvent, SocketFlags, SocketKind, SocketOption};

use crate::epoll::{EPOLLIN, EPOLLOUT};
use crate::errno::{
    EACCES, EAFNOSUPPORT, EAGAIN, EALREADY, EDESTADDRREQ, EINPROGRESS, EINVAL, EISCONN, EMFILE,
    EMSGSIZE, ENOTCONN, ENOTSOCK, EPIPE, EPROTONOSUPPORT, ESOCKTNOSUPPORT, errno,
};
use crate::files::Object;
use crate::kernel::{Kernel, Platform};
use crate::net::{Socket, State, Trouble};
use crate::threads::BLOCKED;
use crate::user::UserMemory;

pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
const SOCK_NONBLOCK: u32 = abi::O_NONBLOCK;
const SOCK_CLOEXEC: u32 = abi::O_CLOEXEC;

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_TRUNC: u32 = 0x20;
const MSG_DONTWAIT: u32 = 0x40;

/// Most bytes of one call; the program comes again for the rest.
const MOVE_MAX: u64 = 1 << 20;
/// What one answer of the host may take of the heap.
const ANSWER_MAX: usize = 2 << 20;

/// `struct msghdr`: name, its length, parts, their number, and what no socket here has.
type MessageHeader = [u64; 7];

impl<P: Platform> Kernel<P> {
    pub(super) fn socket(&mut self, family: i32, kind: u32, protocol: i32) -> Result<u64, Errno> {
        let v6 = match u16::try_from(family) {
            Ok(AF_INET) => false,
            Ok(AF_INET6) => true,
            _ => return Err(EAFNOSUPPORT),
        };
        let flags = kind & (SOCK_NONBLOCK | SOCK_CLOEXEC);
        let (kind, own) = match kind & !flags {
            1 => (SocketKind::Stream, 6),
            2 => (SocketKind::Datagram, 17),
            _ => return Err(ESOCKTNOSUPPORT),
        };
        if protocol != 0 && protocol != own {
            return Err(EPROTONOSUPPORT);
        }
        if !self.boot.network {
            return Err(EACCES);
        }
        let socket = Socket::new(SocketFlags { kind, reuse: false, only_v6: false }, v6);
        let handle = self.net.add(socket).ok_or(EMFILE)?;
        self.open_object(Object::Socket(handle), flags)
    }

    /// The socket behind a descriptor, and whether its calls may wait.
    pub(super) fn handle(&self, fd: i32) -> Result<(Handle, bool), Errno> {
        let description = self.files.get(fd)?;
        match description.object {
            Object::Socket(handle) => Ok((handle, description.flags & SOCK_NONBLOCK == 0)),
            _ => Err(ENOTSOCK),
        }
    }

    /// Ends a socket whose last descriptor is closed.
    pub(super) fn close_socket(&mut self, handle: Handle) {
        for handle in self.net.remove(handle) {
            Self::ask("a socket", |port| port.close(handle));
        }
        self.sent();
    }

    pub(super) fn bind(&mut self, fd: i32, at: u64, len: u64) -> Result<(), Errno> {
        let (handle, _) = self.handle(fd)?;
        let address = self.address(handle, at, len)?;
        self.bind_to(handle, address)
    }

    fn bind_to(&mut self, handle: Handle, mut address: SocketAddr) -> Result<(), Errno> {
        let socket = self.net.get_mut(handle);
        if socket.state != State::New {
            return Err(EINVAL);
        }
        let flags = socket.flags;
        let port =
            Self::ask("a socket", |port| port.bind(handle, flags, address)).map_err(errno)?;
        address.set_port(port);
        (socket.state, socket.local) = (State::Bound, Some(address));
        self.pass_options(handle);
        Ok(())
    }

    pub(super) fn listen(&mut self, fd: i32, backlog: u32) -> Result<(), Errno> {
        let (handle, _) = self.handle(fd)?;
        let socket = self.net.get(handle);
        if socket.flags.kind == SocketKind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        if socket.state == State::New {
            let any = self.unspecified(handle);
            self.bind_to(handle, any)?;
        }
        let socket = self.net.get_mut(handle);
        match socket.state {
            State::Bound => {}
            State::Listening => return Ok(()),
            _ => return Err(EINVAL),
        }
        Self::ask("a socket", |port| port.listen(handle, backlog)).map_err(errno)?;
        socket.state = State::Listening;
        Ok(())
    }

    pub(super) fn connect(&mut self, fd: i32, at: u64, len: u64) -> Result<(), Errno> {
        let (handle, waits) = self.handle(fd)?;
        if self.threads.at(P::processor()).deadline.is_some() {
            // It is made again, and has begun already.
            return self.connected(handle);
        }
        let address = self.address(handle, at, len)?;
        let socket = self.net.get_mut(handle);
        let flags = socket.flags;
        match socket.state {
            State::New | State::Bound => {}
            State::Connecting if waits => return self.connected(handle),
            State::Connecting => return Err(EALREADY),
            State::Connected => return Err(EISCONN),
            State::Listening | State::Closed => return Err(EINVAL),
        }
        if let Err(error) = Self::ask("a socket", |port| port.connect(handle, flags, address)) {
            // For want of a route, for example. The socket is of no more use.
            socket.state = State::Closed;
            return Err(errno(error));
        }
        socket.connecting(address);
        self.pass_options(handle);
        match (flags.kind, waits) {
            (SocketKind::Datagram, _) => Ok(()),
            (_, false) => Err(EINPROGRESS),
            (_, true) => self.connected(handle),
        }
    }

    /// Waits for the end of an attempt to connect.
    fn connected(&mut self, handle: Handle) -> Result<(), Errno> {
        self.wait_until(handle, 1, |socket, _| socket.state != State::Connecting)
            .map_err(|error| if error == BLOCKED { error } else { EINPROGRESS })?;
        self.net.get_mut(handle).error.take().map_or(Ok(()), Err)
    }

    pub(super) fn accept(&mut self, fd: i32, at: u64, len: u64, flags: u32) -> Result<u64, Errno> {
        if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
            return Err(EINVAL);
        }
        let (listener, waits) = self.handle(fd)?;
        if self.net.get(listener).state != State::Listening {
            return Err(EINVAL);
        }
        let accepted = loop {
            if let Some(handle) = self.net.get_mut(listener).accept() {
                break handle;
            }
            self.starve(listener, waits)?;
        };
        let peer = self.net.get(accepted).peer;
        let fd = self.open_object(Object::Socket(accepted), flags)?;
        if let Some(peer) = peer {
            self.store_address(&peer, at, len)?;
        }
        Ok(fd)
    }

    /// There is nothing to read or to accept: looks again, waits, or says so.
    fn starve(&mut self, handle: Handle, waits: bool) -> Result<(), Errno> {
        if self.net.is_stale(handle) {
            self.exchange(0, 0);
            if self.net.get(handle).readiness(0) & EPOLLIN != 0 {
                return Ok(());
            }
        }
        if !waits {
            return Err(EAGAIN);
        }
        self.wait_until(handle, 0, |socket, room| socket.readiness(room) & EPOLLIN != 0)
    }

    /// Waits until something is true of a socket, for as long as its option number `timeout` says.
    fn wait_until(
        &mut self,
        handle: Handle,
        timeout: usize,
        is_true: impl Fn(&Socket, usize) -> bool,
    ) -> Result<(), Errno> {
        let limit = self.net.get(handle).timeouts[timeout];
        let deadline = self.deadline(limit.unwrap_or(FOREVER));
        loop {
            let room = P::with_port(|port| port.room(handle));
            if is_true(self.net.get(handle), room) {
                return Ok(());
            }
            match self.time_left(deadline) {
                0 => return Err(EAGAIN),
                left => self.wait_for_host(0, left)?,
            };
        }
    }

    /// Receives into the program's memory; answers how many bytes, and how long a datagram was.
    pub(super) fn receive(
        &mut self,
        fd: i32,
        to: u64,
        len: u64,
        flags: u32,
    ) -> Result<(u64, u64), Errno> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let (handle, waits) = self.handle(fd)?;
        let waits = waits && flags & MSG_DONTWAIT == 0;
        let len = len.min(MOVE_MAX);
        loop {
            let socket = self.net.get_mut(handle);
            let is_stream = socket.flags.kind == SocketKind::Stream;
            let into = self.space.bytes_mut(to, len)?;
            if is_stream && into.is_empty() {
                return Ok((0, 0));
            }
            if let Some((done, full)) = socket.receive(into, flags & MSG_PEEK != 0) {
                return Ok((done as u64, full as u64));
            }
            if let Some(error) = socket.error.take() {
                return Err(error);
            }
            match socket.state {
                _ if socket.is_at_end() => return Ok((0, 0)),
                State::Connected => {}
                State::Connecting if is_stream => {}
                _ => return Err(ENOTCONN),
            }
            self.starve(handle, waits)?;
        }
    }

    pub(super) fn receive_from(
        &mut self,
        fd: i32,
        to: u64,
        len: u64,
        flags: u32,
        at: u64,
        at_len: u64,
    ) -> Result<u64, Errno> {
        let (done, full) = self.receive(fd, to, len, flags)?;
        if at != 0 {
            let (handle, _) = self.handle(fd)?;
            match self.net.get(handle).peer {
                Some(peer) => self.store_address(&peer, at, at_len)?,
                None => self.space.store(at_len, &0_u32)?,
            }
        }
        Ok(if flags & MSG_TRUNC != 0 { full } else { done })
    }

    /// Sends from the program's memory; answers how many bytes were taken.
    pub(super) fn send(&mut self, fd: i32, from: u64, len: u64, flags: u32) -> Result<u64, Errno> {
        if flags & MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let (handle, waits) = self.handle(fd)?;
        let waits = waits && flags & MSG_DONTWAIT == 0;
        loop {
            let socket = self.net.get_mut(handle);
            if let Some(error) = P::with_port(|port| port.send_error(handle)) {
                socket.fail(error);
            }
            if let Some(error) = socket.error.take() {
                return Err(error);
            }
            let kind = socket.flags.kind;
            let len = match (kind, socket.state) {
                _ if socket.shut_write => return Err(EPIPE),
                (SocketKind::Datagram, State::Connected)
                    if len > sallyport::MAX_DATAGRAM as u64 =>
                {
                    return Err(EMSGSIZE);
                }
                (_, State::Connected) => len.min(MOVE_MAX),
                (SocketKind::Datagram, _) => return Err(EDESTADDRREQ),
                (_, State::Connecting) => 0,
                (_, State::Closed) => return Err(EPIPE),
                _ => return Err(ENOTCONN),
            };
            if socket.state == State::Connected {
                let bytes = self.space.bytes(from, len)?;
                let done = Self::ask("a socket", |port| port.send(handle, kind, bytes));
                if done > 0 || len == 0 {
                    self.sent();
                    return Ok(done as u64);
                }
            }
            socket.wants_room = true;
            if !waits {
                return Err(EAGAIN);
            }
            self.wait_until(handle, 1, |socket, room| socket.readiness(room) & EPOLLOUT != 0)?;
        }
    }

    pub(super) fn send_to(
        &mut self,
        fd: i32,
        from: u64,
        len: u64,
        flags: u32,
        at: u64,
    ) -> Result<u64, Errno> {
        let (handle, _) = self.handle(fd)?;
        // With a peer, an address is either the peer's or not to be sent to.
        if at != 0 && self.net.get(handle).flags.kind == SocketKind::Datagram {
            let socket = self.net.get(handle);
            let len = if socket.v6 { 28 } else { 16 };
            let peer = socket.peer;
            if Some(self.address(handle, at, len)?) != peer {
                return Err(if peer.is_some() { EISCONN } else { Errno::EOPNOTSUPP });
            }
        }
        self.send(fd, from, len, flags)
    }

    pub(super) fn send_message(&mut self, fd: i32, at: u64, flags: u32) -> Result<u64, Errno> {
        let [_, _, parts, count, ..]: MessageHeader = self.space.load(at)?;
        let (handle, _) = self.handle(fd)?;
        if self.net.get(handle).flags.kind == SocketKind::Stream {
            return self.vectored(fd, parts, count, |kernel, fd, from, len| {
                kernel.send(fd, from, len, flags)
            });
        }
        // A datagram is one, however many parts it is made of.
        if count != 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        let [from, len]: [u64; 2] = self.space.load(parts)?;
        self.send(fd, from, len, flags)
    }

    /// Receives into several parts, of which only the first may wait.
    pub(super) fn receive_parts(
        &mut self,
        fd: i32,
        parts: u64,
        count: u64,
        mut flags: u32,
    ) -> Result<u64, Errno> {
        self.vectored(fd, parts, count, |kernel, fd, to, len| {
            let (done, _) = kernel.receive(fd, to, len, flags)?;
            flags |= MSG_DONTWAIT;
            Ok(done)
        })
    }

    pub(super) fn receive_message(&mut self, fd: i32, at: u64, flags: u32) -> Result<u64, Errno> {
        let [name, _, parts, count, ..]: MessageHeader = self.space.load(at)?;
        let (handle, _) = self.handle(fd)?;
        let socket = self.net.get(handle);
        let (peer, kind) = (socket.peer, socket.flags.kind);
        let mut truncated = false;
        let done = if kind == SocketKind::Stream {
            self.receive_parts(fd, parts, count, flags)?
        } else {
            let [to, len]: [u64; 2] = self.space.load(parts)?;
            let (done, full) = self.receive(fd, to, len, flags)?;
            truncated = done < full;
            done
        };
        match peer {
            Some(peer) if name != 0 => self.store_address(&peer, name, at + 8)?,
            _ => self.space.store(at + 8, &0_u32)?,
        }
        // No control data; flags.
        self.space.store(at + 40, &[0_u64, if truncated { MSG_TRUNC.into() } else { 0 }])?;
        Ok(done)
    }

    pub(super) fn shutdown(&mut self, fd: i32, how: i32) -> Result<(), Errno> {
        let (handle, _) = self.handle(fd)?;
        let socket = self.net.get_mut(handle);
        match socket.state {
            _ if !(0..=2).contains(&how) => return Err(EINVAL),
            State::Connected => {}
            State::Listening => return Ok(()),
            _ => return Err(ENOTCONN),
        }
        socket.generation += 1;
        socket.shut_read |= how != 1;
        if how != 0 && !socket.shut_write {
            socket.shut_write = true;
            Self::ask("a socket", |port| port.shutdown(handle));
            self.sent();
        }
        Ok(())
    }

    /// `getsockname`, `getpeername`.
    pub(super) fn socket_name(
        &mut self,
        fd: i32,
        at: u64,
        len: u64,
        peer: bool,
    ) -> Result<(), Errno> {
        let (handle, _) = self.handle(fd)?;
        let socket = self.net.get(handle);
        if !peer && socket.state == State::Connected && socket.local.is_none() {
            self.exchange(0, 0);
        }
        let socket = self.net.get(handle);
        let address = match (peer, socket.state) {
            (true, State::Connected) => socket.peer.ok_or(ENOTCONN)?,
            (true, _) => return Err(ENOTCONN),
            (false, _) => socket.local.unwrap_or(self.unspecified(handle)),
        };
        self.store_address(&address, at, len)
    }

    fn unspecified(&self, handle: Handle) -> SocketAddr {
        let ip = match self.net.get(handle).v6 {
            true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        SocketAddr::new(ip, 0)
    }

    /// Reads a `sockaddr_in` or `sockaddr_in6` of the socket's family.
    fn address(&mut self, handle: Handle, at: u64, len: u64) -> Result<SocketAddr, Errno> {
        let family: u16 = self.space.load(at)?;
        let v6 = self.net.get(handle).v6;
        match family {
            AF_INET if !v6 && len >= 16 => {
                let [word, _]: [u64; 2] = self.space.load(at)?;
                let [_, _, p, q, a, b, c, d] = word.to_le_bytes();
                let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
                Ok(SocketAddr::new(ip, u16::from_be_bytes([p, q])))
            }
            AF_INET6 if v6 && len >= 28 => {
                let bytes: [u8; 28] = self.space.load(at)?;
                let (head, rest) = bytes.split_at(8);
                let mut ip = [0; 16];
                ip.copy_from_slice(&rest[..16]);
                let scope = u32::from_le_bytes([rest[16], rest[17], rest[18], rest[19]]);
                let port = u16::from_be_bytes([head[2], head[3]]);
                Ok(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
            }
            AF_INET | AF_INET6 if len < 16 || v6 && family == AF_INET6 => Err(EINVAL),
            _ => Err(EAFNOSUPPORT),
        }
    }

    /// Writes an address, as far as there is room, and how long it is.
    fn store_address(&mut self, address: &SocketAddr, at: u64, len_at: u64) -> Result<(), Errno> {
        if at == 0 {
            return Ok(());
        }
        let mut bytes = [0; 28];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let len = match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&AF_INET.to_le_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                16
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&AF_INET6.to_le_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..].copy_from_slice(&v6.scope_id().to_le_bytes());
                28
            }
        };
        let room: u32 = self.space.load(len_at)?;
        let part = &bytes[..len.min(room as usize)];
        self.space.bytes_mut(at, part.len() as u64)?.copy_from_slice(part);
        self.space.store(len_at, &(len as u32))
    }

    /// Tells the host of the options that were set before it knew the socket.
    fn pass_options(&mut self, handle: Handle) {
        let socket = self.net.get(handle);
        for &option in SocketOption::ALL {
            let value = socket.option(option);
            if value != 0 {
                Self::ask("a socket", |port| port.option(handle, option, value.into()));
            }
        }
    }

    /// Bytes, or another request that is not waited for, are on their way: shows them to the host
    /// now, or when the program waits for something.
    pub(super) fn sent(&mut self) {
        if P::with_port(|port| port.is_deferred()) && self.pace.sent(P::tsc()) {
            self.show();
        }
    }

    /// Shows the host what it was not shown yet.
    pub(crate) fn show(&mut self) {
        self.pace.shown(P::tsc());
        if P::with_port(|port| port.is_deferred()) {
            Self::ask("a socket", Port::show);
        }
    }

    /// Whether what is known of sockets is good enough for who does not want to wait.
    pub(super) fn is_informed(&self) -> bool {
        !self.net.is_used() || !self.pace.is_due(P::tsc())
    }

    /// Asks the host what has happened if that was not done for long.
    pub(super) fn ask_if_due(&mut self) {
        if self.net.is_used() && self.pace.is_due(P::tsc()) {
            self.exchange(0, 0);
        }
    }

    /// The program waits until it can send, and cannot.
    pub(super) fn wish_for_room(&mut self, fd: i32, events: u32, ready: u32) {
        if events & EPOLLOUT != 0
            && ready & EPOLLOUT == 0
            && let Ok((handle, _)) = self.handle(fd)
            && self.net.get(handle).state == State::Connected
        {
            self.net.get_mut(handle).wants_room = true;
        }
    }

    /// Asks the host what has happened to sockets, and waits until something has, or one of the
    /// streams in `mask` is ready, or the time has passed. Answers which streams are ready.
    pub(crate) fn exchange(&mut self, mask: u64, timeout: u64) -> u64 {
        self.provision(ANSWER_MAX);
        self.pace.asks(P::tsc());
        let grants = self.net.grants();
        let net = &mut self.net;
        let mut happened = false;
        let result = P::with_port(|port| {
            let (ready, mut events) = match port.exchange(mask, timeout, &grants)? {
                Ok(answer) => answer,
                // The program meets the error where it reads or writes.
                Err(_) => return Ok(mask),
            };
            happened = ready != 0;
            while let Some(event) = port.next_event(&mut events)? {
                happened = true;
                if let SocketEvent::Accepted { handle, .. } = event {
                    port.begin(handle);
                }
                net.apply(event, |into| port.payload(&mut events, into))?;
            }
            Ok(ready)
        });
        if happened {
            self.stir();
        }
        match result {
            Ok(ready) => ready,
            Err(Trouble::Lie(lie)) => panic!("the host lied about sockets: {lie}"),
            Err(Trouble::Memory) => self.out_of_memory(),
        }
    }
}
