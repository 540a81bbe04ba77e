// SPDX-License-Identifier: Apache-2.0

//! Enarx.toml: what a workload gets besides its code.
//!
//! The grammar is the published one, read strictly: a key that is not known is an error and not
//! ignored, because a misspelt `steward` or `prot` would otherwise weaken a Keep without a word.
//! Every fault of a file is reported, with file, line, column and a hint; nothing in here panics
//! or works without bound, whatever the bytes are.
//!
//! The document is walked by hand (`check`) instead of derived with serde: serde stops at the
//! first fault and knows nothing about what the author may have meant.
//!
//! ```
//! use enarx_config::Config;
//!
//! let config = Config::parse("args = [\"--fast\"]\n[[files]]\nkind = \"stdout\"", "Enarx.toml")?;
//! assert_eq!(config.args, ["--fast"]);
//! assert_eq!(config.stdio_environment()[1], ("FD_NAMES".to_owned(), "stdout".to_owned()));
//!
//! let error = Config::parse("[[files]]\nkind = \"stdoot\"", "Enarx.toml").unwrap_err();
//! assert_eq!(error.diagnostics()[0].line, 2);
//! # Ok::<(), enarx_config::ConfigError>(())
//! ```

#![forbid(unsafe_code)]

mod check;
mod diagnostic;
mod network;
mod peers;
mod schema;
mod values;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::peers::socket_keys;

pub use diagnostic::{ConfigError, Diagnostic};
pub use network::{
    ClientAuth, CompilerPolicy, Connect, Http, Listen, NetworkPolicy, Peer, Prot, Root, Sealing,
    Timeouts, Trust,
};
pub use schema::schema;
pub use values::{BadEnv, BadSteward, StewardUrl, check_env};

/// What `enarx config init` writes: every key, explained. It is itself a valid configuration.
///
/// A line that begins with `# ` is prose; one that begins with `#` alone is an example which works
/// once the `#` is removed.
pub const TEMPLATE: &str = include_str!("template.toml");

/// Longest accepted configuration in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// A configuration that passed all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The Steward that is asked for the Keep's certificate; without one the Keep signs its own.
    pub steward: Option<StewardUrl>,
    /// The workload's arguments, without its name.
    pub args: Vec<String>,
    /// The workload's environment, in the order of the file, without what
    /// [`Config::stdio_environment`] adds.
    pub env: Vec<(String, String)>,
    /// The workload's descriptors, beginning with 0.
    pub files: Vec<File>,
    /// What a component may do by itself.
    pub network: NetworkPolicy,
    /// How a `wasi:http/proxy` component is served.
    pub http: Option<Http>,
    /// Who may have compiled the workload.
    pub compiler: CompilerPolicy,
    /// For a workload that seals data.
    pub sealing: Option<Sealing>,
}

impl Config {
    /// Reads and checks a configuration; `name` is what messages call it.
    ///
    /// A file without `files` gives no descriptor at all, see [`Config::notes`].
    ///
    /// # Errors
    ///
    /// Every fault that was found.
    pub fn parse(source: &str, name: &str) -> Result<Self, ConfigError> {
        check::parse(source, name)
    }

    /// As [`Config::parse`], from bytes that need not be UTF-8.
    ///
    /// # Errors
    ///
    /// Every fault that was found.
    pub fn parse_bytes(source: &[u8], name: &str) -> Result<Self, ConfigError> {
        check::parse_bytes(source, name)
    }

    /// As [`Config::parse`], from a file; never reads more than [`MAX_SIZE`] and one byte.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Self::parse_bytes(&bytes, &path.to_string_lossy())?)
    }

    /// `FD_COUNT` and `FD_NAMES`: how a workload learns what its descriptors are.
    pub fn stdio_environment(&self) -> [(String, String); 2] {
        let [count, names] = values::RESERVED_ENV.map(str::to_owned);
        let joined: Vec<&str> = self.files.iter().map(File::name).collect();
        [(count, self.files.len().to_string()), (names, joined.join(":"))]
    }

    /// The entries of `files` that need a network, each with its descriptor.
    pub fn networking(&self) -> impl Iterator<Item = (usize, &File)> {
        self.files.iter().enumerate().filter(|(_, file)| file.is_socket())
    }

    /// What is valid and yet seldom meant: sentences for a person.
    pub fn notes(&self) -> Vec<&'static str> {
        if self.files.is_empty() {
            vec![
                "`files` is missing or empty, so the program has no stdin, stdout or stderr; \
                 add `files = [{ kind = \"stdin\" }, { kind = \"stdout\" }, { kind = \"stderr\" }]` \
                 to give it those of the host",
            ]
        } else {
            Vec::new()
        }
    }
}

