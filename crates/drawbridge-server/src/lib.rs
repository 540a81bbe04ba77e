// SPDX-License-Identifier: Apache-2.0

//! The service of a Drawbridge: routes, users, release of workloads to Keeps.
//!
//! It holds no state but counters and sums that it can reckon anew: everything is in the store, and any
//! number of servers can serve one. What a client sends is bounded before it is read, content passes
//! through without ever being in memory whole, and whom something is released to is decided with each
//! request.
//!
//! ```no_run
//! use drawbridge_server::{Config, Server};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("/var/lib/drawbridge", "127.0.0.1:0".parse()?);
//! let server = Server::new(config).await?;
//! println!("listening at {}", server.address());
//! server.serve(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod access;
mod answer;
mod body;
mod call;
mod config;
mod metrics;
mod names;
mod problem;
mod range;
mod release;
mod routes;
mod tags;
mod tls;
mod tree;
mod uploads;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use drawbridge_signatures::TrustedRoot;
use drawbridge_store::{Grace, Store};
use drawbridge_tokens::{Options, Verifier};
use http_service::Listening;
use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{info, warn};

pub use config::{Config, Limits, Oidc, Quotas, StartError, Tls};
pub use http_service::until_signal;

use metrics::Metrics;

/// A connection's buffer: bodies come in such parts.
const BUFFER: usize = 64 << 10;

/// What requests share.
#[derive(Debug)]
pub(crate) struct Service {
    store: Store,
    tokens: Option<Verifier>,
    sigstore: Option<TrustedRoot>,
    limits: Limits,
    metrics: Metrics,
    transfers: Arc<Semaphore>,
}

/// A server that listens already, and answers once [`Server::serve`] runs.
#[derive(Debug)]
pub struct Server {
    service: Arc<Service>,
    listening: Listening,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    collect_every: Option<Duration>,
}

impl Server {
    /// Opens the store, asks the OpenID Connect provider for its keys, and listens.
    ///
    /// # Errors
    ///
    /// [`StartError`]. That the provider does not answer is none: it is asked again.
    pub async fn new(config: Config) -> Result<Self, StartError> {
        let store = Store::open(&config.store, config.quotas)
            .map_err(|source| StartError::Store { url: config.store.clone(), source })?;
        let tls = config.tls.as_ref().map(tls::config).transpose()?;
        let sigstore = config.sigstore_root.as_deref().map(TrustedRoot::from_json).transpose();
        let sigstore = sigstore.map_err(|error| StartError::Sigstore(error.to_string()))?;
        let tokens = match &config.oidc {
            Some(oidc) => Some(verifier(oidc).await?),
            None => None,
        };
        let failed = |error| StartError::Listen { address: config.listen, source: Arc::new(error) };
        let listening = Listening::new(config.listen.ip(), config.listen.port()).map_err(failed)?;
        let address = listening.address().map_err(failed)?;
        let transfers = Arc::new(Semaphore::new(config.limits.transfers));
        let service = Service {
            store,
            tokens,
            sigstore,
            limits: config.limits,
            metrics: Metrics::new(),
            transfers,
        };
        let collect_every = config.collect_every;
        Ok(Self { service: Arc::new(service), listening, address, tls, collect_every })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then finishes what has begun, for at most [`Limits::grace`].
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`] if the socket cannot be used any more.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), StartError> {
        let Self { service, listening, address, tls, collect_every } = self;
        info!(%address, tls = tls.is_some(), users = service.tokens.is_some(), "listening");
        let collecting = collect_every.map(|every| {
            let service = Arc::clone(&service);
            tokio::spawn(async move { collect(&service, every).await })
        });
        let limits = http_service::Limits {
            connections: service.limits.connections,
            connections_per_address: service.limits.connections_per_address,
            timeout: service.limits.timeout,
            grace: service.limits.grace,
            buffer: BUFFER,
        };
        let metrics = service.metrics.http.clone();
        let service =
            http_service::Service { routes: routes::routes(service), tls, limits, metrics };
        let result = service.serve(listening, shutdown).await;
        if let Some(collecting) = collecting {
            // It can be ended at any point: what it has not removed is there for the next one.
            collecting.abort();
        }
        result.map_err(|error| StartError::Listen { address, source: Arc::new(error) })
    }
}

async fn verifier(oidc: &Oidc) -> Result<Verifier, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Oidc(error.to_string());
    let mut options = Options::default();
    if !oidc.roots.is_empty() {
        let roots = evidence_pki::certificates(&oidc.roots).map_err(|error| failed(&error))?;
        options.roots = roots.into_iter().map(|root| root.into_owned()).collect();
    }
    let verifier = Verifier::new(&oidc.issuer, &oidc.audience, options).await;
    verifier.map_err(|error| failed(&error))
}

/// Collects garbage for ever. Servers on one store that were started together drift apart, since how long
/// they wait depends on their process ids.
async fn collect(service: &Service, every: Duration) {
    let share = u32::from(std::process::id().to_le_bytes()[0]);
    loop {
        sleep(every.saturating_sub(every / 4 * share / 256)).await;
        match service.store.collect(Grace::default()).await {
            Ok(collected) => {
                service.metrics.collected(&collected);
                info!(
                    contents = collected.contents,
                    bytes = collected.bytes,
                    records = collected.records,
                    uploads = collected.uploads,
                    files = collected.files,
                    kept = collected.kept,
                    "garbage collected"
                );
            }
            Err(error) => warn!(%error, "garbage was not collected"),
        }
    }
}
