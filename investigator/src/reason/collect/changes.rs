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
    Outcome::Found(
        touching.into_iter().take(MAX_CHANGES).map(|(_, change)| draft(analysis, change)).collect(),
    )
}

fn draft(analysis: &Analysis<'_>, change: &Change) -> Draft {
    Draft {
        service: change.service.clone(),
        claim: format!("{} at {}.", title(change), change.at.clock_time()),
        strength: Strength::Medium,
        figures: Vec::new(),
        began: Some(change.at),
        query: analysis.seen.queries.changes.clone(),
        exhibit: Exhibit::Change { change: change.clone() },
    }
}

/// `catalog 1.4.1 deployed`, `flag new-tax-engine set to on in checkout`. What is not known is left out.
pub fn title(change: &Change) -> String {
    let (service, version, reference) =
        (short(&change.service), short(&change.version), short(&change.reference));
    let with =
        |word: &str, name: &str| if name.is_empty() { String::new() } else { format!(" {word} {name}") };
    let (of, to_service) = (with("of", &service), with("to", &service));
    let title = match change.kind {
        ChangeKind::Deploy => format!("{service} {version} deployed"),
        ChangeKind::Rollback => format!("{service} rolled back{}", with("to", &version)),
        ChangeKind::CanaryStep => format!("canary{of} {version}"),
        ChangeKind::Flag if version.is_empty() => format!("flag {reference} changed{}", with("in", &service)),
        ChangeKind::Flag => format!("flag {reference} set to {version}{}", with("in", &service)),
        ChangeKind::Config => format!("configuration {reference}{of} changed"),
        ChangeKind::Scale => format!("{service} scaled{}", with("to", &version)),
        ChangeKind::Migration => format!("migration {reference}{of}"),
        ChangeKind::Commit => format!("commit {reference}{to_service}"),
        ChangeKind::Other => format!("change {reference}{of}"),
    };
    // Two names of which one is missing leave two spaces.
    title.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: ChangeKind, [service, version, reference]: [&str; 3], expected: &str) {
        let [service, version, reference] = [service, version, reference].map(str::to_owned);
        assert_eq!(title(&Change { kind, service, version, reference, ..Change::default() }), expected);
    }

    #[test]
    fn what_is_not_known_leaves_no_hole() {
        use ChangeKind::{Commit, Deploy, Flag, Migration, Rollback};
        check(Deploy, ["cart", "1.4", ""], "cart 1.4 deployed");
        check(Deploy, ["cart", "", ""], "cart deployed");
        check(Rollback, ["cart", "", ""], "cart rolled back");
        check(Flag, ["cart", "on", "new-tax"], "flag new-tax set to on in cart");
        check(Flag, ["", "", "new-tax"], "flag new-tax changed");
        check(Commit, ["", "", "0007d326"], "commit 0007d326");
        check(Migration, ["cart", "", "12"], "migration 12 of cart");
    }
}
