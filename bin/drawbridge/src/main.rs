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
        Command::Manual(command) => command.run(Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_is_what_the_help_says() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        command_line::manual::check_reference(Cli::command(), &docs).unwrap();
    }
}
