// SPDX-License-Identifier: Apache-2.0

//! What is counted, in the OpenMetrics text format.
//!
//! Each label has few values, none of which a client can choose.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use drawbridge_store::Collected;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the histogram in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0, 16.0, 64.0, 256.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Release {
    outcome: &'static str,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

/// The counters of one server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    releases: Family<Release, Counter>,
    bytes: Family<Direction, Counter>,
    in_flight: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
    collected: Counter<u64, AtomicU64>,
    collected_bytes: Counter<u64, AtomicU64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("drawbridge");
        let requests = Family::default();
        let durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        let releases = Family::default();
        let bytes = Family::default();
        let (in_flight, connections) = (Gauge::default(), Gauge::default());
        let (collected, collected_bytes) = (Counter::default(), Counter::default());
        registry.register("http_requests", "Answered requests", Family::clone(&requests));
        registry.register_with_unit(
            "http_request_duration",
            "From the head of a request to the head of its answer",
            Unit::Seconds,
            Family::clone(&durations),
        );
        registry.register(
            "releases",
            "Requests of Keeps for workloads of attested repositories, and how they were decided",
            Family::clone(&releases),
        );
        registry.register_with_unit(
            "content",
            "Content that was taken in and given out",
            Unit::Bytes,
            Family::clone(&bytes),
        );
        registry.register("requests_in_flight", "Requests being worked on", in_flight.clone());
        registry.register("connections", "Open connections", connections.clone());
        registry.register("collected_contents", "Contents removed as garbage", collected.clone());
        registry.register_with_unit(
            "collected",
            "Garbage removed",
            Unit::Bytes,
            collected_bytes.clone(),
        );
        Self {
            registry,
            requests,
            durations,
            releases,
            bytes,
            in_flight,
            connections,
            collected,
            collected_bytes,
        }
    }

    /// A request begins; it ends when the value is dropped.
    pub(crate) fn begin(&self) -> Running<'_> {
        Running::new(&self.in_flight)
    }

    /// A connection begins; it ends when the value is dropped.
    pub(crate) fn connected(&self) -> Running<'_> {
        Running::new(&self.connections)
    }

    pub(crate) fn answered(
        &self,
        route: &'static str,
        method: &'static str,
        status: u16,
        duration: Duration,
    ) {
        self.requests.get_or_create(&Request { route, method, status }).inc();
        self.durations.get_or_create(&Route { route }).observe(duration.as_secs_f64());
    }

    pub(crate) fn released(&self) {
        self.releases.get_or_create(&Release { outcome: "released", code: String::new() }).inc();
    }

    /// The code is one of those of this server or of the relying party's library.
    pub(crate) fn refused(&self, code: &str) {
        let release = Release { outcome: "refused", code: code.to_owned() };
        self.releases.get_or_create(&release).inc();
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.bytes.get_or_create(&Direction { direction: "in" }).inc_by(bytes);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes.get_or_create(&Direction { direction: "out" }).inc_by(bytes);
    }

    pub(crate) fn collected(&self, collected: &Collected) {
        self.collected.inc_by(collected.contents);
        self.collected_bytes.inc_by(collected.bytes);
    }

    /// All counters as text.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Something that is going on.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Gauge<i64, AtomicI64>);

impl<'a> Running<'a> {
    fn new(gauge: &'a Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
