//! Harm as metrics show it: how much of it each service adds by itself, and how much its callees explain.
//!
//! The amount of a symptom is what requests suffer in all: the rise of a latency, or the failed share, times the requests
//! of the service where a metric counts them. Amounts of one metric name are comparable, since a name has one unit. What
//! a service's callees add explains as much of its own amount (the metric counterpart of exclusive time); where requests
//! are not counted, a callee that surely deviates explains its caller whole. A callee that fails one caller but not
//! another is not what failed: the caller keeps the blame.

use std::collections::{BTreeMap, BTreeSet};

use super::metrics::{MetricMove, Topic, words};

/// Standard errors from which a symptom counts.
const SIGNIFICANT: f64 = 2.5;
/// A score this far above it is as good as certain.
const HALF: f64 = 2.0;
/// A caller that fares this much better than the worst one (as a share) speaks for the callee.
const SPARED: f64 = 0.2;
/// Requests below which a median says little of a rate.
const FEW: f64 = 1e-9;

/// What one service adds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Added {
    /// Share of the harm that begins here, 0 to 1, the largest being 1.
    pub share: f64,
    /// How sure it is that the symptom is none of chance, 0 to 1.
    pub certainty: f64,
}

/// The symptom of one metric at one service.
#[derive(Clone, Copy, Default)]
struct Symptom {
    amount: f64,
    certainty: f64,
}

/// What each service adds to the harm: the strongest of its symptoms. `impacted` is the service whose callers complain:
/// a symptom that it does not show counts less, and so does a service that it does not reach. A service in `changed` may
/// well fail one caller only: the one that uses what changed.
pub fn added(
    metrics: &[MetricMove],
    edges: &BTreeSet<(String, String)>,
    changed: &BTreeSet<&str>,
    impacted: Option<&str>,
) -> BTreeMap<String, Added> {
    let requests = requests(metrics);
    let mut families: BTreeMap<&str, BTreeMap<&str, Symptom>> = BTreeMap::new();
    let means: BTreeSet<&str> =
        metrics.iter().filter(|metric| is_mean(metric)).map(|metric| metric.service.as_str()).collect();
    for ((name, place), moves) in by_place(metrics) {
        // Means add up along calls, percentiles do not: where a service has a mean latency, it speaks alone.
        if moves[0].topic == Topic::Latency && means.contains(place) && !is_mean(moves[0]) {
            continue;
        }
        let amount = requests.get(place).copied().unwrap_or(1.0) * mean_rise(&moves);
        let asked_wrongly = if changed.contains(place) { 1.0 } else { one_caller_only(&moves) };
        let certainty = moves.iter().map(|metric| certainty(metric)).fold(0.0, f64::max) * asked_wrongly;
        families.entry(name).or_default().insert(place, Symptom { amount, certainty });
    }
    let reached =
        impacted.filter(|impacted| is_placed(impacted, edges)).map(|impacted| below(impacted, edges));
    let mut found: BTreeMap<String, Added> = BTreeMap::new();
    for (name, symptoms) in &families {
        let additive = metrics
            .iter()
            .any(|metric| metric.name == *name && (metric.topic != Topic::Latency || is_mean(metric)));
        let requests = if additive { requests.clone() } else { BTreeMap::new() };
        let shown = impacted
            .and_then(|impacted| symptoms.get(impacted))
            .map_or(1.0, |symptom| 0.4 + 0.6 * symptom.certainty);
        let own: BTreeMap<&str, f64> = symptoms
            .iter()
            .map(|(place, symptom)| {
                (
                    *place,
                    symptom.amount * symptom.certainty * (1.0 - explained(place, symptoms, edges, &requests)),
                )
            })
            .collect();
        let most = own.values().copied().fold(0.0, f64::max);
        for (place, amount) in own.iter().filter(|(_, amount)| **amount > 0.0 && most > 0.0) {
            let near = reached.as_ref().is_none_or(|reached| reached.contains(*place));
            let share = amount / most;
            let certainty = symptoms[place].certainty * shown * if near { 1.0 } else { 0.3 };
            let known = found.entry((*place).to_owned()).or_default();
            if share * certainty > known.share * known.certainty {
                *known = Added { share, certainty };
            }
        }
    }
    found
}

