//! How strongly each place deviates by itself, signal by signal, and what is left when its dependencies explain it.
//!
//! A *place* is a service, or a peer without telemetry of its own. For each signal a place gets its amount beside that of
//! the place with most of it, as far as it is certain (standard errors above [`SIGNIFICANT`], saturating); independent
//! signals combine by noisy-or:
//! `1 - Π(1 - weight · share)` (Pearl 1988). Signals that also surface in callers (changed calls, logs) are then reduced
//! by what a place's own callees explain, so that blame settles where a deviation begins.

use std::collections::{BTreeMap, BTreeSet};

use detectors::statistics::{Moments, welch_z};

use super::comparison::{Comparison, Step};
use super::flow::Divergence;
use super::hypotheses::has_traces;
use super::logs::PatternShift;
use super::metrics::MetricMove;
use super::spread::{self, Added};
use super::waits::{self, Gap};

/// Standard errors from which a deviation counts.
pub const SIGNIFICANT: f64 = 3.0;

/// Added time below this share of a usual request's is of no consequence, however certain.
pub const MATERIAL: f64 = 0.02;

/// What metrics of latency and failures still add where traces tell the same more exactly.
const TRACED: f64 = 0.2;

/// What is left of the suspicion of a place that the service asked about does not call, however far down: its callers are
/// its victims.
const UNREACHED: f64 = 0.4;
/// The same where no call of the service asked about is known. Alarms are set where users enter: a place that deviates in the
/// same minutes is below more often than above, say three times in four.
const UNKNOWN_REACH: f64 = 0.75 + 0.25 * UNREACHED;
/// What an alert on a service alone says about it, where it is known to call nothing.
const ASKED_ABOUT: f64 = 0.25;

/// How far each signal is to be trusted as the origin of a failure.
const WEIGHT_ERRORS: f64 = 0.9;
const WEIGHT_LATENCY: f64 = 0.82;
const WEIGHT_CALLS: f64 = 0.4;
const WEIGHT_LOGS: f64 = 0.6;
const WEIGHT_PATHS: f64 = 0.7;
const WEIGHT_SYMPTOMS: f64 = 0.7;
const WEIGHT_FILLED: f64 = 0.8;
const WEIGHT_RESOURCES: f64 = 0.15;
/// What a significant share counts at the least beside another signal's whole: a saturating function of its z.
const HALF_Z: f64 = 3.0;

/// One place and its signals; each share is 0 to 1.
#[derive(Clone, Debug, Default)]
pub struct Suspect {
    /// Service or peer.
    pub place: String,
    /// Whether it sends telemetry.
    pub is_service: bool,
    /// Share of failures that begin here.
    pub errors: f64,
    /// Share of added exclusive time.
    pub latency: f64,
    /// Share of changed calls.
    pub calls: f64,
    /// Share of new or spiking log patterns.
    pub logs: f64,
    /// Share of log statements that are followed by others than before.
    pub paths: f64,
    /// Share of the harm that symptom metrics place here.
    pub symptoms: f64,
    /// Share of shifted resource metrics.
    pub resources: f64,
    /// How much of a bounded resource filled up, as far as it is certain.
    pub filled: f64,
    /// What a change of it implies.
    pub changed: f64,
    /// Everything combined, 0 to 1.
    pub score: f64,
}

impl Suspect {
    /// The strongest single signal, 0 to 1.
    pub fn strongest(&self) -> f64 {
        [self.errors, self.latency, self.logs, self.paths, self.symptoms, self.filled]
            .into_iter()
            .fold(0.0, f64::max)
    }
}

#[derive(Default)]
struct Signal {
    amounts: BTreeMap<String, f64>,
    certainty: BTreeMap<String, f64>,
    /// The largest amount.
    most: f64,
}

impl Signal {
    fn add(&mut self, place: &str, amount: f64, z: f64) {
        self.add_weighted(place, amount, z, 1.0);
    }

