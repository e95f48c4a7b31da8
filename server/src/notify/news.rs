//! What there is to say: about an incident, an alert, or nothing but that the channel works.

use detectors::suppression::history::{PAGE_AGAIN_HOURS, hour_of};
use domain::{Alert, Incident, Report, Severity, UnixNanos};
use investigator::redact::Redactor;
use serde::{Deserialize, Serialize};

use crate::brief::{self, Brief};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It began, or goes on and more is known.
    Firing,
    /// It is over.
    Resolved,
    /// Somebody tries the channel.
    Test,
}

/// What there is to say. Secrets are taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// What it is about; the same for everything about the same thing: `INC-0142`.
    pub subject: String,
    /// What happened.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// The service.
    pub service: String,
    /// One line.
    pub title: String,
    /// The cause in a sentence.
    pub verdict: String,
    /// `High`...; empty when not known.
    pub confidence: String,
    /// The strongest evidence.
    pub evidence: Vec<String>,
    /// The page.
    pub link: String,
    /// When it began.
    pub started: UnixNanos,
}

impl News {
    /// About an incident as it stands.
    pub fn of_incident(incident: &Incident, report: Option<&Report>, pages_url: &str) -> Self {
        let brief = Brief::of_incident(incident, report);
        Self {
            subject: incident.id.to_string(),
            kind: if incident.is_open() { Kind::Firing } else { Kind::Resolved },
            severity: incident.severity,
            verdict: brief.verdict().to_owned(),
            service: brief.service,
            title: brief.title,
            confidence: brief.confidence,
            evidence: brief.evidence,
            link: format!("{pages_url}/incidents/{}", incident.id.0),
            started: incident.started,
        }
    }

    /// About an alert that is heard.
    pub fn of_alert(alert: &Alert, pages_url: &str) -> Self {
        let mut redactor = Redactor::new();
        let mut clean = |text: &str, limit| domain::text::plain(&redactor.text(text), limit);
        Self {
            subject: format!("alert-{}", alert.fingerprint()),
            kind: if alert.resolved { Kind::Resolved } else { Kind::Firing },
            severity: alert.severity,
            service: clean(&alert.service, 200),
            title: clean(&format!("{}: {}", alert.rule, alert.text), 300),
            verdict: String::new(),
            confidence: String::new(),
            evidence: alert
                .numbers
                .iter()
                .take(3)
                .map(|(name, value)| clean(&format!("{name}: {value}"), 200))
                .collect(),
            link: format!("{pages_url}/review?open={}", alert.fingerprint()),
            started: alert.at,
        }
    }

    /// Nothing but that the channel works.
    pub fn test(now: UnixNanos, pages_url: &str) -> Self {
        Self {
            subject: format!("test-{}", now.seconds()),
            kind: Kind::Test,
            severity: Severity::Notice,
            service: "inquest".into(),
            title: "Test: news of incidents will look like this".into(),
            verdict: "Nothing is wrong; somebody pressed “Send test” in the settings.".into(),
            confidence: String::new(),
            evidence: Vec::new(),
            link: format!("{pages_url}/settings"),
            started: now,
        }
    }

    /// Whether it is about an alert.
    pub fn is_alert(&self) -> bool {
        self.subject.starts_with("alert-")
    }

    /// Changes when there is something new to say: not with every number that moves, but with status, severity, verdict
    /// and confidence.
    pub fn digest(&self) -> String {
        // An alert that still comes is told again as often as somebody would be paged for it.
        let pages = if self.is_alert() { hour_of(self.started) / PAGE_AGAIN_HOURS } else { 0 };
        let parts = format!(
            "{:?}\u{0}{:?}\u{0}{}\u{0}{}\u{0}{pages}",
            self.kind, self.severity, self.verdict, self.confidence
        );
        format!(
            "{:016x}",
            u64::from_be_bytes(
                crate::signature::hmac(b"news", &[parts.as_bytes()])[..8].try_into().unwrap_or_default()
            )
        )
    }

    /// `Critical`, `Resolved`, `Test`.
    pub fn word(&self) -> &'static str {
        match (self.kind, self.severity) {
            (Kind::Resolved, _) => "Resolved",
            (Kind::Test, _) => "Test",
            (Kind::Firing, Severity::Critical) => "Critical",
            (Kind::Firing, Severity::Warning) => "Warning",
            (Kind::Firing, Severity::Notice) => "Notice",
        }
    }

    /// As a brief, for those who draw one.
    pub fn brief(&self) -> Brief {
        Brief {
            title: format!("{}: {}", self.word(), self.title),
            service: self.service.clone(),
            confidence: self.confidence.clone(),
            going_on: Vec::new(),
            cause: if self.verdict.is_empty() { Vec::new() } else { vec![self.verdict.clone()] },
            evidence: self.evidence.clone(),
            next: Vec::new(),
            redacted: 0,
        }
    }

    /// `critical`...
    pub const fn severity_word(&self) -> &'static str {
        brief::severity(self.severity)
    }
}
