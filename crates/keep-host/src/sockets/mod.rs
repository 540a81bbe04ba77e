// SPDX-License-Identifier: Apache-2.0

//! The sockets of one Keep: the host carries bytes, and knows nothing of what they mean.
//!
//! Nothing here waits, except [`Sockets::wait`], which waits for everything at once. What a Keep can
//! make the host hold is bounded: so many sockets, and for each at most
//! [`SEND_WINDOW`](sallyport::SEND_WINDOW) bytes that its peer has not taken. Bytes from a peer stay
//! in the operating system until the Keep has room for them.
//!
//! Each socket is watched edge by edge from its beginning, so that an idle one costs nothing: the
//! flags of a [`Socket`] remember what an edge said until a call has found out otherwise.

mod system;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use keep_backend::NetworkLimits;
use sallyport::{
    FIRST_GRANT, Grant, HANDLES, Handle, HostErrno, MAX_ACCEPT, MAX_GRANT, MAX_SOCKETS, RawWindow,
    SEND_WINDOW, SocketEvent, SocketFlags, SocketKind, SocketOption, Window,
};

use crate::Stop;
use system::{Happened, Set};

/// Longest time that bytes of a closed socket wait for their peer.
const LINGER: Duration = Duration::from_secs(10);
/// Longest time that they may hold up the end of a Keep.
const LAST_LINGER: Duration = Duration::from_secs(3);
/// Edges that are looked at in one go.
const BATCH: usize = 256;
/// Most datagrams that one grant delivers.
const DATAGRAMS: u32 = 32;

/// What a socket is, and how far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Has an address and nothing else.
    Bound(SocketFlags),
    Listener,
    /// TCP, not connected yet.
    Connecting,
    /// TCP, connected.
    Stream,
    /// UDP with a peer. Whether its address was told.
    Datagram {
        told: bool,
    },
    /// Nothing more will happen to it.
    Dead,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    role: Role,
    /// Bytes, or connections, that may be delivered.
    allowance: usize,
    /// The Keep waits for room.
    wants_room: bool,
    /// A read may find something.
    readable: bool,
    /// A write may succeed.
    writable: bool,
    /// An edge said that the peer is done or gone, so reads are to go on until they say so too.
    ending: bool,
    /// The end of what the peer sends was told.
    ended: bool,
    /// What could not be sent yet.
    unsent: VecDeque<u8>,
    /// Nothing is to be sent behind that.
    shut: bool,
    /// The peer was not told so yet.
    owes_end: bool,
    /// It is in the list of those to look at.
    listed: bool,
}

impl Socket {
    fn new(fd: OwnedFd, role: Role) -> Self {
        Self {
            fd,
            role,
            allowance: FIRST_GRANT,
            wants_room: false,
            readable: false,
            writable: false,
            ending: false,
            ended: false,
            unsent: VecDeque::new(),
            shut: false,
            owes_end: false,
            listed: false,
        }
    }

    /// Sends what could not be sent before, as far as it goes.
    fn flush(&mut self) -> Result<(), HostErrno> {
        while self.writable && !self.unsent.is_empty() {
            let (front, _) = self.unsent.as_slices();
            // SAFETY: the slice is borrowed for the call.
            let sent = unsafe { system::send(self.fd.as_fd(), front.as_ptr(), front.len()) };
            match sent {
                Ok(Some(n)) => drop(self.unsent.drain(..n)),
                Ok(None) => self.writable = false,
                Err(error) => {
                    self.unsent = VecDeque::new();
                    return Err(system::errno(&error));
                }
            }
        }
        if self.unsent.is_empty() {
            // The most that it ever held need not be kept.
            self.unsent = VecDeque::new();
            if std::mem::take(&mut self.owes_end) {
                // The peer may be gone, which reading will tell.
                _ = system::shutdown(self.fd.as_fd());
            }
        }
        Ok(())
    }
}

/// A socket that the Keep has closed and that still has bytes to send.
#[derive(Debug)]
struct Closing {
    socket: Socket,
    until: Instant,
}

/// All sockets of one Keep.
#[derive(Debug)]
pub(crate) struct Sockets {
    limits: NetworkLimits,
    set: Set,
    table: Vec<Option<Socket>>,
    open: usize,
    /// Sockets of which something may be told, in the order in which they get their turn.
    active: VecDeque<Handle>,
    closing: Vec<Closing>,
    /// Listening sockets that could accept if there were fewer sockets.
    held: Vec<Handle>,
    /// Where the search for a free number of an accepted socket begins.
    next: usize,
}

