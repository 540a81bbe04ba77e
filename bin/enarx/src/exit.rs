// SPDX-License-Identifier: Apache-2.0

//! Exit codes, and how errors are shown.
//!
//! A workload's exit code passes through, so a script must be able to tell it from a failure of
//! ours. WASI allows workloads 0 to 125; ours are few, lie at the upper end of that range, and are
//! a promise: `docs/cli.md` and the manual list them.

use std::fmt;
use std::io::{IsTerminal, Write};

/// A failure's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Wrong options; clap's own choice.
    Usage = 2,
    /// Something failed on the host that no other code stands for.
    Failed = 120,
    /// A file or folder that was named cannot be used.
    Input = 121,
    /// The workload was refused before it ran.
    Refused = 122,
    /// The backend does not work on this machine.
    Backend = 123,
    /// The workload did not end in time.
    Timeout = 124,
    /// The Keep ended without a result.
    Keep = 125,
    /// The workload trapped: what a shell shows for SIGABRT, as Wasmtime does.
    Trap = 134,
}

/// The table of codes in help and manual.
pub(crate) const HELP: &str = "\
Exit codes:
  0–125  the workload's own exit code
  2      the command line is wrong
  120    something failed on the host
  121    a file or folder named on the command line cannot be used (Enarx.toml, module, --dir)
  122    the workload was refused: not valid, unknown imports, too much memory
  123    the backend does not work on this machine
  124    the workload did not end within --timeout
  125    the Keep ended without a result
  134    the workload trapped
  A Keep ended by SIGINT, SIGTERM or SIGHUP ends enarx by the same signal (130, 143 or 129 in a
  shell). An error message on stderr tells our codes from the workload's.";

/// An error and the code that it ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    error: anyhow::Error,
    /// Shown below the error as it is.
    details: Option<String>,
    /// The signal that asked for the end, by which the program ends then, without a word.
    pub(crate) signal: Option<i32>,
}

impl Failure {
    pub(crate) fn new(code: Code, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), details: None, signal: None }
    }

    /// A failure with a text below it that has a form of its own, such as a backtrace.
    pub(crate) fn with_details(code: Code, summary: String, details: &str) -> Self {
        let details = Some(details.trim_end().to_owned());
        Self { details, ..Self::new(code, anyhow::Error::msg(summary)) }
    }

    /// No failure of anything: somebody wanted an end.
    pub(crate) fn by_signal(signal: i32) -> Self {
        let error = anyhow::anyhow!("ended by signal {signal}");
        Self { signal: Some(signal), ..Self::new(Code::Failed, error) }
    }

    /// The whole chain in one line, for a warning.
    pub(crate) fn line(&self) -> String {
        format!("{:#}", self.error)
    }

    /// A failure whose causes are the lines of a message.
    ///
    /// An indented line belongs to the cause above it.
    pub(crate) fn with_causes(code: Code, summary: String, causes: &str) -> Self {
        let mut chain: Vec<String> = Vec::new();
        for line in causes.trim_end().lines() {
            match chain.last_mut() {
                Some(last) if line.starts_with(char::is_whitespace) => {
                    last.push('\n');
                    last.push_str(line);
                }
                _ => chain.push(line.to_owned()),
            }
        }
        chain.insert(0, summary);
        let error = chain.into_iter().rev().fold(None, |inner: Option<anyhow::Error>, message| {
            Some(match inner {
                Some(inner) => inner.context(message),
                None => anyhow::Error::msg(message),
            })
        });
        Self::new(code, error.unwrap_or_else(|| anyhow::Error::msg("no message")))
    }

    /// Shows it on stderr.
    pub(crate) fn print(&self) {
        // Whoever closed stderr does not want to know.
        let _ = write!(std::io::stderr(), "{}", self.render(Style::stderr()));
    }

    fn render(&self, style: Style) -> String {
        let mut causes = self.error.chain();
        let mut text = String::new();
        if let Some(first) = causes.next() {
            text += &format!("{}: {first}\n", style.red("Error"));
        }
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        if !causes.is_empty() {
            text += "\nCaused by:\n";
        }
        for (number, cause) in causes.iter().enumerate() {
            let mark = if causes.len() == 1 { String::new() } else { format!("{number}: ") };
            let hanging = " ".repeat(4 + mark.len());
            text += &format!("    {mark}{}\n", cause.replace('\n', &format!("\n{hanging}")));
        }
        if let Some(details) = &self.details {
            text += &format!("\n{details}\n");
        }
        text
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Code::Failed, error)
    }
}

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
    /// As it is, with this code.
    fn or_exit(self, code: Code) -> Result<T, Failure>;

    /// With this code and a sentence above it.
    fn or_exit_with<S: fmt::Display + Send + Sync + 'static>(
        self,
        code: Code,
        context: impl FnOnce() -> S,
    ) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: Code) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error))
    }

    fn or_exit_with<S: fmt::Display + Send + Sync + 'static>(
        self,
        code: Code,
        context: impl FnOnce() -> S,
    ) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error.into().context(context())))
    }
}

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it was asked for.
    Done,
    /// The workload ended with this code.
    Workload(i32),
}

