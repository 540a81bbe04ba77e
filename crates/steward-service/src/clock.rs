// SPDX-License-Identifier: Apache-2.0

//! The only place that asks what time it is: the libraries are told.

use std::time::{SystemTime, UNIX_EPOCH};

use evidence_claims::Time;

/// The time by this machine's clock.
pub fn now() -> Time {
    // A clock before 1970 is a clock that nobody has set. Nothing is valid then, so nothing is issued.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_unix(since.as_secs())
}