/// Where events are written.
struct Room {
    window: RawWindow,
    at: usize,
    end: usize,
    start: usize,
}

impl Room {
    fn left(&self) -> usize {
        self.end - self.at
    }

    /// Writes an event whose bytes, if any, already stand behind it.
    fn put(&mut self, event: &SocketEvent, payload: usize) {
        let (words, len) = event.encode();
        for (n, word) in words[..len].iter().enumerate() {
            self.window.store(self.at + n * 8, *word);
        }
        self.at += len * 8 + payload.next_multiple_of(8);
    }
}

/// Room that any event fits into, without bytes.
const EVENT_ROOM: usize = SocketEvent::MAX_WORDS * 8;

impl Sockets {
    pub(crate) fn new(limits: NetworkLimits) -> io::Result<Self> {
        Ok(Self {
            limits,
            set: Set::new()?,
            table: (0..HANDLES).map(|_| None).collect(),
            open: 0,
            active: VecDeque::new(),
            closing: Vec::new(),
            held: Vec::new(),
            next: 0,
        })
    }

    /// What to wait on for all sockets.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.set.fd()
    }

    fn get(&mut self, handle: Handle) -> Result<&mut Socket, HostErrno> {
        self.table[handle.index()].as_mut().ok_or(HostErrno::Invalid)
    }

    /// Makes a socket for a new handle.
    fn make(
        &mut self,
        handle: Handle,
        flags: SocketFlags,
        like: &SocketAddr,
    ) -> Result<OwnedFd, HostErrno> {
        if self.table[handle.index()].is_some() {
            return Err(HostErrno::Invalid);
        }
        if self.is_full() {
            return Err(HostErrno::TooMany);
        }
        system::socket(flags, like).map_err(|error| system::errno(&error))
    }

    fn is_full(&self) -> bool {
        let limit = self.limits.max_sockets.min(NetworkLimits::MAX_SOCKETS) as usize;
        self.open + self.closing.len() >= limit
    }

    fn insert(&mut self, handle: Handle, socket: Socket) {
        self.table[handle.index()] = Some(socket);
        self.open += 1;
    }

    pub(crate) fn bind(
        &mut self,
        handle: Handle,
        flags: SocketFlags,
        address: &SocketAddr,
    ) -> Result<u64, HostErrno> {
        // A socket for datagrams that only answers to one peer is often bound to any port first.
        let harmless = flags.kind == SocketKind::Datagram && address.port() == 0;
        if !(self.limits.listen || self.limits.connect && harmless) {
            return Err(HostErrno::Access);
        }
        let fd = self.make(handle, flags, address)?;
        let bound =
            system::bind(fd.as_fd(), address).and_then(|()| system::local_address(fd.as_fd()));
        let local = bound.map_err(|error| system::errno(&error))?;
        self.insert(handle, Socket::new(fd, Role::Bound(flags)));
        Ok(local.port().into())
    }

    pub(crate) fn listen(&mut self, handle: Handle, backlog: u32) -> Result<u64, HostErrno> {
        let allowed = self.limits.listen;
        let socket = self.table[handle.index()].as_mut().ok_or(HostErrno::Invalid)?;
        match socket.role {
            Role::Bound(SocketFlags { kind: SocketKind::Stream, .. }) if allowed => {}
            Role::Bound(_) if !allowed => return Err(HostErrno::Access),
            _ => return Err(HostErrno::Invalid),
        }
        let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
        let fd = socket.fd.as_fd();
        let done = system::listen(fd, backlog).and_then(|()| self.set.add(fd, tag(handle)));
        done.map_err(|error| system::errno(&error))?;
        (socket.role, socket.allowance) = (Role::Listener, 0);
        Ok(0)
    }

    pub(crate) fn connect(
        &mut self,
        handle: Handle,
        flags: SocketFlags,
        address: &SocketAddr,
    ) -> Result<u64, HostErrno> {
        if !self.limits.connect {
            return Err(HostErrno::Access);
        }
        if self.table[handle.index()].is_none() {
            let fd = self.make(handle, flags, address)?;
            self.insert(handle, Socket::new(fd, Role::Bound(flags)));
        }
        let socket = self.table[handle.index()].as_mut().ok_or(HostErrno::Invalid)?;
        if socket.role != Role::Bound(flags) {
            return Err(HostErrno::Invalid);
        }
        let fd = socket.fd.as_fd();
        let begun = system::connect(fd, address).and_then(|()| self.set.add(fd, tag(handle)));
        if let Err(error) = begun {
            socket.role = Role::Dead;
            return Err(system::errno(&error));
        }
        match flags.kind {
            SocketKind::Stream => socket.role = Role::Connecting,
            SocketKind::Datagram => {
                (socket.role, socket.writable) = (Role::Datagram { told: false }, true);
                self.activate(handle);
            }
        }
        Ok(0)
    }

    /// Takes bytes of the block; answers how many of this socket now wait here.
    pub(crate) fn send(
        &mut self,
        handle: Handle,
        window: RawWindow,
        at: usize,
        len: usize,
    ) -> Result<u64, HostErrno> {
        let socket = self.get(handle)?;
        if socket.shut || !matches!(socket.role, Role::Stream | Role::Datagram { .. }) {
            return Err(HostErrno::Pipe);
        }
        let from = window.pointer(at, len).ok_or(HostErrno::Invalid)?;
        let mut done = 0;
        if socket.unsent.is_empty() {
            // An edge that is not looked at yet may have made it writable: a try is cheap.
            // SAFETY: the range is in the block, which is mapped and not Rust's.
            match unsafe { system::send(socket.fd.as_fd(), from, len) } {
                Ok(Some(n)) => done = n.min(len),
                Ok(None) => {}
                Err(error) => return Err(system::errno(&error)),
            }
        }
        if done < len && matches!(socket.role, Role::Stream) {
            let have = socket.unsent.len();
            if SEND_WINDOW - have.min(SEND_WINDOW) < len - done {
                // The Keep reckons as we do, or it is not ours.
                return Err(HostErrno::Io);
            }
            socket.writable = false;
            let mut rest = vec![0; len - done];
            window.read(at + done, &mut rest);
            socket.unsent.extend(rest);
        }
        Ok(socket.unsent.len() as u64)
    }

    pub(crate) fn shutdown(&mut self, handle: Handle) -> Result<u64, HostErrno> {
        let socket = self.get(handle)?;
        if socket.role == Role::Stream {
            (socket.shut, socket.owes_end) = (true, true);
            // If that fails the peer is gone, which reading will tell.
            _ = socket.flush();
        }
        Ok(0)
    }

    pub(crate) fn close(&mut self, handle: Handle) -> u64 {
        let Some(socket) = self.table[handle.index()].take() else { return 0 };
        self.open -= 1;
        for listener in std::mem::take(&mut self.held) {
            self.activate(listener);
        }
        if socket.role == Role::Stream && !socket.unsent.is_empty() {
            // Its number may be another socket's soon.
            self.set.remove(socket.fd.as_fd());
            self.closing.push(Closing { socket, until: Instant::now() + LINGER });
        }
        0
    }

    pub(crate) fn option(
        &mut self,
        handle: Handle,
        option: SocketOption,
        value: u64,
    ) -> Result<u64, HostErrno> {
        let value = libc::c_int::try_from(value).map_err(|_| HostErrno::Invalid)?;
        let fd = self.get(handle)?.fd.as_fd();
        system::set_option(fd, option, value).map_err(|_| HostErrno::Io)?;
        Ok(0)
    }

    /// Takes in what the Keep has room for.
    pub(crate) fn grant(
        &mut self,
        window: RawWindow,
        at: usize,
        len: usize,
    ) -> Result<(), HostErrno> {
        for at in (at..at + len).step_by(Grant::SIZE) {
            let grant = Grant::decode(window.load(at))?;
            // A Keep may have been told of an end that it had not seen when it granted.
            let Ok(socket) = self.get(grant.handle) else { continue };
            let limit = if socket.role == Role::Listener { MAX_ACCEPT } else { MAX_GRANT };
            socket.allowance = (grant.allowance as usize).min(limit);
            socket.wants_room = grant.room;
            self.activate(grant.handle);
        }
        Ok(())
    }

    fn activate(&mut self, handle: Handle) {
        if let Some(socket) = &mut self.table[handle.index()]
            && !socket.listed
        {
            socket.listed = true;
            self.active.push_back(handle);
        }
    }

    /// Waits until an edge comes, or the time has passed, or a signal comes; takes in all edges.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut timeout = self.patience(timeout);
        loop {
            let mut happened = [Happened { events: 0, u64: 0 }; BATCH];
            let n = self.set.wait(&mut happened, timeout)?;
            for Happened { events, u64: tag } in happened.into_iter().take(n) {
                self.edge(tag, events.cast_signed());
            }
            if n < BATCH {
                break;
            }
            timeout = Some(Duration::ZERO);
        }
        self.flush_closing();
        Ok(())
    }

    fn edge(&mut self, tag: u64, events: libc::c_int) {
        let Some(handle) = Handle::new(tag) else { return };
        let Some(socket) = &mut self.table[handle.index()] else { return };
        let gone = events & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
        socket.readable |= gone || events & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0;
        socket.ending |= gone || events & libc::EPOLLRDHUP != 0;
        socket.writable |= gone || events & libc::EPOLLOUT != 0;
        self.activate(handle);
    }

    /// How long to wait at most: sockets that are closed and have bytes to send are looked at from
    /// time to time.
    pub(crate) fn patience(&self, timeout: Option<Duration>) -> Option<Duration> {
        const LOOK: Duration = Duration::from_millis(10);
        match timeout {
            _ if self.closing.is_empty() => timeout,
            None => Some(LOOK),
            Some(timeout) => Some(timeout.min(LOOK)),
        }
    }

    fn flush_closing(&mut self) {
        let now = Instant::now();
        self.closing.retain_mut(|Closing { socket, until }| {
            socket.writable = true;
            socket.flush().is_ok() && !socket.unsent.is_empty() && now < *until
        });
    }

    /// Writes what has happened into the block, as far as there is room; answers how many bytes.
    pub(crate) fn events(&mut self, window: RawWindow, at: usize, len: usize) -> usize {
        let mut room = Room { window, at, end: at + len, start: at };
        // Each gets one turn, so that none is left out however much the others have.
        for _ in 0..self.active.len() {
            if room.left() < EVENT_ROOM {
                break;
            }
            let Some(handle) = self.active.pop_front() else { break };
            let Some(mut socket) = self.table[handle.index()].take() else { continue };
            socket.listed = false;
            let again = self.turn(handle, &mut socket, &mut room);
            self.table[handle.index()] = Some(socket);
            if again {
                self.activate(handle);
            }
        }
        room.at - room.start
    }

    /// Tells what there is to tell of one socket; whether there may be more.
    fn turn(&mut self, handle: Handle, socket: &mut Socket, room: &mut Room) -> bool {
        match socket.role {
            Role::Bound(_) | Role::Dead => return false,
            Role::Listener => return self.accept(handle, socket, room),
            Role::Connecting => {
                if !socket.writable && !socket.ending {
                    return false;
                }
                let result = match system::pending_error(socket.fd.as_fd()) {
                    Some(error) => Err(error),
                    None => system::local_address(socket.fd.as_fd()),
                };
                match result {
                    Ok(local) => room.put(&SocketEvent::Connected { handle, local }, 0),
                    Err(error) => {
                        Self::fail(handle, socket, system::errno(&error), room);
                        return false;
                    }
                }
                socket.role = Role::Stream;
            }
            Role::Datagram { told: false } => {
                if let Ok(local) = system::local_address(socket.fd.as_fd()) {
                    room.put(&SocketEvent::Connected { handle, local }, 0);
                }
                socket.role = Role::Datagram { told: true };
            }
            Role::Stream | Role::Datagram { .. } => {}
        }
        if let Err(errno) = socket.flush() {
            Self::fail(handle, socket, errno, room);
            return false;
        }
        let queued = socket.unsent.len();
        if socket.wants_room && queued <= SEND_WINDOW / 2 && room.left() >= EVENT_ROOM {
            socket.wants_room = false;
            room.put(&SocketEvent::Room { handle, queued }, 0);
        }
        match socket.role {
            Role::Datagram { .. } => Self::receive_datagrams(handle, socket, room),
            _ => Self::receive(handle, socket, room),
        }
    }

    fn fail(handle: Handle, socket: &mut Socket, errno: HostErrno, room: &mut Room) {
        let errno = if errno.ends_connection() { errno } else { HostErrno::Reset };
        socket.role = Role::Dead;
        socket.unsent = VecDeque::new();
        room.put(&SocketEvent::Failed { handle, errno }, 0);
    }

    /// Receives what was granted; whether more is to be received now.
    fn receive(handle: Handle, socket: &mut Socket, room: &mut Room) -> bool {
        while socket.readable && !socket.ended {
            // Room for one more event stays, so that what follows the bytes can be told.
            let place = room.left().saturating_sub(8 + EVENT_ROOM) / 8 * 8;
            let len = socket.allowance.min(place).min(MAX_GRANT);
            if len == 0 {
                return socket.allowance > 0;
            }
            let Some(into) = room.window.pointer(room.at + 8, len) else { return false };
            // SAFETY: the range is in the block, which is mapped and not Rust's.
            match unsafe { system::receive(socket.fd.as_fd(), into, len) } {
                Ok(Some(0)) => {
                    socket.ended = true;
                    room.put(&SocketEvent::End { handle }, 0);
                }
                Ok(Some(n)) => {
                    // A stream that gave less than it could has no more, unless it is ending.
                    socket.readable = n == len || socket.ending;
                    socket.allowance -= n;
                    let more = socket.readable;
                    room.put(&SocketEvent::Data { handle, len: n, more }, n);
                    if n == len {
                        return socket.allowance > 0;
                    }
                }
                Ok(None) => socket.readable = false,
                Err(error) => {
                    Self::fail(handle, socket, system::errno(&error), room);
                    return false;
                }
            }
        }
        false
    }

    fn receive_datagrams(handle: Handle, socket: &mut Socket, room: &mut Room) -> bool {
        for _ in 0..DATAGRAMS {
            let place = room.left().saturating_sub(8 + EVENT_ROOM) / 8 * 8;
            let len = sallyport::MAX_DATAGRAM;
            // One that does not fit would be cut, so it waits.
            if !socket.readable || socket.allowance < len {
                return false;
            }
            if place < len {
                return true;
            }
            let Some(into) = room.window.pointer(room.at + 8, len) else { return false };
            // SAFETY: the range is in the block, which is mapped and not Rust's.
            match unsafe { system::receive(socket.fd.as_fd(), into, len) } {
                Ok(Some(n)) => {
                    socket.allowance = socket.allowance.saturating_sub(n.max(64));
                    room.put(&SocketEvent::Data { handle, len: n, more: true }, n);
                }
                Ok(None) => socket.readable = false,
                Err(error) => {
                    let errno = Some(system::errno(&error)).filter(|errno| errno.ends_connection());
                    let errno = errno.unwrap_or(HostErrno::Io);
                    room.put(&SocketEvent::Failed { handle, errno }, 0);
                }
            }
        }
        socket.readable
    }

    fn accept(&mut self, listener: Handle, socket: &mut Socket, room: &mut Room) -> bool {
        while socket.readable && socket.allowance > 0 {
            // Room for what the new connection has to say at once.
            if room.left() < 2 * EVENT_ROOM {
                return true;
            }
            let free = if self.is_full() { None } else { self.free_handle() };
            let Some(handle) = free else {
                self.held.push(listener);
                return false;
            };
            let (fd, peer) = match system::accept(socket.fd.as_fd()) {
                Ok(Some(accepted)) => accepted,
                Ok(None) => {
                    socket.readable = false;
                    return false;
                }
                Err(error) => {
                    // Out of descriptors, for example.
                    tracing::debug!(%error, "cannot accept a connection of the Keep");
                    self.held.push(listener);
                    return false;
                }
            };
            let Ok(local) = system::local_address(fd.as_fd()) else { continue };
            if self.set.add(fd.as_fd(), tag(handle)).is_err() {
                continue;
            }
            socket.allowance -= 1;
            room.put(&SocketEvent::Accepted { listener, handle, peer, local }, 0);
            // Its first bytes have often come with it.
            let mut new = Socket::new(fd, Role::Stream);
            (new.readable, new.writable) = (true, true);
            self.insert(handle, new);
            self.activate(handle);
        }
        false
    }

    fn free_handle(&mut self) -> Option<Handle> {
        let free = (0..MAX_SOCKETS)
            .map(|n| MAX_SOCKETS + (self.next + n) % MAX_SOCKETS)
            .find(|index| self.table[*index].is_none())?;
        self.next = (free + 1) % MAX_SOCKETS;
        Handle::new(free as u64)
    }

    /// Whether something can be told without waiting.
    pub(crate) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The Keep has ended: what it has sent still goes out, within a time.
    pub(crate) fn drain(&mut self, stop: &Stop) {
        let until = Instant::now() + LAST_LINGER;
        let open = self.table.iter_mut().filter_map(Option::take);
        let unsent = open.filter(|s| s.role == Role::Stream && !s.unsent.is_empty());
        self.closing.extend(unsent.map(|socket| Closing { socket, until }));
        while !self.closing.is_empty() && Instant::now() < until && !stop.is_requested() {
            if self.wait(Some(Duration::from_millis(10))).is_err() {
                return;
            }
        }
    }
}

fn tag(handle: Handle) -> u64 {
    handle.index() as u64
}
