//! Naive answers, computed on the same observations: what any method must beat.
//!
//! The service of the largest robust metric deviation (as BARO ranks, Pham et al. 2024), the latest change, the service
//! with the most errors, and the expectation of a draw at random.

use std::collections::{BTreeMap, BTreeSet};

use detectors::shift::{Level, score};
use investigator::Observations;

use crate::Label;

/// Names of the floors, in order.
pub const NAMES: [&str; 4] = ["largest deviation", "latest change", "most errors", "random"];
/// Severity number from which a log record is an error.
const ERROR: u8 = 17;

/// What a floor scores on one case; `None` where the label knows no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Floor {
    /// Chance that the right service is first.
    pub first: Option<f64>,
    /// Chance that it is among the first three.
    pub top3: Option<f64>,
    /// Chance that the right change (or none) is blamed.
    pub culprit: Option<f64>,
}

/// Every floor on one case, as in [`NAMES`].
pub fn floors(seen: &Observations, label: &Label) -> [Floor; 4] {
    let changes: Vec<(&str, &str)> = {
        let mut changes: Vec<_> = seen.changes.iter().collect();
        changes.sort_by_key(|change| (std::cmp::Reverse(change.at), change.reference.clone()));
        changes.iter().map(|change| (change.service.as_str(), change.reference.as_str())).collect()
    };
    let by_change =
        changes.iter().map(|(service, _)| *service).filter(|service| !service.is_empty()).collect();
    let culprit_of = |ranking: &[&str]| {
        let first = ranking.first()?;
        changes.iter().find(|(service, _)| service == first).map(|(_, reference)| *reference)
    };
    let floor = |ranking: Vec<&str>, blamed: Option<&str>| {
        let within = |count: usize| ranking.iter().take(count).any(|service| label.accepts(service));
        let known = label.root_service.is_some();
        Floor {
            first: known.then(|| f64::from(u8::from(within(1)))),
            top3: known.then(|| f64::from(u8::from(within(3)))),
            culprit: label
                .culprit_change
                .as_deref()
                .map(|culprit| f64::from(u8::from(blamed.unwrap_or("none") == culprit))),
        }
    };
    let deviating = ranked(&deviations(seen));
    let failing = ranked(&errors(seen));
    let latest = changes.first().map(|(_, reference)| *reference);
    let (deviating_culprit, failing_culprit) = (culprit_of(&deviating), culprit_of(&failing));
    [
        floor(distinct(deviating.clone()), deviating_culprit),
        floor(distinct(by_change), latest),
        floor(distinct(failing.clone()), failing_culprit),
        random(seen, label, changes.len()),
    ]
}

fn random(seen: &Observations, label: &Label, changes: usize) -> Floor {
    let services = services(seen);
    let right = services.iter().filter(|service| label.accepts(service)).count() as f64;
    let all = services.len().max(1) as f64;
    let known = label.root_service.is_some();
    Floor {
        first: known.then_some(right / all),
        top3: known.then_some((3.0 * right / all).min(1.0)),
        culprit: label.culprit_change.is_some().then(|| 1.0 / (changes as f64 + 1.0)),
    }
}

fn services(seen: &Observations) -> BTreeSet<&str> {
    let covered = seen.coverage.iter().map(|coverage| coverage.service.as_str());
    let measured = seen.metric_services.iter().map(|(service, _)| service.as_str());
    covered.chain(measured).filter(|service| !service.is_empty()).collect()
}

fn deviations(seen: &Observations) -> BTreeMap<&str, f64> {
    let mut largest: BTreeMap<&str, f64> = BTreeMap::new();
    for series in &seen.metrics.series {
        let [before, now] = [series.before, series.now].map(|[count, median, mad, min, max]| Level {
            count,
            median,
            mad,
            min,
            max,
        });
        if let Some(service) = series.labels.get("service") {
            let entry = largest.entry(service).or_default();
            *entry = entry.max(score(before, now).abs());
        }
    }
    largest
}

fn errors(seen: &Observations) -> BTreeMap<&str, f64> {
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for group in &seen.errors_now.groups {
        *counts.entry(&group.service).or_default() += group.spans as f64;
    }
    for group in seen.logs.groups.iter().filter(|group| group.severity >= ERROR) {
        *counts.entry(&group.service).or_default() += group.now as f64;
    }
    counts
}

fn ranked<'a>(amounts: &BTreeMap<&'a str, f64>) -> Vec<&'a str> {
    let mut ranked: Vec<(&str, f64)> =
        amounts.iter().map(|(name, amount)| (*name, *amount)).filter(|(_, amount)| *amount > 0.0).collect();
    ranked.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(right.0)));
    ranked.into_iter().map(|(name, _)| name).collect()
}

fn distinct(services: Vec<&str>) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    services.into_iter().filter(|service| seen.insert(*service)).collect()
}
