//! What the server says about itself, all of it: the list can be read at a glance. `ingest` adds its own.

use domain::Batch;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The media type of [`encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry as text.
pub fn encode(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Of the writer.
    pub writer: WriterMetrics,
    /// Of detection and investigation.
    pub incidents: IncidentMetrics,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.writer.register(registry);
        metrics.incidents.register(registry);
        metrics
    }
}

/// Of the writer.
#[derive(Clone, Debug)]
pub struct WriterMetrics {
    rows: Family<BySignal, Counter>,
    writes: Counter,
    seconds: Histogram,
    derived_deploys: Counter,
    /// Writes that failed.
    pub failed_writes: Counter,
    /// Groups whose submissions were stored one by one, because one was to blame.
    pub split_groups: Counter,
    /// Events of Kubernetes that were stored, but came too fast to become alerts, or could not be taken as such.
    pub dropped_events: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySignal {
    signal: &'static str,
}

impl Default for WriterMetrics {
    fn default() -> Self {
        Self {
            rows: Family::default(),
            writes: Counter::default(),
            seconds: seconds(),
            derived_deploys: Counter::default(),
            failed_writes: Counter::default(),
            split_groups: Counter::default(),
            dropped_events: Counter::default(),
        }
    }
}

impl WriterMetrics {
    /// Counts a batch that was stored, and how many of its changes were derived from telemetry.
    pub fn stored(&self, batch: &Batch, derived: usize, seconds: f64) {
        let counts = [
            ("traces", batch.spans.len()),
            ("logs", batch.logs.len()),
            ("metrics", batch.samples.len()),
            ("profiles", batch.profiles.len()),
            ("changes", batch.changes.len()),
        ];
        for (signal, rows) in counts.into_iter().filter(|(_, rows)| *rows > 0) {
            self.rows.get_or_create(&BySignal { signal }).inc_by(rows as u64);
        }
        self.writes.inc();
        self.derived_deploys.inc_by(derived as u64);
        self.seconds.observe(seconds);
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("inquest_store_rows", "Rows stored, by signal", self.rows.clone());
        registry.register("inquest_store_writes", "Groups of submissions stored", self.writes.clone());
        registry.register("inquest_store_write_seconds", "Time to store a group", self.seconds.clone());
        registry.register(
            "inquest_store_failed_writes",
            "Groups that could not be stored",
            self.failed_writes.clone(),
        );
        registry.register(
            "inquest_store_split_groups",
            "Groups stored one submission at a time because one was refused",
            self.split_groups.clone(),
        );
        registry.register(
            "inquest_derived_deploys",
            "Deploys derived from the first sight of a version",
            self.derived_deploys.clone(),
        );
        registry.register(
            "inquest_dropped_kubernetes_events",
            "Events of Kubernetes that were stored, but came too fast to become alerts, or could not be taken as such",
            self.dropped_events.clone(),
        );
    }
}

/// Of detection and investigation.
#[derive(Clone, Debug)]
pub struct IncidentMetrics {
    /// Rounds of evaluation that ended well.
    pub evaluations: Counter,
    /// Rounds that could not look.
    pub failed_evaluations: Counter,
    /// Time a round took.
    pub evaluation_seconds: Histogram,
    /// Time a look at metrics and log patterns took.
    pub observation_seconds: Histogram,
    /// Incidents opened.
    pub opened: Counter,
    /// Incidents open now.
    pub open: Gauge,
    /// Investigations that ended with a report.
    pub investigations: Counter,
    /// Investigations that failed.
    pub failed_investigations: Counter,
    /// Time an investigation took.
    pub investigation_seconds: Histogram,
}

impl Default for IncidentMetrics {
    fn default() -> Self {
        Self {
            evaluations: Counter::default(),
            failed_evaluations: Counter::default(),
            evaluation_seconds: seconds(),
            observation_seconds: seconds(),
            opened: Counter::default(),
            open: Gauge::default(),
            investigations: Counter::default(),
            failed_investigations: Counter::default(),
            investigation_seconds: seconds(),
        }
    }
}

impl IncidentMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("inquest_evaluations", "Rounds of objectives evaluated", self.evaluations.clone());
        registry.register(
            "inquest_failed_evaluations",
            "Rounds of objectives that could not be evaluated",
            self.failed_evaluations.clone(),
        );
        registry.register("inquest_evaluation_seconds", "Time of a round", self.evaluation_seconds.clone());
        registry.register(
            "inquest_observation_seconds",
            "Time of a look at metrics and log patterns",
            self.observation_seconds.clone(),
        );
        registry.register("inquest_incidents_opened", "Incidents opened", self.opened.clone());
        registry.register("inquest_incidents_open", "Incidents open now", self.open.clone());
        registry.register("inquest_investigations", "Investigations ended", self.investigations.clone());
        registry.register(
            "inquest_failed_investigations",
            "Investigations that failed",
            self.failed_investigations.clone(),
        );
        registry.register(
            "inquest_investigation_seconds",
            "Time an investigation took",
            self.investigation_seconds.clone(),
        );
    }
}

/// A histogram of seconds, 5 ms to 40 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let batch = Batch { changes: vec![domain::Change::default()], ..Batch::default() };
        metrics.writer.stored(&batch, 1, 0.1);
        let text = encode(&registry).unwrap();
        assert!(text.contains("inquest_store_rows_total{signal=\"changes\"} 1"), "{text}");
        assert!(text.contains("inquest_derived_deploys_total 1"), "{text}");
    }
}
