// SPDX-License-Identifier: Apache-2.0

//! The command line: what can be typed, and what help, manual and completions say about it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use command_line::Codes as _;
use command_line::log::LogFormat;
use command_line::manual::ManualCommand;

use crate::exit::Code;
use crate::options::Options;

/// Store workloads, and release them to those who may have them.
///
/// A repository of workloads with users, immutable versions and content digests. A workload can be
/// public, for its owner alone, or released only to Keeps whose certificate shows that they are
/// what its owner demands.
#[derive(Debug, Parser)]
#[command(name = "drawbridge", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_long_help = Code::table())]
pub(crate) struct Cli {
    /// What is logged to stderr, for example `debug` or `drawbridge_server=debug`; also `RUST_LOG`
    #[arg(long, global = true, env = "DRAWBRIDGE_LOG", value_name = "FILTER")]
    #[arg(hide_env_values = true)]
    pub(crate) log_filter: Option<String>,

    /// The form of the log
    #[arg(long, global = true, env = "DRAWBRIDGE_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(value_enum, default_value_t = LogFormat::Text, hide_env_values = true)]
    pub(crate) log_format: LogFormat,

    /// Read what flags and variables do not say from this TOML file
    #[arg(long, global = true, env = "DRAWBRIDGE_CONFIG", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(Box<Options>),
    Gc(GcArgs),
    Check(CheckArgs),
    #[command(flatten)]
    Manual(ManualCommand),
}

/// Remove what nothing names any more
///
/// Servers do this by themselves. It can run at any time, beside servers too.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// The store, as for `serve`
    #[arg(long, env = "DRAWBRIDGE_STORE", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,

    /// Leave what is younger than so many seconds. Less than any request takes is not safe beside
    /// servers
    #[arg(long, value_name = "SECONDS", default_value_t = 86400)]
    pub(crate) grace: u64,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check that the store is whole
///
/// Looks at every tag, every file in it and every content. Nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The store, as for `serve`
    #[arg(long, env = "DRAWBRIDGE_STORE", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,

    /// Also read every content, and compare its digest
    #[arg(long)]
    pub(crate) read: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
