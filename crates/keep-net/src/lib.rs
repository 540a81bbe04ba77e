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
mod dns;
mod error;
mod http;
mod identity;
mod io;
mod listen;
mod provider;
mod settings;
mod stream;
mod tls;
mod verify;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use enarx_config::{Listen, Peer};
use keep_launch::Network;
use rustls::pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dns::Resolver;
use crate::settings::{Clients, Scope};

pub use error::NetError;
pub use http::{Body, Http, Response, SILENCE, Url};
pub use identity::IdentityHandle;
pub use io::HyperIo;
pub use listen::{Listener, MAX_HANDSHAKES};
pub use provider::{check_cpu, provider};
pub use stream::{PeerInfo, Stream};

/// Sockets that may be open if the launch does not say.
const DEFAULT_SOCKETS: usize = 1000;

/// The network of a Keep; clones share it.
#[derive(Debug, Clone)]
pub struct Net {
    pub(crate) shared: Arc<Shared>,
    resolver: Arc<Resolver>,
    pub(crate) places: Arc<Semaphore>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) network: Network,
    pub(crate) identity: IdentityHandle,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) clients: Clients,
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
        let mut store = rustls::RootCertStore::empty();
        for (which, roots) in [("system", &network.roots), ("steward", &network.steward_roots)] {
            for root in roots {
                store.add(CertificateDer::from(&root[..])).map_err(|error| NetError::Roots {
                    which: which.to_owned(),
                    why: error.to_string(),
                })?;
            }
        }
        let places = match usize::try_from(network.max_sockets) {
            Ok(0) | Err(_) => DEFAULT_SOCKETS,
            Ok(count) => count.min(Semaphore::MAX_PERMITS),
        };
        Ok(Self {
            resolver: Arc::new(Resolver::new(network)),
            places: Arc::new(Semaphore::new(places)),
            shared: Arc::new(Shared {
                network: network.clone(),
                identity,
                files: files.to_vec(),
                clients: Clients::default(),
            }),
        })
    }

    /// The same network with other files: a deployed workload brings them along only later. Both
    /// count their sockets together.
    #[must_use]
    pub fn with_files(&self, files: &[(String, Vec<u8>)]) -> Self {
        let shared = Shared {
            network: self.shared.network.clone(),
            identity: self.shared.identity.clone(),
            files: files.to_vec(),
            clients: Clients::default(),
        };
        Self { shared: Arc::new(shared), ..self.clone() }
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
        self.resolver.resolve(name).await
    }

    /// Connects for the workload: `system` means the public authorities that this program knows,
    /// whatever the host says.
    ///
    /// # Errors
    ///
    /// [`NetError`].
    pub async fn connect(&self, peer: &Peer) -> Result<Stream, NetError> {
        connect::connect(self, peer, None, Scope::Workload).await
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
        connect::connect(self, peer, Some(addresses), Scope::Workload).await
    }

    /// Listens.
    ///
    /// # Errors
    ///
    /// [`NetError::Bind`], and what is wrong with the TLS settings.
    pub async fn listen(&self, listen: &Listen) -> Result<Listener, NetError> {
        // Asynchronous because a socket belongs to an event loop.
        Listener::new(self, listen)
    }

    /// Connects to a server of the deployment (Steward, Drawbridge) to speak HTTP: `system` means
    /// what the launch says about servers, that is `Network::system_roots` and `Network::roots`.
    /// ALPN is `http/1.1` unless the peer says otherwise.
    ///
    /// # Errors
    ///
    /// [`NetError`].
    pub async fn http(&self, peer: &Peer) -> Result<Http, NetError> {
        Http::new(self, peer).await
    }

    /// A place among the sockets that may be open.
    fn place(&self) -> Result<OwnedSemaphorePermit, NetError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| NetError::TooManySockets)
    }
}
