// SPDX-License-Identifier: Apache-2.0

//! Sockets, as far as they are a matter of state: what the host says goes in, what the program asks
//! comes out. The host carries bytes; here is what Linux would know of a socket.
//!
//! What arrives is kept here until the program reads it, within what was granted to the host. Edges,
//! which reactors live by, are counted: each event that a program could be waiting for makes a new
//! [`Socket::generation`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use keep_fs::Errno;
use sallyport::{
    FIRST_GRANT, Grant, HANDLES, Handle, HostErrno, Lie, MAX_ACCEPT, MAX_GRANT, MAX_SOCKETS,
    SEND_WINDOW, SocketEvent, SocketFlags, SocketKind, SocketOption,
};

use crate::epoll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP};
use crate::errno::errno;

/// How far a socket got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Known to nobody else.
    #[default]
    New,
    /// The host has given it an address.
    Bound,
    /// Accepts connections.
    Listening,
    /// Waits for its peer.
    Connecting,
    /// Has a peer.
    Connected,
    /// Had one.
    Closed,
}

/// Why an event could not be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No honest host says so.
    Lie(Lie),
    /// There is no memory for what was received.
    Memory,
}

impl From<Lie> for Trouble {
    fn from(lie: Lie) -> Self {
        Self::Lie(lie)
    }
}

/// A socket.
#[derive(Debug, Default)]
pub struct Socket {
    /// TCP or UDP, and what it is made with.
    pub flags: SocketFlags,
    /// Whether its addresses are those of IPv6.
    pub v6: bool,
    /// How far it got.
    pub state: State,
    /// Its own address, once known.
    pub local: Option<SocketAddr>,
    /// Its peer's address.
    pub peer: Option<SocketAddr>,
    /// An error that the program has not heard of.
    pub error: Option<Errno>,
    /// The program wants to read no more.
    pub shut_read: bool,
    /// The program sends no more.
    pub shut_write: bool,
    /// The program waits for room to send.
    pub wants_room: bool,
    /// Nanoseconds after which a blocking read, or write, gives up.
    pub timeouts: [Option<u64>; 2],
    /// Values of the options by [`SocketOption::number`].
    pub options: [u32; 7],
    /// How many events there were that a program could be waiting for.
    pub generation: u64,
    /// Bytes of a stream; those before `read` were read.
    bytes: Vec<u8>,
    read: usize,
    datagrams: VecDeque<Vec<u8>>,
    waiting: VecDeque<Handle>,
    /// What the host may still deliver.
    granted: usize,
    /// The host said that it has more.
    more: bool,
    /// The peer sends no more.
    ended: bool,
    /// The round in which the program was last told that there is nothing.
    starved: Option<u64>,
    listed: bool,
}

/// What a datagram takes of a grant at least, so that empty ones are bounded too.
const DATAGRAM_COST: usize = 64;
/// A grant for datagrams: the largest one and some more.
const DATAGRAM_GRANT: usize = MAX_GRANT / 2;

impl Socket {
    /// A new one.
    pub fn new(flags: SocketFlags, v6: bool) -> Self {
        Self { flags, v6, ..Self::default() }
    }

    /// The value of an option.
    pub fn option(&self, option: SocketOption) -> u32 {
        self.options[option.number() as usize]
    }

    /// Begins to be connected; the host may deliver at once.
    pub fn connecting(&mut self, peer: SocketAddr) {
        self.peer = Some(peer);
        self.granted = FIRST_GRANT;
        self.state = match self.flags.kind {
            SocketKind::Stream => State::Connecting,
            SocketKind::Datagram => State::Connected,
        };
    }

    /// The connection broke.
    pub fn fail(&mut self, error: HostErrno) {
        self.error = Some(errno(error));
        self.generation += 1;
        if self.flags.kind == SocketKind::Stream {
            (self.state, self.ended) = (State::Closed, true);
        }
    }

    /// What `poll` would say (`EPOLL…` bits), given how many bytes can be sent.
    pub fn readiness(&self, room: usize) -> u32 {
        let bit = |set: bool, bits: u32| if set { bits } else { 0 };
        let common = bit(self.error.is_some(), EPOLLERR | EPOLLIN | EPOLLOUT);
        let ended = self.ended || self.shut_read;
        common
            | match self.state {
                State::New | State::Bound if self.flags.kind == SocketKind::Datagram => EPOLLOUT,
                State::New | State::Bound => EPOLLOUT | EPOLLHUP,
                State::Listening => bit(!self.waiting.is_empty(), EPOLLIN),
                State::Connecting => 0,
                State::Connected => {
                    bit(self.has_received() || ended, EPOLLIN)
                        | bit(ended, EPOLLRDHUP)
                        | bit(self.shut_write || room >= SEND_WINDOW / 2, EPOLLOUT)
                        | bit(ended && self.shut_write, EPOLLHUP)
                }
                State::Closed => EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP,
            }
    }

