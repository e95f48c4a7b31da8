//! What the API says: structures of its own, so that the inside can change without the outside.

use domain::{Detail, Incident, IncidentEvent, IncidentStatus, Report, Severity};
use serde::{Deserialize, Serialize};

/// One incident in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentSummary {
    /// `INC-0142`.
    pub id: String,
    /// One line: service, symptom, size.
    pub title: String,
    /// The service whose callers are hurt.
    pub service: String,
    /// How bad.
    pub severity: Severity,
    /// Whether users are still hurt.
    pub status: IncidentStatus,
    /// First bad minute, RFC 3339.
    pub started: String,
    /// When it was opened.
    pub detected: String,
    /// When it ended.
    pub resolved: Option<String>,
    /// The cause in one sentence, once investigated.
    pub summary: String,
    /// Confidence in words, once investigated.
    pub confidence: Option<String>,
    /// Service blamed; empty when none.
    pub root_service: String,
    /// Investigations so far.
    pub runs: u32,
    /// Its alerts.
    pub findings: Vec<Finding>,
    /// Path of its page.
    pub path: String,
}

/// What a detector saw: an alert, when it is severe enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Sixteen hexadecimal digits that stay the same while the same thing goes on.
    pub fingerprint: String,
    /// The service it is about.
    pub service: String,
    /// What of the service: an endpoint, a custom SLI, a series; empty for all of it.
    pub subject: String,
    /// How bad.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// One sentence.
    pub sentence: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// What was seen, with the numbers behind it.
    #[serde(flatten)]
    pub detail: Detail,
    /// The incident that it belongs to: `INC-0142`. Left out where there is none, or it is told around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
}

impl From<&domain::Finding> for Finding {
    fn from(finding: &domain::Finding) -> Self {
        Self {
            fingerprint: finding.fingerprint(),
            service: finding.service.clone(),
            subject: finding.subject.clone(),
            severity: finding.severity,
            title: finding.title(),
            sentence: finding.sentence(),
            started: finding.started.to_string(),
            detail: finding.detail.clone(),
            incident: None,
        }
    }
}

/// All of one incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentDetail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: IncidentSummary,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// The latest report.
    pub report: Option<Report>,
}

/// Something that happened to an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, RFC 3339.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub event: IncidentEvent,
}

/// What `POST /api/v1/investigate` is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvestigateRequest {
    /// The service that fails.
    pub service: String,
    /// The end of the time looked at: RFC 3339 or Unix seconds; now, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How far back: `1h`. Left out: the incident at that time, or an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl From<&Incident> for IncidentSummary {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.to_string(),
            title: incident.title.clone(),
            service: incident.service.clone(),
            severity: incident.severity,
            status: incident.status,
            started: incident.started.to_string(),
            detected: incident.detected.to_string(),
            resolved: incident.resolved.map(|at| at.to_string()),
            summary: incident.summary.clone(),
            confidence: incident.confidence.map(|level| level.word().to_owned()),
            root_service: incident.root_service.clone(),
            runs: incident.runs,
            findings: incident.findings.iter().map(Finding::from).collect(),
            path: format!("/incidents/{}", incident.id.0),
        }
    }
}

impl IncidentDetail {
    /// An incident with its report.
    pub fn new(incident: &Incident, report: Option<Report>) -> Self {
        let event = |(at, event): &(_, IncidentEvent)| Event {
            at: domain::UnixNanos::to_string(at),
            event: event.clone(),
        };
        Self { summary: incident.into(), events: incident.events.iter().map(event).collect(), report }
    }
}
