//! What stands, as a YAML file that can be kept in Git and read back.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use detectors::suppression::{
    Approval, Context, Event, Mode, Reason, SpikeLimit, Standing, State, never, policy,
};
use domain::{Alert, UnixNanos};
use globset::GlobSet;
use serde::{Deserialize, Serialize};

use super::{Around, Book, Group};

/// The version of the form.
const FORMAT: u32 = 1;
/// Largest file taken, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most policies taken from one file, and most that wait for their alert.
pub const MAX_POLICIES: usize = 5000;
/// Forbidden policies that are named.
const MOST_NAMED: usize = 5;

/// A file of policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The version of the form.
    pub format: u32,
    /// Modes of rules; `*` is for all others.
    #[serde(default)]
    pub modes: BTreeMap<String, Mode>,
    /// What was decided.
    #[serde(default)]
    pub policies: Vec<Policy>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The rule of the alert.
    pub rule: String,
    /// Its service.
    pub service: String,
    /// Its pattern.
    pub pattern: String,
    /// Which alert; found by the other three when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// More about why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it ends, RFC 3339; in 14 days when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Alerts in an hour above which it comes back; from its past when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is noise.
    Suppress,
    /// It is not.
    Keep,
}

/// What stands, in the order of rule, service and pattern.
pub fn export(book: &Book) -> anyhow::Result<String> {
    let (default, apart) = book.modes();
    let mut modes: BTreeMap<String, Mode> = apart.into_iter().collect();
    modes.insert("*".into(), default);
    let mut policies: Vec<Policy> = book
        .standings()
        .filter_map(|(fingerprint, standing)| {
            let alert = &book.group(fingerprint)?.alert;
            let base = Policy {
                rule: alert.rule.clone(),
                service: alert.service.clone(),
                pattern: alert.pattern.clone(),
                fingerprint: Some(fingerprint.clone()),
                decision: Decision::Keep,
                reason: None,
                note: String::new(),
                expires: None,
                limit: None,
            };
            match &standing.state {
                State::Active(approval) => Some(Policy {
                    decision: Decision::Suppress,
                    reason: Some(approval.reason),
                    note: approval.note.clone(),
                    expires: Some(approval.expires.to_string()),
                    limit: Some(approval.limit.0),
                    ..base
                }),
                State::Rejected => Some(base),
                _ => None,
            }
        })
        .collect();
    policies.extend(book.awaited().map(|(policy, _)| policy.clone()));
    policies.sort_by(|a, b| (&a.rule, &a.service, &a.pattern).cmp(&(&b.rule, &b.service, &b.pattern)));
    serde_norway::to_string(&File { format: FORMAT, modes, policies })
        .context("the policies do not serialise")
}

/// Reads a file, or says what is wrong with it.
pub fn parse(yaml: &str) -> Result<File, String> {
    if yaml.len() > MAX_FILE_BYTES {
        return Err(format!("the file is larger than {}", domain::text::bytes(MAX_FILE_BYTES as f64)));
    }
    let file: File =
        serde_norway::from_str(yaml).map_err(|error| domain::text::plain(&error.to_string(), 300))?;
    if file.format != FORMAT {
        return Err(format!("format {} is unknown; this program reads format {FORMAT}", file.format));
    }
    if file.policies.len() > MAX_POLICIES {
        return Err(format!("more than {MAX_POLICIES} policies"));
    }
    for policy in &file.policies {
        if let Some(expires) = &policy.expires
            && UnixNanos::parse(expires).is_none()
        {
            return Err(format!(
                "`expires: {}` is not a time such as 2026-11-19T14:02:31Z",
                domain::text::plain(expires, 40)
            ));
        }
        if policy.limit.is_some_and(|limit| !limit.is_finite() || limit <= 0.0) {
            return Err("`limit` is a number above 0".into());
        }
    }
    Ok(file)
}

/// What a file asks for, against what is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What must be decided, by fingerprint.
    pub changes: Vec<(String, Event)>,
    /// Policies on alerts that were not seen yet, or not while they may be suppressed.
    pub awaited: Vec<Policy>,
    /// What came of the policies.
    pub outcome: Imported,
}

/// What came of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Modes that it changed.
    pub modes: usize,
    /// Alerts on which something else was decided than stood.
    pub changed: usize,
    /// Alerts on which it stood already.
    pub stand: usize,
    /// Policies on alerts not seen yet.
    pub awaited: usize,
    /// Policies on alerts not seen yet for which there is no room.
    pub left_out: usize,
    /// Suppressions whose time is over.
    pub expired: usize,
    /// Suppressions that a rule forbids: the alert, and why.
    pub forbidden: Vec<String>,
}

