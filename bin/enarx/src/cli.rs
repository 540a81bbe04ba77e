// SPDX-License-Identifier: Apache-2.0

//! The command line: what can be typed, and what help, manual and completions say about it.
//!
//! Options are parsed into what they mean right here, so that the commands see no text. Names that
//! are published are kept (`--backend`, `--wasmcfgfile`, the `ENARX_*` variables).

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueHint};
use command_line::Codes as _;
use command_line::manual::ManualCommand;

use crate::backends::NAMES;
use crate::exit::Code;
use crate::hardware::SnpArgs;
use crate::units::{self, Dir, EnvVar, ProgramName};

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
    /// Look at this machine, and fetch what the processor's vendor says of it
    #[command(subcommand)]
    Platform(Box<crate::platform::PlatformCommand>),
    Measure(MeasureArgs),
    Deploy(Box<DeployArgs>),
    Demo(DemoArgs),
    /// Steward and Drawbridge of your own on this machine, for trying things out
    #[command(subcommand)]
    Dev(DevCommand),
    /// Log in at a Drawbridge, and create a user there
    #[command(subcommand)]
    User(crate::user::UserCommand),
    /// Publish workloads, look at them and fetch them
    #[command(subcommand)]
    Package(Box<crate::package::PackageCommand>),
    /// Work with repositories, and say to whom their workloads are released
    #[command(subcommand)]
    Repo(Box<crate::repo::RepoCommand>),
    /// Make keys that sign tags, and images of Keeps
    #[command(subcommand)]
    Key(crate::key::KeyCommand),
    Sign(Box<crate::sign::SignArgs>),
    /// Work with the cache of compiled modules
    #[command(subcommand)]
    Cache(CacheCommand),
    #[command(flatten)]
    Manual(ManualCommand),
}

/// Run a WebAssembly application in a Keep
///
/// The application is a WASI preview 1 command or a WASI 0.2 command component, in binary or text
/// form. It is compiled in one Keep, kept in a cache, and run in another Keep. Its standard streams
/// are those of this program.
#[derive(Debug, Args)]
#[command(after_long_help = Code::table())]
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

    #[command(flatten)]
    pub(crate) signatures: SignaturesArgs,

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

    /// Processors of the Keep, 1 to 7. Only components that handle HTTP requests use more than one:
    /// the first accepts connections, the others serve them
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(keep_backend::MAX_PROCESSORS)))]
    pub(crate) processors: u32,

    /// End the application after this time, for example 500ms, 30s or 1h30m; compiling it does not
    /// count
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) timeout: Option<Duration>,

    /// Compile anew and keep nothing
    #[arg(long)]
    pub(crate) no_cache: bool,

    #[command(flatten)]
    pub(crate) trust: TrustArgs,

    /// Show what happens in the Keep: certificates, sockets that listen
    #[arg(long, short, conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Say nothing about the choice of the backend, and no warnings
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What was signed of a Keep.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SignaturesArgs {
    /// Signatures over the image of the Keep, of `enarx sign`: an image that is not the one that was signed
    /// is not launched. For hardware and its stand-ins
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) signatures: Option<PathBuf>,
}

/// Whom a Keep trusts.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustArgs {
    /// Root certificates of the Steward, PEM or DER: certificates of Keeps have to lead to one of them
    #[arg(long, env = "ENARX_STEWARD_CA", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) steward_ca: Option<PathBuf>,

    /// Further root certificates for TLS servers, PEM or DER, besides those that browsers trust
    #[arg(long, env = "ENARX_CA_BUNDLE", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) ca_bundle: Option<PathBuf>,
}

/// Run a workload that only an attested Keep gets
///
/// An empty Keep starts, proves to a Steward what it is, and with the certificate for that fetches the
/// workload from a Drawbridge, checks its digest and runs it. Configuration, arguments and environment
/// are those of the workload.
#[derive(Debug, Args)]
#[command(after_long_help = Code::table())]
pub(crate) struct DeployArgs {
    /// `[host[:port]/]user/repo[:tag][@sha256:DIGEST]`, or a folder or file with a workload
    #[arg(value_name = "WORKLOAD", value_hint = ValueHint::AnyPath)]
    pub(crate) workload: String,

    /// The workload's digest, `sha256:` and 64 hexadecimal digits; a folder or file needs it
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<String>,