    /// `trust` (0 to 1) caps how certain this observation can make one.
    fn add_weighted(&mut self, place: &str, amount: f64, z: f64, trust: f64) {
        if amount > 0.0 && z >= SIGNIFICANT {
            let own = self.amounts.entry(place.to_owned()).or_default();
            *own += amount;
            self.most = self.most.max(*own);
            let certainty = self.certainty.entry(place.to_owned()).or_default();
            *certainty = certainty.max(trust * (1.0 - (-(z - SIGNIFICANT + 1.0) / HALF_Z).exp()));
        }
    }

    fn share(&self, place: &str) -> f64 {
        let own = self.amounts.get(place).copied().unwrap_or_default();
        if self.most > 0.0 {
            own / self.most * self.certainty.get(place).copied().unwrap_or_default()
        } else {
            0.0
        }
    }
}

/// All places with a deviation, strongest first; ties by name.
pub fn suspects(
    comparison: &Comparison,
    patterns: &[PatternShift],
    divergences: &[Divergence],
    metrics: &[MetricMove],
    added: &BTreeMap<String, Added>,
    edges: &BTreeSet<(String, String)>,
    impacted: Option<&str>,
) -> Vec<Suspect> {
    let (errors, latency, calls) = tree_signals(comparison);
    let mut logs = Signal::default();
    for pattern in patterns {
        logs.add_weighted(&pattern.service, pattern.weight, pattern.z, pattern.weight);
    }
    let mut paths = Signal::default();
    for step in divergences {
        paths.add_weighted(&step.service, step.weight, step.z, step.weight.sqrt());
    }
    let mut moved = Signal::default();
    for metric in metrics.iter().filter(|metric| !metric.topic.is_symptom()) {
        moved.add_weighted(&metric.service, metric.weight, metric.score.abs(), metric.weight);
    }
    let mut filled: BTreeMap<&str, f64> = BTreeMap::new();
    for metric in metrics.iter().filter(|metric| metric.filled > 0.0) {
        let most = filled.entry(&metric.service).or_default();
        *most = most.max(metric.filled * (1.0 - (-(metric.score - SIGNIFICANT + 1.0) / HALF_Z).exp()));
    }
    let services: BTreeSet<&str> =
        comparison.steps.iter().map(|step| step.operation.service.as_str()).collect();
    let traces = has_traces(comparison);
    let called: BTreeSet<&String> = edges.iter().map(|(_, callee)| callee).collect();
    let places: BTreeSet<&String> = [&errors, &latency, &calls, &logs, &paths, &moved]
        .into_iter()
        .flat_map(|signal| signal.amounts.keys())
        .chain(added.keys())
        .collect();
    let mut found: Vec<Suspect> = places
        .into_iter()
        .map(|place| Suspect {
            place: place.clone(),
            is_service: services.contains(place.as_str())
                || logs.amounts.contains_key(place)
                || paths.amounts.contains_key(place)
                || moved.amounts.contains_key(place)
                || added.contains_key(place),
            errors: errors.share(place),
            latency: latency.share(place),
            calls: calls.share(place),
            logs: logs.share(place),
            paths: paths.share(place),
            symptoms: added.get(place).map_or(0.0, |added| added.share * added.certainty)
                * if traces && (services.contains(place.as_str()) || !called.contains(place)) {
                    TRACED
                } else {
                    1.0
                },
            resources: moved.share(place),
            filled: filled.get(place.as_str()).copied().unwrap_or_default(),
            changed: 0.0,
            score: 0.0,
        })
        .collect();
    settle(&mut found, edges);
    if let Some(impacted) = impacted {
        let reached = spread::below(impacted, edges);
        let left = if spread::is_placed(impacted, edges) { UNREACHED } else { UNKNOWN_REACH };
        for suspect in found.iter_mut().filter(|suspect| !reached.contains(&suspect.place)) {
            suspect.score *= left;
        }
        // Nothing below it is known: it is the cause, or hides it.
        if reached.len() == 1 {
            match found.iter_mut().find(|suspect| suspect.place == impacted) {
                Some(suspect) => suspect.score = 1.0 - (1.0 - suspect.score) * (1.0 - ASKED_ABOUT),
                None => found.push(Suspect {
                    place: impacted.to_owned(),
                    is_service: true,
                    score: ASKED_ABOUT,
                    ..Suspect::default()
                }),
            }
        }
    }
    found
        .sort_by(|left, right| right.score.total_cmp(&left.score).then_with(|| left.place.cmp(&right.place)));
    found
}

