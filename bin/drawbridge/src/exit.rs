// SPDX-License-Identifier: Apache-2.0

//! Exit codes.

use command_line::Codes;

/// A failure's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The store is not as it should be.
    Check = 1,
    /// Wrong options (clap's own choice), or a configuration with faults.
    Usage = 2,
    /// A file that was named cannot be used.
    Input = 3,
    /// The server would not be sound with what it was given.
    Unsound = 4,
    /// Anything else failed.
    Failed = 5,
}

impl Codes for Code {
    const USAGE: Self = Self::Usage;
    const INPUT: Self = Self::Input;
    const FAILED: Self = Self::Failed;

    fn number(self) -> u8 {
        self as u8
    }
}

/// An error and the code that it ends with.
pub(crate) type Failure = command_line::Failure<Code>;

/// The table of codes in help and manual.
pub(crate) const HELP: &str = "\
Exit codes:
  0  all is well; after SIGTERM or SIGINT, all requests were finished
  1  a check found faults in the store
  2  the command line is wrong, or the configuration has faults
  3  a file that was named cannot be used
  4  the server refuses to start: certificate, key and options do not fit together
  5  something else failed, such as the store, or listening";

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
