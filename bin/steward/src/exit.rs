// SPDX-License-Identifier: Apache-2.0

//! Exit codes, and how errors are shown.
//!
//! The codes are few and a promise: help, manual and `docs/steward-cli.md` list them.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// A failure's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// What was to be checked does not hold.
    Check = 1,
    /// Wrong options (clap's own choice), or a policy with faults.
    Usage = 2,
    /// A file that was named cannot be used.
    Input = 3,
    /// The service would not be sound with what it was given.
    Unsound = 4,
    /// Anything else failed.
    Failed = 5,
}

/// The table of codes in help and manual.
pub(crate) const HELP: &str = "\
Exit codes:
  0  all is well; after SIGTERM or SIGINT, all requests were finished
  1  a check failed: a certificate or evidence does not hold
  2  the command line is wrong, or the policy has faults
  3  a file that was named cannot be used
  4  the service refuses to start: key, chain, policy and flags do not fit together
  5  something else failed, such as listening, or a hardware security module";

/// An error and the code that it ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// `None` if everything has been said already.
    error: Option<anyhow::Error>,
}

impl Failure {
    pub(crate) fn new(code: Code, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: Some(error.into()) }
    }

    /// A failure of one sentence.
    pub(crate) fn msg(code: Code, message: impl fmt::Display) -> Self {
        Self::new(code, anyhow::Error::msg(message.to_string()))
    }

    /// A failure that the command's output has told already.
    pub(crate) fn told(code: Code) -> Self {
        Self { code, error: None }
    }

    /// Shows it on stderr.
    pub(crate) fn print(&self) {
        let Some(error) = &self.error else { return };
        let mut text = format!("{}: {error}\n", Style::stderr().red("Error"));
        for cause in error.chain().skip(1) {
            text += &format!("  because: {}\n", cause.to_string().replace('\n', "\n           "));
        }
        // Whoever closed stderr does not want to know.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Code::Failed, error)
    }
}

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
    /// With this code and a sentence above it.
    fn or_exit<S: fmt::Display + Send + Sync + 'static>(
        self,
        code: Code,
        context: impl FnOnce() -> S,
    ) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit<S: fmt::Display + Send + Sync + 'static>(
        self,
        code: Code,
        context: impl FnOnce() -> S,
    ) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error.into().context(context())))
    }
}

/// Writes to stdout; whoever stops reading has read enough.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).or_exit(Code::Failed, || "cannot write to stdout")
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON for people and programs.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// Whether warnings are part of the log, whose lines have one form.
static IN_LOG: AtomicBool = AtomicBool::new(false);

/// Sends warnings to the log from now on.
pub(crate) fn warn_in_log() {
    IN_LOG.store(true, Ordering::Relaxed);
}

/// Says something on stderr that is no error.
pub(crate) fn warn(message: impl fmt::Display) {
    if IN_LOG.load(Ordering::Relaxed) {
        return tracing::warn!("{message}");
    }
    let _ = writeln!(io::stderr(), "{}: {message}", Style::stderr().yellow("warning"));
}

/// Colour, where a person looks at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style(bool);

impl Style {
    /// For text on stderr.
    pub(crate) fn stderr() -> Self {
        Self(allowed() && io::stderr().is_terminal())
    }

    /// For text on stdout.
    pub(crate) fn stdout() -> Self {
        Self(allowed() && io::stdout().is_terminal())
    }

    pub(crate) fn is_coloured(self) -> bool {
        self.0
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_code() {
        for code in [Code::Check, Code::Usage, Code::Input, Code::Unsound, Code::Failed] {
            assert!(
                HELP.contains(&format!("\n  {}  ", code as i32)),
                "{code:?} is not in the table"
            );
        }
    }
}
