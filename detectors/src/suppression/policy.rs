//! What people decided about an alert, and what stands: the fold of an append-only list of entries.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::{Alert, UnixNanos};
use serde::{Deserialize, Serialize};

use super::features::Features;
use super::history::{History, hour_of};
use super::spike::SpikeLimit;

/// Steps that can be undone.
const MAX_UNDO: usize = 20;

/// What suppression may do, per rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Decisions are taken and measured; nothing is hidden.
    #[default]
    Observe,
    /// What a person approved is hidden.
    Recommend,
    /// What is sure enough is hidden without asking.
    Auto,
}

impl Mode {
    /// Every one, mildest first.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Recommend, Self::Auto];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Recommend => "recommend",
            Self::Auto => "auto",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Why an alert is noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// What failed is tried again, and then works.
    ExpectedRetry,
    /// It is logged as worse than it is.
    WrongLevel,
    /// Known, and harmless.
    #[default]
    KnownBenign,
    /// Another alert says the same.
    Duplicate,
    /// Planned work.
    Maintenance,
    /// It comes and goes by itself.
    Flapping,
    /// Nobody can do anything about it.
    NotActionable,
    /// Something else; the note says what.
    Other,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::ExpectedRetry,
        Self::WrongLevel,
        Self::KnownBenign,
        Self::Duplicate,
        Self::Maintenance,
        Self::Flapping,
        Self::NotActionable,
        Self::Other,
    ];

    /// As people read it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::ExpectedRetry => "Expected retry",
            Self::WrongLevel => "Wrong level",
            Self::KnownBenign => "Known benign",
            Self::Duplicate => "Duplicate",
            Self::Maintenance => "Maintenance",
            Self::Flapping => "Flapping",
            Self::NotActionable => "Not actionable",
            Self::Other => "Other",
        }
    }

    /// As forms and files have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpectedRetry => "expected_retry",
            Self::WrongLevel => "wrong_level",
            Self::KnownBenign => "known_benign",
            Self::Duplicate => "duplicate",
            Self::Maintenance => "maintenance",
            Self::Flapping => "flapping",
            Self::NotActionable => "not_actionable",
            Self::Other => "other",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// The likeliest reason, by what the alert says and how it comes. A suggestion for a person.
    pub fn suggest(pattern: &str, features: &Features) -> Self {
        let lower = pattern.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if says(&["retry", "retrying", "reconnect", "will try again", "backing off"]) {
            Self::ExpectedRetry
        } else if says(&[
            "client closed",
            "client disconnected",
            "broken pipe",
            "canceled",
            "cancelled",
            "debug",
        ]) {
            Self::WrongLevel
        } else if features.burst > 0.2 && features.frequency > 0.0 {
            Self::Flapping
        } else {
            Self::KnownBenign
        }
    }
}

/// Where a decision came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The review page.
    Web,
    /// A button in Slack.
    Slack,
    /// The API.
    Api,
    /// A file of policies.
    File,
    /// The program itself.
    Inquest,
}

/// A suppression, and what ends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Why it is noise.
    pub reason: Reason,
    /// More about why; may be empty.
    #[serde(default)]
    pub note: String,
    /// When it ends.
    pub expires: UnixNanos,
    /// Alerts in an hour above which it comes back.
    pub limit: SpikeLimit,
    /// Hosts that it came from when it was approved.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    /// Versions that it came from when it was approved.
    #[serde(default)]
    pub versions: BTreeSet<String>,
    /// Pages that it was expected to save in 30 days.
    #[serde(default)]
    pub pages_saved: u32,
}

/// What brought a suppressed alert back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Reopening {
    /// It became louder than its limit.
    Spike {
        /// Alerts in the hour.
        rate: f64,
        /// The limit.
        limit: f64,
    },
    /// It came from a host that it never came from.
    Host {
        /// Which.
        host: String,
    },
    /// It came from a version that it never came from.
    Version {
        /// Which.
        version: String,
    },
    /// It came with an incident.
    Incident {
        /// Which.
        id: String,
    },
    /// Its time was over.
    Expiry,
    /// A rule forbids what it once allowed.
    Rule {
        /// What was found.
        words: String,
    },
}

