// SPDX-License-Identifier: Apache-2.0

//! What this program asks of its host, and tells it, while it runs.
//!
//! Both go over descriptors that a plain run does not have; then there is no evidence, and nobody listens.
//! The program waits for evidence, and with it the workload: who makes it wait is the host, which can stop
//! a Keep anyway, and it is asked at the start and a few times a day.

use keep_deploy::Host;
use keep_engine::program::{self, descriptor};
use keep_launch::{
    Event, Evidence, FD_EVENTS, FD_EVIDENCE, FD_REPORT_DATA, MAX_EVENT, MAX_EVIDENCE,
};

/// The descriptors 7, 8 and 9.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptors;

impl Host for Descriptors {
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, String> {
        let failed = |error: std::io::Error| format!("the host agent gives none ({error})");
        program::write_all(descriptor(FD_REPORT_DATA), report_data).map_err(failed)?;
        let frame = program::read_frame(descriptor(FD_EVIDENCE), MAX_EVIDENCE).map_err(failed)?;
        Evidence::decode(&frame).map_err(|error| error.to_string())
    }

    fn event(&self, event: Event) {
        let encoding = event.encode();
        if encoding.len() <= MAX_EVENT {
            // Where nobody listens there is no descriptor, and nothing is lost.
            let _ = program::write_all(descriptor(FD_EVENTS), &keep_launch::frame(&encoding));
        }
    }
}
