// SPDX-License-Identifier: Apache-2.0

//! Calls that wait for descriptors.
//!
//! Event counters are the kernel's own affair. Streams are the host's: it is asked which of them
//! are ready, and to wait if none is. Output streams count as always ready, because writing to
//! them waits by itself. Files have no readiness, as in Linux.

use alloc::vec::Vec;

use keep_fs::Errno;
use sallyport::{FOREVER, Stream};

use super::time::nanos;
use crate::epoll::{EPOLLIN, EPOLLOUT};
use crate::errno::{EBADF, EFAULT, EINVAL};
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
}

fn known(description: &Description) -> Known {
    let always = |ready| Known { ready, ask: 0 };
    match &description.object {
        Object::Stream(Stream::Stdin) => Known { ready: 0, ask: Stream::Stdin.bit() },
        Object::Stream(stream) if stream.is_readable() => always(EPOLLIN),
        Object::Stream(_) => always(EPOLLOUT),
        Object::Event(0) => always(EPOLLOUT),
        Object::Event(_) | Object::Input(_) | Object::File(_) => always(EPOLLIN | EPOLLOUT),
        Object::Epoll(_) => always(0),
    }
}

impl<P: Platform> Kernel<P> {
    pub(super) fn poll(&mut self, fds: u64, count: u64, millis: i64) -> Result<u64, Errno> {
        let timeout = u64::try_from(millis).ok().map(|millis| millis.saturating_mul(1_000_000));
        self.poll_for(fds, count, timeout)
    }

    pub(super) fn ppoll(&mut self, fds: u64, count: u64, timeout: u64) -> Result<u64, Errno> {
        let timeout = match timeout {
            0 => None,
            _ => Some(nanos(self.space.load(timeout)?)?),
        };
        self.poll_for(fds, count, timeout)
    }

    fn poll_for(&mut self, fds: u64, count: u64, timeout: Option<u64>) -> Result<u64, Errno> {
        if count > POLL_MAX {
            return Err(EINVAL);
        }
        let deadline = self.deadline(timeout);
        loop {
            let mut ask = 0;
            let mut ready = 0;
            let mut asking: Vec<u64> = Vec::new();
            for index in 0..count {
                let at = fds.checked_add(index * 8).ok_or(EFAULT)?;
                let [fd, events]: [u32; 2] = self.space.load(at)?;
                let fd = fd as i32;
                let events = events & 0xffff;
                let state = match self.files.get(fd) {
                    _ if fd < 0 => Known::default(),
                    Ok(description) => known(description),
                    Err(_) => Known { ready: POLLNVAL, ask: 0 },
                };
                let revents = state.ready & (events | POLLNVAL);
                if state.ask != 0 && events & EPOLLIN != 0 {
                    ask |= state.ask;
                    asking.push(at);
                }
                ready += u64::from(revents != 0);
                self.space.store(at + 4, &(events | revents << 16))?;
            }
            let wait = self.time_left(deadline, ready > 0);
            if ask == 0 && (ready > 0 || wait == 0) {
                return Ok(ready);
            }
            let answer = self.wait_or_fail(ask, wait);
            if answer != 0 {
                for at in &asking {
                    let [fd, events]: [u32; 2] = self.space.load(*at)?;
                    self.space.store(at + 4, &(events & 0xffff | EPOLLIN << 16))?;
                    let _ = fd;
                }
                ready += asking.len() as u64;
            }
            if ready > 0 || self.is_over(deadline) {
                return Ok(ready);
            }
        }
    }

    pub(super) fn epoll_ctl(
        &mut self,
        epoll: i32,
        operation: i32,
        fd: i32,
        event: u64,
    ) -> Result<u64, Errno> {
        const ADD: i32 = 1;
        const DELETE: i32 = 2;
        const MODIFY: i32 = 3;
        let target = self.files.index(fd)?;
        // As in Linux, files are always ready and cannot be waited for.
        if matches!(self.files.get(fd)?.object, Object::File(_) | Object::Input(_)) {
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
            ADD => set.add(fd, target, events, data)?,
            DELETE => set.delete(fd, target)?,
            MODIFY => set.modify(fd, target, events, data)?,
            _ => return Err(EINVAL),
        }
        Ok(0)
    }

    pub(super) fn epoll_wait(
        &mut self,
        epoll: i32,
        events: u64,
        max: i32,
        millis: i64,
    ) -> Result<u64, Errno> {
        let timeout = u64::try_from(millis).ok().map(|millis| millis.saturating_mul(1_000_000));
        self.epoll_wait_for(epoll, events, max, timeout)
    }

    fn epoll_wait_for(
        &mut self,
        epoll: i32,
        events: u64,
        max: i32,
        timeout: Option<u64>,
    ) -> Result<u64, Errno> {
        let max = usize::try_from(max).ok().filter(|max| *max > 0).ok_or(EINVAL)?;
        let deadline = self.deadline(timeout);
        loop {
            // First what is known here, then, if that is nothing, what the host says.
            let (states, ask) = self.states(epoll)?;
            let mut found = self.collect(epoll, max, &states, 0)?;
            let wait = self.time_left(deadline, !found.is_empty());
            if found.is_empty() && (ask != 0 || wait > 0) {
                let answer = self.wait_or_fail(ask, wait);
                found = self.collect(epoll, max, &states, answer)?;
            }
            if !found.is_empty() || self.is_over(deadline) {
                for (index, (ready, data)) in found.iter().enumerate() {
                    let at = events.checked_add(index as u64 * 12).ok_or(EFAULT)?;
                    self.space.store(at, ready)?;
                    self.space.store(at + 4, data)?;
                }
                return Ok(found.len() as u64);
            }
        }
    }

    /// What is known of the descriptions that a set waits for, and the streams to ask about.
    fn states(&self, epoll: i32) -> Result<(Vec<(usize, Known)>, u64), Errno> {
        let Object::Epoll(set) = &self.files.get(epoll)?.object else { return Err(EINVAL) };
        let mut ask = 0;
        let mut states = Vec::new();
        for entry in set.entries() {
            let state = self.files.by_index(entry.description).map(known).unwrap_or_default();
            if entry.events & EPOLLIN != 0 {
                ask |= state.ask;
            }
            states.push((entry.description, state));
        }
        Ok((states, ask))
    }

    fn collect(
        &mut self,
        epoll: i32,
        max: usize,
        states: &[(usize, Known)],
        answer: u64,
    ) -> Result<Vec<(u32, u64)>, Errno> {
        let Object::Epoll(set) = &mut self.files.get_mut(epoll)?.object else {
            return Err(EBADF);
        };
        set.collect(max, |description| {
            let state = states.iter().find(|(known, _)| *known == description);
            state.map_or(0, |(_, state)| {
                state.ready | if state.ask & answer != 0 { EPOLLIN } else { 0 }
            })
        })
    }

    /// How long there is to wait: not at all if something was found.
    fn time_left(&mut self, deadline: Option<u64>, found: bool) -> u64 {
        match deadline {
            _ if found => 0,
            Some(0) => 0,
            Some(deadline) => deadline.saturating_sub(self.monotonic()),
            None => FOREVER,
        }
    }

    fn is_over(&mut self, deadline: Option<u64>) -> bool {
        deadline.is_some_and(|deadline| deadline == 0 || self.monotonic() >= deadline)
    }

    /// Waits for the host, unless that would be for ever and for nothing.
    fn wait_or_fail(&mut self, ask: u64, wait: u64) -> u64 {
        if ask == 0 && wait == FOREVER {
            panic!("the program waits for something that cannot come");
        }
        self.wait_for_host(ask, wait)
    }
}