impl Reopening {
    /// A few words.
    pub fn words(&self) -> String {
        let plain = |text: &str| domain::text::plain(text, 60);
        match self {
            Self::Spike { rate, limit } => {
                format!(
                    "spike: {} in an hour, limit {}",
                    domain::text::number(*rate),
                    domain::text::number(*limit)
                )
            }
            Self::Host { host } => format!("new host {}", plain(host)),
            Self::Version { version } => format!("new version {}", plain(version)),
            Self::Incident { id } => format!("came with {}", plain(id)),
            Self::Expiry => "expired".into(),
            Self::Rule { words } => plain(words),
        }
    }
}

/// What happened to an alert's suppression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It is noise.
    Approved(Approval),
    /// It is not.
    Rejected,
    /// Ask again later.
    Snoozed {
        /// When.
        until: UnixNanos,
    },
    /// The last step is taken back.
    Undone,
    /// It came back.
    Reopened(Reopening),
    /// One of the suppressed alerts is shown again, to be judged.
    Sampled,
}

impl Event {
    /// The word of the audit.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Approved(_) => "Approved",
            Self::Rejected => "Rejected",
            Self::Snoozed { .. } => "Snoozed",
            Self::Undone => "Undone",
            Self::Reopened(_) => "Reopened",
            Self::Sampled => "Sampled back",
        }
    }
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Who: a person, or `inquest`.
    pub actor: String,
    /// Where they said so.
    pub source: Source,
    /// The alert's rule.
    pub rule: String,
    /// Its service.
    pub service: String,
    /// Its pattern.
    pub pattern: String,
    /// The score at that time, when there was a proposal.
    pub confidence: Option<f64>,
    /// What the score was computed from.
    pub features: Option<Features>,
    /// What was said with it; an approval has a note of its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// What the alerts that were decided on in one step share, so that they are taken back in one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Entry {
    /// What was said with the decision; may be empty.
    pub fn said(&self) -> &str {
        match &self.event {
            Event::Approved(approval) => &approval.note,
            _ => &self.note,
        }
    }
}

/// Where an alert stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// Nobody decided.
    #[default]
    Undecided,
    /// Suppressed.
    Active(Approval),
    /// Heard, as somebody decided.
    Rejected,
    /// Heard, and nobody is asked before then.
    Snoozed(UnixNanos),
    /// Heard again after a suppression.
    Reopened(Reopening),
}

impl State {
    /// A few words.
    pub fn words(&self) -> String {
        match self {
            Self::Undecided => "undecided".into(),
            Self::Active(approval) => format!("suppressed until {}", approval.expires.date()),
            Self::Rejected => "heard".into(),
            Self::Snoozed(until) => format!("snoozed until {}", until.date()),
            Self::Reopened(_) => "came back".into(),
        }
    }
}

/// The fold of the entries on one alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Where it stands.
    pub state: State,
    /// Once reopened, it is never suppressed automatically again.
    pub never_auto: bool,
    /// Whether a sample of it waits to be judged.
    pub sampled: bool,
    /// When the state began.
    pub since: Option<UnixNanos>,
    /// Who last decided.
    pub actor: String,
    /// What they said with it.
    pub note: String,
    /// The step that this was decided in with others.
    pub batch: Option<String>,
    before: Vec<Before>,
}

/// What stood before a step: what taking it back restores.
#[derive(Clone, Debug, PartialEq)]
struct Before {
    state: State,
    sampled: bool,
    note: String,
    batch: Option<String>,
}

