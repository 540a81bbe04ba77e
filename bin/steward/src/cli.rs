// SPDX-License-Identifier: Apache-2.0

//! The command line: what can be typed, and what help, manual and completions say about it.
//!
//! Options are parsed into what they mean right here, so that the commands see no text. Names of the
//! published Steward are kept where they still mean the same (`--key`, `--crt`, `--config`, `--addr`,
//! `--port` and their variables).

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use command_line::Codes as _;
use command_line::log::LogFormat;
use command_line::manual::ManualCommand;
use evidence_claims::Time;

use crate::collateral::KindAndFile;
use crate::exit::Code;

/// Verify attestation evidence, and issue ordinary certificates for it.
///
/// A certificate authority for Keeps and other trusted execution environments: it takes certificate
/// requests that carry evidence of where a key lives, verifies the evidence down to the processor
/// vendor's root, holds it against a policy, and issues an X.509 certificate that any TLS peer
/// understands.
#[derive(Debug, Parser)]
#[command(name = "steward", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_long_help = Code::table())]
pub(crate) struct Cli {
    /// What is logged to stderr, for example `debug` or `steward=debug,rustls=warn`; also `RUST_LOG`
    #[arg(long, global = true, env = "STEWARD_LOG", value_name = "FILTER", hide_env_values = true)]
    pub(crate) log_filter: Option<String>,

    /// The form of the log
    #[arg(long, global = true, env = "STEWARD_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(value_enum, default_value_t = LogFormat::Text, hide_env_values = true)]
    pub(crate) log_format: LogFormat,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<ServeArgs>),
    Init(InitArgs),
    /// Work with policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    Verify(VerifyArgs),
    /// Look at evidence, offline
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Try a Steward without protected hardware
    #[command(subcommand)]
    Development(DevelopmentCommand),
    #[command(flatten)]
    Manual(ManualCommand),
}

/// Run the service
///
/// It needs a key with its certificate chain, and a policy. Without a policy nothing is signed.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The authority's certificate chain, PEM: the issuing certificate first, its root last
    #[arg(long, short = 'c', env = "STEWARD_CRT", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) crt: PathBuf,

    /// The authority's private key, PEM (PKCS#8, P-256 or P-384)
    #[arg(long, short = 'k', env = "STEWARD_KEY", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    #[cfg_attr(feature = "pkcs11", arg(conflicts_with = "pkcs11_module"))]
    #[cfg_attr(feature = "pkcs11", arg(required_unless_present = "pkcs11_module"))]
    #[cfg_attr(not(feature = "pkcs11"), arg(required = true))]
    pub(crate) key: Option<PathBuf>,

    /// The policy: which evidence gets a certificate
    #[arg(long, visible_alias = "config", env = "STEWARD_POLICY", value_name = "FILE")]
    #[arg(value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub(crate) policy: PathBuf,

    /// The public URL of this Steward, by which certificates say where the policy can be read
    #[arg(long, env = "STEWARD_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub(crate) public_url: Option<String>,

    /// A folder with endorsements for requests that bring none, such as revocation lists
    #[arg(long, env = "STEWARD_COLLATERAL", value_name = "DIR", hide_env_values = true)]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) collateral: Option<PathBuf>,

    /// Accept a policy that names a development root. Development evidence proves nothing
    #[arg(long)]
    pub(crate) development: bool,

    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// A file with 32 bytes (64 hexadecimal digits) that nonces are made with. All Stewards behind
    /// one address need the same. Without it they are made with a key derived from --key, or, with a
    /// key in PKCS#11, with one that lasts as long as the process
    #[arg(long, env = "STEWARD_NONCE_KEY", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) nonce_key: Option<PathBuf>,

    #[cfg(feature = "pkcs11")]
    #[command(flatten)]
    pub(crate) pkcs11: Pkcs11Args,
}

