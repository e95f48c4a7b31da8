//! From observations to a diagnosis: pure, synchronous, deterministic.
//!
//! In reading order: [`analysis`] lays baseline and window over each other and finds who deviates, [`collect`] turns
//! that into evidence, [`hypotheses`] names possible causes and tests them, [`conclude`] settles the verdict and its
//! confidence, and [`story`] tells impact, causal chain and timeline.

pub mod aboard;
pub mod analysis;
pub mod blame;
pub mod collect;
pub mod comparison;
pub mod conclude;
pub mod confidence;
pub mod failures;
#[cfg(test)]
mod fixture;
pub mod flow;
pub mod focus;
pub mod hypotheses;
pub mod implicate;
pub mod locks;
pub mod logs;
pub mod mechanism;
pub mod metrics;
pub mod neighbour;
pub mod outside;
pub mod record;
pub mod resource;
pub mod skew;
pub mod spread;
pub mod statement;
pub mod story;
pub mod surge;
pub mod suspects;
pub mod topic;
pub mod undo;
pub mod waits;
pub mod why;
pub mod words;

use domain::{Diagnosis, HypothesisStatus};

use crate::Observations;
use analysis::Analysis;

/// Whether a measured number can be reckoned with: squares and sums of larger ones pass what a number can hold, and
/// nothing real is as large.
pub(crate) fn is_usable(value: f64) -> bool {
    value.abs() < 1e100
}

/// Reasons about what was seen.
pub fn reason(seen: &Observations) -> Diagnosis {
    let analysis = Analysis::new(seen);
    let mut gathered = collect::collect(&analysis);
    let hypotheses = hypotheses::hypotheses(&analysis, &gathered);
    for hypothesis in &hypotheses {
        for evidence in &mut gathered.evidence {
            if hypothesis.supports.contains(&evidence.id) && hypothesis.status != HypothesisStatus::RuledOut {
                evidence.supports.push(hypothesis.id);
            }
            if hypothesis.contradicts.contains(&evidence.id) {
                evidence.contradicts.push(hypothesis.id);
            }
        }
    }
    let gaps = conclude::gaps(&analysis);
    let (verdict, confidence) = conclude::conclude(&analysis, &hypotheses, &gathered, &gaps);
    let impact = story::impact(&analysis);
    let changes = story::considered(&analysis, &hypotheses, verdict);
    Diagnosis {
        service: analysis.impacted.clone(),
        title: story::title(&analysis, &gathered, &impact),
        window: analysis.question.window,
        baseline: Some(analysis.baseline),
        started: analysis.started(),
        chain: story::chain(&analysis, &gathered, &hypotheses, verdict),
        timeline: story::timeline(&analysis, &gathered, &changes),
        verdict,
        confidence,
        impact,
        changes,
        evidence: gathered.evidence,
        hypotheses,
        checks: gathered.checks,
        gaps,
    }
}

/// What the confidence in the first hypothesis rests on.
pub fn signs(seen: &Observations) -> confidence::Signs {
    let analysis = Analysis::new(seen);
    let gathered = collect::collect(&analysis);
    conclude::signs(&analysis, &hypotheses::hypotheses(&analysis, &gathered), &gathered)
}
