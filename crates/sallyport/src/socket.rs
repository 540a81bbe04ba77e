// SPDX-License-Identifier: Apache-2.0

//! What Keep and host say to each other about sockets.
//!
//! The Keep names sockets by small numbers that it chose itself, or that it checked to be new. It
//! tells the host how much it takes for each socket ([`Grant`]), so that one answer to POLL can
//! carry everything that has happened, received bytes included, and yet nothing that the Keep has
//! no room for. In the other direction there is a fixed window of [`SEND_WINDOW`] bytes: what the
//! operating system does not take at once, the host keeps, and the Keep knows how much that is.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::{HostErrno, Lie, Unchecked};

/// Most sockets that a Keep makes, and most that it accepts, at a time.
pub const MAX_SOCKETS: usize = 1024;
/// How many numbers there are for sockets.
pub const HANDLES: usize = 2 * MAX_SOCKETS;
/// Most bytes of one socket that the Keep has sent and the operating system has not taken.
pub const SEND_WINDOW: usize = 256 << 10;
/// What the host may deliver on a new connection without a [`Grant`], in bytes.
pub const FIRST_GRANT: usize = 64 << 10;
/// The largest [`Grant`] in bytes.
pub const MAX_GRANT: usize = 256 << 10;
/// Most connections that one [`Grant`] lets a listening socket accept.
pub const MAX_ACCEPT: usize = 64;
/// Largest datagram in bytes (RFC 768, over IPv4).
pub const MAX_DATAGRAM: usize = 65_507;

/// The number of a socket. Those below [`MAX_SOCKETS`] are made by the Keep, the others accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(u16);

impl Handle {
    /// The handle with this number, if it can be one.
    pub const fn new(number: u64) -> Option<Self> {
        if number < HANDLES as u64 { Some(Self(number as u16)) } else { None }
    }

    /// Its number, below [`HANDLES`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether it stands for a socket that the host accepted; the Keep makes all others.
    pub const fn is_accepted(self) -> bool {
        self.index() >= MAX_SOCKETS
    }
}

/// How bytes travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SocketKind {
    /// TCP.
    #[default]
    Stream,
    /// UDP.
    Datagram,
}

/// What a socket is made with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketFlags {
    /// TCP or UDP.
    pub kind: SocketKind,
    /// A port may be bound although old connections of it linger.
    pub reuse: bool,
    /// An IPv6 socket is for IPv6 alone.
    pub only_v6: bool,
}

impl SocketFlags {
    pub(crate) const fn encode(self) -> u64 {
        (match self.kind {
            SocketKind::Stream => 0,
            SocketKind::Datagram => 1,
        }) | (self.reuse as u64) << 1
            | (self.only_v6 as u64) << 2
    }

    pub(crate) const fn decode(word: u64) -> Self {
        let kind = if word & 1 == 0 { SocketKind::Stream } else { SocketKind::Datagram };
        Self { kind, reuse: word & 2 != 0, only_v6: word & 4 != 0 }
    }
}

/// An address in three words: family (4 or 6), port and scope; then the address itself.
pub(crate) fn encode_address(address: &SocketAddr) -> [u64; 3] {
    let (family, scope, octets) = match address {
        SocketAddr::V4(v4) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&v4.ip().octets());
            (4, 0, octets)
        }
        SocketAddr::V6(v6) => (6, v6.scope_id(), v6.ip().octets()),
    };
    let bits = u128::from_le_bytes(octets);
    let first = family | u64::from(address.port()) << 16 | u64::from(scope) << 32;
    [first, bits as u64, (bits >> 64) as u64]
}

pub(crate) fn decode_address(words: [u64; 3]) -> Option<SocketAddr> {
    let [first, low, high] = words;
    let octets = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
    let (port, scope) = ((first >> 16) as u16, (first >> 32) as u32);
    let address = match first & 0xffff {
        4 => {
            let [a, b, c, d, ..] = octets;
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
        }
        6 => SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into(),
        _ => return None,
    };
    // One form per address: what it does not use must be zero.
    (encode_address(&address) == words).then_some(address)
}

/// What the Keep takes for one socket from now on, told with POLL. It replaces what was said
/// before, and what is delivered is taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Which socket.
    pub handle: Handle,
    /// How many bytes (at most [`MAX_GRANT`]), or connections (at most [`MAX_ACCEPT`]).
    pub allowance: u32,
    /// Whether [`SocketEvent::Room`] is wanted as soon as half of the window is free.
    pub room: bool,
}

impl Grant {
    /// Bytes in the shared block.
    pub const SIZE: usize = 8;

    /// As it stands in the shared block.
    pub const fn encode(self) -> u64 {
        self.handle.index() as u64 | (self.room as u64) << 16 | (self.allowance as u64) << 32
    }

    /// Checks and decodes a copy.
    ///
    /// # Errors
    ///
    /// [`HostErrno::Invalid`] for one that no Keep makes.
    pub fn decode(word: u64) -> Result<Self, HostErrno> {
        let handle = Handle::new(word & 0xffff).ok_or(HostErrno::Invalid)?;
        let (room, allowance) = (word & 1 << 16 != 0, (word >> 32) as u32);
        let grant = Self { handle, allowance, room };
        if allowance as usize > MAX_GRANT || grant.encode() != word {
            return Err(HostErrno::Invalid);
        }
        Ok(grant)
    }
}

