// SPDX-License-Identifier: Apache-2.0

//! Sockets and who may be at their other end.
//!
//! What a TLS connection demands of its peer is the same for all sockets, wherever in the file they
//! stand: [`Trust`]. Everything has a default that protects; what weakens has to be written out.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

/// A socket that accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Its name in `FD_NAMES`; for an entry of `allow_listen` its port.
    pub name: String,
    /// What is spoken on a connection.
    pub prot: Prot,
    /// The address to bind.
    pub addr: IpAddr,
    /// The port to bind, never 0.
    pub port: u16,
    /// Whether clients have to show a certificate.
    pub client_auth: ClientAuth,
    /// Which certificates of clients count.
    pub trust: Trust,
    /// Protocols that are offered by ALPN (RFC 7301), the preferred one first; 1 to 255 bytes each.
    pub alpn: Vec<String>,
    /// How long to wait.
    pub timeouts: Timeouts,
}

impl Listen {
    /// The address of an entry that gives none: every interface.
    pub const DEFAULT_ADDR: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    /// TLS without client certificates, as an entry with these keys alone.
    pub fn new(name: impl Into<String>, addr: IpAddr, port: u16) -> Self {
        Self {
            name: name.into(),
            prot: Prot::Tls,
            addr,
            port,
            client_auth: ClientAuth::None,
            trust: Trust::new([Root::Steward]),
            alpn: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }
}

/// A connection that is made before the workload starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Its name in `FD_NAMES`.
    pub name: String,
    /// Where it leads.
    pub peer: Peer,
}

/// A server that the Keep connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// A DNS name or an IP address, IPv6 without brackets.
    pub host: String,
    /// Its port, never 0.
    pub port: u16,
    /// What is spoken on the connection.
    pub prot: Prot,
    /// The name that its certificate has to have, and that is sent to it; none: the host.
    pub server_name: Option<String>,
    /// Which certificates count.
    pub trust: Trust,
    /// Protocols that are offered by ALPN (RFC 7301), the preferred one first; 1 to 255 bytes each.
    pub alpn: Vec<String>,
    /// How long to wait.
    pub timeouts: Timeouts,
}

impl Peer {
    /// TLS, as an entry with these keys alone: the certificate may come from one of the public
    /// authorities or from the Keep's own Steward.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            prot: Prot::Tls,
            server_name: None,
            trust: Trust::new([Root::System, Root::Steward]),
            alpn: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Which certificates of a peer count, and what they have to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Where chains may end.
    pub roots: Vec<Root>,
    /// Launch measurements, of 32 or 48 bytes; with any, only a Keep with one of them is accepted.
    pub measurements: Vec<Vec<u8>>,
    /// Digests of workloads, `sha256:` and 64 digits; with any, only a Keep that runs one of them
    /// is accepted.
    pub workloads: Vec<String>,
    /// Whether Keeps without protection are accepted.
    pub allow_development: bool,
}

impl Trust {
    /// These roots, and nothing demanded beyond.
    pub fn new(roots: impl IntoIterator<Item = Root>) -> Self {
        Self { roots: roots.into_iter().collect(), ..Self::default() }
    }

    /// Whether the peer has to be a certain Keep: then certificates without a Steward's claims,
    /// and public authorities, do not count.
    pub fn demands_keep(&self) -> bool {
        !self.measurements.is_empty() || !self.workloads.is_empty()
    }
}

/// Where chains of certificates may end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The authorities that browsers trust.
    System,
    /// The root of the Steward from which this Keep has its own certificate.
    Steward,
    /// The roots in this file beside Enarx.toml, in PEM.
    File(String),
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    None,
    /// They are asked, and may come without; one that does not count ends the connection.
    Optional,
    /// They have to.
    Required,
}

impl ClientAuth {
    /// All, in the order in which they are documented.
    pub const ALL: [Self; 3] = [Self::None, Self::Optional, Self::Required];

    /// The word for it in Enarx.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// How long to wait, each longer than 0 and at most [`Timeouts::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a peer to complete the TLS handshake.
    pub handshake: Duration,
    /// For a connection to be made, all addresses of the peer and its name taken together.
    pub connect: Duration,
    /// For a peer to send or take anything; none: for ever.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// The longest time that can be asked for.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);
}

impl Default for Timeouts {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Self { handshake: ten, connect: ten, idle: None }
    }
}

/// What a component may do by itself with `wasi:sockets` and `wasi:http`; nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkPolicy {
    /// Where it may connect to.
    pub allow_connect: Vec<Peer>,
    /// On which ports it may listen.
    pub allow_listen: Vec<Listen>,
    /// Names for the certificate that a Keep without a Steward signs for itself.
    pub names: Vec<String>,
}

/// How a `wasi:http/proxy` component is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The name of the `listen` entry.
    pub listen: String,
}

/// The key with which a deployed workload seals what only it shall read again, see `docs/sealing.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealing {
    /// The folder in which the workload finds it, as a file that is called [`Sealing::FILE`].
    pub folder: String,
    /// Whether a key that is drawn anew at each start will do where the platform has none.
    pub throwaway: bool,
}

impl Sealing {
    /// Name of the file with the 32 bytes of the key.
    pub const FILE: &str = "key";
}

impl Default for Sealing {
    fn default() -> Self {
        Self { folder: "/sealing".to_owned(), throwaway: false }
    }
}

/// Who may have compiled the workload of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerPolicy {
    /// Launch measurements of compiler Keeps; none: any that the Steward lets in.
    pub measurements: Vec<Vec<u8>>,
    /// Whether a compiler Keep without protection is accepted.
    pub allow_development: bool,
    /// Whether an artifact in the package, whose digest is pinned with it, is accepted.
    pub tenant: bool,
    /// Whether one of a compiler Keep is accepted.
    pub attested: bool,
}

impl Default for CompilerPolicy {
    fn default() -> Self {
        Self { measurements: Vec::new(), allow_development: false, tenant: true, attested: true }
    }
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Prot {
    /// TLS with the Keep's own certificate; the workload sees the plaintext.
    #[default]
    Tls,
    /// Bare TCP, which the host can read and change.
    Tcp,
}

impl Prot {
    /// Both, in the order in which they are documented.
    pub const ALL: [Self; 2] = [Self::Tls, Self::Tcp];

    /// The word for it in Enarx.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    /// The port of an entry that gives none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Tls => 443,
            Self::Tcp => 80,
        }
    }
}
