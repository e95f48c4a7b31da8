//! What the first round of observations points at, so that the second can look closer.

use domain::SeriesId;

use super::analysis::Analysis;
use super::comparison::Comparison;
use crate::Observations;

/// Services looked at closer.
const MAX_SERVICES: usize = 8;
/// Operations drawn.
const MAX_OPERATIONS: usize = 6;
/// Series drawn.
const MAX_SERIES: usize = 24;

/// Where to look closer.
#[derive(Clone, Debug, Default)]
pub struct Focus {
    /// Services, the impacted one first.
    pub services: Vec<String>,
    /// Operations, as (service, name).
    pub operations: Vec<(String, String)>,
    /// Series.
    pub series: Vec<SeriesId>,
    /// A trace that shows the failure.
    pub trace: Option<String>,
    /// Or an operation, and the length of a typical bad call in milliseconds.
    pub slow_operation: Option<(String, String, f64)>,
}

/// What deserves a closer look.
pub fn focus(seen: &Observations) -> Focus {
    let analysis = Analysis::new(seen);
    let mut services = vec![analysis.impacted.clone()];
    let changed = seen.changes.iter().map(|change| change.service.clone());
    let suspected = analysis.suspects.iter().map(|suspect| suspect.place.clone()).take(MAX_SERVICES / 2);
    for service in suspected.chain(changed) {
        if services.len() < MAX_SERVICES && !service.is_empty() && !services.contains(&service) {
            services.push(service);
        }
    }
    let mut slowest: Vec<(f64, usize)> = analysis
        .comparison
        .scoped()
        .map(|(place, step)| (analysis.comparison.added_ms(step), place))
        .filter(|(added, _)| *added > 0.0)
        .collect();
    slowest.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
    let steps = &analysis.comparison.steps;
    let mut operations: Vec<(String, String)> = Vec::new();
    for (_, place) in &slowest {
        let operation = (steps[*place].operation.service.clone(), steps[*place].operation.name.clone());
        if operations.len() < MAX_OPERATIONS && !operations.contains(&operation) {
            operations.push(operation);
        }
    }
    let trace = seen
        .errors_now
        .groups
        .first()
        .filter(|_| {
            seen.errors_now.failing_traces > seen.calls_now.traces * seen.calls_now.one_in.max(1) / 100
        })
        .map(|group| group.sample_trace.clone());
    Focus {
        services,
        operations,
        series: analysis.metrics.iter().take(MAX_SERIES).map(|metric| metric.id).collect(),
        trace,
        slow_operation: slowest.first().map(|(_, place)| entry_above(&analysis.comparison, *place)),
    }
}

/// The entry of the scope above a step, with the length its bad calls have: the mean of the window.
fn entry_above(comparison: &Comparison, place: usize) -> (String, String, f64) {
    let mut here = place;
    while !comparison.steps[here].is_entry {
        match comparison.steps[here].parent {
            Some(parent) => here = parent,
            None => break,
        }
    }
    let entry = &comparison.steps[here];
    (entry.operation.service.clone(), entry.operation.name.clone(), entry.now.total.mean())
}
