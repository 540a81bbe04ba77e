// SPDX-License-Identifier: Apache-2.0

//! Exit codes.
//!
//! A workload's exit code passes through, so a script must be able to tell it from a failure of
//! ours. WASI allows workloads 0 to 125; ours are few, lie at the upper end of that range, and are
//! a promise: `docs/cli.md` and the manual list them.

use command_line::Codes;

/// A failure's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Wrong options; clap's own choice.
    Usage = 2,
    /// Something failed on the host that no other code stands for, or a service did.
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
}