    fn has_received(&self) -> bool {
        self.read < self.bytes.len() || !self.datagrams.is_empty()
    }

    /// How many bytes the next read would give at most.
    pub fn received(&self) -> usize {
        match self.datagrams.front() {
            Some(datagram) => datagram.len(),
            None => self.bytes.len() - self.read,
        }
    }

    /// Whether reads give nothing more, ever.
    pub fn is_at_end(&self) -> bool {
        !self.has_received() && (self.ended || self.shut_read)
    }

    /// Copies what was received; answers how many bytes, and of a datagram how long it was. `None`
    /// if there is nothing.
    pub fn receive(&mut self, into: &mut [u8], peek: bool) -> Option<(usize, usize)> {
        if !self.has_received() {
            return None;
        }
        let from = self.datagrams.front().map_or(&self.bytes[self.read..], |bytes| bytes);
        let len = into.len().min(from.len());
        into[..len].copy_from_slice(&from[..len]);
        let full = if self.datagrams.is_empty() { len } else { from.len() };
        if !peek && self.datagrams.pop_front().is_none() {
            self.read += len;
            if self.read == self.bytes.len() {
                // Idle connections hold no memory.
                (self.bytes, self.read) = (Vec::new(), 0);
            }
        }
        Some((len, full))
    }

    /// The next connection.
    pub fn accept(&mut self) -> Option<Handle> {
        self.waiting.pop_front()
    }

    /// What the host is to be granted, if it should be told anew.
    fn grant(&mut self, handle: Handle) -> Option<Grant> {
        let allowance = match (self.state, self.flags.kind) {
            (State::Listening, _) if self.waiting.is_empty() => MAX_ACCEPT,
            (State::Connected, SocketKind::Datagram) if self.datagrams.is_empty() => DATAGRAM_GRANT,
            (State::Connected, SocketKind::Stream) if !self.has_received() => {
                // Who has just had more than there was room for gets more room.
                if self.more { MAX_GRANT } else { FIRST_GRANT }
            }
            _ => self.granted,
        };
        let anew = self.granted < allowance / 2 || self.more && self.granted < allowance;
        if !anew && !self.wants_room {
            return None;
        }
        if anew {
            self.granted = allowance;
        }
        Some(Grant { handle, allowance: self.granted as u32, room: self.wants_room })
    }
}

/// All sockets.
#[derive(Debug, Default)]
pub struct Net {
    sockets: Vec<Option<Box<Socket>>>,
    /// Those of which the host may have to be told something.
    changed: Vec<Handle>,
    /// How often the host was asked.
    round: u64,
    count: usize,
}

impl Net {
    /// Whether there is any socket.
    pub fn is_used(&self) -> bool {
        self.count > 0
    }

    /// A socket that exists.
    ///
    /// # Panics
    ///
    /// If it does not: descriptors name sockets that do.
    pub fn get(&self, handle: Handle) -> &Socket {
        match self.sockets.get(handle.index()) {
            Some(Some(socket)) => socket,
            _ => panic!("socket {} does not exist", handle.index()),
        }
    }

    /// As [`Net::get`], to change it. The host is told of what it may deliver with the next round.
    ///
    /// # Panics
    ///
    /// As [`Net::get`].
    pub fn get_mut(&mut self, handle: Handle) -> &mut Socket {
        match self.sockets.get_mut(handle.index()) {
            Some(Some(socket)) => {
                if !socket.listed {
                    socket.listed = true;
                    self.changed.push(handle);
                }
                socket
            }
            _ => panic!("socket {} does not exist", handle.index()),
        }
    }

    /// Adds a socket that the program has made; `None` if there are too many.
    pub fn add(&mut self, socket: Socket) -> Option<Handle> {
        let free = (0..MAX_SOCKETS).find(|n| !self.is_taken(*n))?;
        let handle = Handle::new(free as u64)?;
        self.insert(handle, socket);
        Some(handle)
    }

