// SPDX-License-Identifier: Apache-2.0

//! What a server is started with, and why it does not start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use drawbridge_store::Quotas;

/// What a server is started with. It serves plain HTTP without [`Config::tls`], for a proxy in front of it;
/// workloads of attested repositories can be released over its own TLS only.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept: a folder, `file:///…`, or `s3://bucket/prefix` with what the `AWS_*`
    /// variables say.
    pub store: String,
    /// Where to listen; port 0 takes a free one, see [`crate::Server::address`].
    pub listen: SocketAddr,
    /// The server's own certificate.
    pub tls: Option<Tls>,
    /// Who vouches for users; without, nobody can log in, and public workloads can be read.
    pub oidc: Option<Oidc>,
    /// What clients may take.
    pub limits: Limits,
    /// What users may store.
    pub quotas: Quotas,
    /// So often garbage is collected, about; `None`: by `drawbridge gc` alone.
    pub collect_every: Option<Duration>,
    /// Who signs identities for sigstore bundles: a trusted root (JSON) as sigstore publishes it. Without
    /// it, repositories that demand identities take no tags.
    pub sigstore_root: Option<Vec<u8>>,
}

impl Config {
    /// With everything else as it is by default: no TLS, no users.
    #[must_use]
    pub fn new(store: impl Into<String>, listen: SocketAddr) -> Self {
        Self {
            store: store.into(),
            listen,
            tls: None,
            oidc: None,
            limits: Limits::default(),
            quotas: Quotas::default(),
            collect_every: Some(Duration::from_secs(6 * 3600)),
            sigstore_root: None,
        }
    }
}

/// A certificate chain and its key, both PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain, leaf first.
    pub certificates: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// An OpenID Connect provider.
#[derive(Debug, Clone)]
pub struct Oidc {
    /// Its URL, exactly as its tokens state it.
    pub issuer: String,
    /// What tokens have to name as their audience.
    pub audience: String,
    /// Roots (PEM) to trust for the provider's TLS besides the system's; empty: none.
    pub roots: Vec<u8>,
}

/// What clients may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at one time.
    pub connections: usize,
    /// Connections of one address at one time.
    pub connections_per_address: usize,
    /// Requests with a body, or with a large answer, at one time; more are told to come back.
    pub transfers: usize,
    /// For each of: TLS handshake, head of a request, also of the next one of a connection, next bytes of a
    /// body, next bytes of an answer.
    pub timeout: Duration,
    /// Least bytes a second of a body, reckoned over [`Limits::timeout`] at a time.
    pub least_rate: u64,
    /// Most bytes of one file.
    pub file: u64,
    /// Requests are given so long to finish when the server has to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 256,
            transfers: 128,
            timeout: Duration::from_secs(20),
            least_rate: 1024,
            file: 4 << 30,
            grace: Duration::from_secs(10),
        }
    }
}

/// Why a server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be used.
    #[error("cannot use the store `{url}`")]
    Store {
        /// As it was given; credentials are never part of it.
        url: String,
        /// Why.
        source: drawbridge_store::StoreError,
    },
    /// Certificate and key cannot be used.
    #[error("cannot use the TLS certificate and key: {0}")]
    Tls(String),
    /// The OpenID Connect provider cannot be used.
    #[error("cannot use the OpenID Connect provider: {0}")]
    Oidc(String),
    /// The trusted root for sigstore cannot be used.
    #[error("cannot use the trusted root of sigstore: {0}")]
    Sigstore(String),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: Arc<std::io::Error>,
    },
}
