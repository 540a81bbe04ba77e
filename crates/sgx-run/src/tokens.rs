// SPDX-License-Identifier: Apache-2.0

//! Tokens of processors: one event counter for each.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keep_host::Stop;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

#[derive(Debug, Clone)]
pub(crate) struct Tokens(Arc<[OwnedFd]>);

impl Tokens {
    pub(crate) fn new(count: u32) -> io::Result<Self> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let made: Result<_, _> = (0..count).map(|_| rustix::event::eventfd(0, flags)).collect();
        Ok(Self(made?))
    }

    pub(crate) fn park(&self, number: u32, timeout: Option<Duration>, stop: &Stop) -> bool {
        let Some(token) = self.0.get(number as usize) else { return false };
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if rustix::io::read(token, &mut [0; 8]).is_ok() {
                return true;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if stop.is_requested() || left == Some(Duration::ZERO) {
                return false;
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let _ = rustix::event::poll(&mut [PollFd::new(token, PollFlags::IN)], left.as_ref());
        }
    }

    pub(crate) fn wake(&self, number: u32) {
        if let Some(token) = self.0.get(number as usize) {
            let _ = rustix::io::write(token, &1_u64.to_ne_bytes());
        }
    }
}
