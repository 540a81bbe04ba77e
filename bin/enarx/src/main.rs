// SPDX-License-Identifier: Apache-2.0

//! The `enarx` program: the host agent, and the tenant's tools beside it.
//!
//! Nothing happens at the start that the command does not need, because a warm `enarx run` is over
//! in milliseconds. There is one file per command; what they share lies beside them.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing runs there yet"))]

#[cfg(target_os = "linux")]
mod agent;
mod backends;
mod cache;
mod cli;
mod config;
#[cfg(target_os = "linux")]
mod demo;
#[cfg(target_os = "linux")]
mod deploy;
#[cfg(target_os = "linux")]
mod dev;
mod dirs;
mod exit;
mod hardware;
mod key;
mod login;
mod measure;
mod package;
mod platform;
mod programs;
mod repo;
#[cfg(target_os = "linux")]
mod run;
mod sign;
mod transfer;
mod units;
mod user;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use command_line::log::{self, Kind, Log, LogFormat};

use cli::{Cli, Command};
use exit::{Failure, Outcome};

fn main() -> ExitCode {
    // Before there are threads, files and options: what an enclave lives in has none of them.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    if std::env::args_os().nth(1).is_some_and(|first| first == backends::CARRIER) {
        return ExitCode::from(backend_sgx::carry());
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    if std::env::args_os().nth(1).is_some_and(|first| first == backends::MACHINE) {
        backend_sgx_sim::machine();
    }
    match main_inner() {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Workload(code)) => ExitCode::from(exit::workload_code(code)),
        #[cfg(target_os = "linux")]
        Err(Failure { signal: Some(signal), .. }) => agent::die_by(signal),
        Err(failure) => failure.exit(),
    }
}

fn main_inner() -> Result<Outcome, Failure> {
    // Ends the program by itself if the command line is wrong, or asks for help.
    let cli = Cli::parse();
    log::start(Log {
        filter: cli.log_filter.as_deref(),
        format: LogFormat::Text,
        kind: match &cli.command {
            Command::Run(args) if args.quiet => Kind::Quiet,
            _ => Kind::Command,
        },
    })?;
    match cli.command {
        #[cfg(target_os = "linux")]
        Command::Run(args) => return run::run(&args),
        #[cfg(target_os = "linux")]
        Command::Deploy(args) => return deploy::run(&args),
        #[cfg(target_os = "linux")]
        Command::Demo(args) => demo::run(&args)?,
        #[cfg(target_os = "linux")]
        Command::Dev(command) => dev::run(&command)?,
        #[cfg(not(target_os = "linux"))]
        Command::Run(RunArgs { backend, .. })
        | Command::Deploy(DeployArgs { backend, .. })
        | Command::Demo(DemoArgs { backend, .. }) => {
            backends::choose(backend.as_deref(), None).map(drop)?;
        }
        #[cfg(not(target_os = "linux"))]
        Command::Dev(_) => backends::choose(None, None).map(drop)?,
        Command::Config(command) => config::run(&command)?,
        Command::Platform(command) => platform::run(&command)?,
        Command::Measure(args) => measure::run(&args)?,
        Command::User(command) => user::run(&command)?,
        Command::Package(command) => package::run(&command)?,
        Command::Repo(command) => repo::run(&command)?,
        Command::Key(command) => key::run(&command)?,
        Command::Sign(args) => sign::run(&args)?,
        Command::Cache(command) => cache::run(&command)?,
        Command::Manual(command) => command.run(Cli::command())?,
    }
    Ok(Outcome::Done)
}
