//! What this crate says about itself, all of it: the list can be read at a glance.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::refusal::Refusal;
use crate::tally::{Partial, Signal, Tally};

/// The counters. `_total` is added by the exposition format.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    accepted: Family<BySignal, Counter>,
    rejected: Family<ByReason, Counter>,
    corrected: Family<ByReason, Counter>,
    truncated: Counter,
    requests: Family<ByOutcome, Counter>,
    /// Bytes of requests being read, decoded or stored.
    pub(crate) inflight_bytes: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySignal {
    signal: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    signal: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    transport: &'static str,
    outcome: &'static str,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "inquest_ingest_accepted",
            "Spans, log records, data points and changes stored",
            metrics.accepted.clone(),
        );
        registry.register(
            "inquest_ingest_rejected",
            "Spans, log records and data points refused, by reason",
            metrics.rejected.clone(),
        );
        registry.register(
            "inquest_ingest_corrected",
            "Things put right in items that were stored, by reason",
            metrics.corrected.clone(),
        );
        registry.register(
            "inquest_ingest_truncated",
            "Fields cut, and parts dropped from stored items, to stay within limits",
            metrics.truncated.clone(),
        );
        registry.register(
            "inquest_ingest_requests",
            "Requests answered, by transport and outcome",
            metrics.requests.clone(),
        );
        registry.register(
            "inquest_ingest_inflight_bytes",
            "Bytes of requests being read, decoded or stored",
            metrics.inflight_bytes.clone(),
        );
        metrics
    }

    /// Counts a request's changes, once they are stored.
    pub(crate) fn stored_changes(&self, changes: usize, truncated: u64) {
        self.accepted.get_or_create(&BySignal { signal: "changes" }).inc_by(changes as u64);
        self.truncated.inc_by(truncated);
    }

    /// Counts a request's items, once they are stored.
    pub(crate) fn stored(&self, signal: Signal, tally: &Tally) {
        let signal = signal.as_str();
        self.accepted.get_or_create(&BySignal { signal }).inc_by(tally.accepted);
        for (reason, items) in &tally.rejected {
            self.rejected.get_or_create(&ByReason { signal, reason: reason.as_str() }).inc_by(*items);
        }
        for (correction, times) in &tally.corrected {
            self.corrected.get_or_create(&ByReason { signal, reason: correction.as_str() }).inc_by(*times);
        }
        self.truncated.inc_by(tally.truncated);
    }

    /// Counts the answer to an OTLP request.
    pub(crate) fn answered_export(
        &self,
        transport: &'static str,
        outcome: &Result<Option<Partial>, Refusal>,
    ) {
        let outcome = match outcome {
            Ok(None) => "ok",
            Ok(Some(_)) => "partial",
            Err(refusal) => refusal.outcome(),
        };
        self.answered(transport, outcome);
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, transport: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&ByOutcome { transport, outcome }).inc();
    }
}
