// SPDX-License-Identifier: Apache-2.0

//! Calls that wait for descriptors.
//!
//! Event counters are the kernel's own affair. Streams are the host's: it is asked which of them
//! are ready, and to wait if none is. Output streams count as always ready, because writing to
//! them waits by itself. Files have no readiness, as in Linux. Of sockets the kernel knows what the
//! host last told it, and asking tells it more, so it is asked now and then also when something is
//! ready without. Who only looks, as event loops do between two tasks, is told what is known unless
//! that is old.

use alloc::vec::Vec;

use keep_fs::Errno;
use sallyport::{FOREVER, Stream};

use super::time::nanos;
use crate::epoll::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT};
use crate::errno::{EFAULT, EINVAL};
use crate::files::{Description, Object};
use crate::kernel::{Kernel, Platform};
use crate::user::UserMemory;

const POLLNVAL: u32 = 0x20;
/// Most entries of one `poll`.
const POLL_MAX: u64 = 4096;

/// What can be said of a description's readiness without the host, and what only the host knows.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    ready: u32,
    /// The bit of the stream that the host has to be asked about.
    ask: u64,
    generation: u64,
}

impl<P: Platform> Kernel<P> {
    fn known(&self, description: &Description) -> Known {
        let always = |ready| Known { ready, ask: 0, generation: description.generation };
        match &description.object {
            Object::Stream(Stream::Stdin) => Known { ask: Stream::Stdin.bit(), ..always(0) },
            Object::Stream(stream) if stream.is_readable() => always(EPOLLIN),
            Object::Stream(_) => always(EPOLLOUT),
            Object::Event(0) => always(EPOLLOUT),
            Object::Event(_) | Object::Input(_) | Object::File(_) | Object::Sheet(_) => {
                always(EPOLLIN | EPOLLOUT)
            }
            Object::Epoll(_) => always(0),
            Object::Socket(handle) => {
                let socket = self.net.get(*handle);
                let room = P::with_port(|port| port.room(*handle));
                Known { generation: socket.generation, ..always(socket.readiness(room)) }
            }
        }
    }

    pub(super) fn ppoll(&mut self, fds: u64, count: u64, timeout: u64) -> Result<u64, Errno> {
        let timeout = match timeout {
            0 => FOREVER,
            at => nanos(self.space.load(at)?)?,
        };
        self.poll(fds, count, timeout)
    }

    /// `poll`, for at most so many nanoseconds.
    pub(super) fn poll(&mut self, fds: u64, count: u64, timeout: u64) -> Result<u64, Errno> {
        if count > POLL_MAX {
            return Err(EINVAL);
        }
        let deadline = self.deadline(timeout);
        let mut answer = None;
        loop {
            let mut ask = 0;
            let mut ready = 0;
            for index in 0..count {
                let at = fds.checked_add(index * 8).ok_or(EFAULT)?;
                let [fd, events]: [u32; 2] = self.space.load(at)?;
                let fd = fd as i32;
                let events = events & 0xffff;
                let state = match self.files.get(fd) {
                    _ if fd < 0 => Known::default(),
                    Ok(description) => self.known(description),
                    Err(_) => Known { ready: POLLNVAL, ..Known::default() },
                };
                if events & EPOLLIN != 0 {
                    ask |= state.ask;
                }
                let asked = if state.ask & answer.unwrap_or(0) != 0 { EPOLLIN } else { 0 };
                let always = POLLNVAL | EPOLLERR | EPOLLHUP;
                let revents = (state.ready | asked) & (events | always);
                self.wish_for_room(fd, events, revents);
                ready += u64::from(revents != 0);
                self.space.store(at + 4, &(events | revents << 16))?;
            }
            // A stream is asked about even if something else is ready.
            if ready > 0 && (answer.is_some() || ask == 0) {
                if answer.is_none() {
                    self.ask_if_due();
                }
                return Ok(ready);
            }
            let asked = answer.is_some() || ask == 0 && self.is_informed();
            let wait = if ready > 0 { 0 } else { self.time_left(deadline) };
            if asked && wait == 0 {
                return Ok(0);
            }
            answer = Some(self.wait_or_fail(ask, wait)?);
        }
    }

