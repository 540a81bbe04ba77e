// SPDX-License-Identifier: Apache-2.0

//! The `steward` program: the service that turns evidence into certificates, and the tools around it.
//!
//! Here are clock, files, sockets and keys; what is decided, and why, is in the libraries. There is one
//! file per command, and one folder for the service.

#![forbid(unsafe_code)]

mod claims;
mod cli;
mod clock;
mod collateral;
mod commands;
mod exit;
mod files;
mod log;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod recognise;
mod service;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use exit::Failure;

fn main() -> ExitCode {
    // Ends the program by itself if the command line is wrong, or asks for help.
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code as u8)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let is_service = matches!(cli.command, Command::Serve(_));
    log::start(cli.log_filter.as_deref(), cli.log_format, is_service)?;
    match cli.command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Init(args) => commands::init::run(&args),
        Command::Policy(command) => commands::policy::run(&command),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Evidence(command) => commands::evidence::run(&command),
        Command::Development(command) => commands::development::run(&command),
        Command::Completions { shell } => commands::manual::completions(shell),
        Command::Man { dir } => commands::manual::pages(dir.as_deref()),
    }
}