impl Imported {
    /// All of it in one sentence.
    pub fn words(&self) -> String {
        let count = |number: usize, one: &str, many: &str| {
            (number > 0).then(|| format!("{number} {}", if number == 1 { one } else { many }))
        };
        let mut forbidden: Vec<String> = self.forbidden.iter().take(MOST_NAMED).cloned().collect();
        if self.forbidden.len() > MOST_NAMED {
            forbidden.push(format!("and {} more", self.forbidden.len() - MOST_NAMED));
        }
        let parts = [
            count(self.modes, "mode changed", "modes changed"),
            count(self.changed, "policy changed", "policies changed"),
            count(self.stand, "stands already", "stand already"),
            count(
                self.awaited,
                "alert not seen yet: decided when it comes",
                "alerts not seen yet: decided when they come",
            ),
            count(
                self.left_out,
                "alert not seen yet left out: too many wait already",
                "alerts not seen yet left out: too many wait already",
            ),
            count(self.expired, "already over", "already over"),
            count(self.forbidden.len(), "forbidden", "forbidden")
                .map(|said| format!("{said} ({})", forbidden.join("; "))),
        ];
        match parts.into_iter().flatten().collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "The file decides nothing.".into(),
            said => format!("{said}."),
        }
    }
}

/// What one policy asks of one alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// It stands already.
    Stands,
    /// Its time is over.
    Expired,
    /// A rule forbids it, for this reason.
    Forbidden(String),
    /// This must be decided.
    Decide(Event),
}

impl Policy {
    /// Whether it is about this alert.
    pub fn is_about(&self, alert: &Alert) -> bool {
        (&self.rule, &self.service, &self.pattern) == (&alert.rule, &alert.service, &alert.pattern)
            && self.fingerprint.as_ref().is_none_or(|fingerprint| *fingerprint == alert.fingerprint())
    }

    /// What it asks of a known alert that it is about.
    pub fn asks(&self, group: &Group, standing: &Standing, context: &Context) -> Asked {
        match self.decision {
            Decision::Keep if standing.state == State::Rejected => Asked::Stands,
            Decision::Keep => Asked::Decide(Event::Rejected),
            Decision::Suppress => self.suppression(group, standing, context),
        }
    }

    fn suppression(&self, group: &Group, standing: &Standing, context: &Context) -> Asked {
        let now = context.now;
        let Some(expires) = self.expires_after(now) else { return Asked::Expired };
        let approval = Approval {
            reason: self.reason.unwrap_or_default(),
            note: domain::text::plain(&self.note, super::MAX_NOTE),
            expires,
            limit: self.limit.map_or_else(|| group.history.limit(now), SpikeLimit),
            hosts: group.history.hosts.clone(),
            versions: group.history.versions.clone(),
            pages_saved: 0,
        };
        // What the file leaves open stands as it is.
        let stands = standing.approval().is_some_and(|now| {
            self.reason.is_none_or(|reason| now.reason == reason)
                && now.note == approval.note
                && (self.expires.is_none() || now.expires.seconds() == approval.expires.seconds())
                && (self.limit.is_none() || now.limit == approval.limit)
        });
        if stands {
            return Asked::Stands;
        }
        match never::forbids(&never::rule(&group.alert, context)) {
            Some(ruling) => Asked::Forbidden(domain::text::plain(&ruling.words, 120)),
            None => Asked::Decide(Event::Approved(approval)),
        }
    }

    /// When it ends, at most 90 days from `now`; nothing when that is past.
    fn expires_after(&self, now: UnixNanos) -> Option<UnixNanos> {
        let longest = policy::expiry(now, detectors::suppression::MAX_EXPIRY_DAYS);
        let expires = self.expires.as_deref().and_then(UnixNanos::parse);
        let expires =
            expires.unwrap_or_else(|| policy::expiry(now, detectors::suppression::DEFAULT_EXPIRY_DAYS));
        (expires > now).then_some(expires.min(longest))
    }

