// SPDX-License-Identifier: Apache-2.0

//! Calls about time.

use keep_fs::Errno;
use sallyport::{ClockId, FOREVER};

use crate::errno::EINVAL;
use crate::kernel::{Kernel, Platform};
use crate::user::UserMemory;

const NANOS: u64 = 1_000_000_000;
const TIMER_ABSTIME: i32 = 1;

/// Which of the two clocks one of Linux's many is.
fn which(clock: i32) -> Result<ClockId, Errno> {
    match clock {
        0 | 5 | 11 => Ok(ClockId::Realtime), // REALTIME, REALTIME_COARSE, TAI
        // MONOTONIC, PROCESS_CPUTIME_ID, THREAD_CPUTIME_ID, MONOTONIC_RAW, MONOTONIC_COARSE,
        // BOOTTIME: a Keep's threads always run.
        1..=4 | 6 | 7 => Ok(ClockId::Monotonic),
        _ => Err(EINVAL),
    }
}

/// Nanoseconds of a `timespec`.
pub(super) fn nanos([sec, nsec]: [i64; 2]) -> Result<u64, Errno> {
    match (u64::try_from(sec), u64::try_from(nsec)) {
        (Ok(sec), Ok(nsec @ 0..NANOS)) => Ok(sec.saturating_mul(NANOS).saturating_add(nsec)),
        _ => Err(EINVAL),
    }
}

/// Nanoseconds of a timeout in milliseconds, where a negative one is for ever.
pub(super) fn of_millis(millis: i32) -> u64 {
    u64::try_from(millis).map_or(FOREVER, |millis| millis * 1_000_000)
}

impl<P: Platform> Kernel<P> {
    pub(super) fn clock_gettime(&mut self, clock: i32, to: u64) -> Result<(), Errno> {
        let nanos = self.time(which(clock)?);
        self.space.store(to, &[nanos / NANOS, nanos % NANOS])
    }

    pub(super) fn clock_getres(&mut self, clock: i32, to: u64) -> Result<(), Errno> {
        which(clock)?;
        self.space.store_if_wanted(to, &[0_u64, 1])
    }

    /// Sleeps at least as long as it is to, whatever the host says about it.
    pub(super) fn clock_nanosleep(&mut self, clock: i32, flags: i32, at: u64) -> Result<(), Errno> {
        let mut duration = nanos(self.space.load(at)?)?;
        let clock = which(clock)?;
        if flags & TIMER_ABSTIME != 0 {
            duration = duration.saturating_sub(self.time(clock));
        }
        let deadline = self.deadline(duration);
        loop {
            match self.time_left(deadline) {
                0 => return Ok(()),
                left if self.threads.is_alone() => self.wait_for_host(0, left)?,
                left => self.block(left)?,
            };
        }
    }

    /// Asks the host to wait; answers which of the streams in `mask` are ready.
    pub(super) fn wait_for_host(&mut self, mask: u64, timeout: u64) -> Result<u64, Errno> {
        self.may_wait(timeout)?;
        P::waits(timeout != 0);
        let ready = if self.net.is_used() {
            self.exchange(mask, timeout)
        } else {
            let answer = Self::ask("what is ready", |port| port.poll(mask, timeout));
            if answer.is_ok_and(|ready| ready != 0) {
                self.stir();
            }
            // A host that cannot wait says so by letting all streams be ready, so that the
            // program meets the error where it reads or writes.
            answer.unwrap_or(mask)
        };
        P::waits(false);
        Ok(ready)
    }

    /// When a call that was given `timeout` nanoseconds has to return: at once for 0, never for
    /// [`FOREVER`]. A call that is made again has the time that it had.
    pub(super) fn deadline(&mut self, timeout: u64) -> u64 {
        if let Some(deadline) = self.threads.at(P::processor()).deadline {
            return deadline;
        }
        let deadline = match timeout {
            0 | FOREVER => timeout,
            nanos => self.monotonic().saturating_add(nanos),
        };
        self.threads.at(P::processor()).deadline = Some(deadline);
        deadline
    }

    /// How many nanoseconds a call has left until its [`Kernel::deadline`].
    pub(super) fn time_left(&mut self, deadline: u64) -> u64 {
        match deadline {
            0 | FOREVER => deadline,
            at => at.saturating_sub(self.monotonic()),
        }
    }
}
