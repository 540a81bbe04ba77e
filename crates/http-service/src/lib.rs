// SPDX-License-Identifier: Apache-2.0

//! What the services of this product have in common before a request is one: a socket, connections up to
//! limits, TLS, patience that ends, counters, and an end that lets requests finish.
//!
//! HTTP/1.1 alone: a certificate is one small message each way and a workload one large answer, which a
//! second protocol would make no better, and every protocol is code that strangers talk to.
//!
//! What is at a path is a [`Router`](axum::Router) of the service, which finds in each request who is at
//! the other end, see [`Peer`].
//!
//! ```no_run
//! use http_service::{HttpMetrics, Limits, Listening, Service, until_signal};
//!
//! # async fn run(routes: axum::Router) -> std::io::Result<()> {
//! let listening = Listening::new("::".parse().unwrap(), 8080)?;
//! let (metrics, limits) = (HttpMetrics::new(&[0.001, 0.1, 10.0]), Limits::default());
//! Service { routes, tls: None, limits, metrics }.serve(listening, until_signal()?).await
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod addresses;
mod answer;
mod listening;
mod metrics;
mod patience;
mod serve;
mod tls;

pub use answer::{PROBLEM, problem, typed};
pub use listening::Listening;
pub use metrics::{CONTENT_TYPE, HttpMetrics, Running, method, render};
pub use serve::{Limits, Peer, Service, until_signal};
pub use tls::{TlsError, server_config};
