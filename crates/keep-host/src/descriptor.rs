// SPDX-License-Identifier: Apache-2.0

//! Blocking system calls on the shared block, which end when the Keep is to be stopped.
//!
//! The kernel reads and writes the block itself: what a Keep writes to its standard output means
//! nothing to us, so there is no reason to copy it first. Raw calls are used because a slice of
//! memory that a Keep is changing must not exist in Rust.
//!
//! A call that a signal interrupts is made again unless [`Stop`] was asked for. [`Stop`] repeats
//! its signal, so it does not matter if one arrives just before the call blocks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use sallyport::{HostErrno, RawWindow};

use crate::Stop;

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The Keep hears of it.
    Errno(HostErrno),
    /// The Keep is to end.
    Stopped,
    /// It would have to be waited for, which the caller does not want.
    WouldWait,
}

impl From<HostErrno> for Failure {
    fn from(errno: HostErrno) -> Self {
        Self::Errno(errno)
    }
}

/// Waits for nothing but a descriptor, or not at all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest<'a> {
    /// The descriptor.
    pub(crate) fd: BorrowedFd<'a>,
    /// Whether to wait until it can be written, rather than read.
    pub(crate) write: bool,
}

/// Reads up to `len` bytes into the block at `at`.
pub(crate) fn read(
    fd: BorrowedFd<'_>,
    window: RawWindow,
    at: usize,
    len: usize,
    stop: &Stop,
) -> Result<usize, Failure> {
    let into = window.pointer(at, len).ok_or(HostErrno::Invalid)?;
    retry(Interest { fd, write: false }, stop, || {
        // SAFETY: `len` bytes at `into` are in the block, which is mapped and not Rust's.
        unsafe { libc::read(fd.as_raw_fd(), into.cast(), len) }
    })
}

/// Writes `len` bytes of the block at `at`; on failure the number says how many went out before.
pub(crate) fn write_all(
    fd: BorrowedFd<'_>,
    window: RawWindow,
    at: usize,
    len: usize,
    stop: &Stop,
) -> Result<(), (Failure, usize)> {
    let from = window.pointer(at, len).ok_or((HostErrno::Invalid.into(), 0))?;
    let mut done = 0;
    while done < len {
        let n = retry(Interest { fd, write: true }, stop, || {
            // SAFETY: as in `read`; `done` is below `len`.
            unsafe { libc::write(fd.as_raw_fd(), from.wrapping_add(done).cast(), len - done) }
        });
        match n {
            Ok(0) => return Err((HostErrno::Io.into(), done)),
            Ok(n) => done += n.min(len - done),
            Err(failure) => return Err((failure, done)),
        }
    }
    Ok(())
}

/// Makes a call until it is neither interrupted nor told to wait. A descriptor that we were handed
/// may be non-blocking, for that is a property that processes share; a Keep's never are.
fn retry(
    interest: Interest<'_>,
    stop: &Stop,
    mut call: impl FnMut() -> isize,
) -> Result<usize, Failure> {
    loop {
        if stop.is_requested() {
            return Err(Failure::Stopped);
        }
        let n = call();
        if let Ok(n) = usize::try_from(n) {
            return Ok(n);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN) => {
                poll(&[Some(interest)], None, stop)?;
            }
            Some(libc::EPIPE) => return Err(HostErrno::Pipe.into()),
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => {
                return Err(HostErrno::NoSpace.into());
            }
            _ => {
                tracing::debug!(%error, "a stream of the Keep failed");
                return Err(HostErrno::Io.into());
            }
        }
    }
}

/// How many streams [`poll`] can wait for.
pub(crate) const STREAMS: usize = 3;
/// Most descriptors of one [`poll`]: the streams, a set of sockets, and a token.
pub(crate) const MAX_POLL: usize = STREAMS + 2;

/// Waits until one of the descriptors is ready, or in error, or the time has passed; a bit per
/// descriptor says which. Without a timeout it waits forever; `None` among the descriptors is
/// never ready.
pub(crate) fn poll(
    interests: &[Option<Interest<'_>>],
    timeout: Option<Duration>,
    stop: &Stop,
) -> Result<u64, Failure> {
    // A deadline too far for the clock is none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut fds = [libc::pollfd { fd: -1, events: 0, revents: 0 }; MAX_POLL];
    for (slot, interest) in fds.iter_mut().zip(interests) {
        if let Some(interest) = interest {
            slot.fd = interest.fd.as_raw_fd();
            slot.events = if interest.write { libc::POLLOUT } else { libc::POLLIN };
        }
    }
    loop {
        if stop.is_requested() {
            return Err(Failure::Stopped);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let spec = left.map(|left| libc::timespec {
            tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `fds` holds MAX_POLL entries, `spec` is null or points to a timespec that lives;
        // no signal mask.
        let n = unsafe {
            libc::ppoll(fds.as_mut_ptr(), MAX_POLL as libc::nfds_t, spec, std::ptr::null())
        };
        if n >= 0 {
            let ready = |(n, fd): (usize, &libc::pollfd)| u64::from(fd.revents != 0) << n;
            return Ok(fds.iter().enumerate().map(ready).sum());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            tracing::debug!(%error, "cannot wait for the Keep's streams");
            return Err(HostErrno::Io.into());
        }
    }
}
