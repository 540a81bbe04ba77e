// SPDX-License-Identifier: Apache-2.0

//! The network of a Keep: TLS on what the host carries, names, and which peers are let in.
//!
//! The host, and everybody between it and a peer, carries bytes. What is said, and to whom, is
//! decided here: a [`Stream`] is TLS 1.3 that ends in the Keep (or bare TCP where Enarx.toml says
//! so), a [`Listener`] shakes hands with many clients at once, and names resolve over a DNS that is
//! believed only as far as it takes to reach a peer who then proves itself.
//!
//! Everything runs on one thread in the caller's event loop, and everything has bounds in memory
//! and time.

#![forbid(unsafe_code)]

mod connect;
mod error;
mod http;
mod identity;
mod listen;
mod provider;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use enarx_config::{Listen, Peer};
use keep_launch::Network;

pub use error::NetError;
pub use http::{Body, Http, Response, Url};
pub use identity::IdentityHandle;
pub use listen::Listener;
pub use provider::{check_cpu, provider};
pub use stream::{PeerInfo, Stream};

/// The network of a Keep; clones share it.
#[derive(Debug, Clone)]
pub struct Net {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    network: Network,
    identity: IdentityHandle,
    files: Vec<(String, Vec<u8>)>,
}

impl Net {
    /// What the launch says of the network, the certificate that the Keep shows once there is one,
    /// and the files beside Enarx.toml with roots, each name and content.
    ///
    /// # Errors
    ///
    /// [`NetError::Roots`], if a root in `network` is no certificate.
    pub fn new(
        network: &Network,
        identity: IdentityHandle,
        files: &[(String, Vec<u8>)],
    ) -> Result<Self, NetError> {
        let shared = Shared { network: network.clone(), identity, files: files.to_vec() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same network with other files: a deployed workload brings them along only later.
    #[must_use]
    pub fn with_files(&self, files: &[(String, Vec<u8>)]) -> Self {
        let shared = Shared {
            network: self.shared.network.clone(),
            identity: self.shared.identity.clone(),
            files: files.to_vec(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The certificate that the Keep shows.
    pub fn identity(&self) -> &IdentityHandle {
        &self.shared.identity
    }

    /// The addresses of a name or of an address in text, at least one.
    ///
    /// # Errors
    ///
    /// [`NetError::Resolve`].
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        let _ = &self.shared.network;
        Err(NetError::Resolve { name: name.to_owned(), why: "there is no DNS yet" })
    }

    /// Connects for the workload: `system` means the public authorities that this program knows,
    /// whatever the host says.
    ///
    /// # Errors
    ///
    /// [`NetError`].
    pub async fn connect(&self, peer: &Peer) -> Result<Stream, NetError> {
        connect::connect(self, peer).await
    }

    /// As [`Net::connect`], to one of these addresses: for who has resolved the name already.
    ///
    /// # Errors
    ///
    /// [`NetError`].
    pub async fn connect_to(
        &self,
        peer: &Peer,
        addresses: &[SocketAddr],
    ) -> Result<Stream, NetError> {
        let _ = addresses;
        connect::connect(self, peer).await
    }

    /// Listens.
    ///
    /// # Errors
    ///
    /// [`NetError::Bind`], and what is wrong with the TLS settings.
    pub async fn listen(&self, listen: &Listen) -> Result<Listener, NetError> {
        Listener::new(self, listen).await
    }

    /// Connects to a server of the deployment (Steward, Drawbridge) to speak HTTP: `system` means
    /// what the launch says about servers, that is `Network::system_roots` and `Network::roots`.
    /// The peer's ALPN is set to `http/1.1`.
    ///
    /// # Errors
    ///
    /// [`NetError`].
    pub async fn http(&self, peer: &Peer) -> Result<Http, NetError> {
        Http::new(self, peer).await
    }
}
