//! Commits that a deploy carried without naming them.
//!
//! A deploy is built from a line of commits: beside its own it ships all that came before, since the last deploy of the same
//! service. Each becomes a commit of the service at the time of the deploy. Left out is what another deploy names, and what
//! touched only folders that bear another service's name.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Change, ChangeKind, UnixNanos};

use super::words;

/// Commits that are looked at beside those that deploys name.
const MAX_ABOARD: usize = 500;

/// What the deploys among some changes carried, in their order.
pub fn aboard(changes: &[Change]) -> Vec<Change> {
    let is_commit = |change: &Change| change.kind == ChangeKind::Commit && !change.reference.is_empty();
    let commits: BTreeMap<&str, &Change> = changes
        .iter()
        .filter(|change| is_commit(change))
        .map(|change| (change.reference.as_str(), change))
        .collect();
    let mut deploys: Vec<(&Change, UnixNanos)> = changes
        .iter()
        .filter(|change| !is_commit(change) && !change.service.is_empty())
        .filter_map(|change| Some((change, commits.get(change.reference.as_str())?.at)))
        .collect();
    deploys.sort_by(|left, right| (left.0.at, &left.0.service).cmp(&(right.0.at, &right.0.service)));
    let named: BTreeSet<&str> = deploys.iter().map(|(deploy, _)| deploy.reference.as_str()).collect();
    let services: BTreeSet<&str> = changes.iter().map(|change| change.service.as_str()).collect();
    let mut unnamed: Vec<&&Change> =
        commits.values().filter(|commit| !named.contains(&*commit.reference)).collect();
    unnamed.sort_by_key(|commit| (commit.at, &commit.reference));
    let mut found = Vec::new();
    for (place, (deploy, tip)) in deploys.iter().enumerate() {
        let earlier = deploys[..place].iter().rev().find(|(other, _)| other.service == deploy.service);
        let since = earlier.map(|(_, tip)| *tip);
        let shipped = unnamed
            .iter()
            .filter(|commit| commit.at <= *tip && since.is_none_or(|since| commit.at > since))
            .filter(|commit| !words::is_of_another(commit, &deploy.service, &services));
        found.extend(shipped.map(|commit| Change {
            at: deploy.at,
            service: deploy.service.clone(),
            version: deploy.version.clone(),
            ..(**commit).clone()
        }));
        found.truncate(MAX_ABOARD);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(service: &str, at: i64) -> Change {
        Change {
            at: UnixNanos::from_seconds(at),
            kind: ChangeKind::Deploy,
            service: service.into(),
            ..Change::default()
        }
    }

    #[test]
    fn a_deploy_carries_the_commits_since_the_last_one() {
        let commit = |reference: &str, at: i64, file: &str| Change {
            at: UnixNanos::from_seconds(at),
            kind: ChangeKind::Commit,
            reference: reference.into(),
            detail: serde_json::json!({ "message": "tidy", "files_changed": [file] }).to_string(),
            ..Change::default()
        };
        let deploy =
            |reference: &str, at: i64| Change { reference: reference.into(), ..release("catalog", at) };
        let changes = [
            commit("old", 1, "pkg/a.go"),
            commit("first", 2, "pkg/b.go"),
            deploy("first", 3),
            commit("shared", 4, "pkg/schema/c.go"),
            commit("other", 5, "services/cart/d.go"),
            commit("second", 6, "services/catalog/e.go"),
            commit("late", 8, "pkg/f.go"),
            deploy("second", 7),
            release("cart", 1),
        ];
        let found: Vec<(String, i64)> =
            aboard(&changes).into_iter().map(|change| (change.reference, change.at.seconds())).collect();
        assert_eq!(found, [("old".to_owned(), 3), ("shared".to_owned(), 7)]);
    }
}
