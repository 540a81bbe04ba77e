// SPDX-License-Identifier: Apache-2.0

//! The command line: what can be typed, and what help, manual and completions say about it.
//!
//! Options are parsed into what they mean right here, so that the commands see no text. Names that
//! are published are kept (`--backend`, `--wasmcfgfile`, the `ENARX_*` variables).

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::backends::NAMES;
use crate::exit;
use crate::units::{self, Dir, EnvVar};

/// Run WebAssembly applications in Keeps.
///
/// A Keep is a protected area that holds nothing but a small kernel, a WebAssembly runtime and the
/// application. With a hardware backend the host can neither read nor alter it.
#[derive(Debug, Parser)]
#[command(name = "enarx", version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What is logged to stderr, for example `debug` or `enarx=trace,backend_kvm=debug`
    #[arg(long, global = true, env = "ENARX_LOG", value_name = "FILTER", hide_env_values = true)]
    pub(crate) log_filter: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<RunArgs>),
    /// Work with configuration files (Enarx.toml)
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at this machine
    #[command(subcommand)]
    Platform(PlatformCommand),
    Measure(MeasureArgs),
    /// Work with the cache of compiled modules
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write all of them into a folder
    Man {
        /// Where the pages go, one for each command
        #[arg(value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// Run a WebAssembly application in a Keep
///
/// The application is a WASI preview 1 command or a WASI 0.2 command component, in binary or text
/// form. It is compiled in one Keep, kept in a cache, and run in another Keep. Its standard streams
/// are those of this program.
#[derive(Debug, Args)]
#[command(after_long_help = exit::HELP)]
pub(crate) struct RunArgs {
    /// The application: a core module or a component, .wasm or .wat
    #[arg(value_name = "MODULE", value_hint = ValueHint::FilePath)]
    pub(crate) module: PathBuf,

    /// Arguments for the application, after those of the configuration
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,

    /// The kind of Keep; without this option the best one that works here
    #[arg(long, env = "ENARX_BACKEND", value_name = "NAME")]
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    pub(crate) backend: Option<String>,

    /// The application's configuration
    #[arg(long, alias = "wasmcfgfile", env = "ENARX_WASMCFGFILE", value_name = "ENARX.TOML")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Set a variable of the application's environment, or pass one on if only named
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = units::env_var)]
    pub(crate) env: Vec<EnvVar>,

    /// Give the application a folder: a copy of HOST in the Keep, which is never written back
    #[arg(long = "dir", value_name = "HOST[::GUEST]", value_parser = units::dir)]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dirs: Vec<Dir>,

    /// Most memory that the Keep may take; nothing is taken that is not used
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = units::size)]
    pub(crate) memory: u64,

    /// End the application after this time, for example 500ms, 30s or 1h30m; compiling it does not
    /// count
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) timeout: Option<Duration>,

    /// Compile anew and keep nothing
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Say nothing about the choice of the backend, and no warnings
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a configuration with every key explained; never overwrites a file
    Init {
        /// The file
        #[arg(default_value = "Enarx.toml", value_hint = ValueHint::FilePath)]
        path: PathBuf,
    },
    /// Check a configuration and show every fault
    Check {
        /// The file
        #[arg(default_value = "Enarx.toml", value_hint = ValueHint::FilePath)]
        path: PathBuf,
    },
    /// Print the JSON schema of the configuration
    Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlatformCommand {
    /// Show for each backend whether it works here, and what to do if not
    Info {
        /// Print JSON
        #[arg(long, short)]
        json: bool,
    },
}

/// Print the digests of the Keeps' initial images
///
/// They are computed by the code that builds the images of real launches, on any machine.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// Only for this kind of Keep
    #[arg(long, env = "ENARX_BACKEND", value_name = "NAME")]
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    pub(crate) backend: Option<String>,

    /// Print JSON
    #[arg(long, short)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show where the cache is and what it holds
    Info {
        /// Print JSON
        #[arg(long, short)]
        json: bool,
    },
    /// Remove all that the cache holds
    Clear,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let args = ["enarx", "run"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| match cli.command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn arguments_of_the_workload_come_after_two_dashes() {
        let args = run(&["x.wasm", "--memory", "1GiB", "--", "-a", "--", "--memory"]).unwrap();
        assert_eq!(args.args, ["-a", "--", "--memory"]);
        assert_eq!(args.memory, 1 << 30);
        assert!(run(&["x.wasm", "a"]).is_err());
        assert!(run(&["--", "x.wasm"]).is_err());
    }

    #[test]
    fn published_names_are_understood() {
        let args = run(&["--wasmcfgfile", "Enarx.toml", "--backend", "kvm", "x.wasm"]).unwrap();
        assert_eq!(args.config, Some("Enarx.toml".into()));
        assert_eq!(args.backend.as_deref(), Some("kvm"));
    }

    #[test]
    fn unknown_backends_are_refused() {
        let error = run(&["--backend", "sgx9", "x.wasm"]).unwrap_err();
        assert_eq!(error.exit_code(), exit::Code::Usage as i32);
    }
}
