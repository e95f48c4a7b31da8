//! Deploys, flags and other changes near the incident.

use domain::{Change, ChangeKind, Exhibit, Strength};

use super::super::blame::Standing;
use super::{Analysis, Draft, Outcome, short};

/// Changes that become evidence: the ones that touch a suspect.
const MAX_CHANGES: usize = 3;

/// Changes of the services under suspicion.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    let changes = &analysis.changes.all;
    if changes.is_empty() {
        return Outcome::Nothing("no change was recorded in the two hours before".to_owned());
    }
    let first = analysis.suspects.first().map(|first| analysis.scene(&first.place, None));
    let rank = |change: &Change| match (&first, change.service.as_str()) {
        // What may have reached all of them is shown with those of the first.
        (Some(scene), "") => {
            matches!(analysis.changes.standing(change, scene), Standing::Explains(_)).then_some(0)
        }
        (_, service) => analysis.suspects.iter().position(|suspect| suspect.place == service),
    };
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
        (short(&change.service), named(&change.version), named(&change.reference));
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

/// Digits of a hash that tell it from others.
const HASH_DIGITS: usize = 12;

/// A version or reference for people: hashes are cut to their first 12 digits.
pub fn named(text: &str) -> String {
    let is_hash = |word: &str| word.len() >= 20 && word.chars().all(|digit| digit.is_ascii_hexdigit());
    let cut = |word: &str| if is_hash(word) { word[..HASH_DIGITS].to_owned() } else { word.to_owned() };
    short(&text.split(':').map(cut).collect::<Vec<_>>().join(":"))
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
        let hash = "a68027c0cb31d33d94ff56bb35bc4bedb0832019";
        check(Commit, ["cart", "", hash], "commit a68027c0cb31 to cart");
        check(Deploy, ["cart", &format!("sha256:{hash}"), ""], "cart sha256:a68027c0cb31 deployed");
    }
}
