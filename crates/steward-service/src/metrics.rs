// SPDX-License-Identifier: Apache-2.0

//! What is counted, in the OpenMetrics text format.
//!
//! Each label has few values, none of which a client can choose: routes are those that exist, codes are
//! those of the libraries.

use std::fmt;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the histograms in seconds. A decision takes about a millisecond.
const BOUNDS: [f64; 12] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 10.0];

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
struct Decision {
    outcome: &'static str,
    platform: &'static str,
    code: &'static str,
}

/// The counters of one service.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    decisions: Family<Decision, Counter>,
    deciding: Histogram,
    in_flight: Gauge<i64, AtomicI64>,
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
        let mut registry = Registry::with_prefix("steward");
        let requests = Family::default();
        let durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        let decisions = Family::default();
        let deciding = histogram();
        let in_flight = Gauge::default();
        registry.register("http_requests", "Answered requests", Family::clone(&requests));
        registry.register_with_unit(
            "http_request_duration",
            "From the head of a request to its answer",
            Unit::Seconds,
            Family::clone(&durations),
        );
        registry.register(
            "decisions",
            "Requests for certificates that were decided, and how; the platform is empty if it is not known",
            Family::clone(&decisions),
        );
        registry.register_with_unit(
            "decision_duration",
            "Verifying, appraising and signing, without waiting for a free processor",
            Unit::Seconds,
            deciding.clone(),
        );
        registry.register("requests_in_flight", "Requests being worked on", in_flight.clone());
        Self { registry, requests, durations, decisions, deciding, in_flight }
    }

    /// A request begins; it ends when the value is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
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

    pub(crate) fn issued(&self, platform: &'static str) {
        self.decisions.get_or_create(&Decision { outcome: "issued", platform, code: "" }).inc();
    }

    pub(crate) fn refused(&self, platform: &'static str, code: &'static str) {
        self.decisions.get_or_create(&Decision { outcome: "refused", platform, code }).inc();
    }

    pub(crate) fn decided(&self, duration: Duration) {
        self.deciding.observe(duration.as_secs_f64());
    }

    /// All counters as text.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// A request that is being worked on.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Gauge<i64, AtomicI64>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shown() {
        let metrics = Metrics::new();
        metrics.answered("/v1/ca", "GET", 200, Duration::from_millis(1));
        metrics.issued("snp");
        metrics.refused("snp", "snp.signature");
        metrics.decided(Duration::from_millis(3));
        let running = metrics.begin();
        let text = metrics.render().unwrap();
        for line in [
            r#"steward_http_requests_total{route="/v1/ca",method="GET",status="200"} 1"#,
            r#"steward_decisions_total{outcome="issued",platform="snp",code=""} 1"#,
            r#"steward_decisions_total{outcome="refused",platform="snp",code="snp.signature"} 1"#,
            r#"steward_decision_duration_seconds_bucket{le="0.004"} 1"#,
            "steward_requests_in_flight 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop(running);
        assert!(metrics.render().unwrap().contains("steward_requests_in_flight 0"));
        assert!(text.ends_with("# EOF\n"));
    }
}
