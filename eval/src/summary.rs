//! Scores over cases: by set, and in all.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Outcome, floors};

/// Bins of the reliability diagram.
pub const BINS: usize = 10;
/// The set that holds every case.
pub const ALL: &str = "all";

/// Hits among cases where a hit was possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    /// Hits; an expectation where chance is scored.
    pub hits: f64,
    /// Cases.
    pub of: usize,
    /// `hits / of`, 0 without cases.
    pub ratio: f64,
}

impl Share {
    fn of(hits: impl Iterator<Item = f64>) -> Self {
        let (hits, of) = hits.fold((0.0, 0), |(sum, count), hit| (sum + hit, count + 1));
        Self { hits, of, ratio: if of == 0 { 0.0 } else { hits / of as f64 } }
    }
}

/// One bin of the reliability diagram: what was claimed, and what came true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Cases whose confidence lies in the bin.
    pub cases: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// Share of them whose first service is right.
    pub right: f64,
}

/// A naive method's scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FloorScores {
    /// Right service first.
    pub ac1: Share,
    /// Right service among the first three.
    pub ac3: Share,
    /// Right change, or rightly none.
    pub culprit_hr1: Share,
}

/// The scores of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Cases.
    pub cases: usize,
    /// Right service first.
    pub ac1: Share,
    /// Right service among the first three.
    pub ac3: Share,
    /// Right service among the first five.
    pub ac5: Share,
    /// Mean of AC@1 to AC@5.
    pub avg5: f64,
    /// Mean of the reciprocal rank of the right service.
    pub mrr: f64,
    /// The guilty change blamed first, of cases that have one.
    pub culprit_hr1: Share,
    /// The same where a cause is named as well: what a reader of verdicts sees.
    pub culprit_hr1_named: Share,
    /// The guilty change among the first three blamed.
    pub culprit_hr3: Share,
    /// "No change is to blame" said, of cases where that is so.
    pub no_change: Share,
    /// Right change or rightly none.
    pub culprit: Share,
    /// An innocent change blamed: the fewer the better.
    pub false_blame: Share,
    /// No cause named.
    pub inconclusive: Share,
    /// Labelled metric or log region among the evidence.
    pub evidence: Share,
    /// Expected calibration error: the mean distance of claimed and achieved, weighted by cases (Naeini et al. 2015).
    pub ece: f64,
    /// The reliability diagram.
    pub reliability: Vec<Bin>,
    /// Median time to answer, milliseconds.
    pub median_ms: u64,
    /// Longest time to answer, milliseconds.
    pub max_ms: u64,
    /// Naive methods on the same cases.
    pub floors: BTreeMap<String, FloorScores>,
}

/// Scores of every set, and of all cases as [`ALL`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// All cases.
    pub all: Scores,
    /// By system.
    pub sets: BTreeMap<String, Scores>,
}

impl Summary {
    /// Sums up.
    pub fn new(outcomes: &[Outcome]) -> Self {
        let mut by_set: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
        for outcome in outcomes {
            by_set.entry(outcome.result.system.clone()).or_default().push(outcome);
        }
        let sets = by_set.into_iter().map(|(set, outcomes)| (set, scores(&outcomes))).collect();
        Self { all: scores(&outcomes.iter().collect::<Vec<_>>()), sets }
    }
}