    /// The kind of Keep; without this option the best that keeps the host out
    #[arg(long, env = "ENARX_BACKEND", value_name = "NAME")]
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    pub(crate) backend: Option<String>,

    #[command(flatten)]
    pub(crate) signatures: SignaturesArgs,

    /// The Drawbridge, if the workload's name has none
    #[arg(long, env = "ENARX_DRAWBRIDGE", value_name = "HOST[:PORT]")]
    pub(crate) drawbridge: Option<String>,

    /// URL of the Steward; without it the one that the Drawbridge names
    #[arg(long, env = "ENARX_STEWARD", value_name = "URL")]
    pub(crate) steward: Option<String>,

    #[command(flatten)]
    pub(crate) trust: TrustArgs,

    /// Most memory that the Keep may take; nothing is taken that is not used
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = units::size)]
    pub(crate) memory: u64,

    /// Processors of the Keep, 1 to 7. Only components that handle HTTP requests use more than one:
    /// the first accepts connections, the others serve them
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(keep_backend::MAX_PROCESSORS)))]
    pub(crate) processors: u32,

    /// End the workload after this time, for example 500ms, 30s or 1h30m, counted from the start of the
    /// Keep
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) timeout: Option<Duration>,

    /// Show each step on stderr as it is complete
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// Show each step on stderr as a line of JSON
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) json: bool,
}

/// See the whole flow on this machine: Steward, Drawbridge, a workload in a Keep, and attacks that fail
///
/// Everything is made anew in a temporary folder and removed at the end. Nothing of yours is touched,
/// and nothing listens but on the loopback interface.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The kind of Keep; without this option the best one that works here
    #[arg(long, env = "ENARX_BACKEND", value_name = "NAME")]
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    pub(crate) backend: Option<String>,

    /// Leave everything up until Ctrl-C, and say how to reach the workload with curl
    #[arg(long)]
    pub(crate) keep_running: bool,

    /// Print what happens as lines of JSON
    #[arg(long, short)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Make a development root, under which Keeps without protected hardware make evidence
    ///
    /// Whoever has its key can claim anything, so it stays in a folder that is closed to others, and
    /// counts only for a Steward whose policy names it. Never overwrites anything.
    Init {
        /// Print JSON
        #[arg(long, short)]
        json: bool,
    },
    Up(DevUpArgs),
    /// Stop what `enarx dev up` has started
    Down {
        /// Also remove everything that was made, users and workloads too, but not the development root
        #[arg(long)]
        remove: bool,
    },
}

/// Start a Steward and a Drawbridge with an OpenID Connect issuer, on the loopback interface
///
/// Prints variables for a shell: eval "$(enarx dev up)". They go on in the background until
/// `enarx dev down`.
#[derive(Debug, Args)]
pub(crate) struct DevUpArgs {
    /// The Steward's port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) steward_port: u16,

    /// The Drawbridge's port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) drawbridge_port: u16,

    /// The issuer's port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) oidc_port: u16,

    /// Who is logged in by the issuer, without a password
    #[arg(long, value_name = "NAME", default_value = "developer")]
    pub(crate) user: String,

    /// Stay in the foreground until Ctrl-C
    #[arg(long)]
    pub(crate) foreground: bool,

    /// The foreground process is the background of another one
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) detached: bool,

    /// Print JSON
    #[arg(long, short)]
    pub(crate) json: bool,
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

/// Print the digests of the Keeps' initial images
///
/// They are computed by the code that builds the images of real launches, on any machine. For SEV-SNP and SGX,
/// which have to be named, that is the launch digest and MRENCLAVE.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// Only for this kind of Keep
    #[arg(long, env = "ENARX_BACKEND", value_name = "NAME")]
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    pub(crate) backend: Option<String>,

    /// Only of this program: runtime or compiler
    #[arg(long, value_name = "NAME", value_parser = units::program)]
    pub(crate) program: Option<ProgramName>,

    #[command(flatten)]
    pub(crate) snp: SnpArgs,

    /// Check the signatures of `enarx sign` as a launch would, and say who signed
    #[arg(long, value_name = "FILE", requires = "program", value_hint = ValueHint::FilePath)]
    pub(crate) signatures: Option<PathBuf>,

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
        assert_eq!(error.exit_code(), i32::from(Code::Usage.number()));
    }
}