    pub(super) fn epoll_ctl(
        &mut self,
        epoll: i32,
        operation: i32,
        fd: i32,
        event: u64,
    ) -> Result<(), Errno> {
        const ADD: i32 = 1;
        const DELETE: i32 = 2;
        const MODIFY: i32 = 3;
        let target = self.files.index(fd)?;
        // As in Linux, files are always ready and cannot be waited for.
        if matches!(
            self.files.get(fd)?.object,
            Object::File(_) | Object::Input(_) | Object::Sheet(_)
        ) {
            return Err(Errno::EPERM);
        }
        let (events, data) = if operation == DELETE {
            (0, 0)
        } else {
            // `struct epoll_event` is packed: 4 bytes of events, 8 of data.
            let events: u32 = self.space.load(event)?;
            (events, self.space.load(event.checked_add(4).ok_or(EFAULT)?)?)
        };
        let Object::Epoll(set) = &mut self.files.get_mut(epoll)?.object else {
            return Err(EINVAL);
        };
        match operation {
            ADD => set.add(fd, target, events, data),
            DELETE => set.delete(fd, target),
            MODIFY => set.modify(fd, target, events, data),
            _ => Err(EINVAL),
        }
    }

    /// `epoll_wait`, for at most so many nanoseconds.
    pub(super) fn epoll_wait(
        &mut self,
        epoll: i32,
        events: u64,
        max: i32,
        timeout: u64,
    ) -> Result<u64, Errno> {
        let max = usize::try_from(max).ok().filter(|max| *max > 0).ok_or(EINVAL)?;
        let deadline = self.deadline(timeout);
        let mut answer = None;
        loop {
            // First what is known here, then, if that is nothing, what the host says.
            let (found, ask) = self.collect(epoll, max, answer.unwrap_or(0))?;
            if !found.is_empty() || answer.is_some() && self.time_left(deadline) == 0 {
                for (index, (ready, data)) in found.iter().enumerate() {
                    let at = events.checked_add(index as u64 * 12).ok_or(EFAULT)?;
                    self.space.store(at, ready)?;
                    self.space.store(at + 4, data)?;
                }
                if answer.is_none() {
                    self.ask_if_due();
                }
                return Ok(found.len() as u64);
            }
            let wait = self.time_left(deadline);
            let nothing = ask == 0 && wait == 0 && self.is_informed();
            answer = Some(if nothing { 0 } else { self.wait_or_fail(ask, wait)? });
        }
    }

    /// What of a set is ready, with the host's `answer` about streams; and, if that is nothing, the
    /// streams that the set waits for and the host has to be asked about.
    fn collect(
        &mut self,
        epoll: i32,
        max: usize,
        answer: u64,
    ) -> Result<(Vec<(u32, u64)>, u64), Errno> {
        // The set is taken out, for what it waits for is in the same table.
        let Object::Epoll(set) = &mut self.files.get_mut(epoll)?.object else {
            return Err(EINVAL);
        };
        let mut set = core::mem::take(set);
        let mut to_ask = 0;
        let found = set.collect(max, |entry| {
            let description = self.files.by_index(entry.description);
            let state = description.map(|description| self.known(description));
            let Known { ready, ask, generation } = state.unwrap_or_default();
            if entry.events & EPOLLIN != 0 {
                to_ask |= ask;
            }
            (ready | if ask & answer != 0 { EPOLLIN } else { 0 }, generation)
        });
        if let Object::Epoll(place) = &mut self.files.get_mut(epoll)?.object {
            *place = set;
        }
        Ok((found, to_ask))
    }

    /// Waits for the host, unless that would be for ever and for nothing.
    fn wait_or_fail(&mut self, ask: u64, wait: u64) -> Result<u64, Errno> {
        if ask == 0 && wait == FOREVER && !self.net.is_used() && self.threads.is_alone() {
            panic!("the program waits for something that cannot come");
        }
        self.wait_for_host(ask, wait)
    }
}
