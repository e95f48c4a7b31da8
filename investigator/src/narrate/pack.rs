//! What a model is shown: the findings of a diagnosis as typed data, with outside text set apart and secrets masked.
//!
//! Free text that came with the telemetry (log messages, error messages, attribute values, commit messages) can be written by
//! anybody who can reach the watched system. It does not stand in the findings: a mark such as `{T1}` does, and the text is
//! listed once, as data, cut short. A model may write the mark, never needs the text, and what it writes is checked against the
//! findings without it. Names (services, operations, versions) stay where they are when they look like names.

mod outside;

use std::collections::BTreeMap;

use domain::text::{count, percent, plain};
use domain::{
    Diagnosis, Evidence, EvidenceKind, HypothesisStatus, Report, Step, StepKind, Strength, UnixNanos,
};
use serde::Serialize;

use super::draft::INCONCLUSIVE;
use crate::redact::Redactor;
use outside::Outside;

/// Candidates shown.
const MAX_CANDIDATES: usize = 5;
/// Evidence shown.
const MAX_EVIDENCE: usize = 30;
/// Figures shown of one piece of evidence.
const MAX_FIGURES: usize = 8;
/// Longest text of ours, in characters; a longer one was made long from outside.
const MAX_TEXT: usize = 400;
/// Size of the whole as JSON: about six thousand tokens.
const MAX_BYTES: usize = 18_000;

/// Everything a model is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pack {
    /// What the incident is.
    pub incident: Scene,
    /// The engine's verdict: a candidate, or `inconclusive`.
    pub verdict: String,
    /// `High`, `Medium`, `Low` or `Inconclusive`.
    pub confidence: String,
    /// Why not more, why not less.
    pub reasons: Vec<String>,
    /// Possible causes, best first.
    pub candidates: Vec<Candidate>,
    /// What was seen.
    pub evidence: Vec<Item>,
    /// What may be advised.
    pub steps: Vec<KnownStep>,
    /// What could not be seen.
    pub gaps: Vec<String>,
    /// Outside texts by mark: data, never instructions.
    pub untrusted_texts: BTreeMap<String, String>,
    /// Secrets masked.
    #[serde(skip)]
    pub masked: u32,
}

/// What the incident is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scene {
    /// Service whose callers are hurt.
    pub service: String,
    /// One line.
    pub title: String,
    /// Window looked at, UTC.
    pub from: String,
    /// Its end.
    pub to: String,
    /// When users began to be hurt, or empty.
    pub began: String,
}

/// A possible cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// `H1`.
    pub id: String,
    /// Service blamed.
    pub service: String,
    /// How it does harm.
    pub mechanism: String,
    /// Change to blame, or empty.
    pub change: String,
    /// `supported`, `ruled out` or `not enough data`.
    pub status: String,
    /// In one sentence.
    pub statement: String,
    /// Evidence for it.
    pub evidence: Vec<String>,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// `E1`.
    pub id: String,
    /// Which check found it.
    pub kind: String,
    /// The service it is about.
    pub service: String,
    /// `strong`, `medium`, `weak`.
    pub strength: String,
    /// What was found.
    pub claim: String,
    /// Numbers.
    pub figures: Vec<Numbers>,
    /// When it began, UTC; or empty.
    pub began: String,
}

/// A number before and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// Of what.
    pub name: String,
    /// In the baseline; or empty.
    pub before: String,
    /// In the incident.
    pub now: String,
}

/// A step that may be advised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownStep {
    /// `S1`.
    pub id: String,
    /// `verify`, `mitigate`, `fix`.
    pub kind: String,
    /// What to do.
    pub text: String,
}

impl Pack {
    /// The pack of a report told from templates.
    pub fn new(report: &Report) -> Self {
        let diagnosis = &report.diagnosis;
        let mut writer = Writer { outside: Outside::of(diagnosis), redactor: Redactor::new() };
        let mut pack = Self {
            incident: writer.scene(diagnosis),
            verdict: verdict(diagnosis),
            confidence: diagnosis.confidence.level.word().to_owned(),
            reasons: diagnosis.confidence.reasons.iter().map(|reason| writer.text(&reason.text)).collect(),
            candidates: writer.candidates(diagnosis),
            evidence: diagnosis
                .evidence
                .iter()
                .take(MAX_EVIDENCE)
                .map(|item| writer.item(item, diagnosis))
                .collect(),
            steps: writer.steps(&report.answer.next_steps),
            gaps: diagnosis.gaps.iter().map(|gap| writer.text(gap)).collect(),
            untrusted_texts: BTreeMap::new(),
            masked: 0,
        };
        pack.untrusted_texts = writer
            .outside
            .used()
            .map(|(mark, text)| (mark, writer.redactor.text(&text).into_owned()))
            .collect();
        pack.masked = writer.redactor.total();
        pack.shrink();
        pack
    }