impl Default for Config {
    /// The configuration of a workload that comes without a file: the host's standard streams.
    fn default() -> Self {
        let name = |kind: FileKind| kind.as_str().to_owned();
        Self {
            steward: None,
            args: Vec::new(),
            env: Vec::new(),
            files: vec![
                File::Stdin { name: name(FileKind::Stdin) },
                File::Stdout { name: name(FileKind::Stdout) },
                File::Stderr { name: name(FileKind::Stderr) },
            ],
            network: NetworkPolicy::default(),
            http: None,
            compiler: CompilerPolicy::default(),
            sealing: None,
        }
    }
}

/// What stands behind one of the workload's descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// Reads give end of file, writes are swallowed.
    Null {
        /// Its name in `FD_NAMES`.
        name: String,
    },
    /// The host's standard input.
    Stdin {
        /// Its name in `FD_NAMES`.
        name: String,
    },
    /// The host's standard output.
    Stdout {
        /// Its name in `FD_NAMES`.
        name: String,
    },
    /// The host's standard error.
    Stderr {
        /// Its name in `FD_NAMES`.
        name: String,
    },
    /// A socket that accepts connections.
    Listen(Listen),
    /// A connection that is made before the workload starts.
    Connect(Connect),
}

impl File {
    /// Its name in `FD_NAMES`.
    pub fn name(&self) -> &str {
        match self {
            Self::Null { name }
            | Self::Stdin { name }
            | Self::Stdout { name }
            | Self::Stderr { name }
            | Self::Listen(Listen { name, .. })
            | Self::Connect(Connect { name, .. }) => name,
        }
    }

    /// Its `kind`.
    pub fn kind(&self) -> FileKind {
        match self {
            Self::Null { .. } => FileKind::Null,
            Self::Stdin { .. } => FileKind::Stdin,
            Self::Stdout { .. } => FileKind::Stdout,
            Self::Stderr { .. } => FileKind::Stderr,
            Self::Listen(_) => FileKind::Listen,
            Self::Connect(_) => FileKind::Connect,
        }
    }

    /// Whether it is a `listen` or a `connect` entry.
    pub fn is_socket(&self) -> bool {
        matches!(self, Self::Listen(_) | Self::Connect(_))
    }
}

/// The `kind` of an entry of `files`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// See [`File::Null`].
    Null,
    /// See [`File::Stdin`].
    Stdin,
    /// See [`File::Stdout`].
    Stdout,
    /// See [`File::Stderr`].
    Stderr,
    /// See [`File::Listen`].
    Listen,
    /// See [`File::Connect`].
    Connect,
}

impl FileKind {
    /// All kinds, in the order in which they are documented.
    pub const ALL: [Self; 6] =
        [Self::Null, Self::Stdin, Self::Stdout, Self::Stderr, Self::Listen, Self::Connect];

    /// The word for it in Enarx.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Listen => "listen",
            Self::Connect => "connect",
        }
    }

    /// Whether entries of this kind are sockets.
    pub(crate) fn is_socket(self) -> bool {
        matches!(self, Self::Listen | Self::Connect)
    }

    /// The keys that an entry of this kind may have.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Null | Self::Stdin | Self::Stdout | Self::Stderr => &["kind", "name"],
            Self::Listen => &socket_keys!["kind", "name", "addr", "client_auth"],
            Self::Connect => {
                &socket_keys!["kind", "name", "host", "server_name", "connect_timeout"]
            }
        }
    }
}

/// A configuration file could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file was read and refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