impl Standing {
    /// Folds one more entry in.
    pub fn apply(&mut self, at: UnixNanos, entry: &Entry) {
        let next = match &entry.event {
            Event::Approved(approval) => State::Active(approval.clone()),
            Event::Rejected => State::Rejected,
            Event::Snoozed { until } => State::Snoozed(*until),
            Event::Reopened(reopening) => {
                self.never_auto = true;
                State::Reopened(reopening.clone())
            }
            Event::Sampled => {
                self.sampled = true;
                return;
            }
            Event::Undone => {
                let Some(before) = self.before.pop() else { return };
                (self.state, self.sampled) = (before.state, before.sampled);
                (self.note, self.batch) = (before.note, before.batch);
                (self.since, self.actor) = (Some(at), entry.actor.clone());
                return;
            }
        };
        if self.before.len() == MAX_UNDO {
            self.before.remove(0);
        }
        self.before.push(Before {
            state: std::mem::replace(&mut self.state, next),
            sampled: self.sampled,
            note: std::mem::replace(&mut self.note, entry.said().to_owned()),
            batch: std::mem::replace(&mut self.batch, entry.batch.clone()),
        });
        self.sampled = false;
        (self.since, self.actor) = (Some(at), entry.actor.clone());
    }

    /// Whether a step can be taken back.
    pub fn can_undo(&self) -> bool {
        !self.before.is_empty()
    }

    /// The suppression that stands.
    pub const fn approval(&self) -> Option<&Approval> {
        match &self.state {
            State::Active(approval) => Some(approval),
            _ => None,
        }
    }
}

/// What brings a suppressed alert back, if anything does. `history` has the alert in it already.
pub fn reopens(
    approval: &Approval,
    alert: &Alert,
    history: &History,
    incident: Option<&str>,
    now: UnixNanos,
) -> Option<Reopening> {
    if now >= approval.expires {
        return Some(Reopening::Expiry);
    }
    if let Some(id) = incident {
        return Some(Reopening::Incident { id: id.to_owned() });
    }
    let rate = f64::from(history.of_hour(hour_of(alert.at)));
    if approval.limit.exceeded_by(rate) {
        return Some(Reopening::Spike { rate, limit: approval.limit.0 });
    }
    if History::is_new_place(&approval.hosts, &alert.host) {
        return Some(Reopening::Host { host: alert.host.clone() });
    }
    if History::is_new_place(&approval.versions, &alert.version) {
        return Some(Reopening::Version { version: alert.version.clone() });
    }
    None
}

