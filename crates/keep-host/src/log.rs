// SPDX-License-Identifier: Apache-2.0

//! Messages of a Keep's kernel: shown for debugging, at a rate that cannot drown a log.

use std::time::{Duration, Instant};

use sallyport::{RawWindow, Window};

use crate::ended::clean;

/// Bytes that are shown at once, and then each second.
const BURST: usize = 64 << 10;
const PER_SECOND: usize = 16 << 10;
/// Most bytes of one message that are shown.
const MESSAGE: usize = 1024;

/// What is left to be shown.
#[derive(Debug)]
pub(crate) struct Log {
    budget: usize,
    filled: Instant,
    dropped: u64,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { budget: BURST, filled: Instant::now(), dropped: 0 }
    }

    /// Shows a message, or its beginning, or counts it.
    pub(crate) fn write(&mut self, window: RawWindow, at: usize, len: usize) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let len = len.min(MESSAGE);
        if !self.take(len, Instant::now()) {
            self.dropped += 1;
            return;
        }
        let mut bytes = [0; MESSAGE];
        window.read(at, &mut bytes[..len]);
        let dropped = std::mem::take(&mut self.dropped);
        tracing::debug!(target: "keep", dropped, "{}", clean(&bytes[..len]));
    }

    fn take(&mut self, len: usize, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.filled).as_secs();
        if let Ok(seconds) = u32::try_from(seconds)
            && seconds > 0
        {
            let gain = PER_SECOND.saturating_mul(seconds as usize);
            self.budget = self.budget.saturating_add(gain).min(BURST);
            self.filled += Duration::from_secs(seconds.into());
        }
        match self.budget.checked_sub(len) {
            Some(rest) => {
                self.budget = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_allowed_again_later() {
        let mut log = Log::new();
        let now = log.filled;
        let shown = (0..10_000).filter(|_| log.take(1024, now)).count();
        assert_eq!(shown, BURST / 1024);
        let later = now + Duration::from_secs(2);
        let shown = (0..10_000).filter(|_| log.take(1024, later)).count();
        assert_eq!(shown, 2 * PER_SECOND / 1024);
    }
}
