//! Alerts: what asks for somebody's attention, whoever says so.
//!
//! Findings of our own detectors and notices of other systems become alerts, pass suppression, and then reach people.

use serde::{Deserialize, Serialize};

use crate::{Detail, Finding, Severity, UnixNanos};

/// Longest text kept of an alert, in characters.
pub const MAX_ALERT_TEXT: usize = 400;
/// Longest name kept of a rule, service, host or version, in characters.
pub const MAX_ALERT_NAME: usize = 200;
/// Most numbers kept.
pub const MAX_ALERT_NUMBERS: usize = 12;

/// Where an alert comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSource {
    /// A detector of ours.
    Detection,
    /// A webhook of Alertmanager.
    Alertmanager,
    /// An event of Kubernetes, sent as a log record.
    Kubernetes,
}

impl AlertSource {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Alertmanager => "alertmanager",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Detection, Self::Alertmanager, Self::Kubernetes]
            .into_iter()
            .find(|source| source.as_str() == text)
    }
}

/// Something that asks for attention, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Where it comes from.
    pub source: AlertSource,
    /// The rule that fired: `log pattern`, `HighMemory`.
    pub rule: String,
    /// The service it is about; empty when nobody knows.
    pub service: String,
    /// How bad.
    pub severity: Severity,
    /// The host, pod or instance; empty when nobody knows.
    pub host: String,
    /// The version that runs there; empty when nobody knows.
    pub version: String,
    /// What it says, with what varies replaced by `<*>`.
    pub pattern: String,
    /// What it says, as it was said.
    pub text: String,
    /// The numbers behind it: name and value, in words ready to print.
    pub numbers: Vec<(String, String)>,
    /// When it was seen.
    pub at: UnixNanos,
    /// Whether it tells that something is over.
    pub resolved: bool,
    /// Whether an objective of users is being missed. Never suppressed.
    pub objective: bool,
    /// The fingerprint that the sender gives, to answer it with a silence; empty for our own.
    pub foreign_id: String,
    /// Labels that the sender gives; empty for our own.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Alert {
    /// Sixteen hexadecimal digits of what stays the same while the same thing is said: service, rule, pattern and severity
    /// (FNV-1a, 64 bit). Host, version, time and numbers are left out.
    pub fn fingerprint(&self) -> String {
        let severity = [b'0' + self.severity as u8];
        let parts: [&[u8]; 4] =
            [self.service.as_bytes(), self.rule.as_bytes(), self.pattern.as_bytes(), &severity];
        let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// Whether somebody would be paged for it.
    pub fn pages(&self) -> bool {
        !self.resolved && self.severity >= Severity::Warning
    }
}

/// A finding as an alert, seen at the end of its window, on the first of its hosts. The caller masks `text` into `pattern` as it
/// masks log messages, and knows the version.
pub fn of_finding(finding: &Finding, mask: impl FnOnce(&str) -> String) -> Alert {
    let text = crate::text::plain(&finding.title(), MAX_ALERT_TEXT);
    let pattern = match finding.subject.is_empty() {
        // The numbers of an objective change with every round: what it is about is what stays.
        true => finding.kind().to_owned(),
        false => crate::text::plain(&mask(&finding.subject), MAX_ALERT_TEXT),
    };
    Alert {
        source: AlertSource::Detection,
        rule: crate::text::plain(finding.kind(), MAX_ALERT_NAME),
        service: crate::text::plain(&finding.service, MAX_ALERT_NAME),
        severity: finding.severity,
        host: crate::text::plain(finding.hosts().first().map_or("", String::as_str), MAX_ALERT_NAME),
        version: String::new(),
        pattern,
        text,
        numbers: finding.numbers().into_iter().take(MAX_ALERT_NUMBERS).collect(),
        at: finding.window.end,
        resolved: false,
        objective: !matches!(finding.detail, Detail::Observation(_)),
        foreign_id: String::new(),
        labels: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Observation, SeenIn, Window};

    fn finding(subject: &str, value: &str) -> Finding {
        let at = UnixNanos::from_seconds;
        Finding {
            service: "cart".into(),
            subject: subject.into(),
            severity: Severity::Warning,
            started: at(0),
            window: Window::new(at(0), at(60)),
            detail: Detail::Observation(Observation {
                detector: "log pattern".into(),
                sentence: format!("the pattern came {value} times"),
                numbers: vec![("Messages".into(), value.into())],
                seen_in: SeenIn::Nothing,
                hosts: Vec::new(),
            }),
        }
    }

    #[test]
    fn a_fingerprint_is_of_what_stays() {
        let mask = |text: &str| text.replace("17", "<*>");
        let first = of_finding(&finding("retry in 17 ms", "4"), mask);
        let again = of_finding(&finding("retry in 17 ms", "9"), mask);
        assert_eq!(first.pattern, "retry in <*> ms");
        assert_eq!(first.fingerprint(), again.fingerprint());
        let other = Alert { host: "b".into(), version: "2".into(), ..first.clone() };
        assert_eq!(first.fingerprint(), other.fingerprint());
        for other in [
            Alert { severity: Severity::Critical, ..first.clone() },
            Alert { service: "web".into(), ..first.clone() },
            Alert { rule: "x".into(), ..first.clone() },
            Alert { pattern: "x".into(), ..first.clone() },
        ] {
            assert_ne!(first.fingerprint(), other.fingerprint());
        }
    }
}
