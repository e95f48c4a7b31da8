//! Deploys, flags and other changes near the incident.

use domain::{Change, ChangeKind, Exhibit, Strength};

use super::{Analysis, Draft, Outcome, short};

/// Changes that become evidence: the ones that touch a suspect.
const MAX_CHANGES: usize = 3;

/// Changes of the services under suspicion.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    let changes = &analysis.changes.all;
    if changes.is_empty() {
        return Outcome::Nothing("no change was recorded in the two hours before".to_owned());
    }
    let rank = |change: &Change| analysis.suspects.iter().position(|suspect| suspect.place == change.service);
    let mut touching: Vec<(usize, &Change)> =
        changes.iter().filter_map(|change| Some((rank(change)?, change))).collect();
    touching.sort_by_key(|(rank, change)| (*rank, std::cmp::Reverse(change.at)));
    if touching.is_empty() {
        return Outcome::Nothing(format!("{} changes, none to a service that deviates", changes.len()));
    }
    Outcome::Found(touching.into_iter().take(MAX_CHANGES).map(|(_, change)| draft(change)).collect())
}

fn draft(change: &Change) -> Draft {
    Draft {
        service: change.service.clone(),
        claim: format!("{} at {}.", title(change), change.at.clock_time()),
        strength: Strength::Medium,
        figures: Vec::new(),
        began: Some(change.at),
        query: String::new(),
        exhibit: Exhibit::Change { change: change.clone() },
    }
}

/// `catalog 1.4.1 deployed`, `flag new-tax-engine set to on in checkout`.
pub fn title(change: &Change) -> String {
    let (service, version, reference) =
        (short(&change.service), short(&change.version), short(&change.reference));
    match change.kind {
        ChangeKind::Deploy => format!("{service} {version} deployed"),
        ChangeKind::Rollback => format!("{service} rolled back to {version}"),
        ChangeKind::CanaryStep => format!("canary of {service} {version}"),
        ChangeKind::Flag => format!("flag {reference} set to {version} in {service}"),
        ChangeKind::Config => format!("configuration {reference} of {service} changed"),
        ChangeKind::Scale => format!("{service} scaled to {version}"),
        ChangeKind::Migration => format!("migration {reference} of {service}"),
        ChangeKind::Commit => format!("commit {reference} to {service}"),
        ChangeKind::Other => format!("change {reference} of {service}"),
    }
}
