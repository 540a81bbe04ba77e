// SPDX-License-Identifier: Apache-2.0

//! What is counted, in the OpenMetrics text format.
//!
//! Each label has few values, none of which a client can choose.

use std::fmt;
use std::sync::atomic::AtomicU64;

use drawbridge_store::Collected;
use http_service::HttpMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

/// Bounds of the histogram in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0, 16.0, 64.0, 256.0];

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
    /// Of requests and connections.
    pub(crate) http: HttpMetrics,
    releases: Family<Release, Counter>,
    bytes: Family<Direction, Counter>,
    collected: Counter<u64, AtomicU64>,
    collected_bytes: Counter<u64, AtomicU64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("drawbridge");
        let http = HttpMetrics::new(&BOUNDS);
        http.register(&mut registry);
        let releases = Family::default();
        let bytes = Family::default();
        let (collected, collected_bytes) = (Counter::default(), Counter::default());
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
        registry.register("collected_contents", "Contents removed as garbage", collected.clone());
        registry.register_with_unit(
            "collected",
            "Garbage removed",
            Unit::Bytes,
            collected_bytes.clone(),
        );
        Self { registry, http, releases, bytes, collected, collected_bytes }
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
        http_service::render(&self.registry)
    }
}
