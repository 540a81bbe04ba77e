// SPDX-License-Identifier: Apache-2.0

//! Exit codes.
//!
//! A workload's exit code passes through, so a script must be able to tell it from a failure of
//! ours. WASI allows workloads 0 to 125; ours are few, lie at the upper end of that range, and are
//! a promise: `docs/cli.md` and the manual list them.

command_line::exit_codes! {
    "0–125" => "the workload's own exit code",
    Usage = 2 => "the command line is wrong",
    Failed = 120 => "something failed on the host",
    Input = 121 =>
        "a file or folder named on the command line cannot be used (Enarx.toml, module, --dir)",
    Refused = 122 => "the workload was refused: not valid, unknown imports, too much memory",
    Backend = 123 => "the backend does not work on this machine",
    Timeout = 124 => "the workload did not end within --timeout",
    Keep = 125 => "the Keep ended without a result",
    // What a shell shows for SIGABRT, as Wasmtime does.
    Trap = 134 => "the workload trapped";
    "  A Keep ended by SIGINT, SIGTERM or SIGHUP ends enarx by the same signal (130, 143 or 129 in a
  shell). An error message on stderr tells our codes from the workload's."
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

#[cfg(test)]
mod tests {
    use command_line::Codes as _;

    use super::*;

    const DOCS: &str = include_str!("../../../docs/cli.md");

    #[test]
    fn the_manual_names_every_code() {
        for (code, _) in Code::ALL {
            let row = format!("\n| {} |", code.number());
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
