// SPDX-License-Identifier: Apache-2.0

//! What every service counts, in the OpenMetrics text format.
//!
//! Each label has few values, none of which a client can choose: routes are those that exist, methods
//! those that mean something.

use std::fmt;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The content type of what [`render`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

/// Makes histograms with these bounds.
#[derive(Clone)]
struct Bounds(&'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Counters of requests and connections; clones count together.
#[derive(Clone)]
pub struct HttpMetrics {
    requests: Family<Answered, Counter>,
    durations: Family<Route, Histogram, Bounds>,
    in_flight: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
}

impl HttpMetrics {
    /// With these bounds, in seconds, for how long requests take.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(Bounds(bounds)),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
        }
    }

    /// Has them shown among those of a service.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Answered requests", Family::clone(&self.requests));
        registry.register_with_unit(
            "http_request_duration",
            "From the head of a request to the head of its answer",
            Unit::Seconds,
            Family::clone(&self.durations),
        );
        registry.register("requests_in_flight", "Requests being worked on", self.in_flight.clone());
        registry.register("connections", "Open connections", self.connections.clone());
    }

    /// Has a request answered, and counts it under the name of its path.
    pub async fn observe(&self, route: &'static str, request: Request, next: Next) -> Response {
        let start = Instant::now();
        let method = method(request.method());
        let running = Running::new(&self.in_flight);
        let response = next.run(request).await;
        drop(running);
        let status = response.status().as_u16();
        self.requests.get_or_create(&Answered { route, method, status }).inc();
        self.durations.get_or_create(&Route { route }).observe(start.elapsed().as_secs_f64());
        response
    }

    /// A connection begins.
    pub(crate) fn connected(&self) -> Running {
        Running::new(&self.connections)
    }
}

impl fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpMetrics").finish_non_exhaustive()
    }
}

/// Something that is going on until this is dropped.
#[derive(Debug)]
pub struct Running(Gauge<i64, AtomicI64>);

impl Running {
    /// Counts it in `gauge`.
    pub fn new(gauge: &Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A method as a label has it.
#[must_use]
pub fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// All counters as text.
///
/// # Errors
///
/// If a counter cannot be written, which is none that clients can bring about.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut out = String::new();
    text::encode(&mut out, registry)?;
    Ok(out)
}
