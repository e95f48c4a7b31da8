//! How a suspect does harm: the first rule that its deviations satisfy.

use domain::Mechanism;

use super::analysis::Analysis;
use super::comparison::{Comparison, Step};
use super::locks::lock;
use super::metrics::Topic;
use super::neighbour::neighbour;
use super::outside::outside_address;
use super::record::stuck_record;
use super::resource::{exhausted, fills};
use super::surge::Surge;
use super::suspects::{MATERIAL, Remote, SIGNIFICANT, Suspect, remote_place};

/// Calls per request must multiply by this to count as repeated.
const REPEATED: f64 = 3.0;
/// A mechanism, and the step that shows it best.
#[derive(Clone, Debug)]
pub struct Harm {
    /// How.
    pub mechanism: Mechanism,
    /// Where it shows, as a place in the comparison.
    pub step: Option<usize>,
}

/// The mechanism of a suspect.
pub fn harm(analysis: &Analysis<'_>, suspect: &Suspect) -> Harm {
    if let Some(mechanism) = from_outside(analysis, &suspect.place) {
        return Harm { mechanism, step: None };
    }
    let comparison = &analysis.comparison;
    let slow = strongest(analysis, suspect, |step| {
        let slower = Comparison::own_z(step).max(comparison.calls_z(step)) >= SIGNIFICANT;
        let added = comparison.added_ms(step);
        if slower && added >= MATERIAL * comparison.usual_ms() { added } else { 0.0 }
    });
    let failing = strongest(analysis, suspect, |step| {
        if Comparison::origins_z(step) >= SIGNIFICANT {
            step.now.origins / comparison.entries.1.max(1.0)
        } else {
            0.0
        }
    });
    let surges = || Surge::of(analysis, suspect).is_some_and(|surge| surge.holds());
    if suspect.latency + suspect.errors > 0.0 && surges() {
        return Harm { mechanism: Mechanism::TrafficSurge, step: slow.or(failing) };
    }
    if suspect.latency + suspect.errors <= 0.0 {
        return Harm {
            mechanism: without_time_or_errors(analysis, suspect),
            step: changed_call(analysis, suspect),
        };
    }
    // Whatever makes a service slow also makes it fail once callers give up: time explains errors, not the reverse,
    // unless the slow part is negligible beside the failures.
    let by_time = suspect.latency >= 0.5 * suspect.errors;
    match (slow.filter(|_| by_time), failing) {
        (Some(place), _) => Harm { mechanism: slowness(analysis, suspect, place), step: Some(place) },
        (None, Some(place)) => Harm { mechanism: failure(analysis, suspect, place), step: Some(place) },
        (None, None) => Harm { mechanism: without_time_or_errors(analysis, suspect), step: slow },
    }
}

/// Harm that no change of ours brings, where logs and metrics say so.
fn from_outside(analysis: &Analysis<'_>, place: &str) -> Option<Mechanism> {
    if outside_address(analysis, place).is_some() {
        Some(Mechanism::FailingDependency)
    } else if stuck_record(analysis, place).is_some() {
        Some(Mechanism::BadInput)
    } else if neighbour(analysis, place).is_some() {
        Some(Mechanism::NoisyNeighbour)
    } else {
        None
    }
}

/// The step of a suspect with the largest amount, if any has one.
fn strongest(analysis: &Analysis<'_>, suspect: &Suspect, amount: impl Fn(&Step) -> f64) -> Option<usize> {
    let steps = &analysis.comparison.steps;
    let here = analysis.comparison.scoped().filter(|(_, step)| belongs(step, steps, &suspect.place));
    let amounts = here.map(|(place, step)| (amount(step), place)).filter(|(amount, _)| *amount > 0.0);
    amounts
        .max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)))
        .map(|(_, place)| place)
}

/// Whether a step is a suspect's own, or a call to it when it has no steps.
fn belongs(step: &Step, steps: &[Step], place: &str) -> bool {
    step.operation.service == place
        || matches!(remote_place(step, steps), Some(Remote::Peer(peer) | Remote::Callee(peer)) if peer == place)
}

