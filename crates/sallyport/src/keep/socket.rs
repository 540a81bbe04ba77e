// SPDX-License-Identifier: Apache-2.0

//! Sockets, as the Keep asks the host for them.
//!
//! Only what has an answer that the program needs is waited for: the making of sockets. Bytes, ends and
//! options are collected, see [`Port`].

use core::net::SocketAddr;

use super::outbox::LEAST;
use super::{Kind, Outcome, Port};
use crate::{
    Doorbell, Events, Handle, HostErrno, Lie, MAX_DATAGRAM, Request, SEND_WINDOW, SocketEvent,
    SocketFlags, SocketKind, SocketOption, Unchecked, Window,
};

/// What is known of the bytes that were sent to a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    /// Bytes whose SEND is not answered yet, or not even submitted.
    pub(super) in_flight: u32,
    /// Bytes that the host had not got rid of when it last said.
    pub(super) queued: u32,
    /// Why a SEND failed.
    pub(super) error: Option<HostErrno>,
    /// Which of the sockets that had this handle it is.
    pub(super) life: u32,
}

/// A piece of the outbox that is being filled with bytes for a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged {
    pub(super) handle: Handle,
    pub(super) at: usize,
    pub(super) len: usize,
    /// What `len` may become.
    room: usize,
    pub(super) life: u32,
}

impl Staged {
    /// Whether more bytes of this socket can be put behind these.
    fn goes_on(&self, handle: Handle, life: u32) -> bool {
        (self.handle, self.life) == (handle, life) && self.len < self.room
    }
}

impl<W: Window, D: Doorbell, const N: usize> Port<W, D, N> {
    /// The next of the events that [`Port::exchange`] answered. What follows
    /// [`SocketEvent::Data`] is to be had by [`Port::payload`] before the next event is asked for.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if it is none, or says what the host cannot know.
    pub fn next_event(&mut self, events: &mut Events) -> Result<Option<SocketEvent>, Lie> {
        let Some((event, _)) = events.next(|at| self.window.load(at))? else { return Ok(None) };
        if let SocketEvent::Room { handle, queued } = event {
            let known = &mut self.sending[handle.index()].queued;
            // All SENDs before the POLL are answered: it cannot have got more.
            let limit = u64::from(*known);
            Unchecked::new("number of unsent bytes", queued as u64).at_most(limit)?;
            *known = queued as u32;
        }
        Ok(Some(event))
    }

    /// Copies the bytes of the last [`SocketEvent::Data`]. `into` is as long as that said.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if the events end before the bytes do.
    pub fn payload(&mut self, events: &mut Events, into: &mut [u8]) -> Result<(), Lie> {
        let (left, len) = ((events.end - events.at) as u64, into.len() as u64);
        let lie = Lie::Value { what: "number of received bytes", value: len };
        let padded = len.checked_next_multiple_of(8).filter(|padded| *padded <= left).ok_or(lie)?;
        self.window.read(events.at, into);
        events.at += padded as usize;
        Ok(())
    }

    /// Makes a socket at an address; answers its port.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if that is none, or not the one that was asked for.
    pub fn bind(
        &mut self,
        handle: Handle,
        flags: SocketFlags,
        address: SocketAddr,
    ) -> Outcome<u16> {
        self.begin(handle);
        Ok(match self.call(Request::Bind { handle, flags, address })?.done() {
            Ok(port) => {
                let asked = address.port();
                let range =
                    if asked == 0 { 1..=u16::MAX.into() } else { asked.into()..=asked.into() };
                Ok(port.multiple_of(1, range)? as u16)
            }
            Err(errno) => Err(errno),
        })
    }

    /// Lets a bound socket accept connections.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if the answer is not zero.
    pub fn listen(&mut self, handle: Handle, backlog: u32) -> Outcome<()> {
        let backlog = backlog.min(crate::call::MAX_BACKLOG);
        self.nothing(Request::Listen { handle, backlog })
    }

    /// Begins to connect a socket, which is made first unless it was bound.
    ///
    /// # Errors
    ///
    /// A [`Lie`] if the answer is not zero.
    pub fn connect(
        &mut self,
        handle: Handle,
        flags: SocketFlags,
        address: SocketAddr,
    ) -> Outcome<()> {
        self.begin(handle);
        self.nothing(Request::Connect { handle, flags, address })
    }

