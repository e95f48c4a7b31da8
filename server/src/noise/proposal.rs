//! One line of the review queue: an alert, how likely it is noise and why, and what suppressing it would save.

use detectors::suppression::history::{History, hour_of};
use detectors::suppression::{
    Approval, Features, Mode, Reason, Ruling, SpikeLimit, Standing, State, is_ripe, never, policy,
};
use domain::{Alert, IncidentId, UnixNanos};

use super::{Around, Book, Group, Settings};

/// A decided alert like this one, and what came of the decision.
#[derive(Clone, Debug)]
pub struct Similar {
    /// Its service.
    pub service: String,
    /// Its pattern.
    pub pattern: String,
    /// `Approved` or `Rejected`, by whom and when.
    pub decided: String,
    /// What came of it.
    pub outcome: String,
    /// 0 to 1.
    pub similarity: f64,
    /// Incidents of its service that it came with.
    pub linked: usize,
}

/// One line of the queue.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Which alert.
    pub fingerprint: String,
    /// The latest of it.
    pub alert: Alert,
    /// Its past.
    pub history: History,
    /// How likely it is noise, 0 to 1.
    pub confidence: f64,
    /// What that was computed from.
    pub features: Features,
    /// The likeliest reason.
    pub reason: Reason,
    /// Every rule, and how it ruled.
    pub rulings: Vec<Ruling>,
    /// The open incident it waits for.
    pub incident: Option<String>,
    /// Pages of 30 days, and how many of them a suppression leaves.
    pub pages: (usize, usize),
    /// How loud it may become.
    pub limit: SpikeLimit,
    /// What was decided.
    pub standing: Standing,
    /// The mode of its rule.
    pub mode: Mode,
    /// Whether it is no longer new, the confidence reaches the threshold, and no rule forbids it.
    pub proposed: bool,
}

impl Proposal {
    /// Pages that a suppression would have saved in 30 days.
    pub const fn saved(&self) -> usize {
        self.pages.0.saturating_sub(self.pages.1)
    }

    /// Pages saved times confidence: what the queue is sorted by.
    pub fn worth(&self) -> f64 {
        self.saved() as f64 * self.confidence
    }

    /// Whether it stands among what looks like noise, and not among what nobody is sure of.
    pub fn looks_like_noise(&self) -> bool {
        self.proposed || self.standing.sampled || self.standing.approval().is_some()
    }

    /// Whether it waits for a decision at this time.
    pub fn waits(&self, now: UnixNanos) -> bool {
        match &self.standing.state {
            State::Undecided | State::Reopened(_) => true,
            State::Snoozed(until) => *until <= now,
            State::Active(_) => self.standing.sampled,
            State::Rejected => false,
        }
    }

    /// The approval that a decision makes of it.
    pub fn approval(&self, reason: Reason, note: &str, days: u32, now: UnixNanos) -> Approval {
        Approval {
            reason,
            note: domain::text::plain(note.trim(), 400),
            expires: policy::expiry(now, days),
            limit: self.limit,
            hosts: self.history.hosts.clone(),
            versions: self.history.versions.clone(),
            pages_saved: u32::try_from(self.saved()).unwrap_or(u32::MAX),
        }
    }
}

/// What stands around a line of the queue, for who looks closer.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// Decided alerts like it, nearest first.
    pub similar: Vec<Similar>,
    /// Fingerprints of undecided alerts of other services with the same rule and pattern.
    pub same_pattern: Vec<String>,
    /// Incidents of its service that it came with, latest first.
    pub linked: Vec<IncidentId>,
}

/// Makes the line of a group.
pub fn of(book: &Book, group: &Group, around: &Around, settings: &Settings) -> Proposal {
    let alert = &group.alert;
    let fingerprint = alert.fingerprint();
    let context = around.context(group, &settings.protected);
    let rulings = never::rule(alert, &context);
    let own = Features::of(alert, &group.history, around.now);
    let (confidence, features) = book.model().score(&alert.rule, &alert.service, &alert.pattern, own);
    let limit = group.history.limit(around.now);
    let (pages, left) = match alert.pages() {
        true => group.history.pages_and_left(around.now, limit),
        false => (0, 0),
    };
    let ripe = is_ripe(&group.history, around.now);
    let proposed = ripe && confidence >= settings.threshold && never::forbids(&rulings).is_none();
    Proposal {
        standing: book.standing(&fingerprint).cloned().unwrap_or_default(),
        fingerprint,
        alert: alert.clone(),
        history: group.history.clone(),
        confidence,
        reason: Reason::suggest(&alert.pattern, &features),
        features,
        rulings,
        incident: context.incident,
        pages: (pages, left),
        limit,
        mode: book.mode(&alert.rule),
        proposed,
    }
}

/// Fingerprints of undecided alerts of other services with the same rule and pattern.
pub fn same_pattern(book: &Book, alert: &Alert) -> Vec<String> {
    let same = |other: &&Group| {
        other.alert.rule == alert.rule
            && other.alert.pattern == alert.pattern
            && other.alert.service != alert.service
    };
    let mut same_pattern: Vec<String> =
        book.groups().filter(same).map(|other| other.alert.fingerprint()).collect();
    same_pattern.retain(|other| {
        book.standing(other).is_none_or(|standing| matches!(standing.state, State::Undecided))
    });
    same_pattern.sort_unstable();
    same_pattern
}

/// Decided alerts like one, nearest first.
pub fn similar(book: &Book, alert: &Alert, around: &Around) -> Vec<Similar> {
    let decided = book.model().decided();
    let near = book.model().nearest(&alert.rule, &alert.service, &alert.pattern);
    near.iter()
        .map(|near| {
            let one = &decided[near.index];
            let standing = book.standing(&one.fingerprint);
            let since = standing.and_then(|standing| standing.since);
            let when = since.map_or(String::new(), |at| at.to_timestamp().strftime(" %-d %b").to_string());
            let actor = standing.map_or("", |standing| standing.actor.as_str());
            let word = if one.noise { "Approved" } else { "Rejected" };
            let outcome = match standing.map(|standing| &standing.state) {
                Some(State::Active(_)) => {
                    let last =
                        book.group(&one.fingerprint).and_then(|group| group.suppressed.last_key_value());
                    match last {
                        Some((hour, _)) => {
                            format!("Held back, last {} h ago", (hour_of(around.now) - hour).max(0))
                        }
                        None => "Suppressed, quiet since".into(),
                    }
                }
                Some(State::Reopened(reopening)) => format!("Came back, {}", reopening.words()),
                Some(State::Rejected) => "Heard".into(),
                _ => "Undecided again".into(),
            };
            Similar {
                service: one.service.clone(),
                pattern: one.pattern.clone(),
                decided: format!("{word}{when}, {}", domain::text::plain(actor, 40)),
                outcome,
                similarity: near.similarity,
                linked: book.group(&one.fingerprint).map_or(0, |group| around.linked(group).len()),
            }
        })
        .collect()
}
