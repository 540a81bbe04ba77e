// SPDX-License-Identifier: Apache-2.0

//! The `drawbridge` program: a repository of workloads that releases them to attested Keeps.
//!
//! Here are options and files; the service and its store are libraries, which `enarx demo` starts in its
//! own process as well.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod exit;
mod options;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use command_line::log::{self, Kind, Log};
use command_line::manual;

use cli::{Cli, Command};
use exit::Failure;

fn main() -> ExitCode {
    // Ends the program by itself if the command line is wrong, or asks for help.
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    log::start(Log {
        filter: cli.log_filter.as_deref(),
        format: cli.log_format,
        kind: match cli.command {
            Command::Serve(_) => Kind::Service,
            _ => Kind::Command,
        },
    })?;
    let config = cli.config.as_deref();
    match cli.command {
        Command::Serve(options) => commands::serve(*options, config),
        Command::Gc(args) => commands::gc(&args, config),
        Command::Check(args) => commands::check(&args, config),
        Command::Completions { shell } => manual::completions(Cli::command(), shell),
        Command::Man { dir } => manual::pages(Cli::command(), dir.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// How `docs/drawbridge-cli.md` begins.
    const HEAD: &str = "# The `drawbridge` command\n\n\
                        Made from the definition of the command line. What the options are good \
                        for, with\nexamples, is in [drawbridge.md](drawbridge.md).\n";

    #[test]
    fn the_reference_is_what_the_help_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/drawbridge-cli.md");
        let wanted = manual::reference(Cli::command(), HEAD);
        if std::env::var_os("DRAWBRIDGE_WRITE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "docs/drawbridge-cli.md is not what the help says; write it anew with \
             `DRAWBRIDGE_WRITE_DOCS=1 cargo test -p drawbridge reference`"
        );
    }
}
