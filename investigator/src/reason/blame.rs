//! Which change, if any, brought a cause about.
//!
//! A change is a suspect when it touched the place that is to blame and came before the harm, as far as the clocks and
//! slices can tell. Among those the latest before the harm is blamed: later ones had less time to be innocent. Surges and
//! trouble outside the system are not brought by changes inside it.

use std::time::Duration;

use domain::{Change, ChangeKind, Mechanism, UnixNanos};

/// A change may follow the first sign of harm by this much and still precede it: slices, clocks, reporting.
const CLOCK_SLACK: Duration = Duration::from_secs(30);
/// A change loses half its suspicion over this much time before the harm.
const HALF_LIFE_SECONDS: f64 = 1800.0;

/// How a change stands towards a cause.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It touched the place and came before: with a score in 0..1.
    Explains(f64),
    /// It touched another place.
    Elsewhere,
    /// It came after the harm began.
    Later,
    /// What happened needs no change.
    Unneeded,
}

/// The standing of a change towards harm of some kind in `place` that began at `onset`.
pub fn standing(change: &Change, place: &str, mechanism: Mechanism, onset: Option<UnixNanos>) -> Standing {
    if change.service != place {
        return Standing::Elsewhere;
    }
    if matches!(mechanism, Mechanism::TrafficSurge | Mechanism::SlowDependency | Mechanism::FailingDependency)
    {
        return Standing::Unneeded;
    }
    let Some(onset) = onset else { return Standing::Explains(weight(change) * 0.5) };
    if change.at > onset.plus(CLOCK_SLACK) {
        return Standing::Later;
    }
    let age = onset.seconds_since(change.at).max(0.0);
    Standing::Explains(weight(change) * (-age / HALF_LIFE_SECONDS * std::f64::consts::LN_2).exp())
}

/// A commit may run nowhere; what runs weighs more.
fn weight(change: &Change) -> f64 {
    match change.kind {
        ChangeKind::Commit => 0.6,
        ChangeKind::Scale | ChangeKind::Other => 0.7,
        _ => 1.0,
    }
}

/// The change to blame: the best score, then the latest.
pub fn culprit<'a>(
    changes: &'a [Change],
    place: &str,
    mechanism: Mechanism,
    onset: Option<UnixNanos>,
) -> Option<&'a Change> {
    let scored = changes.iter().filter_map(|change| match standing(change, place, mechanism, onset) {
        Standing::Explains(score) => Some((score, change)),
        _ => None,
    });
    scored
        .max_by(|left, right| left.0.total_cmp(&right.0).then(left.1.at.cmp(&right.1.at)))
        .map(|(_, change)| change)
}

/// Changes told twice (by a pipeline and by telemetry) become one: the pipeline's word, since it knows more.
pub fn distinct(changes: &[Change]) -> Vec<Change> {
    let mut kept: Vec<Change> = Vec::new();
    let told_first = |change: &Change| change.source == "telemetry";
    let mut ordered: Vec<&Change> = changes.iter().collect();
    ordered.sort_by_key(|change| told_first(change));
    for change in ordered {
        let twin = |other: &Change| {
            other.service == change.service
                && !change.version.is_empty()
                && other.version == change.version
                && told_first(change)
        };
        if !kept.iter().any(twin) {
            kept.push(change.clone());
        }
    }
    kept.sort_by(|left, right| {
        (left.at, &left.service, &left.reference).cmp(&(right.at, &right.service, &right.reference))
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(service: &str, at: i64) -> Change {
        Change {
            at: UnixNanos::from_seconds(at),
            kind: ChangeKind::Deploy,
            service: service.into(),
            version: format!("v{at}"),
            ..Change::default()
        }
    }

    #[test]
    fn the_latest_change_of_the_place_before_the_harm_is_blamed() {
        let changes =
            [change("cart", 990), change("catalog", 100), change("catalog", 980), change("catalog", 1100)];
        let check = |place: &str, mechanism: Mechanism, expected: Option<i64>| {
            let culprit = culprit(&changes, place, mechanism, Some(UnixNanos::from_seconds(1000)));
            assert_eq!(culprit.map(|change| change.at.seconds()), expected);
        };
        check("catalog", Mechanism::RepeatedCalls, Some(980));
        check("cart", Mechanism::NewErrors, Some(990));
        check("payment", Mechanism::NewErrors, None);
        check("catalog", Mechanism::TrafficSurge, None);
    }

    #[test]
    fn one_deploy_told_twice_is_one_change() {
        let told = change("catalog", 10);
        let seen = Change { at: UnixNanos::from_seconds(12), source: "telemetry".into(), ..told.clone() };
        assert_eq!(distinct(&[seen, told.clone()]), [told]);
    }
}
