// SPDX-License-Identifier: Apache-2.0

//! The `steward` program: the service that turns evidence into certificates, and the tools around it.
//!
//! Here are options, files and keys; what is decided, and why, is in the libraries, and so is the service.
//! There is one file per command.

#![forbid(unsafe_code)]

mod cli;
mod collateral;
mod commands;
mod exit;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod recognise;

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
    match cli.command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Init(args) => commands::init::run(&args),
        Command::Policy(command) => commands::policy::run(&command),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Evidence(command) => commands::evidence::run(&command),
        Command::Development(command) => commands::development::run(&command),
        Command::Manual(command) => command.run(Cli::command()),
    }
}

// The reference describes the program with all that it can have.
#[cfg(all(test, feature = "pkcs11"))]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_is_what_the_help_says() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        command_line::manual::check_reference(Cli::command(), &docs).unwrap();
    }
}
