//! The questions asked of the store, all at once, and their answers.

use std::collections::BTreeMap;
use std::future::Future;

use domain::{Change, EvidenceKind, SeriesId, UnixNanos, Window};
use serde::{Deserialize, Serialize};
use storage::Store;
use storage::questions::attributes::AttributeValues;
use storage::questions::call_tree::CallTree;
use storage::questions::coverage::Coverage;
use storage::questions::error_causes::ErrorCauses;
use storage::questions::log_flow::LogFlow;
use storage::questions::log_groups::LogGroups;
use storage::questions::metrics::MetricLevels;
use storage::questions::operations::OperationSlice;
use storage::questions::service_graph::ServiceEdge;
use storage::questions::sli::SliMinute;
use storage::questions::trace::TraceRow;

use crate::reason::focus::{Focus, focus};
use crate::{Error, Question};

/// Changes are looked for this long before the window.
const CHANGE_LOOKBACK: std::time::Duration = std::time::Duration::from_secs(2 * 3600);
/// Slices of time that charts are cut into, about.
const CHART_SLICES: f64 = 90.0;

/// Everything the store said: small, serialisable, enough to reason without the store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Observations {
    /// The question, with its baseline settled.
    pub question: Option<Question>,
    /// Traces of the baseline.
    pub calls_before: CallTree,
    /// Traces of the window.
    pub calls_now: CallTree,
    /// Failures of the baseline.
    pub errors_before: ErrorCauses,
    /// Failures of the window.
    pub errors_now: ErrorCauses,
    /// Log messages of both.
    pub logs: LogGroups,
    /// Steps from one log statement to the next, in both.
    pub flow: LogFlow,
    /// Metric levels of both.
    pub metrics: MetricLevels,
    /// Points of the series that moved most.
    pub points: BTreeMap<SeriesId, Vec<(UnixNanos, f64)>>,
    /// Changes before and during the window.
    pub changes: Vec<Change>,
    /// Rows per service and signal.
    pub coverage: Vec<Coverage>,
    /// Services with metrics, and how many series.
    pub metric_services: Vec<(String, u64)>,
    /// Minutes of the impacted service by endpoint, both windows.
    pub endpoints: Vec<SliMinute>,
    /// Call edges seen from both ends.
    pub graph: Vec<ServiceEdge>,
    /// Requests of the services in focus over time.
    pub requests: Vec<OperationSlice>,
    /// Operations in focus over time.
    pub operations: Vec<OperationSlice>,
    /// Attribute values of bad and good requests of the impacted service.
    pub attributes: AttributeValues,
    /// A typical bad trace.
    pub trace: Vec<TraceRow>,
    /// Its id.
    pub trace_id: String,
    /// Questions that failed, and why.
    pub failures: Vec<(EvidenceKind, String)>,
}

impl Observations {
    /// The question asked.
    pub fn asked(&self) -> Question {
        self.question
            .clone()
            .unwrap_or_else(|| Question::new(None, Window::new(UnixNanos::default(), UnixNanos::default())))
    }

    /// The baseline compared with.
    pub fn baseline(&self) -> Window {
        self.asked().quiet_time()
    }
}

/// A check that ended while an investigation runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which.
    pub check: EvidenceKind,
    /// What it brought, in a few words.
    pub note: String,
}

