// SPDX-License-Identifier: Apache-2.0

//! What this program asks of its host, and tells it, while it runs.

use keep_deploy::Host;
use keep_engine::program;
use keep_launch::{Event, Evidence};

/// The descriptors that `keep-launch` fixes for that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptors;

impl Host for Descriptors {
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, String> {
        program::evidence(report_data)
    }

    fn event(&self, event: Event) {
        program::event(&event);
    }
}
