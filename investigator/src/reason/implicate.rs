//! Suspicion that a change casts on the service it touched, where that service itself shows little.
//!
//! Most harm is brought by changes (about 70% of outages, Beyer et al., Site Reliability Engineering, 2016), and a bad
//! release need not fail itself: it may answer wrongly, and its callers fail. So a changed service that a failing one
//! depends on inherits part of the suspicion, the more the closer its change came before the harm; and the failing one,
//! if nothing of its own changed, or its old instances suffer as much as those that its change brought, loses part. A change
//! shortly before the harm is a weak suspect even without a trace.
//!
//! Of several releases below, one whose new instances are seen to answer well explains less than one whose new instances are
//! not seen at all: those did not come up, or nothing reaches them.

use std::collections::BTreeMap;

use domain::{Change, ChangeKind};

use super::analysis::Analysis;
use super::blame::{Onset, SHARP_HALF_AGE_SECONDS, closeness};
use super::skew::newcomers_answer;
use super::spread::below;
use super::suspects::Suspect;

/// What a silent change right before the harm inherits of a failing caller's suspicion.
const INHERITED: f64 = 0.9;
/// What an unchanged service keeps of its own where a change below it may explain it whole.
const UNCHANGED: f64 = 0.2;
/// What a release inherits whose new instances are seen to answer well, where those of another one are not seen at all.
const ANSWERING: f64 = 0.3;
/// What a change right before the harm is worth by itself.
const BY_TIME_ALONE: f64 = 0.12;
/// A suspect weaker than this passes nothing on.
const STRONG: f64 = 0.25;

/// Adds what changes imply to the suspects, and sorts them anew.
pub fn implicate(analysis: &Analysis<'_>, mut suspects: Vec<Suspect>) -> Vec<Suspect> {
    let mut implied: BTreeMap<&str, f64> = BTreeMap::new();
    let mut kept: BTreeMap<String, f64> = BTreeMap::new();
    let noticed = analysis.question.started;
    let skew = |service: &str| analysis.skews.get(service).copied().unwrap_or(1.0);
    // What brings back what ran before, and what was undone before the harm, casts no suspicion.
    let undone = |change: &Change| {
        let undo = analysis.changes.undo_of(change);
        undo.is_some_and(|undo| noticed.is_some_and(|noticed| undo.at <= noticed))
    };
    let touching = analysis.changes.all.iter().filter(|change| {
        !change.service.is_empty() && change.kind != ChangeKind::Rollback && !undone(change)
    });
    let touching: Vec<&Change> = touching.collect();
    let touched = || touching.iter().copied();
    let is_unseen = |change: &Change| newcomers_answer(analysis, change) == Some(false);
    let keeps = |change: &Change, unseen: bool| {
        if unseen && newcomers_answer(analysis, change) == Some(true) { ANSWERING } else { 1.0 }
    };
    for suspect in &suspects {
        let onset = analysis.dated_onset(&suspect.place);
        let own = touched()
            .filter(|change| change.service == suspect.place)
            .filter_map(|change| closeness(change, onset, SHARP_HALF_AGE_SECONDS))
            .fold(0.0, f64::max)
            * skew(&suspect.place);
        if suspect.score < STRONG {
            continue;
        }
        let depends_on = below(&suspect.place, &analysis.edges);
        let candidates: Vec<(&Change, f64)> = touched()
            .filter(|change| change.service != suspect.place && depends_on.contains(&change.service))
            .filter_map(|change| Some((change, closeness(change, onset, SHARP_HALF_AGE_SECONDS)?)))
            .collect();
        let best = candidates.iter().map(|(_, close)| *close).fold(0.0, f64::max);
        let unseen = candidates.iter().any(|(change, _)| is_unseen(change));
        for (change, close) in candidates {
            let passed = implied.entry(&change.service).or_default();
            let explains = close * keeps(change, unseen);
            *passed = passed.max(INHERITED * explains * suspect.score * rather(close, own));
        }
        let lost = (1.0 - UNCHANGED) * best * rather(best, own);
        kept.insert(suspect.place.clone(), 1.0 - lost);
    }
    let lately = |change: &Change| {
        noticed.and_then(|noticed| closeness(change, Some(Onset::exact(noticed)), SHARP_HALF_AGE_SECONDS))
    };
    let unseen = touched().any(|change| lately(change).is_some() && is_unseen(change));
    for change in touched() {
        if let Some(close) = lately(change) {
            let passed = implied.entry(&change.service).or_default();
            *passed = passed.max(BY_TIME_ALONE * close * skew(&change.service) * keeps(change, unseen));
        }
    }
    for suspect in &mut suspects {
        suspect.score *= kept.get(&suspect.place).copied().unwrap_or(1.0);
    }
    for (place, passed) in implied {
        match suspects.iter_mut().find(|suspect| suspect.place == place) {
            Some(suspect) => {
                suspect.changed = passed;
                suspect.score = 1.0 - (1.0 - suspect.score) * (1.0 - passed);
            }
            None => suspects.push(Suspect {
                place: place.to_owned(),
                is_service: true,
                changed: passed,
                score: passed,
                ..Suspect::default()
            }),
        }
    }
    suspects
        .sort_by(|left, right| right.score.total_cmp(&left.score).then_with(|| left.place.cmp(&right.place)));
    suspects
}

