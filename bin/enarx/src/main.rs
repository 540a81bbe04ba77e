// SPDX-License-Identifier: Apache-2.0

//! The `enarx` program: the host agent, and the tenant's tools beside it.
//!
//! Nothing happens at the start that the command does not need, because a warm `enarx run` is over
//! in milliseconds. There is one file per command; what they share lies beside them.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing runs there yet"))]

mod backends;
mod cache;
mod cli;
mod config;
mod dirs;
mod exit;
mod log;
mod manual;
mod measure;
mod platform;
mod programs;
#[cfg(target_os = "linux")]
mod run;
mod units;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use exit::{Failure, Outcome};

fn main() -> ExitCode {
    match main_inner() {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Workload(code)) => ExitCode::from(exit::workload_code(code)),
        #[cfg(target_os = "linux")]
        Err(Failure { signal: Some(signal), .. }) => run::die_by(signal),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code as u8)
        }
    }
}

fn main_inner() -> Result<Outcome, Failure> {
    // Ends the program by itself if the command line is wrong, or asks for help.
    let cli = Cli::parse();
    log::start(cli.log_filter.as_deref(), &cli.command)?;
    match cli.command {
        #[cfg(target_os = "linux")]
        Command::Run(args) => return run::run(&args),
        #[cfg(not(target_os = "linux"))]
        Command::Run(args) => backends::choose(args.backend.as_deref(), None).map(drop)?,
        Command::Config(command) => config::run(&command)?,
        Command::Platform(command) => platform::run(&command)?,
        Command::Measure(args) => measure::run(&args)?,
        Command::Cache(command) => cache::run(&command)?,
        Command::Completions { shell } => manual::completions(shell)?,
        Command::Man { dir } => manual::pages(dir.as_deref())?,
    }
    Ok(Outcome::Done)
}
