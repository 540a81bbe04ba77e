// SPDX-License-Identifier: Apache-2.0

//! Stands for `signals` where no backend can launch a Keep, so that there is nothing to end.

use std::time::Duration;

use anyhow::Result;
use keep_backend::Killer;

/// Why a Keep was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "no Keep can be interrupted here")]
pub(super) enum Interruption {
    /// This signal came.
    Signal(i32),
    /// The time is over.
    Timeout,
}

/// Waits for nothing.
pub(super) struct Watch;

impl Watch {
    pub(super) fn start() -> Result<Self> {
        Ok(Self)
    }

    pub(super) fn guard(
        &self,
        _killer: Box<dyn Killer>,
        _limit: Option<Duration>,
    ) -> Result<Guard> {
        Ok(Guard)
    }
}

/// A Keep that nobody ends.
pub(super) struct Guard;

impl Guard {
    pub(super) fn finish(self) -> Option<Interruption> {
        None
    }
}

/// Ends this program as if by a signal.
pub(crate) fn die_by(signal: i32) -> ! {
    std::process::exit(128 + signal)
}