/// What has happened to a socket, told in the answer to POLL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEvent {
    /// Bytes, or one datagram; they follow. `more`: there is more than was granted.
    Data {
        /// Of which socket.
        handle: Handle,
        /// How many bytes.
        len: usize,
        /// Whether more of them wait.
        more: bool,
    },
    /// The host now keeps only so many bytes that it could not send.
    Room {
        /// Of which socket.
        handle: Handle,
        /// How many bytes, at most half of [`SEND_WINDOW`].
        queued: usize,
    },
    /// The peer sends no more.
    End {
        /// Of which socket.
        handle: Handle,
    },
    /// The connection broke, or could not be made. For UDP: a datagram was not delivered.
    Failed {
        /// Which socket.
        handle: Handle,
        /// Why.
        errno: HostErrno,
    },
    /// The connection was made.
    Connected {
        /// Of which socket.
        handle: Handle,
        /// Its own address.
        local: SocketAddr,
    },
    /// A connection came.
    Accepted {
        /// At which socket.
        listener: Handle,
        /// Its number.
        handle: Handle,
        /// Who connected.
        peer: SocketAddr,
        /// Its own address.
        local: SocketAddr,
    },
}

impl SocketEvent {
    /// Most words of one event, without bytes that follow it.
    pub const MAX_WORDS: usize = 7;

    /// As it stands in the shared block: the words, and how many they are. Bytes of
    /// [`SocketEvent::Data`] follow, filled up to a multiple of eight.
    pub fn encode(&self) -> ([u64; Self::MAX_WORDS], usize) {
        let mut words = [0; Self::MAX_WORDS];
        let head = |kind: u64, flag: bool, handle: Handle, number: u64| {
            kind | u64::from(flag) << 8 | (handle.index() as u64) << 16 | number << 32
        };
        let mut len = 1;
        match *self {
            Self::Data { handle, len, more } => words[0] = head(1, more, handle, len as u64),
            Self::Room { handle, queued } => words[0] = head(2, false, handle, queued as u64),
            Self::End { handle } => words[0] = head(3, false, handle, 0),
            Self::Failed { handle, errno } => words[0] = head(4, false, handle, errno.number()),
            Self::Connected { handle, local } => {
                words[0] = head(5, false, handle, 0);
                words[1..4].copy_from_slice(&encode_address(&local));
                len = 4;
            }
            Self::Accepted { listener, handle, peer, local } => {
                words[0] = head(6, false, listener, handle.index() as u64);
                words[1..4].copy_from_slice(&encode_address(&peer));
                words[4..7].copy_from_slice(&encode_address(&local));
                len = 7;
            }
        }
        (words, len)
    }
}

/// The events of one answer to POLL. They lie in the shared block until the next call.
#[derive(Debug)]
#[must_use = "what has happened is told once"]
pub struct Events {
    pub(crate) at: usize,
    pub(crate) end: usize,
}

impl Events {
    /// The next event, and how many words it took; `load` gives a word at an offset in the block,
    /// and is asked for each word once.
    pub(crate) fn next(
        &mut self,
        load: impl Fn(usize) -> u64,
    ) -> Result<Option<(SocketEvent, usize)>, Lie> {
        let start = self.at;
        if start == self.end {
            return Ok(None);
        }
        let head = load(start);
        let lie = Lie::Value { what: "event of a socket", value: head };
        let (number, flag) = (head >> 32, head & 0xff00 != 0);
        let handle = Handle::new(head >> 16 & 0xffff).ok_or(lie)?;
        let mut words = 1;
        let mut address = || {
            let at = start + words * 8;
            words += 3;
            // The end is a multiple of eight behind the start.
            if self.end - start < words * 8 {
                return Err(lie);
            }
            decode_address([load(at), load(at + 8), load(at + 16)]).ok_or(lie)
        };
        let event = match head & 0xff {
            1 => {
                let limit = MAX_GRANT.min(self.end - start - 8) as u64;
                let len = Unchecked::new("number of received bytes", number).at_most(limit)?;
                SocketEvent::Data { handle, len: len as usize, more: flag }
            }
            2 => SocketEvent::Room { handle, queued: number as usize },
            3 => SocketEvent::End { handle },
            4 => {
                let errno = HostErrno::from_number(number);
                let errno = errno.filter(|errno| errno.ends_connection()).ok_or(lie)?;
                SocketEvent::Failed { handle, errno }
            }
            5 => SocketEvent::Connected { handle, local: address()? },
            6 => {
                let new = Handle::new(number).filter(|new| new.is_accepted()).ok_or(lie)?;
                let (peer, local) = (address()?, address()?);
                SocketEvent::Accepted { listener: handle, handle: new, peer, local }
            }
            _ => return Err(lie),
        };
        if event.encode().0[0] != head {
            return Err(lie);
        }
        self.at = start + words * 8;
        Ok(Some((event, words)))
    }
}
