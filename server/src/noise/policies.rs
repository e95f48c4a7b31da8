//! What stands, as a YAML file that can be kept in Git and read back.

use std::collections::BTreeMap;

use anyhow::Context as _;
use detectors::suppression::{Approval, Event, Mode, Reason, SpikeLimit, State, policy};
use domain::UnixNanos;
use serde::{Deserialize, Serialize};

use super::Book;

/// The version of the form.
const FORMAT: u32 = 1;
/// Largest file taken, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most policies taken from one file.
const MAX_POLICIES: usize = 5000;

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

/// What must happen for the file to stand: by fingerprint. Policies on alerts that were never seen are passed over.
pub fn changes(book: &Book, file: &File, now: UnixNanos) -> Vec<(String, Event)> {
    let mut changes = Vec::new();
    for wanted in &file.policies {
        let same = |alert: &domain::Alert| {
            alert.rule == wanted.rule && alert.service == wanted.service && alert.pattern == wanted.pattern
        };
        let group = match &wanted.fingerprint {
            Some(fingerprint) => book.group(fingerprint).filter(|group| same(&group.alert)),
            None => book.groups().find(|group| same(&group.alert)),
        };
        let Some(group) = group else { continue };
        let fingerprint = group.alert.fingerprint();
        let standing = book.standing(&fingerprint).cloned().unwrap_or_default();
        let event = match wanted.decision {
            Decision::Keep if standing.state == State::Rejected => continue,
            Decision::Keep => Event::Rejected,
            Decision::Suppress => {
                let longest = policy::expiry(now, detectors::suppression::MAX_EXPIRY_DAYS);
                let expires = wanted.expires.as_deref().and_then(UnixNanos::parse);
                let expires = expires
                    .unwrap_or_else(|| policy::expiry(now, detectors::suppression::DEFAULT_EXPIRY_DAYS));
                if expires <= now {
                    continue;
                }
                let limit = wanted.limit.map_or_else(|| group.history.limit(now), SpikeLimit);
                let approval = Approval {
                    reason: wanted.reason.unwrap_or_default(),
                    note: domain::text::plain(&wanted.note, 400),
                    expires: expires.min(longest),
                    limit,
                    hosts: group.history.hosts.clone(),
                    versions: group.history.versions.clone(),
                    pages_saved: 0,
                };
                let stands = standing.approval().is_some_and(|now| {
                    now.reason == approval.reason
                        && now.note == approval.note
                        && now.expires.seconds() == approval.expires.seconds()
                        && now.limit == approval.limit
                });
                if stands {
                    continue;
                }
                Event::Approved(approval)
            }
        };
        changes.push((fingerprint, event));
    }
    changes
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
}
