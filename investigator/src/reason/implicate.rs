//! Suspicion that a change casts on the service it touched, where that service itself shows little.
//!
//! Most harm is brought by changes (about 70% of outages, Beyer et al., Site Reliability Engineering, 2016), and a bad
//! release need not fail itself: it may answer wrongly, and its callers fail. So a changed service that a failing one
//! depends on inherits part of the suspicion, the more the closer its change came before the harm; and the failing one,
//! if nothing of its own changed, or its old instances suffer as much as those that its change brought, loses part. A change shortly before the harm is a weak suspect even without a trace.

use std::collections::BTreeMap;

use domain::{Change, ChangeKind};

use super::analysis::Analysis;
use super::blame::{Onset, SHARP_HALF_AGE_SECONDS, closeness};
use super::spread::below;
use super::suspects::Suspect;

/// What a silent change right before the harm inherits of a failing caller's suspicion.
const INHERITED: f64 = 0.9;
/// What an unchanged service keeps of its own where a change below it may explain it whole.
const UNCHANGED: f64 = 0.2;
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
    let touched = || {
        analysis.changes.all.iter().filter(|change| {
            !change.service.is_empty() && change.kind != ChangeKind::Rollback && !undone(change)
        })
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
        let mut best = 0.0_f64;
        let depends_on = below(&suspect.place, &analysis.edges);
        for change in
            touched().filter(|change| change.service != suspect.place && depends_on.contains(&change.service))
        {
            let Some(close) = closeness(change, onset, SHARP_HALF_AGE_SECONDS) else { continue };
            best = best.max(close);
            let passed = implied.entry(&change.service).or_default();
            *passed = passed.max(INHERITED * close * suspect.score * rather(close, own));
        }
        let lost = (1.0 - UNCHANGED) * best * rather(best, own);
        kept.insert(suspect.place.clone(), 1.0 - lost);
    }
    for change in touched() {
        if let Some(close) =
            noticed.and_then(|noticed| closeness(change, Some(Onset::exact(noticed)), SHARP_HALF_AGE_SECONDS))
        {
            let passed = implied.entry(&change.service).or_default();
            *passed = passed.max(BY_TIME_ALONE * close * skew(&change.service));
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
    use crate::reason::fixture::{World, deploy, load};

    #[test]
    fn what_is_rolled_back_before_the_harm_is_no_suspect() {
        let check = |changes: &[Change], expected: bool| {
            let world = World::new()
                .requests("shop", load(100, 0, 40.0), load(100, 50, 40.0))
                .calls(["shop", "GET /", ""], "", (6000, 10.0), (3000, 10.0), 1500)
                .edge("shop", "mail");
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