fn slowness(analysis: &Analysis<'_>, suspect: &Suspect, place: usize) -> Mechanism {
    let comparison = &analysis.comparison;
    let steps = &comparison.steps;
    let step = &steps[place];
    if repeated(comparison, step).is_some() {
        return Mechanism::RepeatedCalls;
    }
    // Waiting for a pool or a lock shows beside the calls that hog it.
    if comparison
        .scoped()
        .any(|(_, other)| other.operation.service == suspect.place && repeated(comparison, other).is_some())
    {
        return Mechanism::RepeatedCalls;
    }
    if !step.operation.database.is_empty() {
        return if lock(analysis, &suspect.place, true).is_some() {
            Mechanism::LockContention
        } else {
            Mechanism::SlowQuery
        };
    }
    match remote_place(step, steps) {
        Some(Remote::Peer(_)) => Mechanism::SlowDependency,
        Some(Remote::Callee(_)) => Mechanism::Network,
        None if lock(analysis, &suspect.place, false).is_some() => Mechanism::LockContention,
        None if exhausted(analysis, &suspect.place).is_some() => Mechanism::Saturation,
        None => Mechanism::SlowCode,
    }
}

/// Calls per call of the step above, before and now, when they multiplied while each took about as long or the sum grew.
pub fn repeated(comparison: &Comparison, step: &Step) -> Option<(f64, f64)> {
    let (before, now) = comparison.calls_per_parent(step);
    let multiplied =
        now >= 2.0 && now >= REPEATED * before.max(0.1) && comparison.calls_z(step) >= SIGNIFICANT;
    multiplied.then_some((before, now))
}

fn failure(analysis: &Analysis<'_>, suspect: &Suspect, place: usize) -> Mechanism {
    let step = &analysis.comparison.steps[place];
    if !step.operation.database.is_empty() && lock(analysis, &suspect.place, true).is_some() {
        return Mechanism::LockContention;
    }
    match remote_place(step, &analysis.comparison.steps) {
        Some(Remote::Peer(_)) => Mechanism::FailingDependency,
        _ => Mechanism::NewErrors,
    }
}

fn without_time_or_errors(analysis: &Analysis<'_>, suspect: &Suspect) -> Mechanism {
    let silent = analysis.seen.coverage.iter().find(|coverage| coverage.service == suspect.place);
    if silent.is_some_and(|coverage| analysis.fell_silent(coverage)) {
        return Mechanism::Down;
    }
    // What fell, eased or is only under way tells of no harm.
    let mut mine = analysis.metrics.iter().filter(|metric| metric.service == suspect.place);
    let by_metric = mine.find_map(|metric| match metric.topic {
        _ if fills(metric) => Some(Mechanism::Saturation),
        Topic::Network => Some(Mechanism::Network),
        Topic::Errors | Topic::Success if metric.worse_by > 0.0 => Some(Mechanism::NewErrors),
        Topic::Latency if metric.worse_by > 0.0 => Some(Mechanism::SlowCode),
        _ => None,
    });
    let errors_logged =
        analysis.patterns.iter().any(|pattern| pattern.service == suspect.place && pattern.severity >= 17);
    if suspect.calls > 0.0 {
        Mechanism::ChangedBehaviour
    } else if errors_logged {
        Mechanism::NewErrors
    } else {
        by_metric.unwrap_or(Mechanism::Unknown)
    }
}

fn changed_call(analysis: &Analysis<'_>, suspect: &Suspect) -> Option<usize> {
    let steps = &analysis.comparison.steps;
    let mine =
        |step: &Step| step.parent.is_some_and(|parent| steps[parent].operation.service == suspect.place);
    let changed = analysis.comparison.scoped().filter(|(_, step)| mine(step));
    let by_z = changed
        .map(|(place, step)| (analysis.comparison.calls_z(step).abs(), place))
        .filter(|(z, _)| *z >= SIGNIFICANT);
    by_z.max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1))).map(|(_, place)| place)
}
