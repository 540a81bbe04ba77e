// SPDX-License-Identifier: Apache-2.0

//! The service: HTTP around the library that decides.
//!
//! It holds no state but counters. What a client sends is bounded before it is read, whatever takes
//! processor time runs on as many threads as there are processors, and every decision is counted and
//! logged once.

mod answer;
mod decision;
mod http;
mod limits;
mod listen;
mod metrics;
mod patience;
mod problem;
mod tls;

use std::sync::Arc;

use steward_core::Authority;

pub(crate) use limits::Limits;
pub(crate) use listen::{Listening, serve};
pub(crate) use tls::server_config;

use limits::Gate;
use metrics::Metrics;

/// What requests share.
#[derive(Debug)]
pub(crate) struct Service {
    authority: Authority,
    metrics: Metrics,
    gate: Gate,
    limits: Limits,
    /// Whether certificates are issued for evidence that proves nothing.
    development: bool,
}

impl Service {
    pub(crate) fn new(authority: Authority, limits: Limits, development: bool) -> Arc<Self> {
        Arc::new(Self {
            authority,
            metrics: Metrics::new(),
            gate: Gate::new(&limits),
            limits,
            development,
        })
    }
}
