// SPDX-License-Identifier: Apache-2.0

//! Bars for transfers: on stderr, and only if that is a terminal.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use drawbridge_client::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// A bar for each file that is on its way.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn with(&self, name: &str, change: impl FnOnce(&ProgressBar)) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.get(name) {
            change(bar);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, name: &str, total: u64) {
        let form = "{msg:20} {bar:30} {bytes:>10} of {total_bytes:10} {bytes_per_sec:>12}";
        let style =
            ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Draws on stderr, and nothing at all if that is no terminal.
        let bar = self.all.add(ProgressBar::new(total).with_style(style));
        bar.set_message(name.to_owned());
        self.bars.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), bar);
    }

    fn at(&self, name: &str, position: u64) {
        self.with(name, |bar| bar.set_position(position));
    }

    fn end(&self, name: &str) {
        self.with(name, ProgressBar::finish);
    }
}
