//! The answer in short, for places that are small: chat, letters, tools. Secrets are taken out of all of it.

use domain::text::plain;
use domain::{Incident, IncidentStatus, Report, Severity, Verdict};
use investigator::redact::Redactor;
use serde::Serialize;

const MAX_SENTENCE: usize = 400;
const MAX_SENTENCES: usize = 3;
const MAX_EVIDENCE: usize = 3;

/// The answer in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Brief {
    /// One line: service, symptom, size.
    pub title: String,
    /// The service asked about.
    pub service: String,
    /// `High`, `Inconclusive`...; empty before anything was looked into.
    pub confidence: String,
    /// What is going on.
    pub going_on: Vec<String>,
    /// The cause, or that there is none to name.
    pub cause: Vec<String>,
    /// The strongest evidence.
    pub evidence: Vec<String>,
    /// What to do next.
    pub next: Vec<String>,
    /// Secrets that were taken out.
    pub redacted: u32,
}

impl Brief {
    /// Of a report.
    pub fn of_report(report: &Report) -> Self {
        let diagnosis = &report.diagnosis;
        let mut redactor = Redactor::new();
        let mut clean = |text: &str| plain(&redactor.text(text), MAX_SENTENCE);
        let mut all = |sentences: &[domain::Sentence]| -> Vec<String> {
            sentences.iter().take(MAX_SENTENCES).map(|sentence| clean(&sentence.text)).collect()
        };
        let (going_on, cause) = (all(&report.answer.going_on), all(&report.answer.cause));
        // What the blamed hypothesis rests on, else what weighs most.
        let cited: Vec<_> = report.answer.cause.iter().flat_map(|sentence| &sentence.cites).collect();
        let mut evidence: Vec<_> = diagnosis.evidence.iter().collect();
        evidence.sort_by_key(|one| (!cited.contains(&&one.id), one.id));
        let evidence = evidence.iter().take(MAX_EVIDENCE).map(|one| clean(&one.claim)).collect();
        let next =
            report.answer.next_steps.iter().take(MAX_SENTENCES).map(|step| clean(&step.text.text)).collect();
        let confidence = match diagnosis.verdict {
            Verdict::Inconclusive => "Inconclusive",
            _ => diagnosis.confidence.level.word(),
        };
        Self {
            title: clean(&diagnosis.title),
            service: clean(&diagnosis.service),
            confidence: confidence.to_owned(),
            going_on,
            cause,
            evidence,
            next,
            redacted: redactor.total(),
        }
    }

    /// Of an incident, with its latest report if there is one.
    pub fn of_incident(incident: &Incident, report: Option<&Report>) -> Self {
        if let Some(report) = report {
            let mut redactor = Redactor::new();
            return Self {
                title: plain(&redactor.text(&incident.title), MAX_SENTENCE),
                ..Self::of_report(report)
            };
        }
        let mut redactor = Redactor::new();
        let mut clean = |text: &str| plain(&redactor.text(text), MAX_SENTENCE);
        let (title, service) = (clean(&incident.title), clean(&incident.service));
        let going_on =
            incident.findings.iter().take(MAX_SENTENCES).map(|finding| clean(&finding.sentence())).collect();
        let cause = if incident.summary.is_empty() { Vec::new() } else { vec![clean(&incident.summary)] };
        Self {
            title,
            service,
            confidence: incident.confidence.map_or("", domain::ConfidenceLevel::word).to_owned(),
            going_on,
            cause,
            evidence: Vec::new(),
            next: Vec::new(),
            redacted: redactor.total(),
        }
    }

    /// The cause in one line, or that it is still looked for.
    pub fn verdict(&self) -> &str {
        self.cause.first().map_or("The cause is still being looked for.", String::as_str)
    }
}

/// The word for where an incident stands.
pub const fn status(incident: &Incident) -> &'static str {
    match incident.status {
        IncidentStatus::Open => "open",
        IncidentStatus::Acknowledged => "acknowledged",
        IncidentStatus::Resolved => "resolved",
    }
}

/// The word for how bad it is.
pub const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