/// Where the service listens, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct ListenArgs {
    /// The address
    #[arg(long, short = 'a', env = "STEWARD_ADDR", value_name = "ADDRESS", default_value = "::")]
    pub(crate) addr: IpAddr,

    /// The port; 0 takes a free one, see --addr-file
    #[arg(long, short = 'p', env = "STEWARD_PORT", value_name = "PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    /// Write the address and port to this file as soon as connections are accepted
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) addr_file: Option<PathBuf>,

    /// The service's own TLS certificate chain, PEM. Without it the service speaks plain HTTP, for a
    /// proxy in front of it
    #[arg(long, env = "STEWARD_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    #[arg(value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The key of --tls-cert, PEM
    #[arg(long, env = "STEWARD_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    #[arg(value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub(crate) tls_key: Option<PathBuf>,
}

/// What a client may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Most requests for certificates at one time; more are answered with 503
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) max_requests: u32,

    /// Most connections at one time; more wait until they are accepted
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) max_connections: u32,

    /// Seconds for each of: TLS handshake, head of a request, its body, the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) timeout: u32,

    /// Threads that serve; 0 takes as many as there are processors
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=512))]
    pub(crate) threads: u16,
}

/// A key in a hardware security module.
#[cfg(feature = "pkcs11")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Key in a hardware security module")]
pub(crate) struct Pkcs11Args {
    /// The module, a shared library of the vendor
    #[arg(long, env = "STEWARD_PKCS11_MODULE", value_name = "FILE", hide_env_values = true)]
    #[arg(requires = "pkcs11_token", requires = "pkcs11_key_label")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) pkcs11_module: Option<PathBuf>,

    /// The token's label
    #[arg(long, env = "STEWARD_PKCS11_TOKEN", value_name = "LABEL", hide_env_values = true)]
    #[arg(requires = "pkcs11_module")]
    pub(crate) pkcs11_token: Option<String>,

    /// The private key's label
    #[arg(long, env = "STEWARD_PKCS11_KEY_LABEL", value_name = "LABEL", hide_env_values = true)]
    #[arg(requires = "pkcs11_module")]
    pub(crate) pkcs11_key_label: Option<String>,

    /// A file with the user's PIN; without it the variable STEWARD_PKCS11_PIN is read
    #[arg(long, env = "STEWARD_PKCS11_PIN_FILE", value_name = "FILE", hide_env_values = true)]
    #[arg(requires = "pkcs11_module", value_hint = ValueHint::FilePath)]
    pub(crate) pkcs11_pin_file: Option<PathBuf>,
}

/// Make a root, an intermediate and a strict policy, to begin with
///
/// Asks nothing, and never overwrites a file. Prints the root's fingerprint and what to do next. With a
/// key in a hardware security module, that key becomes the intermediate's.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "steward", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    /// The authority's name, as it stands in its certificates
    #[arg(long, value_name = "NAME", default_value = "Steward", value_parser = authority_name)]
    pub(crate) name: String,

    #[cfg(feature = "pkcs11")]
    #[command(flatten)]
    pub(crate) pkcs11: Pkcs11Args,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy, and say in plain sentences what it lets in
    Check {
        /// The policy
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Print JSON
        #[arg(long, short)]
        json: bool,
    },
    /// Print the JSON schema of policies, for editors
    Schema,
}

/// Check an issued certificate, and show what it claims
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The certificate, PEM or DER, alone or with its chain
    #[arg(value_name = "CERT", value_hint = ValueHint::FilePath)]
    pub(crate) cert: PathBuf,

    /// The root to check it against, PEM or DER. Without it the claims are shown, but nobody vouches
    /// for them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,

    /// The time to check for, such as 2026-03-05T10:50:03Z; now, if not given
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Time>,

    /// Print JSON
    #[arg(long, short)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Show a report, quote or certificate request field by field; nothing is verified
    Inspect {
        /// The file; what it is, is recognised
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Print JSON
        #[arg(long, short)]
        json: bool,
    },
    Verify(EvidenceVerifyArgs),
}

/// Make each check of a report, quote or certificate request, and say how it came out
#[derive(Debug, Args)]
pub(crate) struct EvidenceVerifyArgs {
    /// The file; what it is, is recognised
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    /// Endorsements: a folder, a file, or KIND=FILE if the name does not tell the kind. Can be
    /// repeated
    #[arg(long, value_name = "PATH|KIND=FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) collateral: Vec<KindAndFile>,

