//! An answer beside the label of its case.

use domain::{Diagnosis, EvidenceKind, Hypothesis, Verdict};
use serde::{Deserialize, Serialize};

use crate::Label;

/// A service the investigator ranked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// Service.
    pub service: String,
    /// Mechanism.
    pub mechanism: String,
    /// Reference of the blamed change.
    pub change: Option<String>,
    /// Score, 0 to 1.
    pub score: f64,
}

/// The outcome of a case, as the JSON has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// Case id: the name of its folder.
    pub id: String,
    /// System it was recorded on.
    pub system: String,
    /// `cause`, `no_change` or `inconclusive`.
    pub verdict: Verdict,
    /// 0 to 1: the estimated chance that the first service is right.
    pub confidence: f64,
    /// Services, best first, each once.
    pub ranked: Vec<Ranked>,
    /// Rank of the first right service, from 1; `None` when none is ranked or nothing is known.
    pub correct_service_rank: Option<usize>,
    /// Whether the blamed change (or blaming none) is right; `None` when nothing is known.
    pub culprit_correct: Option<bool>,
    /// Time to investigate, milliseconds.
    pub elapsed_ms: u64,
}

impl CaseResult {
    /// What was claimed of the first service, and whether it is right.
    pub fn claim(&self) -> (f64, bool) {
        (self.confidence, self.correct_service_rank == Some(1))
    }
}

/// What else is scored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// Whether the label names a service.
    pub service_known: bool,
    /// Rank of the culprit among the changes of the ranked services, from 1; `None` when it is not there.
    pub culprit_rank: Option<usize>,
    /// Whether the label says that no change is to blame; `None` when it says nothing of changes.
    pub no_change: Option<bool>,
    /// Whether a change is blamed that is innocent; `None` when nothing is known of changes.
    pub false_blame: Option<bool>,
    /// Whether the labelled metric or log region is among the evidence; `None` when the label has neither.
    pub covered: Option<bool>,
}

/// Scores a diagnosis; without a label nothing is known.
pub fn score(
    id: &str,
    system: &str,
    diagnosis: &Diagnosis,
    label: Option<&Label>,
    elapsed_ms: u64,
) -> (CaseResult, Marks) {
    let ranked = ranked(diagnosis);
    let right = |ranked: &Ranked| label.is_some_and(|label| label.accepts(&ranked.service));
    let blamed = ranked
        .first()
        .filter(|_| diagnosis.verdict == Verdict::Cause)
        .and_then(|first| first.change.as_deref());
    let culprit = label.and_then(|label| label.culprit_change.as_deref());
    let no_change = label.filter(|label| label.culprit_change.is_some()).map(Label::no_change);
    let first_change = ranked.first().and_then(|first| first.change.as_deref());
    let culprit_correct = culprit.map(|culprit| match no_change {
        Some(true) => diagnosis.verdict == Verdict::NoChange,
        _ => first_change == Some(culprit),
    });
    let mut changes: Vec<&str> = Vec::new();
    for change in ranked.iter().filter_map(|ranked| ranked.change.as_deref()) {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    let marks = Marks {
        service_known: label.is_some_and(|label| label.root_service.is_some()),
        culprit_rank: culprit
            .and_then(|culprit| changes.iter().position(|change| *change == culprit))
            .map(|place| place + 1),
        no_change,
        false_blame: culprit.map(|culprit| blamed.is_some_and(|blamed| blamed != culprit)),
        covered: label.and_then(|label| covered(diagnosis, label)),
    };
    let result = CaseResult {
        id: id.to_owned(),
        system: system.to_owned(),
        verdict: diagnosis.verdict,
        confidence: diagnosis.confidence.score,
        correct_service_rank: ranked.iter().position(right).map(|place| place + 1),
        culprit_correct,
        ranked,
        elapsed_ms,
    };
    (result, marks)
}

/// Services in order of score, each with its best hypothesis.
fn ranked(diagnosis: &Diagnosis) -> Vec<Ranked> {
    let mut hypotheses: Vec<&Hypothesis> =
        diagnosis.hypotheses.iter().filter(|hypothesis| hypothesis.score > 0.0).collect();
    hypotheses.sort_by(|left, right| right.score.total_cmp(&left.score));
    let mut ranked: Vec<Ranked> = Vec::new();
    for hypothesis in hypotheses {
        if !ranked.iter().any(|known| known.service == hypothesis.service) {
            ranked.push(Ranked {
                service: hypothesis.service.clone(),
                mechanism: hypothesis.mechanism.as_str().to_owned(),
                change: hypothesis.change.clone(),
                score: hypothesis.score,
            });
        }
    }
    ranked
}

/// Whether evidence about the right service shows one of the label's signs.
fn covered(diagnosis: &Diagnosis, label: &Label) -> Option<bool> {
    let signs = label.signs();
    let kinds = [EvidenceKind::MetricShift, EvidenceKind::LogPatterns];
    let shows = |evidence: &domain::Evidence| {
        let text = serde_json::to_string(&(&evidence.claim, &evidence.figures, &evidence.exhibit))
            .unwrap_or_default();
        signs.iter().any(|sign| text.contains(sign))
    };
    (!signs.is_empty()).then(|| {
        diagnosis.evidence.iter().any(|evidence| {
            kinds.contains(&evidence.kind) && label.accepts(&evidence.service) && shows(evidence)
        })
    })
}
