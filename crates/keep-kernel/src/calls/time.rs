// SPDX-License-Identifier: Apache-2.0

//! Calls about time.

use keep_fs::Errno;
use sallyport::FOREVER;

use crate::errno::EINVAL;
use crate::kernel::{Kernel, Platform};
use crate::user::UserMemory;

const NANOS: u64 = 1_000_000_000;
const TIMER_ABSTIME: i32 = 1;

/// Which of the two clocks one of Linux's many is.
enum Which {
    Realtime,
    Monotonic,
}

fn which(clock: i32) -> Result<Which, Errno> {
    match clock {
        0 | 5 | 11 => Ok(Which::Realtime), // REALTIME, REALTIME_COARSE, TAI
        // MONOTONIC, PROCESS_CPUTIME_ID, THREAD_CPUTIME_ID, MONOTONIC_RAW, MONOTONIC_COARSE,
        // BOOTTIME: a Keep's threads always run.
        1..=4 | 6 | 7 => Ok(Which::Monotonic),
        _ => Err(EINVAL),
    }
}

/// Nanoseconds of a `timespec`.
pub(super) fn nanos([sec, nsec]: [i64; 2]) -> Result<u64, Errno> {
    let (Ok(sec), Ok(nsec)) = (u64::try_from(sec), u64::try_from(nsec)) else {
        return Err(EINVAL);
    };
    if nsec >= NANOS {
        return Err(EINVAL);
    }
    Ok(sec.saturating_mul(NANOS).saturating_add(nsec))
}

impl<P: Platform> Kernel<P> {
    pub(super) fn clock_gettime(&mut self, clock: i32, to: u64) -> Result<u64, Errno> {
        let nanos = match which(clock)? {
            Which::Realtime => self.realtime(),
            Which::Monotonic => self.monotonic(),
        };
        self.space.store(to, &[nanos / NANOS, nanos % NANOS])?;
        Ok(0)
    }

    pub(super) fn clock_getres(&mut self, clock: i32, to: u64) -> Result<u64, Errno> {
        which(clock)?;
        if to != 0 {
            self.space.store(to, &[0_u64, 1])?;
        }
        Ok(0)
    }

    pub(super) fn clock_nanosleep(
        &mut self,
        clock: i32,
        flags: i32,
        request: u64,
        _remaining: u64,
    ) -> Result<u64, Errno> {
        let request = nanos(self.space.load(request)?)?;
        let duration = match (which(clock)?, flags & TIMER_ABSTIME != 0) {
            (_, false) => request,
            (Which::Realtime, true) => request.saturating_sub(self.realtime()),
            (Which::Monotonic, true) => request.saturating_sub(self.monotonic()),
        };
        self.sleep(duration)?;
        Ok(0)
    }

    /// Sleeps at least that long, whatever the host says about it.
    pub(super) fn sleep(&mut self, duration: u64) -> Result<(), Errno> {
        let deadline = self.deadline(Some(duration));
        loop {
            match self.time_left(deadline, false) {
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
            match P::with_port(|port| port.poll(mask, timeout)) {
                Ok(Ok(ready)) => {
                    if ready != 0 {
                        self.stir();
                    }
                    ready
                }
                // A host that cannot wait says so by letting all streams be ready, so that the
                // program meets the error where it reads or writes.
                Ok(Err(_)) => mask,
                Err(lie) => panic!("the host lied about what is ready: {lie}"),
            }
        };
        P::waits(false);
        Ok(ready)
    }

    /// When a call that was given `timeout` nanoseconds has to return; `None` for never. A call that
    /// is made again has the time that it had.
    pub(super) fn deadline(&mut self, timeout: Option<u64>) -> Option<u64> {
        if let Some(deadline) = self.threads.at(P::processor()).deadline {
            return deadline;
        }
        let deadline = match timeout {
            None | Some(FOREVER) => None,
            Some(0) => Some(0),
            Some(nanos) => Some(self.monotonic().saturating_add(nanos)),
        };
        self.threads.at(P::processor()).deadline = Some(deadline);
        deadline
    }
}