/// Requests per value, by service: the largest metric that counts them.
fn requests(metrics: &[MetricMove]) -> BTreeMap<&str, f64> {
    let mut requests: BTreeMap<&str, f64> = BTreeMap::new();
    for metric in metrics.iter().filter(|metric| metric.topic == Topic::Traffic && metric.now.median > FEW) {
        let known = requests.entry(&metric.service).or_default();
        *known = known.max(metric.now.median);
    }
    requests
}

fn is_mean(metric: &MetricMove) -> bool {
    metric.topic == Topic::Latency
        && words(&metric.name).iter().any(|word| ["mean", "avg", "average"].contains(&word.as_str()))
}

fn by_place(metrics: &[MetricMove]) -> BTreeMap<(&str, &str), Vec<&MetricMove>> {
    let mut by_place: BTreeMap<(&str, &str), Vec<&MetricMove>> = BTreeMap::new();
    for metric in metrics.iter().filter(|metric| metric.topic.is_symptom()) {
        by_place.entry((&metric.name, &metric.service)).or_default().push(metric);
    }
    by_place
}

/// Mean over instances and callers, as far as it is worse.
fn mean_rise(moves: &[&MetricMove]) -> f64 {
    moves.iter().map(|metric| metric.worse_by.max(0.0)).sum::<f64>() / moves.len().max(1) as f64
}

fn certainty(metric: &MetricMove) -> f64 {
    let z = if metric.worse_by > 0.0 { metric.score.abs() } else { 0.0 };
    if z < SIGNIFICANT { 0.0 } else { 1.0 - (-(z - SIGNIFICANT + 1.0) / HALF).exp() }
}

/// 1 when every caller is hurt, less when some are spared.
fn one_caller_only(moves: &[&MetricMove]) -> f64 {
    let mut by_caller: BTreeMap<&str, f64> = BTreeMap::new();
    for metric in moves.iter().filter(|metric| !metric.source.is_empty()) {
        let worst = by_caller.entry(&metric.source).or_default();
        *worst = worst.max(metric.worse_by);
    }
    let worst = by_caller.values().copied().fold(0.0, f64::max);
    let spared = by_caller.values().filter(|rise| **rise < SPARED * worst).count();
    if spared > 0 && worst > 0.0 { 1.0 / (1.0 + spared as f64) } else { 1.0 }
}

/// The share of a service's symptom that its callees explain.
fn explained(
    place: &str,
    symptoms: &BTreeMap<&str, Symptom>,
    edges: &BTreeSet<(String, String)>,
    requests: &BTreeMap<&str, f64>,
) -> f64 {
    let own = symptoms[place].amount;
    let callees = edges.range((place.to_owned(), String::new())..).take_while(|(caller, _)| caller == place);
    let counted = requests.contains_key(place);
    let mut explained = 0.0_f64;
    for (_, callee) in callees.filter(|(_, callee)| callee != place) {
        let Some(symptom) = symptoms.get(callee.as_str()).filter(|symptom| symptom.certainty > 0.0) else {
            continue;
        };
        if counted && requests.contains_key(callee.as_str()) {
            explained += symptom.certainty * symptom.amount / own.max(f64::MIN_POSITIVE);
        } else {
            explained = explained.max(symptom.certainty);
        }
    }
    explained.clamp(0.0, 1.0)
}

/// Whether any call from or to a service is known. Where none is, nothing is known to be out of its reach.
pub fn is_placed(service: &str, edges: &BTreeSet<(String, String)>) -> bool {
    edges.iter().any(|(caller, callee)| caller == service || callee == service)
}

/// A service and everything that it calls, however far down.
pub fn below(service: &str, edges: &BTreeSet<(String, String)>) -> BTreeSet<String> {
    let mut reached = BTreeSet::from([service.to_owned()]);
    let mut pending = vec![service.to_owned()];
    while let Some(here) = pending.pop() {
        for (_, callee) in
            edges.range((here.clone(), String::new())..).take_while(|(caller, _)| *caller == here)
        {
            if reached.insert(callee.clone()) {
                pending.push(callee.clone());
            }
        }
    }
    reached
}