/// Scores, with what callees explain taken out.
fn settle(found: &mut [Suspect], edges: &BTreeSet<(String, String)>) {
    let own: BTreeMap<String, f64> =
        found.iter().map(|suspect| (suspect.place.clone(), combine(suspect, 1.0))).collect();
    for suspect in found.iter_mut() {
        let from = (suspect.place.clone(), String::new());
        let explained = edges
            .range(from..)
            .take_while(|(caller, _)| *caller == suspect.place)
            .filter(|(_, callee)| *callee != suspect.place)
            .filter_map(|(_, callee)| own.get(callee))
            .fold(0.0_f64, |most, score| most.max(*score));
        suspect.score = combine(suspect, 1.0 - explained);
    }
}

fn combine(suspect: &Suspect, unexplained: f64) -> f64 {
    let parts = [
        WEIGHT_ERRORS * suspect.errors,
        WEIGHT_LATENCY * suspect.latency,
        WEIGHT_CALLS * suspect.calls * unexplained,
        WEIGHT_LOGS * suspect.logs * unexplained,
        WEIGHT_PATHS * suspect.paths * unexplained,
        WEIGHT_SYMPTOMS * suspect.symptoms,
        WEIGHT_RESOURCES * suspect.resources * unexplained,
        WEIGHT_FILLED * suspect.filled,
    ];
    1.0 - parts.into_iter().map(|part| 1.0 - part).product::<f64>()
}

/// Failures, time and calls, from the traces.
fn tree_signals(comparison: &Comparison) -> (Signal, Signal, Signal) {
    let (mut errors, mut latency, mut calls) = (Signal::default(), Signal::default(), Signal::default());
    let steps = &comparison.steps;
    let slow: BTreeSet<&str> = comparison
        .scoped()
        .filter(|(_, step)| {
            Comparison::own_z(step) >= SIGNIFICANT
                && comparison.added_ms(step) >= MATERIAL * comparison.usual_ms()
        })
        .map(|(_, step)| step.operation.service.as_str())
        .collect();
    for (_, step) in comparison.scoped() {
        let here = step.operation.service.as_str();
        let remote = remote_place(step, steps);
        let failures = step.now.origins / comparison.entries.1.max(1.0)
            - step.before.origins / comparison.entries.0.max(1.0);
        // A caller that gave up on a slow callee failed first, but not by itself.
        let failing = match remote {
            Some(Remote::Callee(callee)) if slow.contains(callee) => callee,
            Some(Remote::Peer(peer)) => peer,
            _ => here,
        };
        errors.add(failing, failures, Comparison::origins_z(step));

        changed_calls(comparison, step, &mut calls);
    }
    added_time(comparison, &mut latency);
    (errors, latency, calls)
}

/// Exclusive time that an operation adds, all paths to it taken together.
#[derive(Default)]
struct Work {
    before: Moments,
    now: Moments,
    added: f64,
    calls: f64,
    more_calls: f64,
}

/// What spends time: a service, its operation (none between services), and whom it reaches.
type Spender<'a> = (&'a str, &'a str, Option<&'a str>);

