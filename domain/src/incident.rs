//! Incidents: a fold of what the journal says happened.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Finding, Mechanism, Severity, UnixNanos};

/// `INC-0142`: counted up per store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub u32);

impl IncidentId {
    /// Reads `INC-0142` or `142`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("INC-").unwrap_or(text);
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse().ok().map(Self))?
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "INC-{:04}", self.0)
    }
}

/// Whether users are still hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    /// They are.
    Open,
    /// They are, and somebody has it in hand.
    Acknowledged,
    /// They are not.
    Resolved,
}

/// What the journal says of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum IncidentEvent {
    /// A detector fired and no open incident covered it.
    Opened {
        /// What fired.
        finding: Finding,
    },
    /// A detector fired again, or on another service with the same cause.
    Updated {
        /// What fired.
        finding: Finding,
    },
    /// An investigation ended. The report itself is stored apart, by incident and run.
    Investigated {
        /// 1, 2...
        run: u32,
        /// The cause in one sentence, or that there is none to name.
        summary: String,
        /// Confidence in words.
        confidence: crate::ConfidenceLevel,
        /// Service blamed; empty when inconclusive.
        root_service: String,
        /// How long it took, milliseconds.
        elapsed_ms: u64,
    },
    /// A person has it in hand.
    Acknowledged {
        /// Who.
        actor: String,
    },
    /// Users are no longer hurt, or a person says so.
    Resolved {
        /// Who: a person, or `inquest`.
        actor: String,
        /// Why.
        reason: String,
    },
    /// A person says whether the answer is right.
    Feedback {
        /// Who.
        actor: String,
        /// `right`, `not-quite`, `wrong`.
        verdict: String,
        /// The service that it really was, or empty.
        service: String,
        /// How it really failed, where they said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mechanism: Option<Mechanism>,
        /// What it really was, or empty.
        text: String,
    },
    /// A person says what fixed it.
    Fixed {
        /// Who.
        actor: String,
        /// What did.
        text: String,
    },
}

/// An incident as it stands: the fold of its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// The service whose callers are hurt.
    pub service: String,
    /// One line: service, symptom, size.
    pub title: String,
    /// The worst so far.
    pub severity: Severity,
    /// Whether users are still hurt.
    pub status: IncidentStatus,
    /// First bad minute.
    pub started: UnixNanos,
    /// When it was opened.
    pub detected: UnixNanos,
    /// When it ended.
    pub resolved: Option<UnixNanos>,
    /// Latest findings, one per fingerprint.
    pub findings: Vec<Finding>,
    /// The cause in one sentence, once investigated.
    pub summary: String,
    /// Confidence of the latest run.
    pub confidence: Option<crate::ConfidenceLevel>,
    /// Service blamed by the latest run; empty when none.
    pub root_service: String,
    /// Runs so far.
    pub runs: u32,
    /// All events with their times, oldest first.
    pub events: Vec<(UnixNanos, IncidentEvent)>,
}

impl Incident {
    /// Folds events into an incident. `None` unless the first event opens it.
    pub fn fold(id: IncidentId, events: &[(UnixNanos, IncidentEvent)]) -> Option<Self> {
        let (detected, IncidentEvent::Opened { finding }) = events.first()? else { return None };
        let mut incident = Self {
            id,
            service: finding.service.clone(),
            title: finding.title(),
            severity: finding.severity,
            status: IncidentStatus::Open,
            started: finding.started,
            detected: *detected,
            resolved: None,
            findings: vec![finding.clone()],
            summary: String::new(),
            confidence: None,
            root_service: String::new(),
            runs: 0,
            events: events.to_vec(),
        };
        for (at, event) in &events[1..] {
            incident.apply(*at, event);
        }
        Some(incident)
    }

    fn apply(&mut self, at: UnixNanos, event: &IncidentEvent) {
        match event {
            IncidentEvent::Opened { finding } | IncidentEvent::Updated { finding } => self.absorb(finding),
            IncidentEvent::Investigated { run, summary, confidence, root_service, .. } => {
                self.runs = self.runs.max(*run);
                self.summary.clone_from(summary);
                self.confidence = Some(*confidence);
                self.root_service.clone_from(root_service);
            }
            IncidentEvent::Acknowledged { .. } => {
                if self.status == IncidentStatus::Open {
                    self.status = IncidentStatus::Acknowledged;
                }
            }
            IncidentEvent::Resolved { .. } => {
                self.status = IncidentStatus::Resolved;
                self.resolved = Some(at);
            }
            IncidentEvent::Feedback { .. } | IncidentEvent::Fixed { .. } => {}
        }
    }

    fn absorb(&mut self, finding: &Finding) {
        self.severity = self.severity.max(finding.severity);
        match self.findings.iter_mut().find(|known| known.is_about_the_same(finding)) {
            Some(known) => *known = finding.clone(),
            None => self.findings.push(finding.clone()),
        }
        if let Some(first) = self.findings.first() {
            self.title = first.title();
        }
    }

    /// Whether users are still hurt.
    pub fn is_open(&self) -> bool {
        self.status != IncidentStatus::Resolved
    }
}
