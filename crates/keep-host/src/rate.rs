// SPDX-License-Identifier: Apache-2.0

//! How much a Keep may say that somebody looks at: so much at once, and then so much each second.

use std::time::{Duration, Instant};

/// What may still pass.
#[derive(Debug)]
pub(crate) struct Rate {
    burst: u32,
    per_second: u32,
    budget: u32,
    filled: Instant,
}

impl Rate {
    /// Lets `burst` pass at once, and then `per_second`.
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second, budget: burst, filled: Instant::now() }
    }

    /// Whether so much may pass now; it counts as passed then.
    pub(crate) fn take(&mut self, amount: u32) -> bool {
        self.take_at(amount, Instant::now())
    }

    fn take_at(&mut self, amount: u32, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.filled).as_secs();
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        if seconds > 0 {
            let gain = self.per_second.saturating_mul(seconds);
            self.budget = self.budget.saturating_add(gain).min(self.burst);
            self.filled += Duration::from_secs(seconds.into());
        }
        let rest = self.budget.checked_sub(amount);
        self.budget = rest.unwrap_or(self.budget);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_allowed_again_later() {
        for (burst, per_second, amount) in [(64 << 10, 16 << 10, 1024), (256, 32, 1)] {
            let mut rate = Rate::new(burst, per_second);
            let start = rate.filled;
            let mut passed = |after| {
                let now = start + Duration::from_secs(after);
                (0..10_000).filter(|_| rate.take_at(amount, now)).count() as u32
            };
            assert_eq!(passed(0), burst / amount);
            assert_eq!(passed(2), 2 * per_second / amount);
            assert_eq!(passed(2), 0);
            assert_eq!(passed(1_000_000), burst / amount, "never more than at first");
        }
    }

    #[test]
    fn what_is_too_much_costs_nothing() {
        let mut rate = Rate::new(10, 1);
        let now = rate.filled;
        assert!(!rate.take_at(11, now));
        assert!(rate.take_at(10, now));
    }
}