    fn is_taken(&self, index: usize) -> bool {
        self.sockets.get(index).is_some_and(Option::is_some)
    }

    fn insert(&mut self, handle: Handle, socket: Socket) {
        if self.sockets.is_empty() {
            self.sockets.resize_with(HANDLES, || None);
        }
        self.sockets[handle.index()] = Some(Box::new(socket));
        self.count += 1;
    }

    /// Removes a socket; answers it and the connections that nobody has accepted.
    pub fn remove(&mut self, handle: Handle) -> Vec<Handle> {
        let Some(socket) = self.sockets.get_mut(handle.index()).and_then(Option::take) else {
            return Vec::new();
        };
        self.count -= 1;
        let mut gone = alloc::vec![handle];
        for waiting in socket.waiting {
            gone.extend(self.remove(waiting));
        }
        gone
    }

    /// Whether the host has to be asked before a read may say that there is nothing: it has more,
    /// or the program has heard that already since the host was last asked.
    pub fn is_stale(&mut self, handle: Handle) -> bool {
        let round = self.round;
        let socket = self.get_mut(handle);
        socket.starved.replace(round) == Some(round) || socket.more
    }

    /// What to tell the host with the next round.
    pub fn grants(&mut self) -> Vec<Grant> {
        self.round += 1;
        let mut grants = Vec::new();
        for handle in self.changed.drain(..) {
            let Some(Some(socket)) = self.sockets.get_mut(handle.index()) else { continue };
            socket.listed = false;
            grants.extend(socket.grant(handle));
        }
        grants
    }

