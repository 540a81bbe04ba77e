// SPDX-License-Identifier: Apache-2.0

//! Calls about time.

use keep_fs::Errno;
use sallyport::FOREVER;

use crate::errno::{EAGAIN, EFAULT, EINVAL, ETIMEDOUT};
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
        // BOOTTIME: a Keep's one thread always runs.
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
        self.sleep(duration);
        Ok(0)
    }

    /// Sleeps at least that long, whatever the host says about it.
    pub(super) fn sleep(&mut self, duration: u64) {
        let end = self.monotonic().saturating_add(duration);
        loop {
            let left = end.saturating_sub(self.monotonic());
            if left == 0 {
                return;
            }
            self.wait_for_host(0, left);
        }
    }

    /// Asks the host to wait; answers which of the streams in `mask` are ready.
    pub(super) fn wait_for_host(&mut self, mask: u64, timeout: u64) -> u64 {
        if self.net.is_used() {
            return self.exchange(mask, timeout);
        }
        match P::with_port(|port| port.poll(mask, timeout)) {
            Ok(Ok(ready)) => ready,
            // A host that cannot wait says so by letting all streams be ready, so that the
            // program meets the error where it reads or writes.
            Ok(Err(_)) => mask,
            Err(lie) => panic!("the host lied about what is ready: {lie}"),
        }
    }

    pub(super) fn futex(
        &mut self,
        address: u64,
        operation: i32,
        value: u32,
        timeout: u64,
    ) -> Result<u64, Errno> {
        const FUTEX_WAIT: i32 = 0;
        const FUTEX_WAKE: i32 = 1;
        const FUTEX_WAIT_BITSET: i32 = 9;
        const FUTEX_WAKE_BITSET: i32 = 10;
        const FUTEX_CLOCK_REALTIME: i32 = 256;
        match operation & 0x7f {
            FUTEX_WAKE | FUTEX_WAKE_BITSET => Ok(0), // nobody waits
            wait @ (FUTEX_WAIT | FUTEX_WAIT_BITSET) => {
                if !address.is_multiple_of(4) {
                    return Err(EINVAL);
                }
                if self.space.load::<u32>(address).map_err(|_| EFAULT)? != value {
                    return Err(EAGAIN);
                }
                if timeout == 0 {
                    panic!("the program waits for a thread, but it has only one");
                }
                let time = nanos(self.space.load(timeout)?)?;
                // A WAIT's time is a duration, a WAIT_BITSET's a point in time.
                let duration = match (wait, operation & FUTEX_CLOCK_REALTIME != 0) {
                    (FUTEX_WAIT, _) => time,
                    (_, true) => time.saturating_sub(self.realtime()),
                    (_, false) => time.saturating_sub(self.monotonic()),
                };
                self.sleep(duration);
                Err(ETIMEDOUT)
            }
            _ => Err(crate::errno::ENOSYS),
        }
    }

    /// When a call that was given `timeout` nanoseconds has to return; `None` for never.
    pub(super) fn deadline(&mut self, timeout: Option<u64>) -> Option<u64> {
        match timeout {
            None | Some(FOREVER) => None,
            Some(0) => Some(0),
            Some(nanos) => Some(self.monotonic().saturating_add(nanos)),
        }
    }
}
