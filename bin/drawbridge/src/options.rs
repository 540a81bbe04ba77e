// SPDX-License-Identifier: Apache-2.0

//! What can be set: by flag, by variable, in a file; the first that says something counts.
//!
//! One structure is all three: the flags, what `--config` reads, and what
//! `docs/drawbridge.schema.json` describes. Names of the published Drawbridge are kept where they still
//! mean the same (`--addr`, `--store`, `--cert`, `--key`, `--oidc-issuer`, `--oidc-audience`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use command_line::{OrExit, files};
use drawbridge_server::{Config, Oidc, Tls};
use serde::Deserialize;

use crate::exit::{Code, Failure};

/// Everything that can be set.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Where everything is kept: a folder, `file:///FOLDER`, or `s3://BUCKET/PREFIX` with what the
    /// `AWS_*` variables say
    #[arg(long, env = "DRAWBRIDGE_STORE", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) serve: ServeOptions,
}

macro_rules! options {
    ($($(#[$meta:meta])* $name:ident: $kind:ty,)*) => {
        /// What a server can be told.
        #[derive(Debug, Clone, Default, Args, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(crate) struct ServeOptions { $($(#[$meta])* pub(crate) $name: Option<$kind>,)* }

        impl ServeOptions {
            /// These, and what they do not say from `other`.
            pub(crate) fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }

            /// The names, as they are written in a file.
            #[cfg(test)]
            pub(crate) fn names() -> Vec<String> {
                vec![$(stringify!($name).replace('_', "-"),)*]
            }
        }
    };
}

options! {
    /// Where to listen [default: [::]:8080]
    #[arg(long, env = "DRAWBRIDGE_ADDR", value_name = "ADDRESS:PORT")]
    addr: SocketAddr,

    /// Write address and port to this file as soon as connections are accepted
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    addr_file: PathBuf,

    /// The server's certificate chain, PEM. Without it the server speaks plain HTTP, for a proxy in
    /// front of it, and releases nothing to Keeps
    #[arg(long, env = "DRAWBRIDGE_CERT", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    cert: PathBuf,

    /// The key of --cert, PEM
    #[arg(long, env = "DRAWBRIDGE_KEY", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    key: PathBuf,

    /// The OpenID Connect provider of the users, exactly as its tokens state it
    #[arg(long, env = "DRAWBRIDGE_OIDC_ISSUER", value_name = "URL")]
    oidc_issuer: String,

    /// What tokens have to name as their audience
    #[arg(long, env = "DRAWBRIDGE_OIDC_AUDIENCE", value_name = "AUDIENCE")]
    oidc_audience: String,

    /// Roots to trust for the provider's TLS besides the system's, PEM
    #[arg(long, env = "DRAWBRIDGE_OIDC_ROOTS", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    oidc_roots: PathBuf,

    /// Trusted root for sigstore bundles, JSON as sigstore publishes it
    #[arg(long, env = "DRAWBRIDGE_SIGSTORE_ROOT", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    sigstore_root: PathBuf,

    /// Collect garbage about so often, in seconds; 0: not at all [default: 21600]
    #[arg(long, env = "DRAWBRIDGE_COLLECT_EVERY", value_name = "SECONDS")]
    collect_every: u64,

    /// Connections at one time [default: 1024]
    #[arg(long, env = "DRAWBRIDGE_MAX_CONNECTIONS", value_name = "NUMBER")]
    max_connections: usize,

    /// Connections of one address at one time; of one /64 for IPv6 [default: 256]
    #[arg(long, env = "DRAWBRIDGE_MAX_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER")]
    max_connections_per_address: usize,

    /// Contents on their way in or out at one time [default: 128]
    #[arg(long, env = "DRAWBRIDGE_MAX_TRANSFERS", value_name = "NUMBER")]
    max_transfers: usize,

    /// Most bytes of one file [default: 4294967296]
    #[arg(long, env = "DRAWBRIDGE_MAX_FILE", value_name = "BYTES")]
    max_file: u64,

    /// How long each step of a connection may take, in seconds [default: 20]
    #[arg(long, env = "DRAWBRIDGE_TIMEOUT", value_name = "SECONDS")]
    timeout: u64,

    /// How long requests are given to finish after SIGTERM, in seconds [default: 10]
    #[arg(long, env = "DRAWBRIDGE_GRACE", value_name = "SECONDS")]
    grace: u64,

    /// Bytes that a user may store [default: 17179869184]
    #[arg(long, env = "DRAWBRIDGE_QUOTA_BYTES", value_name = "BYTES")]
    quota_bytes: u64,

    /// Repositories that a user may have [default: 1000]
    #[arg(long, env = "DRAWBRIDGE_QUOTA_REPOSITORIES", value_name = "NUMBER")]
    quota_repositories: u64,

    /// Tags that a user may have [default: 10000]
    #[arg(long, env = "DRAWBRIDGE_QUOTA_TAGS", value_name = "NUMBER")]
    quota_tags: u64,

    /// Names that one subject of the provider may take [default: 8]
    #[arg(long, env = "DRAWBRIDGE_QUOTA_USERS", value_name = "NUMBER")]
    quota_users: u64,

    /// Files and directories of one tag [default: 4096]
    #[arg(long, env = "DRAWBRIDGE_QUOTA_NODES", value_name = "NUMBER")]
    quota_nodes: u64,
}

impl Options {
    /// These, and what they do not say from a file.
    pub(crate) fn with_file(self, file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else { return Ok(self) };
        let text = files::read_text(path)?;
        let other: Self = toml::from_str(&text)
            .or_exit_with(Code::Usage, || format!("{} has faults", path.display()))?;
        Ok(Self { store: self.store.or(other.store), serve: self.serve.or(other.serve) })
    }

    /// The store, which there is no default for.
    pub(crate) fn store(&self) -> Result<&str, Failure> {
        self.store.as_deref().ok_or_else(|| {
            Failure::msg(Code::Usage, "there is no --store: say where everything is to be kept")
        })
    }

    /// What a server is started with.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let options = &self.serve;
        let address = options.addr.unwrap_or_else(|| SocketAddr::from(([0u16; 8], 8080)));
        let mut config = Config::new(self.store()?, address);
        config.tls = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => Some(Tls {
                certificates: files::read(cert)?.to_vec(),
                key: files::read_secret(key)?.to_vec(),
            }),
            (None, None) => None,
            _ => return Err(Failure::msg(Code::Usage, "--cert and --key go together")),
        };
        config.oidc = match (&options.oidc_issuer, &options.oidc_audience) {
            (Some(issuer), Some(audience)) => Some(Oidc {
                issuer: issuer.clone(),
                audience: audience.clone(),
                roots: match &options.oidc_roots {
                    Some(path) => files::read(path)?.to_vec(),
                    None => Vec::new(),
                },
            }),
            (None, None) => None,
            _ => {
                let text = "--oidc-issuer and --oidc-audience go together";
                return Err(Failure::msg(Code::Usage, text));
            }
        };
        if let Some(path) = &options.sigstore_root {
            config.sigstore_root = Some(files::read(path)?.to_vec());
        }
        let seconds = Duration::from_secs;
        if let Some(every) = options.collect_every {
            config.collect_every = (every > 0).then(|| seconds(every));
        }
        let (limits, quotas) = (&mut config.limits, &mut config.quotas);
        set(&mut limits.connections, options.max_connections);
        set(&mut limits.connections_per_address, options.max_connections_per_address);
        set(&mut limits.transfers, options.max_transfers);
        set(&mut limits.file, options.max_file);
        set(&mut limits.timeout, options.timeout.map(seconds));
        set(&mut limits.grace, options.grace.map(seconds));
        set(&mut quotas.bytes, options.quota_bytes);
        set(&mut quotas.repositories, options.quota_repositories);
        set(&mut quotas.tags, options.quota_tags);
        set(&mut quotas.users_per_subject, options.quota_users);
        set(&mut quotas.nodes, options.quota_nodes);
        Ok(config)
    }
}

fn set<T>(value: &mut T, option: Option<T>) {
    if let Some(option) = option {
        *value = option;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drawbridge.toml");
        std::fs::write(&path, "store = \"/a\"\nmax-file = 5\ntimeout = 7\n").unwrap();
        let mut options = Options::default();
        options.serve.max_file = Some(6);
        let options = options.with_file(Some(&path)).unwrap();
        assert_eq!(options.store().unwrap(), "/a");
        let config = options.config().unwrap();
        assert_eq!(config.limits.file, 6);
        assert_eq!(config.limits.timeout, Duration::from_secs(7));
    }

    #[test]
    fn unknown_keys_and_halves_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drawbridge.toml");
        std::fs::write(&path, "stroe = \"/a\"\n").unwrap();
        assert!(Options::default().with_file(Some(&path)).is_err());
        let mut options = Options { store: Some("/a".into()), ..Options::default() };
        options.serve.cert = Some("x".into());
        assert!(options.config().is_err());
        assert!(Options::default().config().is_err());
    }

    #[test]
    fn the_schema_has_every_key_and_no_other() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/drawbridge.schema.json");
        let schema: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut found: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let mut wanted = ServeOptions::names();
        wanted.push("store".into());
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
    }
}