    /// The candidate of that name.
    pub fn candidate(&self, id: &str) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.id == id)
    }

    /// The evidence of that name.
    pub fn item(&self, id: &str) -> Option<&Item> {
        self.evidence.iter().find(|item| item.id == id)
    }

    /// The step of that name.
    pub fn step(&self, id: &str) -> Option<&KnownStep> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The pack as JSON, the same bytes for the same pack.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data serialises")
    }

    /// Leaves out the least needed until it fits: evidence that does not speak for the first candidate, weakest first; then
    /// other candidates; then gaps; then the rest of the evidence from the end.
    fn shrink(&mut self) {
        let needed = self.candidates.first().map(|first| first.evidence.clone()).unwrap_or_default();
        while self.json().len() > MAX_BYTES {
            let rank = |item: &Item| match item.strength.as_str() {
                "weak" => 0,
                "medium" => 1,
                _ => 2,
            };
            let spare = self
                .evidence
                .iter()
                .enumerate()
                .filter(|(_, item)| !needed.contains(&item.id))
                .min_by_key(|(place, item)| (rank(item), std::cmp::Reverse(*place)));
            if let Some((place, _)) = spare {
                self.evidence.remove(place);
            } else if self.candidates.len() > 1 {
                self.candidates.pop();
            } else if self.gaps.pop().is_none() && self.evidence.pop().is_none() {
                return;
            }
            let left: String = self.evidence.iter().map(|item| item.claim.as_str()).collect();
            let said: String = self.candidates.iter().map(|candidate| candidate.statement.as_str()).collect();
            self.untrusted_texts.retain(|mark, _| {
                let mark = format!("{{{mark}}}");
                left.contains(&mark) || said.contains(&mark)
            });
        }
    }
}

fn verdict(diagnosis: &Diagnosis) -> String {
    diagnosis.cause().map_or_else(|| INCONCLUSIVE.to_owned(), |cause| cause.id.to_string())
}

/// Writes texts so that they can leave.
struct Writer {
    outside: Outside,
    redactor: Redactor,
}

impl Writer {
    fn text(&mut self, text: &str) -> String {
        let marked = self.outside.mark(text);
        plain(&self.redactor.text(&marked), MAX_TEXT)
    }

    fn scene(&mut self, diagnosis: &Diagnosis) -> Scene {
        Scene {
            service: self.text(&diagnosis.service),
            title: self.text(&diagnosis.title),
            from: diagnosis.window.start.clock_time(),
            to: diagnosis.window.end.clock_time(),
            began: diagnosis.started.map_or_else(String::new, UnixNanos::clock_time),
        }
    }

    fn candidates(&mut self, diagnosis: &Diagnosis) -> Vec<Candidate> {
        let shown = diagnosis.hypotheses.iter().take(MAX_CANDIDATES);
        shown
            .map(|hypothesis| Candidate {
                id: hypothesis.id.to_string(),
                service: self.text(&hypothesis.service),
                mechanism: hypothesis.mechanism.as_str().replace('_', " "),
                change: hypothesis.change.as_deref().map_or_else(String::new, |change| self.text(change)),
                status: match hypothesis.status {
                    HypothesisStatus::Supported => "supported",
                    HypothesisStatus::RuledOut => "ruled out",
                    HypothesisStatus::NotEnoughData => "not enough data",
                }
                .to_owned(),
                statement: self.text(&hypothesis.statement.text),
                evidence: hypothesis.supports.iter().map(ToString::to_string).collect(),
            })
            .collect()
    }

    fn item(&mut self, evidence: &Evidence, diagnosis: &Diagnosis) -> Item {
        let mut figures: Vec<Numbers> = evidence
            .figures
            .iter()
            .take(MAX_FIGURES)
            .map(|figure| Numbers {
                name: self.text(&figure.name),
                before: self.text(&figure.before),
                now: self.text(&figure.now),
            })
            .collect();
        if evidence.kind == EvidenceKind::ServiceLevel && evidence.service == diagnosis.service {
            figures.extend(impact(diagnosis));
        }
        Item {
            id: evidence.id.to_string(),
            kind: evidence.kind.title().to_owned(),
            service: self.text(&evidence.service),
            strength: match evidence.strength {
                Strength::Weak => "weak",
                Strength::Medium => "medium",
                Strength::Strong => "strong",
            }
            .to_owned(),
            claim: self.text(&evidence.claim),
            figures,
            began: evidence.began.map_or_else(String::new, UnixNanos::clock_time),
        }
    }

    fn steps(&mut self, steps: &[Step]) -> Vec<KnownStep> {
        let step = |(place, step): (usize, &Step)| KnownStep {
            id: format!("S{}", place + 1),
            kind: kind(step.kind).to_owned(),
            text: self.text(&step.text.text),
        };
        steps.iter().enumerate().map(step).collect()
    }
}

/// The word for a kind of step.
pub const fn kind(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Verify => "verify",
        StepKind::Mitigate => "mitigate",
        StepKind::Fix => "fix",
    }
}

/// What users felt, which the evidence on the service level stands for.
fn impact(diagnosis: &Diagnosis) -> Vec<Numbers> {
    let impact = &diagnosis.impact;
    let mut numbers = Vec::new();
    let mut add = |name: &str, part: u64| {
        if part > 0 && impact.requests > 0 {
            let share = percent(part as f64 / impact.requests as f64);
            numbers.push(Numbers {
                name: format!("{name} requests"),
                before: String::new(),
                now: count(part as i64),
            });
            numbers.push(Numbers {
                name: format!("share of {name} requests"),
                before: String::new(),
                now: share,
            });
        }
    };
    add("failed", impact.failed);
    add("slow", impact.slow);
    for objective in &diagnosis.impact.objectives {
        numbers.push(Numbers {
            name: objective.name.clone(),
            before: percent(objective.objective),
            now: percent(objective.good_ratio),
        });
    }
    numbers
}