/// When a suppression of so many days ends; at most [`super::MAX_EXPIRY_DAYS`], at least one.
pub fn expiry(now: UnixNanos, days: u32) -> UnixNanos {
    now.plus(Duration::from_secs(86_400) * days.clamp(1, super::MAX_EXPIRY_DAYS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AlertSource, Severity};

    const NOW: UnixNanos = UnixNanos::from_seconds(3_600_000);

    fn entry(event: Event) -> Entry {
        Entry {
            actor: "somebody".into(),
            source: Source::Web,
            rule: "log pattern".into(),
            service: "cart".into(),
            pattern: "retrying".into(),
            confidence: Some(0.9),
            features: None,
            note: String::new(),
            batch: None,
            event,
        }
    }

    fn approval() -> Approval {
        Approval {
            reason: Reason::ExpectedRetry,
            note: String::new(),
            expires: expiry(NOW, 14),
            limit: SpikeLimit(10.0),
            hosts: ["a".to_owned()].into(),
            versions: ["1".to_owned()].into(),
            pages_saved: 3,
        }
    }

    fn fold(events: Vec<Event>) -> Standing {
        let mut standing = Standing::default();
        events.into_iter().for_each(|event| standing.apply(NOW, &entry(event)));
        standing
    }

    #[test]
    fn decisions_fold_and_can_be_taken_back() {
        let approved = fold(vec![Event::Approved(approval())]);
        assert!(approved.approval().is_some() && approved.can_undo());
        assert_eq!(fold(vec![Event::Approved(approval()), Event::Undone]).state, State::Undecided);
        assert_eq!(
            fold(vec![Event::Rejected, Event::Approved(approval()), Event::Undone]).state,
            State::Rejected
        );
        assert_eq!(fold(vec![Event::Undone]).state, State::Undecided);
    }

    #[test]
    fn a_note_and_a_batch_stand_until_they_are_taken_back() {
        let mut standing = Standing::default();
        let step = |event, note: &str, batch: Option<&str>| Entry {
            note: note.into(),
            batch: batch.map(str::to_owned),
            ..entry(event)
        };
        standing.apply(NOW, &step(Event::Rejected, "it matters", Some("b1")));
        assert_eq!((standing.note.as_str(), standing.batch.as_deref()), ("it matters", Some("b1")));
        standing.apply(
            NOW,
            &step(Event::Approved(Approval { note: "it does not".into(), ..approval() }), "", None),
        );
        assert_eq!((standing.note.as_str(), standing.batch.as_deref()), ("it does not", None));
        standing.apply(NOW, &step(Event::Undone, "", None));
        assert_eq!((standing.note.as_str(), standing.batch.as_deref()), ("it matters", Some("b1")));
        standing.apply(NOW, &step(Event::Undone, "", None));
        assert_eq!((standing.note.as_str(), standing.batch.as_deref()), ("", None));
    }

    #[test]
    fn what_came_back_is_never_automatic_again() {
        let standing = fold(vec![Event::Approved(approval()), Event::Reopened(Reopening::Expiry)]);
        assert!(standing.never_auto && standing.approval().is_none());
        let again = fold(vec![
            Event::Approved(approval()),
            Event::Reopened(Reopening::Expiry),
            Event::Approved(approval()),
            Event::Undone,
        ]);
        assert!(again.never_auto);
    }

    #[test]
    fn a_sample_waits_until_somebody_decides() {
        assert!(fold(vec![Event::Approved(approval()), Event::Sampled]).sampled);
        assert!(!fold(vec![Event::Approved(approval()), Event::Sampled, Event::Rejected]).sampled);
    }

    #[test]
    fn each_cause_brings_it_back() {
        let alert = |host: &str, version: &str| Alert {
            source: AlertSource::Detection,
            rule: "log pattern".into(),
            service: "cart".into(),
            severity: Severity::Warning,
            host: host.into(),
            version: version.into(),
            pattern: "retrying".into(),
            text: "retrying".into(),
            numbers: Vec::new(),
            at: NOW,
            resolved: false,
            objective: false,
            foreign_id: String::new(),
            labels: Default::default(),
        };
        let check = |alert: Alert,
                     count: u32,
                     incident: Option<&str>,
                     now: UnixNanos,
                     expected: Option<Reopening>| {
            let mut history = History::default();
            history.note(NOW, count, "", "", false);
            assert_eq!(reopens(&approval(), &alert, &history, incident, now), expected);
        };
        check(alert("a", "1"), 10, None, NOW, None);
        check(alert("", ""), 10, None, NOW, None);
        check(alert("a", "1"), 11, None, NOW, Some(Reopening::Spike { rate: 11.0, limit: 10.0 }));
        check(alert("b", "1"), 1, None, NOW, Some(Reopening::Host { host: "b".into() }));
        check(alert("a", "2"), 1, None, NOW, Some(Reopening::Version { version: "2".into() }));
        check(alert("a", "1"), 1, Some("INC-0001"), NOW, Some(Reopening::Incident { id: "INC-0001".into() }));
        check(alert("a", "1"), 1, None, expiry(NOW, 14), Some(Reopening::Expiry));
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let events = [
            Event::Approved(approval()),
            Event::Rejected,
            Event::Snoozed { until: NOW },
            Event::Undone,
            Event::Reopened(Reopening::Spike { rate: 3.0, limit: 2.0 }),
            Event::Sampled,
        ];
        for event in events {
            let json = serde_json::to_string(&entry(event.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry(event), "{json}");
        }
    }
}