    /// Takes in what the host says. `payload` gives the bytes that follow it.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub fn apply(
        &mut self,
        event: SocketEvent,
        payload: impl FnOnce(&mut [u8]) -> Result<(), Lie>,
    ) -> Result<(), Trouble> {
        let (handle, lie) = match event {
            SocketEvent::Data { handle, .. }
            | SocketEvent::Room { handle, .. }
            | SocketEvent::End { handle }
            | SocketEvent::Failed { handle, .. }
            | SocketEvent::Connected { handle, .. }
            | SocketEvent::Accepted { listener: handle, .. } => {
                let what = "event of that socket";
                (handle, Lie::Value { what, value: event.encode().0[0] })
            }
        };
        if !self.is_taken(handle.index()) {
            return Err(lie.into());
        }
        let socket = self.get_mut(handle);
        let (state, kind) = (socket.state, socket.flags.kind);
        socket.generation += 1;
        match event {
            SocketEvent::Data { len, more, .. } => {
                let cost = match kind {
                    SocketKind::Stream => len,
                    SocketKind::Datagram => len.max(DATAGRAM_COST),
                };
                let empty = len == 0 && kind == SocketKind::Stream;
                if state != State::Connected || socket.ended || empty || cost > socket.granted {
                    return Err(lie.into());
                }
                let mut fresh = Vec::new();
                let into = match kind {
                    SocketKind::Stream => &mut socket.bytes,
                    SocketKind::Datagram => &mut fresh,
                };
                let have = into.len();
                into.try_reserve(len).map_err(|_| Trouble::Memory)?;
                into.resize(have + len, 0);
                payload(&mut into[have..])?;
                if kind == SocketKind::Datagram {
                    socket.datagrams.push_back(fresh);
                }
                socket.granted -= cost;
                socket.more = more && kind == SocketKind::Stream;
            }
            SocketEvent::Room { .. } if socket.wants_room => socket.wants_room = false,
            SocketEvent::End { .. } if state == State::Connected && !socket.ended => {
                (socket.ended, socket.more) = (true, false);
            }
            SocketEvent::Failed { errno, .. }
                if matches!(state, State::Connecting | State::Connected) =>
            {
                socket.fail(errno);
            }
            SocketEvent::Connected { local, .. }
                if state == State::Connecting
                    || state == State::Connected && kind == SocketKind::Datagram =>
            {
                (socket.state, socket.local) = (State::Connected, Some(local));
            }
            SocketEvent::Accepted { handle: new, peer, local, .. }
                if state == State::Listening && socket.granted > 0 =>
            {
                socket.granted -= 1;
                socket.waiting.push_back(new);
                let accepted = Socket {
                    state: State::Connected,
                    local: Some(local),
                    peer: Some(peer),
                    options: socket.options,
                    granted: FIRST_GRANT,
                    ..Socket::new(socket.flags, socket.v6)
                };
                if !new.is_accepted() || self.is_taken(new.index()) {
                    return Err(lie.into());
                }
                self.insert(new, accepted);
            }
            _ => return Err(lie.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: SocketFlags = SocketFlags { kind: SocketKind::Stream, reuse: false, only_v6: false };
    const UDP: SocketFlags = SocketFlags { kind: SocketKind::Datagram, ..TCP };

    fn address() -> SocketAddr {
        ([127, 0, 0, 1], 80).into()
    }

    fn data(handle: Handle, len: usize, more: bool) -> SocketEvent {
        SocketEvent::Data { handle, len, more }
    }

    fn fill(into: &mut [u8]) -> Result<(), Lie> {
        into.fill(7);
        Ok(())
    }

    /// A socket that is connected, or a peer of datagrams.
    fn connected(flags: SocketFlags) -> (Net, Handle) {
        let mut net = Net::default();
        let handle = net.add(Socket::new(flags, false)).unwrap();
        net.get_mut(handle).connecting(address());
        let local = address();
        net.apply(SocketEvent::Connected { handle, local }, fill).unwrap();
        (net, handle)
    }

    #[test]
    fn what_arrives_is_read_and_then_the_end() {
        let (mut net, handle) = connected(TCP);
        assert_eq!(net.get(handle).readiness(SEND_WINDOW), EPOLLOUT);
        net.apply(data(handle, 10, false), fill).unwrap();
        net.apply(SocketEvent::End { handle }, fill).unwrap();
        let socket = net.get_mut(handle);
        assert_eq!(socket.readiness(0), EPOLLIN | EPOLLRDHUP);
        let mut buf = [0; 6];
        assert_eq!(socket.receive(&mut buf, true), Some((6, 6)), "a look takes nothing");
        assert_eq!(socket.receive(&mut buf, false), Some((6, 6)));
        assert!(!socket.is_at_end());
        assert_eq!(socket.receive(&mut buf, false), Some((4, 4)));
        assert_eq!(socket.receive(&mut buf, false), None);
        assert!(socket.is_at_end());
        let after = [data(handle, 1, false), SocketEvent::End { handle }];
        for event in after {
            assert!(matches!(net.apply(event, fill), Err(Trouble::Lie(_))), "{event:?}");
        }
    }

    #[test]
    fn no_more_arrives_than_was_granted() {
        let (mut net, handle) = connected(TCP);
        net.apply(data(handle, FIRST_GRANT, true), fill).unwrap();
        assert!(net.apply(data(handle, 1, false), fill).is_err());
        // Nothing is granted before it is read; then more, because there was more.
        assert_eq!(net.grants(), []);
        let mut buf = alloc::vec![0; FIRST_GRANT];
        net.get_mut(handle).receive(&mut buf, false).unwrap();
        assert!(net.is_stale(handle), "the host has more");
        let allowance = MAX_GRANT as u32;
        assert_eq!(net.grants(), [Grant { handle, allowance, room: false }]);
        assert_eq!(net.grants(), []);
        net.apply(data(handle, MAX_GRANT, false), fill).unwrap();
        assert!(net.apply(data(handle, 1, false), fill).is_err());
    }

    #[test]
    fn a_program_that_asks_twice_makes_the_host_be_asked() {
        let (mut net, handle) = connected(TCP);
        assert!(!net.is_stale(handle));
        assert!(net.is_stale(handle));
        net.grants();
        assert!(!net.is_stale(handle), "the host was asked in between");
    }

    #[test]
    fn datagrams_stay_apart_and_cost_something_even_if_empty() {
        let (mut net, handle) = connected(UDP);
        for len in [3, 0, 5] {
            net.apply(data(handle, len, true), fill).unwrap();
        }
        let mut buf = [0; 4];
        let mut next = || net.get_mut(handle).receive(&mut buf, false);
        assert_eq!(
            [next(), next(), next(), next()],
            [Some((3, 3)), Some((0, 0)), Some((4, 5)), None]
        );
        let most = (0..).take_while(|_| net.apply(data(handle, 0, true), fill).is_ok()).count();
        assert!(most <= FIRST_GRANT / DATAGRAM_COST, "{most}");
        // An error is told once, and the socket goes on.
        let errno = sallyport::HostErrno::Refused;
        net.apply(SocketEvent::Failed { handle, errno }, fill).unwrap();
        assert_eq!(net.get_mut(handle).error.take(), Some(Errno(111)));
        assert_eq!(net.get(handle).state, State::Connected);
    }

    #[test]
    fn connections_are_new_and_as_many_as_were_granted() {
        let mut net = Net::default();
        let listener = net.add(Socket::new(TCP, false)).unwrap();
        let accepted = |number| SocketEvent::Accepted {
            listener,
            handle: Handle::new(number).unwrap(),
            peer: address(),
            local: address(),
        };
        assert!(net.apply(accepted(1024), fill).is_err(), "it does not listen");
        net.get_mut(listener).state = State::Listening;
        assert!(net.apply(accepted(1024), fill).is_err(), "nothing was granted");
        let allowance = MAX_ACCEPT as u32;
        assert_eq!(net.grants(), [Grant { handle: listener, allowance, room: false }]);
        for n in 0..MAX_ACCEPT as u64 {
            net.apply(accepted(1024 + n), fill).unwrap();
        }
        assert!(net.apply(accepted(2000), fill).is_err(), "all that was granted has come");
        assert_eq!(net.get(listener).readiness(0), EPOLLIN);
        assert_eq!(net.get_mut(listener).accept(), Handle::new(1024));
        // One that is open does not come again, one that is closed may.
        for _ in 1..MAX_ACCEPT {
            net.get_mut(listener).accept().unwrap();
        }
        net.grants();
        assert!(net.apply(accepted(1024), fill).is_err(), "it is open");
        net.remove(Handle::new(1025).unwrap());
        net.grants();
        net.get_mut(listener).waiting.clear();
        net.apply(accepted(1025), fill).unwrap();
        assert!(net.apply(accepted(5), fill).is_err(), "the Keep chooses that one");
    }

    #[test]
    fn who_is_not_accepted_goes_with_the_listener() {
        let mut net = Net::default();
        let listener = net.add(Socket::new(TCP, false)).unwrap();
        net.get_mut(listener).state = State::Listening;
        net.grants();
        let handle = Handle::new(1500).unwrap();
        let (peer, local) = (address(), address());
        net.apply(SocketEvent::Accepted { listener, handle, peer, local }, fill).unwrap();
        assert_eq!(net.remove(listener), [listener, handle]);
        assert!(!net.is_used());
        assert_eq!(net.remove(listener), []);
    }

    #[test]
    fn room_is_told_only_to_who_asked_for_it() {
        let (mut net, handle) = connected(TCP);
        let room = SocketEvent::Room { handle, queued: 0 };
        assert!(net.apply(room, fill).is_err());
        net.get_mut(handle).wants_room = true;
        let allowance = FIRST_GRANT as u32;
        assert_eq!(net.grants(), [Grant { handle, allowance, room: true }]);
        let before = net.get(handle).generation;
        net.apply(room, fill).unwrap();
        assert!(net.get(handle).generation > before, "it is an edge");
        assert!(net.apply(room, fill).is_err());
    }

    #[test]
    fn a_broken_connection_is_closed() {
        let (mut net, handle) = connected(TCP);
        let failed = SocketEvent::Failed { handle, errno: sallyport::HostErrno::Reset };
        net.apply(failed, fill).unwrap();
        let all = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
        assert_eq!(net.get(handle).readiness(0), all);
        assert_eq!(net.get_mut(handle).error.take(), Some(Errno(104)));
        assert!(net.get(handle).is_at_end());
        assert!(net.apply(failed, fill).is_err());
        assert!(net.apply(data(handle, 1, false), fill).is_err());
    }

    #[test]
    fn events_of_sockets_that_are_not_there_are_lies() {
        let mut net = Net::default();
        let handle = Handle::new(3).unwrap();
        assert!(net.apply(SocketEvent::End { handle }, fill).is_err());
        let handle = net.add(Socket::new(TCP, true)).unwrap();
        for event in [
            SocketEvent::End { handle },
            data(handle, 0, false),
            SocketEvent::Connected { handle, local: address() },
            SocketEvent::Failed { handle, errno: sallyport::HostErrno::Io },
        ] {
            assert!(net.apply(event, fill).is_err(), "{event:?} before there is a peer");
        }
    }

    #[test]
    fn there_are_so_many_sockets_and_no_more() {
        let mut net = Net::default();
        for _ in 0..MAX_SOCKETS {
            net.add(Socket::new(TCP, false)).unwrap();
        }
        assert_eq!(net.add(Socket::new(TCP, false)), None);
        net.remove(Handle::new(7).unwrap());
        assert_eq!(net.add(Socket::new(TCP, false)), Handle::new(7));
    }
}