    /// A handle has come to stand for a new socket.
    pub fn begin(&mut self, handle: Handle) {
        let sending = &mut self.sending[handle.index()];
        let life = sending.life.wrapping_add(1);
        *sending = Sending { in_flight: 0, queued: 0, error: None, life };
    }

    /// How many bytes can be sent to a socket now.
    pub fn room(&self, handle: Handle) -> usize {
        let Sending { in_flight, queued, .. } = self.sending[handle.index()];
        SEND_WINDOW.saturating_sub(in_flight as usize + queued as usize)
    }

    /// Takes the error of an earlier send.
    pub fn send_error(&mut self, handle: Handle) -> Option<HostErrno> {
        self.sending[handle.index()].error.take()
    }

    /// Takes bytes for a socket, as many as there is room for, and does not wait; answers how many.
    /// Datagrams are taken whole, or, without room, dropped.
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in the answers to earlier requests.
    pub fn send(&mut self, handle: Handle, kind: SocketKind, bytes: &[u8]) -> Result<usize, Lie> {
        self.reap()?;
        let room = self.room(handle);
        if kind == SocketKind::Datagram {
            if bytes.len() <= room.min(MAX_DATAGRAM) {
                self.stage(handle, bytes, bytes.len())?;
            }
            self.seal()?;
            return Ok(bytes.len());
        }
        let bytes = &bytes[..bytes.len().min(room)];
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.stage(handle, rest, rest.len().min(LEAST))?;
            rest = &rest[taken..];
        }
        // A host that is awake can begin at once.
        if self.host_awake() {
            self.show()?;
        }
        Ok(bytes.len())
    }

    /// Whether there is anything that the host was not shown yet.
    pub const fn is_deferred(&self) -> bool {
        self.staged.is_some() || self.shown != self.submitted
    }

    /// Puts bytes behind those that are staged, or into a new piece, which has room for `least` of them
    /// at least; answers how many. An empty datagram takes a piece as well.
    fn stage(&mut self, handle: Handle, bytes: &[u8], least: usize) -> Result<usize, Lie> {
        let life = self.sending[handle.index()].life;
        let staged = match self.staged {
            Some(staged) if staged.goes_on(handle, life) => staged,
            _ => {
                self.seal()?;
                let (at, room) = self.outbox_room(least)?;
                Staged { handle, at, len: 0, room, life }
            }
        };
        let taken = bytes.len().min(staged.room - staged.len);
        self.window.write(staged.at + staged.len, &bytes[..taken]);
        self.sending[handle.index()].in_flight += taken as u32;
        self.staged = Some(Staged { len: staged.len + taken, ..staged });
        Ok(taken)
    }

    /// Submits what is staged.
    pub(super) fn seal(&mut self) -> Result<(), Lie> {
        let Some(Staged { handle, at, len, life, .. }) = self.staged.take() else { return Ok(()) };
        let kind = Kind::Send(handle, len as u32, life);
        let cost = self.outbox.take(len);
        self.submit(&Request::Send { handle, at, len }, kind, cost)
    }

    /// Says that no more bytes will be sent; does not wait.
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in the answers to earlier requests.
    pub fn shutdown(&mut self, handle: Handle) -> Result<(), Lie> {
        self.put_off(Request::Shutdown { handle })
    }

    /// Ends a socket; does not wait. The handle is free.
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in the answers to earlier requests.
    pub fn close(&mut self, handle: Handle) -> Result<(), Lie> {
        self.put_off(Request::Close { handle })?;
        self.begin(handle);
        Ok(())
    }

    /// Sets an option, to its largest value at most; does not wait.
    ///
    /// # Errors
    ///
    /// A [`Lie`] found in the answers to earlier requests.
    pub fn option(&mut self, handle: Handle, option: SocketOption, value: u64) -> Result<(), Lie> {
        self.put_off(Request::Option { handle, option, value: value.min(option.limit()) })
    }

    fn put_off(&mut self, request: Request) -> Result<(), Lie> {
        self.reap()?;
        self.seal()?;
        self.submit(&request, Kind::Ignored, 0)
    }

    /// A call whose answer is nothing but that it was done.
    fn nothing(&mut self, request: Request) -> Outcome<()> {
        Ok(match self.call(request)?.done() {
            Ok(value) => {
                value.at_most(0)?;
                Ok(())
            }
            Err(errno) => Err(errno),
        })
    }
}