/// How far a change below is to be blamed rather than one of the failing service itself: by which came closer.
fn rather(below: f64, own: f64) -> f64 {
    if below > 0.0 { below / (below + own) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::fixture::{World, deploy};

    #[test]
    fn of_two_releases_below_the_one_whose_instances_answer_explains_less() {
        // Both released at the same time; instances of each answer, and of some a new one does since harm was noticed.
        let first = |new_instances: &[&str], told_apart: bool| {
            let mut world = World::failing_shop();
            for service in ["mail", "stock"] {
                world = world.edge("shop", service).changed(deploy(service, 60));
                for (instance, is_new) in [("old", false), ("new", true)] {
                    if is_new && !new_instances.contains(&service) {
                        continue;
                    }
                    let labels = [("service", service), ("instance", if told_apart { instance } else { "" })];
                    world = world.labelled(&labels, "success_rate", "%", 100.0, 100.0);
                    if let Some(series) = world.0.metrics.series.last_mut().filter(|_| is_new) {
                        series.before = [0.0; 5];
                    }
                }
            }
            let analysis = Analysis::new(&world.0);
            let score = |place: &str| {
                analysis.suspects.iter().find(|suspect| suspect.place == place).map_or(0.0, |one| one.score)
            };
            score("stock").total_cmp(&score("mail"))
        };
        assert_eq!(first(&["mail"], true), std::cmp::Ordering::Greater);
        assert_eq!(first(&["stock"], true), std::cmp::Ordering::Less);
        assert_eq!(first(&["mail", "stock"], true), std::cmp::Ordering::Equal);
        assert_eq!(first(&[], true), std::cmp::Ordering::Equal);
        assert_eq!(first(&["mail"], false), std::cmp::Ordering::Equal, "instances that are not told apart");
    }

    #[test]
    fn what_is_rolled_back_before_the_harm_is_no_suspect() {
        let check = |changes: &[Change], expected: bool| {
            let world = World::failing_shop().edge("shop", "mail");
            let world = changes.iter().fold(world, |world, change| world.changed(change.clone()));
            let analysis = Analysis::new(&world.0);
            assert_eq!(analysis.suspects.iter().any(|suspect| suspect.place == "mail"), expected);
        };
        let back = |before: i64| Change {
            kind: ChangeKind::Rollback,
            version: "1.9".into(),
            reference: "back".into(),
            ..deploy("mail", before)
        };
        check(&[deploy("mail", 120)], true);
        check(&[deploy("mail", 120), back(60)], false);
        check(&[deploy("mail", 120), back(-60)], true);
        check(&[back(60)], false);
    }
}
