// SPDX-License-Identifier: Apache-2.0

//! Time, as far as a Keep can know it.
//!
//! The host is asked for the time once at the start and again every now and then; in between, the
//! processor's time stamp counter carries it on, which costs no exit. Whatever the host says, the
//! monotonic clock never runs backwards, and neither does the real-time clock: the host may slow a
//! Keep's day down, it cannot replay one.

use sallyport::ClockId;

const NANOS: u64 = 1_000_000_000;

/// After this many nanoseconds the host is asked again.
const RESYNC: u64 = 2 * NANOS;

/// A pair of clocks.
#[derive(Debug, Clone)]
pub struct Clock {
    tsc_khz: u64,
    base_tsc: u64,
    /// What the host last said, by [`ClockId`].
    base: [u64; 2],
    /// What was last read.
    last: [u64; 2],
}

impl Clock {
    /// A clock that has to be synchronised before its first reading. A `tsc_khz` of 0 means that
    /// the time stamp counter is of no use.
    pub const fn new(tsc_khz: u64) -> Self {
        Self { tsc_khz, base_tsc: 0, base: [0; 2], last: [0; 2] }
    }

    /// Takes over the host's word on both clocks, by [`ClockId`], at time stamp `tsc`, as far as no
    /// clock runs backwards by it.
    pub fn sync(&mut self, tsc: u64, said: [u64; 2]) {
        self.base_tsc = tsc;
        for (last, said) in self.last.iter_mut().zip(said) {
            *last = said.max(*last);
        }
        self.base = self.last;
    }

    /// A clock at time stamp `tsc` in nanoseconds, the real-time one since 1970. `None` if the host
    /// must be asked first: call [`Clock::sync`].
    pub fn read(&mut self, clock: ClockId, tsc: u64) -> Option<u64> {
        let nanos = self.since(tsc)?;
        let last = &mut self.last[clock as usize];
        *last = self.base[clock as usize].saturating_add(nanos).max(*last);
        Some(*last)
    }

    /// The last reading of a clock, for a time that just was asked for.
    pub fn last(&self, clock: ClockId) -> u64 {
        self.last[clock as usize]
    }

    /// Nanoseconds since the last word of the host, if that is not too long ago.
    fn since(&self, tsc: u64) -> Option<u64> {
        if self.tsc_khz == 0 || self.base_tsc == 0 {
            return None;
        }
        let ticks = tsc.checked_sub(self.base_tsc)?;
        let nanos = u128::from(ticks) * 1_000_000 / u128::from(self.tsc_khz);
        let nanos = u64::try_from(nanos).ok()?;
        (nanos < RESYNC).then_some(nanos)
    }
}

#[cfg(test)]
mod tests {
    use sallyport::ClockId::{Monotonic, Realtime};

    use super::*;

    #[test]
    fn the_counter_carries_time_between_two_words_of_the_host() {
        let mut clock = Clock::new(1_000_000);
        assert_eq!(clock.read(Monotonic, 5), None);
        clock.sync(1000, [70 * NANOS, 7 * NANOS]);
        assert_eq!(clock.read(Monotonic, 1500), Some(7 * NANOS + 500));
        assert_eq!(clock.read(Realtime, 1500), Some(70 * NANOS + 500));
        assert_eq!(clock.read(Monotonic, 1000 + RESYNC), None);
    }

    #[test]
    fn a_host_that_turns_time_back_is_not_followed() {
        let mut clock = Clock::new(1_000_000);
        clock.sync(1000, [70 * NANOS, 7 * NANOS]);
        assert_eq!(clock.read(Monotonic, 2000), Some(7 * NANOS + 1000));
        clock.sync(3000, [NANOS, NANOS]);
        assert_eq!(clock.read(Monotonic, 3000), Some(7 * NANOS + 1000));
        assert_eq!(clock.read(Realtime, 3000), Some(70 * NANOS));
    }

    #[test]
    fn a_counter_that_runs_backwards_asks_the_host() {
        let mut clock = Clock::new(1_000_000);
        clock.sync(1000, [NANOS, NANOS]);
        assert_eq!(clock.read(Monotonic, 999), None);
    }

    #[test]
    fn without_a_counter_the_host_is_always_asked() {
        let mut clock = Clock::new(0);
        clock.sync(1000, [NANOS, NANOS]);
        assert_eq!(clock.read(Realtime, 1001), None);
    }
}
