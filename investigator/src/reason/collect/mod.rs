//! Collectors: each turns one kind of observation into evidence, or says that it found nothing or could not look.

pub mod attributes;
pub mod calls;
pub mod changes;
pub mod errors;
pub mod latency;
pub mod levels;
pub mod metrics;
pub mod patterns;
pub mod silence;
pub mod traffic;

use domain::{
    Check, CheckOutcome, Evidence, EvidenceId, EvidenceKind, Exhibit, Figure, Strength, UnixNanos, Window,
};

use super::analysis::Analysis;

/// What collectors gather.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Evidence in order of citation.
    pub evidence: Vec<Evidence>,
    /// One check per collector.
    pub checks: Vec<Check>,
}

/// A piece of evidence before it has a number.
pub struct Draft {
    /// Service it is about.
    pub service: String,
    /// The claim.
    pub claim: String,
    /// Its weight.
    pub strength: Strength,
    /// Numbers.
    pub figures: Vec<Figure>,
    /// When the thing began.
    pub began: Option<UnixNanos>,
    /// SQL that reproduces it.
    pub query: String,
    /// What to draw.
    pub exhibit: Exhibit,
}

/// What came of a collector.
pub enum Outcome {
    /// Evidence.
    Found(Vec<Draft>),
    /// It looked, and nothing stood out.
    Nothing(String),
    /// It could not look.
    Blind(String),
}

/// Runs every collector.
pub fn collect(analysis: &Analysis<'_>) -> Gathered {
    let mut gathered = Gathered::default();
    let mut run = |kind: EvidenceKind, outcome: Outcome| gathered.take(kind, outcome, analysis);
    run(EvidenceKind::ServiceLevel, levels::collect(analysis));
    run(EvidenceKind::ErrorCauses, errors::collect(analysis));
    run(EvidenceKind::LatencyDiff, latency::collect(analysis));
    run(EvidenceKind::CallStructure, calls::collect(analysis));
    run(EvidenceKind::LogPatterns, patterns::collect(analysis));
    run(EvidenceKind::AttributeSkew, attributes::collect(analysis));
    run(EvidenceKind::MetricShift, metrics::collect(analysis));
    run(EvidenceKind::Traffic, traffic::collect(analysis));
    run(EvidenceKind::Silence, silence::collect(analysis));
    run(EvidenceKind::Change, changes::collect(analysis));
    gathered
}

impl Gathered {
    fn take(&mut self, kind: EvidenceKind, outcome: Outcome, analysis: &Analysis<'_>) {
        let failed = analysis.seen.failures.iter().find(|(failed, _)| *failed == kind);
        let (outcome, note, drafts) = match (outcome, failed) {
            (Outcome::Found(drafts), _) => (CheckOutcome::Found, String::new(), drafts),
            (_, Some((_, why))) => (CheckOutcome::CouldNotLook, why.clone(), Vec::new()),
            (Outcome::Nothing(note), None) => (CheckOutcome::Nothing, note, Vec::new()),
            (Outcome::Blind(note), None) => (CheckOutcome::CouldNotLook, note, Vec::new()),
        };
        let cited =
            drafts.into_iter().map(|draft| self.number(kind, draft, analysis.question.window)).collect();
        self.checks.push(Check { kind, outcome, note, evidence: cited });
    }

    fn number(&mut self, kind: EvidenceKind, draft: Draft, window: Window) -> EvidenceId {
        let id = EvidenceId(self.evidence.len() as u32 + 1);
        let Draft { service, claim, strength, figures, began, query, exhibit } = draft;
        self.evidence.push(Evidence {
            id,
            kind,
            service,
            claim,
            strength,
            supports: Vec::new(),
            contradicts: Vec::new(),
            figures,
            began,
            window,
            query,
            exhibit,
        });
        id
    }

    /// Evidence of a kind, about a service.
    pub fn find(&self, kind: EvidenceKind, service: &str) -> Option<EvidenceId> {
        self.evidence
            .iter()
            .find(|evidence| evidence.kind == kind && evidence.service == service)
            .map(|evidence| evidence.id)
    }

    /// The evidence that shows a change.
    pub fn of_change(&self, wanted: &domain::Change) -> Option<EvidenceId> {
        let shows = |evidence: &&Evidence| matches!(&evidence.exhibit, Exhibit::Change { change } if (&change.service, change.at) == (&wanted.service, wanted.at));
        self.evidence.iter().find(shows).map(|evidence| evidence.id)
    }

    /// Evidence of a kind, about anything.
    pub fn first(&self, kind: EvidenceKind) -> Option<EvidenceId> {
        self.evidence.iter().find(|evidence| evidence.kind == kind).map(|evidence| evidence.id)
    }

    /// All evidence about a service.
    pub fn about(&self, service: &str) -> Vec<EvidenceId> {
        self.evidence
            .iter()
            .filter(|evidence| evidence.service == service)
            .map(|evidence| evidence.id)
            .collect()
    }
}

/// A figure with both sides known; a side that is no number is left out.
pub fn figure(name: impl Into<String>, before: f64, now: f64, write: impl Fn(f64) -> String) -> Figure {
    figure_since(name, Some(before), now, write)
}

/// A figure whose side before is known only where there was something to measure.
pub fn figure_since(
    name: impl Into<String>,
    before: Option<f64>,
    now: f64,
    write: impl Fn(f64) -> String,
) -> Figure {
    Figure {
        name: name.into(),
        before: before.map(&write).unwrap_or_default(),
        now: write(now),
        before_value: before.filter(|value| value.is_finite()),
        now_value: Some(now).filter(|value| value.is_finite()),
    }
}

/// Outside text short enough for a sentence.
pub fn short(text: &str) -> String {
    domain::text::plain(text, 90)
}
