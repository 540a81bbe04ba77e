// SPDX-License-Identifier: Apache-2.0

//! The Steward as a service: HTTP around the library that decides.
//!
//! It holds no state but counters. What a client sends is bounded before it is read, whatever takes
//! processor time runs on as many threads as there are processors, and every decision is counted and
//! logged once.
//!
//! The caller brings the runtime and says when to stop, so that the same service runs as a program
//! of its own and beside others in one process:
//!
//! ```no_run
//! # async fn up(setup: steward_service::Setup) -> Result<(), Box<dyn std::error::Error>> {
//! use steward_service::{Listening, Service, serve};
//!
//! let service = Service::new(setup)?;
//! let listening = Listening::new("127.0.0.1".parse()?, 0)?;
//! println!("listening at {}", listening.address()?);
//! serve(service, listening, None, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod answer;
mod authority;
pub mod claims;
pub mod clock;
mod decision;
mod http;
mod limits;
mod metrics;
mod problem;
mod setup;

use std::future::Future;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use steward_core::Authority;

pub use authority::{EstablishError, Established, establish};
pub use http_service::{Listening, TlsError, until_signal};
pub use limits::Limits;
pub use setup::{DEVELOPMENT_WARNING, Setup, SetupError, nonce_key, verifier};

use limits::Gate;
use metrics::Metrics;

/// What requests share.
#[derive(Debug)]
pub struct Service {
    authority: Authority,
    metrics: Metrics,
    gate: Gate,
    limits: Limits,
    /// Whether certificates are issued for evidence that proves nothing.
    development: bool,
}

impl Service {
    /// Puts the parts together, and refuses if they do not fit, so that a service that is up can issue
    /// certificates.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(setup: Setup) -> Result<Arc<Self>, SetupError> {
        let (limits, development) = (setup.limits, setup.development);
        Ok(Arc::new(Self {
            authority: setup.authority()?,
            metrics: Metrics::new(),
            gate: Gate::new(&limits),
            limits,
            development,
        }))
    }

    /// Who issues.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

/// The service's own TLS for that chain and key, both PEM; clients are not asked for certificates.
///
/// # Errors
///
/// [`TlsError`].
pub fn server_config(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    http_service::server_config(chain, key, None)
}

/// Serves until `shutdown` is ready, then finishes what has begun. Without `tls` it
/// speaks plain HTTP, for a proxy in front of it.
///
/// # Errors
///
/// If the socket cannot be used.
pub async fn serve(
    service: Arc<Service>,
    listening: Listening,
    tls: Option<Arc<ServerConfig>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = http_service::Limits {
        connections: service.limits.connections,
        timeout: service.limits.timeout,
        ..http_service::Limits::default()
    };
    let metrics = service.metrics.http.clone();
    let service = http_service::Service { routes: http::routes(service), tls, limits, metrics };
    service.serve(listening, shutdown).await
}
