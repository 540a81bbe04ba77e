// SPDX-License-Identifier: Apache-2.0

//! Messages of a Keep's kernel: shown for debugging, at a rate that cannot drown a log.

use sallyport::{RawWindow, Window};

use crate::ended::clean;
use crate::rate::Rate;

/// Bytes that are shown at once, and then each second.
const BURST: u32 = 64 << 10;
const PER_SECOND: u32 = 16 << 10;
/// Most bytes of one message that are shown.
const MESSAGE: usize = 1024;

/// What is left to be shown.
#[derive(Debug)]
pub(crate) struct Log {
    rate: Rate,
    dropped: u64,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { rate: Rate::new(BURST, PER_SECOND), dropped: 0 }
    }

    /// Shows a message, or its beginning, or counts it.
    pub(crate) fn write(&mut self, window: RawWindow, at: usize, len: usize) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let len = len.min(MESSAGE);
        if !self.rate.take(len as u32) {
            self.dropped += 1;
            return;
        }
        let mut bytes = [0; MESSAGE];
        window.read(at, &mut bytes[..len]);
        let dropped = std::mem::take(&mut self.dropped);
        tracing::debug!(target: "keep", dropped, "{}", clean(&bytes[..len]));
    }
}