fn scores(outcomes: &[&Outcome]) -> Scores {
    let hit = |hit: bool| f64::from(u8::from(hit));
    let known = || outcomes.iter().filter(|outcome| outcome.marks.service_known);
    let within = |top: usize| {
        Share::of(
            known().map(|outcome| hit(outcome.result.correct_service_rank.is_some_and(|rank| rank <= top))),
        )
    };
    let guilty = || outcomes.iter().filter(|outcome| outcome.marks.no_change == Some(false));
    let culprit_within = |top: usize| {
        Share::of(guilty().map(|outcome| hit(outcome.marks.culprit_rank.is_some_and(|rank| rank <= top))))
    };
    let reciprocal =
        |outcome: &&&Outcome| outcome.result.correct_service_rank.map_or(0.0, |rank| 1.0 / rank as f64);
    let reliability = reliability(known().map(|outcome| outcome.result.claim()));
    let mut times: Vec<u64> = outcomes.iter().map(|outcome| outcome.result.elapsed_ms).collect();
    times.sort_unstable();
    Scores {
        cases: outcomes.len(),
        ac1: within(1),
        ac3: within(3),
        ac5: within(5),
        avg5: (1..=5).map(|top| within(top).ratio).sum::<f64>() / 5.0,
        mrr: Share::of(known().map(|outcome| reciprocal(&outcome))).ratio,
        culprit_hr1: Share::of(guilty().map(|outcome| hit(outcome.result.culprit_correct == Some(true)))),
        culprit_hr1_named: Share::of(guilty().map(|outcome| {
            let named = outcome.result.verdict != domain::Verdict::Inconclusive;
            hit(named && outcome.result.culprit_correct == Some(true))
        })),
        culprit_hr3: culprit_within(3),
        no_change: Share::of(
            outcomes
                .iter()
                .filter(|outcome| outcome.marks.no_change == Some(true))
                .map(|outcome| hit(outcome.result.culprit_correct == Some(true))),
        ),
        culprit: Share::of(outcomes.iter().filter_map(|outcome| outcome.result.culprit_correct.map(hit))),
        false_blame: Share::of(outcomes.iter().filter_map(|outcome| outcome.marks.false_blame.map(hit))),
        inconclusive: Share::of(
            outcomes.iter().map(|outcome| hit(outcome.result.verdict == domain::Verdict::Inconclusive)),
        ),
        evidence: Share::of(outcomes.iter().filter_map(|outcome| outcome.marks.covered.map(hit))),
        ece: calibration_error(&reliability),
        reliability,
        median_ms: times.get(times.len() / 2).copied().unwrap_or_default(),
        max_ms: times.last().copied().unwrap_or_default(),
        floors: floors::NAMES
            .iter()
            .enumerate()
            .map(|(place, name)| {
                let of = |value: fn(&floors::Floor) -> Option<f64>| {
                    Share::of(outcomes.iter().filter_map(|outcome| value(&outcome.floors[place])))
                };
                let scores = FloorScores {
                    ac1: of(|floor| floor.first),
                    ac3: of(|floor| floor.top3),
                    culprit_hr1: of(|floor| floor.culprit),
                };
                ((*name).to_owned(), scores)
            })
            .collect(),
    }
}

/// Cases by tenths of confidence: how much was claimed of each, and whether its first service is right.
pub fn reliability(claims: impl Iterator<Item = (f64, bool)>) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for (confidence, is_right) in claims {
        let confidence = confidence.clamp(0.0, 1.0);
        let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin.cases += 1;
        bin.confidence += confidence;
        bin.right += f64::from(u8::from(is_right));
    }
    for bin in bins.iter_mut().filter(|bin| bin.cases > 0) {
        bin.confidence /= bin.cases as f64;
        bin.right /= bin.cases as f64;
    }
    bins
}

/// Expected calibration error: the distance between what was claimed and what came true, weighted by the cases of each bin.
pub fn calibration_error(bins: &[Bin]) -> f64 {
    let cases: usize = bins.iter().map(|bin| bin.cases).sum();
    let error: f64 = bins.iter().map(|bin| bin.cases as f64 * (bin.confidence - bin.right).abs()).sum();
    if cases == 0 { 0.0 } else { error / cases as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_is_the_weighted_distance_of_claimed_and_achieved() {
        let bin = |cases: usize, confidence: f64, right: f64| Bin { cases, confidence, right };
        assert!((calibration_error(&[bin(3, 0.9, 0.9), bin(1, 0.5, 0.1)]) - 0.1).abs() < 1e-12);
        assert_eq!(calibration_error(&[]), 0.0);
    }
}
