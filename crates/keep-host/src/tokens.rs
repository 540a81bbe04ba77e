// SPDX-License-Identifier: Apache-2.0

//! How processors of a Keep wake each other: each has a token, which anybody can set and it alone takes.
//!
//! A processor that sleeps, or waits for streams and sockets, goes on when its token is set; set
//! before that, the token is not lost. So it does not matter who is faster.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::Stop;
use crate::descriptor::{self, Failure, Interest};

/// The tokens of a Keep's processors. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tokens {
    counters: Arc<[OwnedFd]>,
}

impl Tokens {
    /// For so many processors.
    ///
    /// # Errors
    ///
    /// If there are too many descriptors.
    pub fn new(count: u32) -> io::Result<Self> {
        let counter = |_| {
            // SAFETY: no memory is involved; the new descriptor is nobody else's.
            unsafe {
                match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                    -1 => Err(io::Error::last_os_error()),
                    fd => Ok(OwnedFd::from_raw_fd(fd)),
                }
            }
        };
        Ok(Self { counters: (0..count).map(counter).collect::<io::Result<_>>()? })
    }

    /// How many processors there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        // It was made of such a number.
        self.counters.len() as u32
    }

    /// Lets a processor go on. One that does not exist is nobody's concern.
    pub fn wake(&self, number: u32) {
        if let Some(counter) = self.counters.get(number as usize) {
            // SAFETY: eight bytes that live. It fails only if the counter is full, and so set.
            unsafe { libc::write(counter.as_raw_fd(), (&raw const ONE).cast(), 8) };
        }
    }

    /// Waits until a processor's token is set, for so long at most, and takes it; whether it was set.
    pub fn park(&self, number: u32, timeout: Option<Duration>, stop: &Stop) -> bool {
        let Some(fd) = self.fd(number) else { return false };
        let waited = descriptor::poll(&[Some(Interest { fd, write: false })], timeout, stop);
        !matches!(waited, Err(Failure::Stopped)) && self.take(number)
    }

    /// What can be read while a token is set.
    pub(crate) fn fd(&self, number: u32) -> Option<BorrowedFd<'_>> {
        self.counters.get(number as usize).map(|counter| counter.as_fd())
    }

    /// Takes a token, if it is set.
    pub(crate) fn take(&self, number: u32) -> bool {
        let mut count = 0_u64;
        self.fd(number).is_some_and(|fd| {
            // SAFETY: there is room for eight bytes.
            unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) == 8 }
        })
    }
}

static ONE: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_lost() {
        let (tokens, stop) = (Tokens::new(2).unwrap(), Stop::new().unwrap());
        let now = Some(Duration::ZERO);
        tokens.wake(1);
        tokens.wake(1);
        tokens.wake(7);
        assert!(!tokens.park(0, now, &stop), "it is another's");
        assert!(tokens.park(1, None, &stop), "set before");
        assert!(!tokens.park(1, now, &stop), "it is taken");
        std::thread::scope(|scope| {
            scope.spawn(|| tokens.wake(0));
            assert!(tokens.park(0, None, &stop), "set meanwhile");
        });
        assert!(!tokens.park(7, None, &stop));
    }
}
