//! How strongly each place deviates by itself, signal by signal, and what is left when its dependencies explain it.
//!
//! A *place* is a service, or a peer without telemetry of its own. For each signal a place gets its amount beside that of
//! the place with most of it, as far as it is certain (standard errors above [`SIGNIFICANT`], saturating); independent
//! signals combine by noisy-or:
//! `1 - Π(1 - weight · share)` (Pearl 1988). Signals that also surface in callers (changed calls, logs) are then reduced
//! by what a place's own callees explain, so that blame settles where a deviation begins.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::{Comparison, Step};
use super::logs::PatternShift;
use super::metrics::MetricMove;

/// Standard errors from which a deviation counts.
pub const SIGNIFICANT: f64 = 3.0;

/// Added time below this share of a usual request's is of no consequence, however certain.
pub const MATERIAL: f64 = 0.01;

/// How far each signal is to be trusted as the origin of a failure.
const WEIGHT_ERRORS: f64 = 0.9;
const WEIGHT_LATENCY: f64 = 0.8;
const WEIGHT_CALLS: f64 = 0.4;
const WEIGHT_LOGS: f64 = 0.6;
const WEIGHT_METRICS: f64 = 0.5;
/// What a significant share counts at the least beside another signal's whole: a saturating function of its z.
const HALF_Z: f64 = 6.0;

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
    /// Share of shifted metrics.
    pub metrics: f64,
    /// Everything combined, 0 to 1.
    pub score: f64,
}

#[derive(Default)]
struct Signal {
    amounts: BTreeMap<String, f64>,
    certainty: BTreeMap<String, f64>,
}

impl Signal {
    fn add(&mut self, place: &str, amount: f64, z: f64) {
        self.add_weighted(place, amount, z, 1.0);
    }

    /// `trust` (0 to 1) caps how certain this observation can make one.
    fn add_weighted(&mut self, place: &str, amount: f64, z: f64, trust: f64) {
        if amount > 0.0 && z >= SIGNIFICANT {
            *self.amounts.entry(place.to_owned()).or_default() += amount;
            let certainty = self.certainty.entry(place.to_owned()).or_default();
            *certainty = certainty.max(trust * (1.0 - (-(z - SIGNIFICANT + 1.0) / HALF_Z).exp()));
        }
    }

    fn share(&self, place: &str) -> f64 {
        let most = self.amounts.values().copied().fold(0.0, f64::max);
        let own = self.amounts.get(place).copied().unwrap_or_default();
        if most > 0.0 { own / most * self.certainty.get(place).copied().unwrap_or_default() } else { 0.0 }
    }
}

/// All places with a deviation, strongest first; ties by name.
pub fn suspects(
    comparison: &Comparison,
    patterns: &[PatternShift],
    metrics: &[MetricMove],
    edges: &BTreeSet<(String, String)>,
) -> Vec<Suspect> {
    let (errors, latency, calls) = tree_signals(comparison);
    let mut logs = Signal::default();
    for pattern in patterns {
        logs.add_weighted(&pattern.service, pattern.weight, pattern.z, pattern.weight);
    }
    let mut moved = Signal::default();
    for metric in metrics {
        moved.add_weighted(&metric.service, metric.weight, metric.score.abs(), metric.weight);
    }
    let services: BTreeSet<&str> =
        comparison.steps.iter().map(|step| step.operation.service.as_str()).collect();
    let places: BTreeSet<&String> = [&errors, &latency, &calls, &logs, &moved]
        .into_iter()
        .flat_map(|signal| signal.amounts.keys())
        .collect();
    let mut found: Vec<Suspect> = places
        .into_iter()
        .map(|place| Suspect {
            place: place.clone(),
            is_service: services.contains(place.as_str())
                || logs.amounts.contains_key(place)
                || moved.amounts.contains_key(place),
            errors: errors.share(place),
            latency: latency.share(place),
            calls: calls.share(place),
            logs: logs.share(place),
            metrics: moved.share(place),
            score: 0.0,
        })
        .collect();
    settle(&mut found, edges);
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
        WEIGHT_METRICS * suspect.metrics,
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

        let added = comparison.added_ms(step);
        if added < MATERIAL * comparison.usual_ms() {
            changed_calls(comparison, step, &mut calls);
            continue;
        }
        let z = Comparison::own_z(step).max(comparison.calls_z(step));
        match remote {
            // Waiting between two services belongs to both ends: whichever end it repeats at will stand out.
            Some(Remote::Callee(callee)) => {
                latency.add(here, added / 2.0, z);
                latency.add(callee, added / 2.0, z);
            }
            // Waiting more often is the caller's doing, waiting longer the peer's.
            Some(Remote::Peer(peer)) if comparison.calls_z(step) < SIGNIFICANT => latency.add(peer, added, z),
            Some(Remote::Peer(_)) | None => latency.add(here, added, z),
        }

        changed_calls(comparison, step, &mut calls);
    }
    (errors, latency, calls)
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
