// SPDX-License-Identifier: Apache-2.0

//! The way of a workload into an empty Keep: evidence, certificate, release, digests, compiler.

#![forbid(unsafe_code)]

use keep_launch::{Event, Evidence};

/// What a Keep asks of who started it, and tells it.
pub trait Host: Send + Sync {
    /// Evidence of the platform with these report data.
    ///
    /// # Errors
    ///
    /// For a person: why the question could not be asked, or the answer not be read.
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, String>;

    /// Something happened. There is no answer, and nothing to wait for.
    fn event(&self, event: Event);
}