/// Added exclusive time by place. Whether it is beyond chance is judged on logarithms, which long tails do not rule.
fn added_time<'a>(comparison: &'a Comparison, latency: &mut Signal) {
    let steps = &comparison.steps;
    let mut work: BTreeMap<Spender<'_>, (Option<Remote<'a>>, Work)> = BTreeMap::new();
    for (_, step) in comparison.scoped() {
        let remote = remote_place(step, steps);
        let to = match &remote {
            Some(Remote::Callee(callee) | Remote::Peer(callee)) => Some(*callee),
            None => None,
        };
        // Between services it is the edge that counts, whichever operation calls.
        let name = if matches!(remote, Some(Remote::Callee(_))) { "" } else { step.operation.name.as_str() };
        let (_, work) = work
            .entry((step.operation.service.as_str(), name, to))
            .or_insert_with(|| (remote, Work::default()));
        work.before = joined(work.before, step.before.own_logs);
        work.now = joined(work.now, step.now.own_logs);
        work.added += comparison.added_ms(step);
        work.calls += step.now.calls;
        work.more_calls = work.more_calls.max(comparison.calls_z(step));
    }
    // Of many operations compared some look slower by chance: the largest of n values of chance lies about sqrt(2 ln n) out.
    let compared = work.values().filter(|(_, work)| work.before.count > 0.0 && work.now.count > 0.0).count();
    let by_chance = (2.0 * (compared.max(1) as f64).ln()).sqrt() - SIGNIFICANT;
    let material = MATERIAL * comparison.usual_ms();
    let slower = |work: &Work| if work.added >= material { welch_z(work.before, work.now) } else { 0.0 };
    let gaps: BTreeMap<(&str, &str), Gap> = work
        .iter()
        .filter_map(|((here, _, _), (remote, work))| match remote {
            Some(Remote::Callee(callee)) if work.before.count > 0.0 && work.now.count > 0.0 => {
                Some(((*here, *callee), Gap { calls: work.calls, added: work.added, z: slower(work) }))
            }
            _ => None,
        })
        .collect();
    let parts = waits::blamed(&gaps, SIGNIFICANT);
    for ((here, _, _), (remote, work)) in work.iter().filter(|(_, (_, work))| work.added >= material) {
        let z = slower(work).max(work.more_calls) - by_chance.max(0.0);
        match remote {
            Some(Remote::Callee(callee)) => {
                let (caller_part, callee_part) = parts.get(&(*here, *callee)).copied().unwrap_or((0.5, 0.5));
                latency.add(here, work.added * caller_part, z);
                latency.add(callee, work.added * callee_part, z);
            }
            // Waiting more often is the caller's doing, waiting longer the peer's.
            Some(Remote::Peer(peer)) if work.more_calls < SIGNIFICANT => latency.add(peer, work.added, z),
            Some(Remote::Peer(_)) | None => latency.add(here, work.added, z),
        }
    }
}

fn joined(left: Moments, right: Moments) -> Moments {
    Moments {
        count: left.count + right.count,
        sum: left.sum + right.sum,
        squares: left.squares + right.squares,
    }
}

/// A step whose calls changed in number counts against the service that makes them.
fn changed_calls(comparison: &Comparison, step: &Step, calls: &mut Signal) {
    let (before, now) = comparison.calls_per_parent(step);
    if let Some(parent) = step.parent.map(|parent| &comparison.steps[parent]) {
        calls.add(&parent.operation.service, (now - before).abs().min(1.0), comparison.calls_z(step).abs());
    }
}

/// Where a call that leaves the service arrives.
pub enum Remote<'a> {
    /// A service whose spans are in the tree.
    Callee(&'a str),
    /// Something without telemetry of its own, other than a database (which is its caller's).
    Peer(&'a str),
}

/// Where a step's own time is spent, when that is elsewhere.
pub fn remote_place<'a>(step: &'a Step, steps: &'a [Step]) -> Option<Remote<'a>> {
    if let Some(callee) = step.callees(steps).next() {
        return Some(Remote::Callee(callee));
    }
    let peer = step.operation.peer.as_str();
    let outside = step.leaves_service(steps) && step.operation.database.is_empty() && !peer.is_empty();
    outside.then(|| {
        let known = steps.iter().any(|other| other.operation.service == peer);
        if known { Remote::Callee(peer) } else { Remote::Peer(peer) }
    })
}

#[cfg(test)]
mod tests {
    use super::super::analysis::Analysis;
    use crate::reason::fixture::World;

    #[test]
    fn where_no_call_is_known_nothing_is_known_to_be_out_of_reach() {
        // `shop` is asked about; `search` deviates as surely and by more.
        let world = World::new()
            .labelled(&[("service", "shop")], "request_latency_ms", "ms", 40.0, 80.0)
            .labelled(&[("service", "search")], "request_latency_ms", "ms", 20.0, 120.0);
        let first = |world: &World| Analysis::new(&world.0).suspects[0].place.clone();
        assert_eq!(first(&world), "search");
        // Known to call something else, it is known not to call this.
        assert_eq!(first(&world.edge("shop", "mail")), "shop");
    }
}
