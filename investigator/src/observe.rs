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
use storage::questions::operations::{self, OperationSlice, Slicing};
use storage::questions::service_graph::ServiceEdge;
use storage::questions::sli::SliMinute;
use storage::questions::trace::TraceRow;

use crate::reason::focus::{Focus, focus};
use crate::{Error, Question};

/// Changes are looked for this long before the window.
const CHANGE_LOOKBACK: std::time::Duration = std::time::Duration::from_secs(2 * 3600);
/// Slices of time that baseline and window are cut into, about.
const CHART_SLICES: f64 = 90.0;
/// Slices of the window at least, where it has requests for as many.
const WINDOW_SLICES: f64 = 10.0;
/// Requests that a slice should hold: fewer tell no share and no percentile.
const SLICE_REQUESTS: f64 = 20.0;
/// Slices of the baseline at most: the last ones.
const BASELINE_SLICES: i64 = 1000;

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
    /// Steps from one log statement to the next, in the baseline and since harm was noticed.
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
    /// Requests of the services in focus over time, in slices of the baseline and of the window; none lies in both.
    pub requests: Vec<OperationSlice>,
    /// Width of these slices; 0 when nobody wrote it down.
    #[serde(default)]
    pub slice_seconds: u32,
    /// Operations in focus over time.
    pub operations: Vec<OperationSlice>,
    /// Attribute values of bad and good requests of the impacted service.
    pub attributes: AttributeValues,
    /// A typical bad trace.
    pub trace: Vec<TraceRow>,
    /// Its id.
    pub trace_id: String,
    /// The SQL of answers that do not carry their own.
    #[serde(default)]
    pub queries: Queries,
    /// Questions that failed, and why.
    pub failures: Vec<(EvidenceKind, String)>,
}

/// SQL that gave answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queries {
    /// Of [`Observations::requests`].
    pub requests: String,
    /// Of [`Observations::coverage`].
    pub coverage: String,
    /// Of [`Observations::changes`].
    pub changes: String,
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

    let (calls, errors, logs, flow, metrics, changes, coverage, metric_services, graph) = tokio::join!(
        heard(store.call_trees(baseline, window, sampling), |(_, tree)| told(
            EvidenceKind::LatencyDiff,
            format!("{} traces", tree.traces)
        )),
        heard(store.error_causes(baseline, window), |(_, causes)| {
            told(EvidenceKind::ErrorCauses, format!("{} failing traces", causes.failing_traces));
        }),
        heard(store.log_groups(Some(baseline), window), |logs| {
            told(EvidenceKind::LogPatterns, format!("{} message groups", logs.groups.len()));
        }),
        store.log_flow(baseline, question.noticed_window()),
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
    seen.queries.coverage = storage::questions::coverage::query(Some(&baseline), &window);
    seen.queries.changes = storage::questions::changes::query(&lookback);
    let failures = &mut seen.failures;
    (seen.calls_before, seen.calls_now) = kept(calls, EvidenceKind::LatencyDiff, failures);
    (seen.errors_before, seen.errors_now) = kept(errors, EvidenceKind::ErrorCauses, failures);
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
    let slicing = slicing(baseline, window, request_rate(seen, baseline, window));
    seen.slice_seconds = slicing.width_seconds;
    seen.queries.requests = operations::requests_query(&focus.services, &slicing);
    let objectives = seen.asked().objectives;
    let impacted = focus.services.first().cloned().unwrap_or_default();
    let (requests, slices, points, endpoints, attributes, trace) = tokio::join!(
        store.request_slices(&focus.services, &slicing),
        store.operation_slices(&focus.operations, &slicing),
        store.metric_points(&focus.series, span),
        store.sli_minutes_by_endpoint(&impacted, span),
        store.attribute_values(&impacted, window, objectives.latency_ms),
        typical_trace(store, focus, window),
    );
    let failures = &mut seen.failures;
    seen.requests = kept(requests, EvidenceKind::ServiceLevel, failures);
    seen.operations = kept(slices, EvidenceKind::LatencyDiff, failures);
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

/// Traces per second, in whichever of the two had more.
fn request_rate(seen: &Observations, baseline: Window, window: Window) -> f64 {
    let rate =
        |tree: &CallTree, over: Window| (tree.traces * tree.one_in.max(1)) as f64 / over.seconds().max(1.0);
    rate(&seen.calls_before, baseline).max(rate(&seen.calls_now, window))
}

/// How baseline and window are cut: alike, so that they can be compared, and from the window's start, so that no slice
/// lies in both. The window has about ten slices and more, but none so short that it holds no request to speak of; of a
/// long baseline the end is looked at.
fn slicing(baseline: Window, window: Window, rate: f64) -> Slicing {
    let resolved = (SLICE_REQUESTS / rate.max(1e-9)).min(window.seconds());
    let wanted =
        (window.seconds() / WINDOW_SLICES).min((baseline.seconds() + window.seconds()) / CHART_SLICES);
    let width_seconds = round_width(wanted.max(resolved));
    let width = i64::from(width_seconds) * 1_000_000_000;
    // Whole slices of the baseline only: rates of cut ones would be wrong.
    let after = |at: UnixNanos| at.0.saturating_sub(window.start.0);
    let first =
        after(baseline.start).div_euclid(width) + i64::from(after(baseline.start).rem_euclid(width) != 0);
    let last = after(baseline.end).div_euclid(width);
    let first = first.max(last - BASELINE_SLICES);
    let at = |place: i64| UnixNanos(window.start.0.saturating_add(place.saturating_mul(width)));
    let whole = if first < last { Window::new(at(first), at(last)) } else { baseline };
    Slicing { windows: vec![whole, window], origin: window.start, width_seconds }
}

/// The longest width that people count in of at most so many seconds, and at least one second.
fn round_width(seconds: f64) -> u32 {
    const WIDTHS: [u32; 12] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
    WIDTHS.into_iter().rev().find(|width| f64::from(*width) <= seconds).unwrap_or(1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_of_the_window_or_the_baseline_and_hold_requests() {
        let seconds =
            |start: i64, end: i64| Window::new(UnixNanos::from_seconds(start), UnixNanos::from_seconds(end));
        let check = |baseline: Window, window: Window, rate: f64, width: u32, sliced: Window| {
            let slicing = slicing(baseline, window, rate);
            assert_eq!((slicing.width_seconds, &slicing.windows[..]), (width, &[sliced, window][..]));
        };
        // A window of seconds after a long baseline; with few requests, slices that hold some.
        check(seconds(100, 1003), seconds(1005, 1010), 100.0, 1, seconds(100, 1003));
        check(seconds(100, 1003), seconds(1005, 1010), 10.0, 2, seconds(101, 1003));
        check(seconds(100, 1003), seconds(1005, 1010), 0.0, 5, seconds(100, 1000));
        // A baseline of the day before, and one of days.
        let window = seconds(200_000, 200_600);
        check(seconds(113_600, 114_200), window, 50.0, 10, seconds(113_600, 114_200));
        check(seconds(20_000, 190_000), window, 50.0, 60, seconds(129_980, 189_980));
        // One shorter than a slice.
        check(seconds(199_000, 199_020), window, 0.5, 30, seconds(199_000, 199_020));
    }
}
