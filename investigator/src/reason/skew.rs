//! Version skew: whether the instances that a release brought fare worse than those that were there before, in the same
//! minutes.
//!
//! A bad release makes its new instances bad and leaves the old ones good, so `(new - old) / (new + old)` of the harm that
//! they show is near 1. Near 0 both suffer alike, and from something else than the release.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Change, ChangeKind, UnixNanos, Window};
use storage::questions::metrics::MetricLevels;

use super::analysis::{Analysis, METRIC_THRESHOLD};
use super::metrics::MetricMove;
use crate::Question;

/// Harm of a symptom at the instances of a service: sums and numbers of new and old ones.
#[derive(Default)]
struct Sides {
    new: (f64, f64),
    old: (f64, f64),
    /// The largest score among them.
    score: f64,
}

/// Values of the longest past among the instances of each service: one with less than half as many came later.
fn longest_pasts<'a>(metrics: impl Iterator<Item = &'a MetricMove>) -> BTreeMap<&'a str, f64> {
    let mut longest: BTreeMap<&str, f64> = BTreeMap::new();
    for metric in metrics {
        let known = longest.entry(&metric.service).or_default();
        *known = known.max(metric.before.count);
    }
    longest
}

fn by_instance(metrics: &[MetricMove]) -> impl Iterator<Item = &MetricMove> {
    metrics.iter().filter(|metric| metric.topic.is_symptom() && !metric.instance.is_empty())
}

/// Whether instances that came within the latter half of the past, or after it, are seen to answer requests since harm was
/// noticed, by service. Absent are services whose instances are not told apart, and those whose new ones fare worse than
/// the old ones used to.
pub fn answering(metrics: &[MetricMove]) -> BTreeMap<String, bool> {
    let longest = longest_pasts(by_instance(metrics));
    let mut answering: BTreeMap<&str, bool> = BTreeMap::new();
    let mut worse: BTreeSet<&str> = BTreeSet::new();
    for metric in by_instance(metrics) {
        let came = metric.is_new || metric.before.count * 2.0 < longest[metric.service.as_str()];
        *answering.entry(&metric.service).or_default() |= came && metric.worse_since.is_some();
        if came && metric.worse_by > 0.0 && metric.score.abs() >= METRIC_THRESHOLD {
            worse.insert(&metric.service);
        }
    }
    answering.retain(|service, _| !worse.contains(service));
    answering.into_iter().map(|(service, seen)| (service.to_owned(), seen)).collect()
}

/// From when on a release brings instances that count as new: the middle of the past that metrics are compared with.
pub fn newcomers_since(question: &Question, baseline: Window, metrics: &MetricLevels) -> UnixNanos {
    let in_baseline = metrics.series.iter().any(|series| series.before[0] >= 2.0);
    let past = match question.split() {
        Some(split) if !in_baseline => Window::new(question.window.start, split),
        _ => baseline,
    };
    past.start.plus(past.duration() / 2)
}

/// Whether the instances that a release brought are seen to answer well. `None` where that cannot be told: of other changes,
/// and of releases so early that their instances count among the old ones.
pub fn newcomers_answer(analysis: &Analysis<'_>, change: &Change) -> Option<bool> {
    let is_release = matches!(change.kind, ChangeKind::Deploy | ChangeKind::CanaryStep);
    let is_told = is_release && change.at > analysis.newcomers_since;
    analysis.answering.get(&change.service).copied().filter(|_| is_told)
}

/// Skew by service, 0 to 1: that of its strongest symptom. Services without new and old instances side by side, or
/// whose instances show no harm, are absent.
pub fn skews(metrics: &[MetricMove]) -> BTreeMap<String, f64> {
    let longest = longest_pasts(by_instance(metrics));
    let mut symptoms: BTreeMap<(&str, &str, &str), Sides> = BTreeMap::new();
    for metric in by_instance(metrics) {
        let Some(harm) = metric.worse_since.map(|worse| worse.max(0.0)) else { continue };
        // Neither new nor old: an instance that came some time before.
        if !metric.is_new && metric.before.count * 2.0 < longest[metric.service.as_str()] {
            continue;
        }
        let sides = symptoms.entry((&metric.service, &metric.name, &metric.source)).or_default();
        if harm > 0.0 {
            sides.score = sides.score.max(metric.score.abs());
        }
        let side = if metric.is_new { &mut sides.new } else { &mut sides.old };
        side.0 += harm;
        side.1 += 1.0;
    }
    let mut skews: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for ((service, ..), Sides { new, old, score }) in symptoms {
        let (new, old) = (new.0 / new.1, old.0 / old.1);
        // Not a number where a side is missing. New instances without harm may be without work.
        let skew = (new - old) / (new + old);
        if score >= METRIC_THRESHOLD && new > 0.0 && skew.is_finite() {
            let known = skews.entry(service.to_owned()).or_default();
            if score > known.0 {
                *known = (score, skew.max(0.0));
            }
        }
    }
    skews.into_iter().map(|(service, (_, skew))| (service, skew)).collect()
}
