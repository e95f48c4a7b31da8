//! Results of an earlier run beside those of this one, case by case.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use domain::Verdict;
use serde::Deserialize;

use crate::CaseResult;

#[derive(Deserialize)]
struct Document {
    cases: Vec<CaseResult>,
}

/// What became worse, and what became better: one line each, in order of case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Regressions.
    pub worse: Vec<String>,
    /// Improvements.
    pub better: Vec<String>,
    /// Cases of the earlier run that this one did not make.
    pub missing: Vec<String>,
}

impl Comparison {
    /// Whether the run fails: something became worse, or was not tried.
    pub fn is_regression(&self) -> bool {
        !self.worse.is_empty() || !self.missing.is_empty()
    }
}

/// Reads the cases of a JSON written by an earlier run.
pub fn read(path: &Path) -> anyhow::Result<Vec<CaseResult>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let document: Document = serde_json::from_str(&text)
        .with_context(|| format!("{} is no result of `eval run`", path.display()))?;
    Ok(document.cases)
}

/// Compares rank, blame and whether a cause is named at all.
pub fn compare(earlier: &[CaseResult], now: &[CaseResult]) -> Comparison {
    let now: BTreeMap<(&str, &str), &CaseResult> =
        now.iter().map(|result| ((result.system.as_str(), result.id.as_str()), result)).collect();
    let mut comparison = Comparison::default();
    for before in earlier {
        let Some(after) = now.get(&(before.system.as_str(), before.id.as_str())) else {
            comparison.missing.push(before.id.clone());
            continue;
        };
        let rank = |result: &CaseResult| result.correct_service_rank.unwrap_or(usize::MAX);
        let word = |result: &CaseResult| {
            result.correct_service_rank.map_or_else(|| "unranked".to_owned(), |rank| format!("rank {rank}"))
        };
        let line = format!("{}: right service {} → {}", before.id, word(before), word(after));
        match rank(after).cmp(&rank(before)) {
            std::cmp::Ordering::Greater => comparison.worse.push(line),
            std::cmp::Ordering::Less => comparison.better.push(line),
            std::cmp::Ordering::Equal => {}
        }
        let inconclusive = |result: &CaseResult| result.verdict == Verdict::Inconclusive;
        match (inconclusive(before), inconclusive(after)) {
            (false, true) => comparison.worse.push(format!("{}: a cause → inconclusive", before.id)),
            (true, false) => comparison.better.push(format!("{}: inconclusive → a cause", before.id)),
            _ => {}
        }
        match (before.culprit_correct, after.culprit_correct) {
            (Some(true), Some(false)) => {
                comparison.worse.push(format!("{}: change right → wrong", before.id))
            }
            (Some(false), Some(true)) => {
                comparison.better.push(format!("{}: change wrong → right", before.id))
            }
            _ => {}
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, rank: Option<usize>, culprit: Option<bool>) -> CaseResult {
        CaseResult {
            id: id.into(),
            system: "s".into(),
            verdict: Verdict::Cause,
            confidence: 0.5,
            ranked: Vec::new(),
            correct_service_rank: rank,
            culprit_correct: culprit,
            elapsed_ms: 1,
        }
    }

    #[test]
    fn a_worse_rank_and_a_wrong_blame_are_regressions() {
        let before = [result("a", Some(1), Some(true)), result("b", None, None), result("c", Some(2), None)];
        let after = [result("a", Some(1), Some(false)), result("b", Some(3), None), result("c", None, None)];
        let comparison = compare(&before, &after);
        assert_eq!(comparison.worse, ["a: change right → wrong", "c: right service rank 2 → unranked"]);
        assert_eq!(comparison.better, ["b: right service unranked → rank 3"]);
        assert_eq!(compare(&before, &after[..1]).missing, ["b", "c"]);
        assert!(compare(&before, &after[..1]).is_regression() && comparison.is_regression());
        assert_eq!(compare(&before, &before), Comparison::default());
        assert!(!compare(&before, &before).is_regression());
    }

    #[test]
    fn a_cause_that_is_no_longer_named_is_a_regression_at_the_same_rank() {
        let named = [result("a", Some(1), Some(true))];
        let unnamed = [CaseResult { verdict: Verdict::Inconclusive, ..named[0].clone() }];
        assert_eq!(compare(&named, &unnamed).worse, ["a: a cause → inconclusive"]);
        assert!(compare(&named, &unnamed).is_regression());
        assert_eq!(compare(&unnamed, &named).better, ["a: inconclusive → a cause"]);
        assert!(!compare(&unnamed, &named).is_regression());
    }
}
