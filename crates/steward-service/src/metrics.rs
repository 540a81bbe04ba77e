// SPDX-License-Identifier: Apache-2.0

//! What is counted, in the OpenMetrics text format.
//!
//! Each label has few values, none of which a client can choose: routes are those that exist, codes are
//! those of the libraries.

use std::fmt;
use std::time::Duration;

use http_service::HttpMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Bounds of the histograms in seconds. A decision takes about a millisecond.
const BOUNDS: [f64; 12] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decision {
    outcome: &'static str,
    platform: &'static str,
    code: &'static str,
}

/// The counters of one service.
pub(crate) struct Metrics {
    registry: Registry,
    /// Of requests and connections.
    pub(crate) http: HttpMetrics,
    decisions: Family<Decision, Counter>,
    deciding: Histogram,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("steward");
        let http = HttpMetrics::new(&BOUNDS);
        http.register(&mut registry);
        let decisions = Family::default();
        let deciding = Histogram::new(BOUNDS);
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
        Self { registry, http, decisions, deciding }
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
        http_service::render(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shown() {
        let metrics = Metrics::new();
        metrics.issued("snp");
        metrics.refused("snp", "snp.signature");
        metrics.decided(Duration::from_millis(3));
        let text = metrics.render().unwrap();
        for line in [
            r#"steward_decisions_total{outcome="issued",platform="snp",code=""} 1"#,
            r#"steward_decisions_total{outcome="refused",platform="snp",code="snp.signature"} 1"#,
            r#"steward_decision_duration_seconds_bucket{le="0.004"} 1"#,
            "steward_requests_in_flight 0",
            "steward_connections 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