    /// A development root, PEM or DER, for development evidence
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) development_root: Option<PathBuf>,

    /// The time to check for, such as 2026-03-05T10:50:03Z; now, if not given
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Time>,

    /// Print JSON
    #[arg(long, short)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevelopmentCommand {
    /// Make a development root: a key and a certificate, under which evidence proves nothing
    Root {
        /// Where the files go
        #[arg(long, value_name = "DIR", default_value = "development")]
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    Request(DevelopmentRequestArgs),
}

/// Make a key and a certificate request with development evidence
#[derive(Debug, Args)]
pub(crate) struct DevelopmentRequestArgs {
    /// The folder of the development root
    #[arg(long, value_name = "DIR", default_value = "development", value_hint = ValueHint::DirPath)]
    pub(crate) root: PathBuf,

    /// Where the request goes, DER
    #[arg(long, value_name = "FILE", default_value = "request.der")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,

    /// Where the key goes, PEM
    #[arg(long, value_name = "FILE", default_value = "request.key")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) key_out: PathBuf,

    /// The workload's digest, such as sha256: and 64 hexadecimal digits
    #[arg(long, value_name = "DIGEST")]
    pub(crate) workload: Option<String>,

    /// The workload's name in the registry
    #[arg(long, value_name = "SLUG")]
    pub(crate) slug: Option<String>,

    /// A nonce of the Steward, as it gave it
    #[arg(long, value_name = "NONCE")]
    pub(crate) nonce: Option<String>,

    /// Use the form of the published Enarx, which binds the key and nothing else
    #[arg(long, conflicts_with_all = ["workload", "slug", "nonce"])]
    pub(crate) published: bool,

    /// The launch measurement that the evidence is to show: 96 hexadecimal digits, 64 for SGX; zero, if not
    /// given
    #[arg(long, value_name = "HEX")]
    pub(crate) measurement: Option<String>,

    /// The evidence is that of a stand-in, which plays a processor of that kind
    #[arg(long, value_name = "KIND", conflicts_with = "published")]
    pub(crate) stand_in: Option<StandIn>,
}

/// A kind of processor that a stand-in plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StandIn {
    /// AMD SEV-SNP
    Snp,
    /// Intel SGX
    Sgx,
}

fn public_url(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(text.to_owned())
        }
        _ => Err("not a URL like https://steward.example.com".into()),
    }
}

fn authority_name(text: &str) -> Result<String, String> {
    // 64 is `ub-common-name` of RFC 5280, and " Intermediate" has to fit behind it.
    if text.is_empty() || text.len() > 48 || text.chars().any(char::is_control) {
        return Err("a name has 1 to 48 bytes, and no control characters".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    fn serve(args: &[&str]) -> Result<ServeArgs, clap::Error> {
        let args = ["steward", "serve"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| match cli.command {
            Command::Serve(args) => *args,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn published_names_are_understood() {
        let args =
            serve(&["--key", "k", "--crt", "c", "--config", "p", "--addr", "::1", "--port", "1"])
                .unwrap();
        assert_eq!(args.policy, PathBuf::from("p"));
        assert_eq!(
            (args.listen.addr, args.listen.port),
            (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 1)
        );
        assert_eq!(
            serve(&["--key", "k", "--crt", "c", "--policy", "p"]).unwrap().listen.port,
            3000
        );
    }

    #[test]
    fn there_is_no_service_without_key_chain_and_policy() {
        for args in [&["--crt", "c", "--policy", "p"], &["--key", "k", "--policy", "p"]] {
            assert!(serve(args).is_err(), "{args:?}");
        }
        assert!(serve(&["--key", "k", "--crt", "c"]).is_err());
        assert!(serve(&["--key", "k", "--crt", "c", "--policy", "p", "--tls-cert", "t"]).is_err());
    }

    #[test]
    fn urls_and_names_are_checked() {
        assert_eq!(public_url("https://a.example/"), Ok("https://a.example".into()));
        for bad in ["", "a.example", "https://", "ftp://a", "https://a b"] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
        assert!(authority_name("").is_err() && authority_name(&"x".repeat(49)).is_err());
        assert!(authority_name("Example's Steward").is_ok());
    }
}
