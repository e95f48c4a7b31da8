//! What there is to say: about an incident, an alert, or nothing but that the channel works.

use detectors::suppression::history::{PAGE_AGAIN_HOURS, hour_of};
use domain::{Incident, IncidentId, Mechanism, Report, Severity, UnixNanos};
use investigator::redact::Redactor;
use serde::{Deserialize, Serialize};

use crate::brief::{self, Brief};
use crate::noise::Heard;

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

/// What an investigation found, without its wording: what makes another answer another answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The service blamed; empty when none is.
    pub service: String,
    /// How it does harm; nothing when no cause is named.
    pub mechanism: Option<Mechanism>,
    /// The change blamed; empty when none is.
    pub change: String,
}

impl Found {
    fn of(report: &Report) -> Self {
        let Some(cause) = report.diagnosis.cause() else { return Self::default() };
        Self {
            service: cause.service.clone(),
            mechanism: Some(cause.mechanism),
            change: cause.change.clone().unwrap_or_default(),
        }
    }
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
    /// What the verdict rests on.
    #[serde(default)]
    pub found: Found,
    /// The strongest evidence.
    pub evidence: Vec<String>,
    /// The page.
    pub link: String,
    /// When it began.
    pub started: UnixNanos,
    /// Whether it is an alert that may be suppressed, so that a button for it makes sense.
    #[serde(default)]
    pub may_suppress: bool,
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
            found: report.map(Found::of).unwrap_or_default(),
            evidence: brief.evidence,
            link: format!("{pages_url}/incidents/{}", incident.id.0),
            started: incident.started,
            may_suppress: false,
        }
    }

    /// About an alert that is heard.
    pub fn of_alert(heard: &Heard, pages_url: &str) -> Self {
        let alert = &heard.alert;
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
            found: Found::default(),
            evidence: alert
                .numbers
                .iter()
                .take(3)
                .map(|(name, value)| clean(&format!("{name}: {value}"), 200))
                .collect(),
            link: format!("{pages_url}/review?open={}", alert.fingerprint()),
            started: alert.at,
            may_suppress: heard.may_suppress,
        }
    }

    /// That alerts came faster than they could be told.
    pub fn of_missed(count: u64, now: UnixNanos, pages_url: &str) -> Self {
        Self {
            subject: format!("missed-{}", now.seconds()),
            kind: Kind::Firing,
            severity: Severity::Warning,
            title: format!("{count} alerts came faster than they could be sent"),
            verdict: "The review page has them.".into(),
            link: format!("{pages_url}/review"),
            ..Self::test(now, pages_url)
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
            found: Found::default(),
            evidence: Vec::new(),
            link: format!("{pages_url}/settings"),
            started: now,
            may_suppress: false,
        }
    }

    /// Whether it is about an incident.
    pub fn is_incident(&self) -> bool {
        IncidentId::parse(&self.subject).is_some()
    }

    /// Whether it is about an alert.
    pub fn is_alert(&self) -> bool {
        self.subject.starts_with("alert-")
    }

    /// Changes when there is something new to say: with status, severity, confidence, and what is blamed for what; neither
    /// with numbers that move nor with other words for the same.
    pub fn digest(&self) -> String {
        // An alert that still comes is told again as often as somebody would be paged for it.
        let pages = if self.is_alert() { hour_of(self.started) / PAGE_AGAIN_HOURS } else { 0 };
        let Found { service, mechanism, change } = &self.found;
        hash(&[
            &format!("{:?} {:?} {pages}", self.kind, self.severity),
            service,
            mechanism.map_or("", Mechanism::as_str),
            change,
            &self.confidence,
        ])
    }

    /// Changes with the words of the answer, too: for receivers whose message can be changed in its place.
    pub fn wording(&self) -> String {
        let evidence = self.evidence.iter().map(String::as_str);
        hash(&std::iter::once(self.verdict.as_str()).chain(evidence).collect::<Vec<_>>())
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

fn hash(parts: &[&str]) -> String {
    let tag = crate::signature::hmac(b"news", &[parts.join("\0").as_bytes()]);
    tag.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_answer_is_news_and_another_wording_is_not() {
        let news = |change: &dyn Fn(&mut News)| {
            let mut news = News {
                subject: "INC-0142".into(),
                confidence: "High".into(),
                kind: Kind::Firing,
                found: Found {
                    service: "cart".into(),
                    mechanism: Some(Mechanism::NewErrors),
                    change: "deploy-1".into(),
                },
                ..News::test(UnixNanos(0), "https://inquest.example")
            };
            change(&mut news);
            (news.digest(), news.wording())
        };
        let first = news(&|_| ());
        let check = |change: &dyn Fn(&mut News), is_news: bool, is_reworded: bool| {
            let (digest, wording) = news(change);
            assert_eq!((digest != first.0, wording != first.1), (is_news, is_reworded));
        };
        check(&|news| news.verdict = "cart 1.4.2 breaks it.".into(), false, true);
        check(&|news| news.evidence.push("7.9% of requests fail.".into()), false, true);
        check(&|news| news.title = "cart availability 91.8%".into(), false, false);
        check(&|news| news.kind = Kind::Resolved, true, false);
        check(&|news| news.severity = Severity::Critical, true, false);
        check(&|news| news.confidence = "Medium".into(), true, false);
        check(&|news| news.found.service = "db".into(), true, false);
        check(&|news| news.found.mechanism = Some(Mechanism::SlowQuery), true, false);
        check(&|news| news.found.change = "deploy-2".into(), true, false);
    }
}
