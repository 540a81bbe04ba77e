// SPDX-License-Identifier: Apache-2.0

//! Errors that end a program: what is shown, and the exit code.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use crate::{Codes, Style};

/// An error and the code that the program ends with.
#[derive(Debug)]
pub struct Failure<C> {
    /// The exit code.
    pub code: C,
    /// `None` if everything has been said already.
    error: Option<anyhow::Error>,
    /// Shown below the error as it is.
    details: Option<String>,
    help: Option<String>,
    /// The signal that asked for the end, by which the program is to end then, without a word.
    pub signal: Option<i32>,
}

impl<C: Codes> Failure<C> {
    /// With an error, whose causes are shown below it.
    pub fn new(code: C, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: Some(error.into()), details: None, help: None, signal: None }
    }

    /// A failure of one sentence.
    pub fn msg(code: C, message: impl fmt::Display) -> Self {
        Self::new(code, anyhow::Error::msg(message.to_string()))
    }

    /// A failure that the command's output has told already.
    pub fn told(code: C) -> Self {
        Self { code, error: None, details: None, help: None, signal: None }
    }

    /// A failure with a text below it that has a form of its own, such as a backtrace.
    pub fn with_details(code: C, summary: String, details: &str) -> Self {
        let details = Some(details.trim_end().to_owned());
        Self { details, ..Self::msg(code, summary) }
    }

    /// No failure of anything: somebody wanted an end.
    pub fn by_signal(signal: i32) -> Self {
        Self { signal: Some(signal), ..Self::msg(C::FAILED, format!("ended by signal {signal}")) }
    }

    /// A failure whose causes are the lines of a message.
    ///
    /// An indented line belongs to the cause above it.
    pub fn with_causes(code: C, summary: String, causes: &str) -> Self {
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

    /// Says what to do about it, in a last line of its own.
    #[must_use]
    pub fn help(self, help: impl fmt::Display) -> Self {
        Self { help: Some(help.to_string()), ..self }
    }

    /// A sentence above all that is said already.
    #[must_use]
    pub fn context(self, context: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self { error: self.error.map(|error| error.context(context)), ..self }
    }

    /// The whole chain in one line, for a warning.
    pub fn line(&self) -> String {
        self.error.as_ref().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    /// Shows it on stderr.
    pub fn print(&self) {
        // Whoever closed stderr does not want to know.
        let _ = write!(std::io::stderr(), "{}", self.render(Style::stderr()));
    }

    /// Shows it, and is the code to end with.
    pub fn exit(&self) -> ExitCode {
        self.print();
        ExitCode::from(self.code.number())
    }

    fn render(&self, style: Style) -> String {
        let Some(error) = &self.error else { return String::new() };
        let mut causes = error.chain();
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
        if let Some(help) = &self.help {
            text += &format!("\n{}: {}\n", style.green("help"), help.replace('\n', "\n      "));
        }
        text
    }
}

// `Failure` is no `std::error::Error`, therefore `?` can turn every error into one.
impl<C: Codes, E: Into<anyhow::Error>> From<E> for Failure<C> {
    fn from(error: E) -> Self {
        Self::new(C::FAILED, error)
    }
}

/// Gives an error its exit code.
pub trait OrExit<T> {
    /// As it is, with this code.
    ///
    /// # Errors
    ///
    /// The error that is there.
    fn or_exit<C: Codes>(self, code: C) -> Result<T, Failure<C>>;

    /// With this code and a sentence above it.
    ///
    /// # Errors
    ///
    /// The error that is there.
    fn or_exit_with<C: Codes, S: fmt::Display + Send + Sync + 'static>(
        self,
        code: C,
        context: impl FnOnce() -> S,
    ) -> Result<T, Failure<C>>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit<C: Codes>(self, code: C) -> Result<T, Failure<C>> {
        self.map_err(|error| Failure::new(code, error))
    }

    fn or_exit_with<C: Codes, S: fmt::Display + Send + Sync + 'static>(
        self,
        code: C,
        context: impl FnOnce() -> S,
    ) -> Result<T, Failure<C>> {
        self.map_err(|error| Failure::new(code, error.into().context(context())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::tests::Code;

    #[test]
    fn one_cause_has_no_number() {
        let failure = Failure::with_causes(Code::Input, "refused".into(), "no such import\n");
        assert_eq!(
            failure.render(Style::PLAIN),
            "Error: refused\n\nCaused by:\n    no such import\n"
        );
        assert_eq!(failure.line(), "refused: no such import");
    }

    #[test]
    fn causes_are_numbered_and_hang() {
        let message = "cannot load\n    the file\nnot valid";
        let failure = Failure::with_causes(Code::Input, "refused".into(), message);
        assert_eq!(
            failure.render(Style::PLAIN),
            "Error: refused\n\nCaused by:\n    0: cannot load\n           the file\n    1: not valid\n"
        );
    }

    #[test]
    fn details_are_shown_as_they_are() {
        let details = "wasm backtrace:\n    0: 0x1d - main\n\nCaused by:\n    unreachable\n\n";
        let failure = Failure::with_details(Code::Failed, "trapped".into(), details);
        assert_eq!(
            failure.render(Style::PLAIN),
            "Error: trapped\n\nwasm backtrace:\n    0: 0x1d - main\n\nCaused by:\n    unreachable\n"
        );
    }

    #[test]
    fn help_comes_last() {
        let failure = Failure::with_causes(Code::Failed, "a".into(), "b").help("do this\nand that");
        assert_eq!(
            failure.render(Style::PLAIN),
            "Error: a\n\nCaused by:\n    b\n\nhelp: do this\n      and that\n"
        );
    }

    #[test]
    fn an_empty_message_is_no_panic() {
        let failure = Failure::with_causes(Code::Failed, "trapped".into(), "");
        assert_eq!(failure.render(Style::PLAIN), "Error: trapped\n");
        assert_eq!(Failure::told(Code::Failed).render(Style::PLAIN), "");
    }

    #[test]
    fn colour_is_only_for_the_word() {
        let failure = Failure::msg(Code::Failed, "x");
        assert_eq!(failure.render(Style::COLOURED), "\x1b[1;31mError\x1b[0m: x\n");
    }

    #[test]
    fn errors_get_the_code_that_is_said() {
        let error = || Err::<(), _>(std::io::Error::other("x"));
        assert_eq!(error().or_exit(Code::Input).unwrap_err().code, Code::Input);
        let failure = error().or_exit_with(Code::Input, || "y").unwrap_err();
        assert_eq!(failure.line(), "y: x");
        let failure: Failure<Code> = error().unwrap_err().into();
        assert_eq!(failure.code, Code::Failed);
    }
}
