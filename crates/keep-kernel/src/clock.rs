// SPDX-License-Identifier: Apache-2.0

//! Time, as far as a Keep can know it.
//!
//! The host is asked for the time once at the start and again every now and then; in between, the
//! processor's time stamp counter carries it on, which costs no exit. Whatever the host says, the
//! monotonic clock never runs backwards, and neither does the real-time clock: the host may slow a
//! Keep's day down, it cannot replay one.

const NANOS: u64 = 1_000_000_000;

/// After this many nanoseconds the host is asked again.
const RESYNC: u64 = 2 * NANOS;

/// A pair of clocks.
#[derive(Debug, Clone)]
pub struct Clock {
    tsc_khz: u64,
    base_tsc: u64,
    base_real: u64,
    base_mono: u64,
    last_real: u64,
    last_mono: u64,
}

/// What has to happen before a clock can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The time in nanoseconds.
    Now(u64),
    /// The host must be asked first: call [`Clock::sync`].
    Ask,
}

impl Clock {
    /// A clock that has to be synchronised before its first reading. A `tsc_khz` of 0 means that
    /// the time stamp counter is of no use.
    pub const fn new(tsc_khz: u64) -> Self {
        Self { tsc_khz, base_tsc: 0, base_real: 0, base_mono: 0, last_real: 0, last_mono: 0 }
    }

    /// Takes over the host's word, at time stamp `tsc`, as far as no clock runs backwards by it.
    pub fn sync(&mut self, tsc: u64, real: u64, mono: u64) {
        self.base_tsc = tsc;
        self.base_real = real.max(self.last_real);
        self.base_mono = mono.max(self.last_mono);
        self.last_real = self.base_real;
        self.last_mono = self.base_mono;
    }

    /// The monotonic clock at time stamp `tsc`.
    pub fn monotonic(&mut self, tsc: u64) -> Reading {
        match self.since(tsc) {
            Some(nanos) => {
                self.last_mono = self.last_mono.max(self.base_mono.saturating_add(nanos));
                Reading::Now(self.last_mono)
            }
            None => Reading::Ask,
        }
    }

    /// The real-time clock at time stamp `tsc`, in nanoseconds since 1970.
    pub fn realtime(&mut self, tsc: u64) -> Reading {
        match self.since(tsc) {
            Some(nanos) => {
                self.last_real = self.last_real.max(self.base_real.saturating_add(nanos));
                Reading::Now(self.last_real)
            }
            None => Reading::Ask,
        }
    }

    /// The last monotonic reading, for a time that just was asked for.
    pub fn last_monotonic(&self) -> u64 {
        self.last_mono
    }

    /// The last real-time reading.
    pub fn last_realtime(&self) -> u64 {
        self.last_real
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
    use super::*;

    #[test]
    fn the_counter_carries_time_between_two_words_of_the_host() {
        let mut clock = Clock::new(1_000_000);
        assert_eq!(clock.monotonic(5), Reading::Ask);
        clock.sync(1000, 70 * NANOS, 7 * NANOS);
        assert_eq!(clock.monotonic(1500), Reading::Now(7 * NANOS + 500));
        assert_eq!(clock.realtime(1500), Reading::Now(70 * NANOS + 500));
        assert_eq!(clock.monotonic(1000 + RESYNC), Reading::Ask);
    }

    #[test]
    fn a_host_that_turns_time_back_is_not_followed() {
        let mut clock = Clock::new(1_000_000);
        clock.sync(1000, 70 * NANOS, 7 * NANOS);
        assert_eq!(clock.monotonic(2000), Reading::Now(7 * NANOS + 1000));
        clock.sync(3000, NANOS, NANOS);
        assert_eq!(clock.monotonic(3000), Reading::Now(7 * NANOS + 1000));
        assert_eq!(clock.realtime(3000), Reading::Now(70 * NANOS));
    }

    #[test]
    fn a_counter_that_runs_backwards_asks_the_host() {
        let mut clock = Clock::new(1_000_000);
        clock.sync(1000, NANOS, NANOS);
        assert_eq!(clock.monotonic(999), Reading::Ask);
    }

    #[test]
    fn without_a_counter_the_host_is_always_asked() {
        let mut clock = Clock::new(0);
        clock.sync(1000, NANOS, NANOS);
        assert_eq!(clock.realtime(1001), Reading::Ask);
    }
}