/// A workload's exit code as a process can give it.
///
/// Only the low byte arrives at whoever waits; a failure must not become a success by that.
pub(crate) fn workload_code(code: i32) -> u8 {
    match (code, code as u8) {
        (0, _) => 0,
        (_, 0) => 1,
        (_, low) => low,
    }
}

/// Says something on stderr that is no error.
pub(crate) fn warn(message: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}: {message}", Style::stderr().yellow("warning"));
}

/// Colour, where a person looks at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style(bool);

impl Style {
    /// For text on stderr.
    pub(crate) fn stderr() -> Self {
        Self(allowed() && std::io::stderr().is_terminal())
    }

    /// For text on stdout.
    pub(crate) fn stdout() -> Self {
        Self(allowed() && std::io::stdout().is_terminal())
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

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
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

    const DOCS: &str = include_str!("../../../docs/cli.md");

    #[test]
    fn help_and_docs_name_every_code() {
        for code in [
            Code::Usage,
            Code::Failed,
            Code::Input,
            Code::Refused,
            Code::Backend,
            Code::Timeout,
            Code::Keep,
            Code::Trap,
        ] {
            let line = format!("\n  {:<6} ", code as i32);
            assert!(HELP.contains(&line), "{code:?} is not in the table");
            let row = format!("\n| {} |", code as i32);
            assert!(DOCS.contains(&row), "{code:?} is not in docs/cli.md");
        }
    }

    #[test]
    fn a_failing_workload_stays_one() {
        assert_eq!(workload_code(0), 0);
        assert_eq!(workload_code(42), 42);
        assert_eq!(workload_code(255), 255);
        assert_eq!(workload_code(256), 1);
        assert_eq!(workload_code(-1), 255);
        assert_eq!(workload_code(257), 1);
    }

    #[test]
    fn one_cause_has_no_number() {
        let failure = Failure::with_causes(Code::Refused, "refused".into(), "no such import\n");
        assert_eq!(
            failure.render(Style(false)),
            "Error: refused\n\nCaused by:\n    no such import\n"
        );
    }

    #[test]
    fn causes_are_numbered_and_hang() {
        let message = "cannot load\n    the file\nnot valid";
        let failure = Failure::with_causes(Code::Refused, "refused".into(), message);
        assert_eq!(
            failure.render(Style(false)),
            "Error: refused\n\nCaused by:\n    0: cannot load\n           the file\n    1: not valid\n"
        );
    }

    #[test]
    fn details_are_shown_as_they_are() {
        let details = "wasm backtrace:\n    0: 0x1d - main\n\nCaused by:\n    unreachable\n\n";
        let failure = Failure::with_details(Code::Trap, "trapped".into(), details);
        assert_eq!(
            failure.render(Style(false)),
            "Error: trapped\n\nwasm backtrace:\n    0: 0x1d - main\n\nCaused by:\n    unreachable\n"
        );
    }

    #[test]
    fn an_empty_message_is_no_panic() {
        let failure = Failure::with_causes(Code::Trap, "trapped".into(), "");
        assert_eq!(failure.render(Style(false)), "Error: trapped\n");
    }

    #[test]
    fn colour_is_only_for_the_word() {
        let failure = Failure::new(Code::Failed, anyhow::anyhow!("x"));
        assert_eq!(failure.render(Style(true)), "\x1b[1;31mError\x1b[0m: x\n");
    }
}
