// SPDX-License-Identifier: Apache-2.0

//! Colour, where a person looks at it.

use std::io::{self, IsTerminal};

/// Whether text is coloured: on a terminal, unless `NO_COLOR` or `TERM=dumb` says no.
#[derive(Debug, Clone, Copy)]
pub struct Style(bool);

impl Style {
    /// No colour.
    pub const PLAIN: Self = Self(false);

    #[cfg(test)]
    pub(crate) const COLOURED: Self = Self(true);

    /// For text on stderr.
    pub fn stderr() -> Self {
        Self(allowed() && io::stderr().is_terminal())
    }

    /// For text on stdout.
    pub fn stdout() -> Self {
        Self(allowed() && io::stdout().is_terminal())
    }

    /// Whether there is colour.
    pub fn is_coloured(self) -> bool {
        self.0
    }

    /// What is wrong.
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// What deserves attention.
    pub fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// What is as it should be.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What may be overlooked.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, colour: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.into(),
        }
    }
}

fn allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