    /// Why it can never hold, whatever comes: what its words and its service say of an alert that was not seen yet.
    fn forbidden_unseen(&self, protected: &GlobSet) -> Option<String> {
        let alert = Alert {
            source: domain::AlertSource::Detection,
            rule: self.rule.clone(),
            service: self.service.clone(),
            severity: domain::Severity::Warning,
            host: String::new(),
            version: String::new(),
            pattern: self.pattern.clone(),
            text: self.pattern.clone(),
            numbers: Vec::new(),
            at: UnixNanos::default(),
            resolved: false,
            objective: false,
            foreign_id: String::new(),
            labels: BTreeMap::new(),
        };
        let protected = !self.service.is_empty() && protected.is_match(&self.service);
        let rulings = never::rule(&alert, &Context { protected, ..Context::default() });
        never::forbids(&rulings).map(|ruling| domain::text::plain(&ruling.words, 120))
    }

    fn name(&self) -> String {
        let name = if self.service.is_empty() {
            self.rule.clone()
        } else {
            format!("{}: {}", self.service, self.rule)
        };
        domain::text::plain(&name, 80)
    }
}

/// What must happen for the file to stand.
pub fn plan(book: &Book, file: &File, around: &Around, protected: &GlobSet) -> Plan {
    let mut known: HashMap<(&str, &str, &str), Vec<&Group>> = HashMap::new();
    for group in book.groups() {
        let alert = &group.alert;
        known.entry((&alert.rule, &alert.service, &alert.pattern)).or_default().push(group);
    }
    let mut plan = Plan::default();
    for wanted in &file.policies {
        let outcome = &mut plan.outcome;
        let mut groups: Vec<(String, &Group)> = known
            .get(&(wanted.rule.as_str(), wanted.service.as_str(), wanted.pattern.as_str()))
            .into_iter()
            .flatten()
            .filter(|group| wanted.is_about(&group.alert))
            .map(|group| (group.alert.fingerprint(), *group))
            .collect();
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        if groups.is_empty() {
            let suppress = wanted.decision == Decision::Suppress;
            match wanted.forbidden_unseen(protected).filter(|_| suppress) {
                Some(words) => outcome.forbidden.push(format!("{}: {words}", wanted.name())),
                None if suppress && wanted.expires_after(around.now).is_none() => outcome.expired += 1,
                None => {
                    outcome.awaited += 1;
                    plan.awaited.push(wanted.clone());
                }
            }
        }
        for (fingerprint, group) in groups {
            let standing = book.standing(&fingerprint).cloned().unwrap_or_default();
            match wanted.asks(group, &standing, &around.context(group, protected)) {
                Asked::Stands => outcome.stand += 1,
                Asked::Expired => outcome.expired += 1,
                Asked::Forbidden(words) => outcome.forbidden.push(format!("{}: {words}", wanted.name())),
                Asked::Decide(event) => {
                    outcome.changed += 1;
                    plan.changes.push((fingerprint, event));
                }
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_or_its_fault_is_told() {
        let check = |yaml: &str, expected: Result<usize, &str>| match (parse(yaml), expected) {
            (Ok(file), Ok(policies)) => assert_eq!(file.policies.len(), policies),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (read, _) => panic!("{read:?}"),
        };
        check("format: 1", Ok(0));
        check(
            "format: 1\nmodes: { '*': recommend }\npolicies:\n- { rule: a, service: b, pattern: c, decision: suppress, reason: flapping }",
            Ok(1),
        );
        check("format: 2", Err("format 2 is unknown"));
        check("format: 1\npolicy: []", Err("unknown field"));
        check(
            "format: 1\npolicies: [{ rule: a, service: b, pattern: c, decision: delete }]",
            Err("unknown variant"),
        );
        check(
            "format: 1\npolicies: [{ rule: a, service: b, pattern: c, decision: keep, expires: tomorrow }]",
            Err("is not a time"),
        );
        check("a: &a [*a, *a]", Err(""));
    }

    #[test]
    fn what_came_of_a_file_is_told_in_one_sentence() {
        let check = |outcome: Imported, expected: &str| assert_eq!(outcome.words(), expected);
        check(Imported::default(), "The file decides nothing.");
        check(Imported { stand: 2, ..Imported::default() }, "2 stand already.");
        check(
            Imported {
                changed: 1,
                awaited: 3,
                forbidden: vec!["cart: Disk: it speaks of “disk full”".into()],
                ..Imported::default()
            },
            "1 policy changed, 3 alerts not seen yet: decided when they come, 1 forbidden (cart: Disk: it speaks of “disk full”).",
        );
        check(
            Imported { left_out: 2, ..Imported::default() },
            "2 alerts not seen yet left out: too many wait already.",
        );
        let many = Imported { forbidden: vec!["x".into(); 7], ..Imported::default() };
        check(many, "7 forbidden (x; x; x; x; x; and 2 more).");
    }
}