/// Asks everything. A question that fails is noted as such and does not stop the others; the store being gone does.
pub async fn observe(
    store: &Store,
    question: &Question,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Observations, Error> {
    let window = question.harm_window();
    let baseline = question.quiet_time();
    let lookback = Window::new(window.start.minus(CHANGE_LOOKBACK), window.end);
    let told = |check: EvidenceKind, note: String| progress(Progress { check, note });
    let sampling = store.sampling(&[window, baseline]).await?;

    let (
        calls_now,
        calls_before,
        errors_now,
        errors_before,
        logs,
        flow,
        metrics,
        changes,
        coverage,
        metric_services,
        graph,
    ) = tokio::join!(
        heard(store.call_tree(window, sampling), |tree| told(
            EvidenceKind::LatencyDiff,
            format!("{} traces", tree.traces)
        )),
        store.call_tree(baseline, sampling),
        heard(store.error_causes(window), |causes| {
            told(EvidenceKind::ErrorCauses, format!("{} failing traces", causes.failing_traces));
        }),
        store.error_causes(baseline),
        heard(store.log_groups(Some(baseline), window), |logs| {
            told(EvidenceKind::LogPatterns, format!("{} message groups", logs.groups.len()));
        }),
        store.log_flow(baseline, window),
        heard(store.metric_levels(baseline, question.window, question.split()), |levels| {
            told(EvidenceKind::MetricShift, format!("{} series", levels.series.len()));
        }),
        heard(store.changes(lookback), |changes| told(
            EvidenceKind::Change,
            format!("{} changes", changes.len())
        )),
        heard(store.coverage(Some(baseline), window), |coverage| {
            told(EvidenceKind::Silence, format!("{} services", coverage.len()));
        }),
        store.metric_services(),
        store.service_graph(window),
    );

    let mut seen = Observations {
        question: Some(Question { window, baseline: Some(baseline), ..question.clone() }),
        ..Observations::default()
    };
    let failures = &mut seen.failures;
    seen.calls_now = kept(calls_now, EvidenceKind::LatencyDiff, failures);
    seen.calls_before = kept(calls_before, EvidenceKind::LatencyDiff, failures);
    seen.errors_now = kept(errors_now, EvidenceKind::ErrorCauses, failures);
    seen.errors_before = kept(errors_before, EvidenceKind::ErrorCauses, failures);
    seen.logs = kept(logs, EvidenceKind::LogPatterns, failures);
    seen.flow = kept(flow, EvidenceKind::LogPatterns, failures);
    seen.metrics = kept(metrics, EvidenceKind::MetricShift, failures);
    seen.changes = kept(changes, EvidenceKind::Change, failures);
    seen.coverage = kept(coverage, EvidenceKind::Silence, failures);
    seen.metric_services = kept(metric_services, EvidenceKind::MetricShift, failures);
    seen.graph = kept(graph, EvidenceKind::CallStructure, failures);
    seen.changes.extend(question.changes.iter().cloned());
    seen.changes.sort_by(|left, right| {
        (left.at, &left.service, &left.reference).cmp(&(right.at, &right.service, &right.reference))
    });
    seen.changes.dedup();

    let looked = focus(&seen);
    look_closer(store, &mut seen, &looked, baseline, window).await;
    told(EvidenceKind::ServiceLevel, format!("{} endpoints", looked.services.len()));
    Ok(seen)
}

/// The second round: details of what the first one pointed at.
async fn look_closer(
    store: &Store,
    seen: &mut Observations,
    focus: &Focus,
    baseline: Window,
    window: Window,
) {
    let span = Window::new(baseline.start.min(window.start), baseline.end.max(window.end));
    let width = chart_width(&span);
    let objectives = seen.asked().objectives;
    let impacted = focus.services.first().cloned().unwrap_or_default();
    let (requests, operations, points, endpoints, attributes, trace) = tokio::join!(
        store.request_slices(&focus.services, span, width),
        store.operation_slices(&focus.operations, span, width),
        store.metric_points(&focus.series, span),
        store.sli_minutes_by_endpoint(&impacted, span),
        store.attribute_values(&impacted, window, objectives.latency_ms),
        typical_trace(store, focus, window),
    );
    let failures = &mut seen.failures;
    seen.requests = kept(requests, EvidenceKind::ServiceLevel, failures);
    seen.operations = kept(operations, EvidenceKind::LatencyDiff, failures);
    seen.points = kept(points, EvidenceKind::MetricShift, failures);
    seen.endpoints = kept(endpoints, EvidenceKind::ServiceLevel, failures);
    seen.attributes = kept(attributes, EvidenceKind::AttributeSkew, failures);
    (seen.trace_id, seen.trace) = kept(trace, EvidenceKind::LatencyDiff, failures);
}

async fn typical_trace(
    store: &Store,
    focus: &Focus,
    window: Window,
) -> Result<(String, Vec<TraceRow>), storage::Error> {
    let id = match (&focus.trace, &focus.slow_operation) {
        (Some(id), _) => Some(id.clone()),
        (None, Some((service, name, milliseconds))) => {
            store.typical_trace(service, name, window, *milliseconds).await?
        }
        (None, None) => None,
    };
    match id {
        Some(id) => Ok((id.clone(), store.trace(&id).await?)),
        None => Ok((String::new(), Vec::new())),
    }
}

/// A slice width that people count in: 1, 2, 5, 10, 15, 30 seconds, or whole minutes.
fn chart_width(span: &Window) -> u32 {
    const WIDTHS: [u32; 10] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
    let wanted = span.seconds() / CHART_SLICES;
    WIDTHS.into_iter().find(|width| f64::from(*width) >= wanted).unwrap_or(1800)
}

async fn heard<T>(
    question: impl Future<Output = Result<T, storage::Error>>,
    tell: impl FnOnce(&T),
) -> Result<T, storage::Error> {
    let answer = question.await?;
    tell(&answer);
    Ok(answer)
}

/// The answer, or an empty one and a note that this check could not look.
fn kept<T: Default>(
    answer: Result<T, storage::Error>,
    kind: EvidenceKind,
    failures: &mut Vec<(EvidenceKind, String)>,
) -> T {
    answer.unwrap_or_else(|error| {
        tracing::warn!(?kind, error = &error as &dyn std::error::Error, "a question to the store failed");
        failures.push((kind, domain::text::plain(&error.to_string(), 300)));
        T::default()
    })
}
