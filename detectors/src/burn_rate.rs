//! Multi-window burn-rate alerts on service level objectives.
//!
//! The burn rate is `bad share / (1 - objective)`: at 1 the error budget lasts exactly its period. A rule fires when the
//! burn over a long window (it matters) and over a short one (it is still going on) both exceed its limit: Google SRE
//! Workbook, chapter 5. Unlike there, the *lower Wilson bound* of the bad share must exceed the limit, so that a handful
//! of requests at night cannot page anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Finding, Severity, Sli, UnixNanos, Window};

use crate::objective::Objectives;
use crate::statistics::wilson;

/// Standard deviations of the Wilson bound: 3 is one false alarm in about 740 looks at a service exactly at its limit.
const BOUND_Z: f64 = 3.0;

/// Standard deviations of the bound that calls a minute too good to belong to a bad run.
const GOOD_Z: f64 = 2.0;
/// Minutes without harm that a bad run may hold.
const MAX_GAP: u32 = 3;

/// A minute of a service's requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SliPoint {
    /// Start of the minute.
    pub minute: UnixNanos,
    /// Requests received.
    pub requests: f64,
    /// Ones that failed.
    pub errors: f64,
    /// Ones slower than the latency objective's threshold.
    pub slow: f64,
}

/// A pair of windows and the burn rate that fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRule {
    /// The window that shows it matters.
    pub long: Duration,
    /// The window that shows it is still going on.
    pub short: Duration,
    /// Burn rate that both must exceed.
    pub limit: f64,
    /// What a hit is worth.
    pub severity: Severity,
}

const MINUTE: Duration = Duration::from_secs(60);

/// The rules in use, most urgent first. The first catches an outage within a minute; the others are the workbook's.
pub const RULES: [BurnRule; 3] = [
    BurnRule { long: MINUTE.saturating_mul(2), short: MINUTE, limit: 10.0, severity: Severity::Critical },
    BurnRule {
        long: MINUTE.saturating_mul(60),
        short: MINUTE.saturating_mul(5),
        limit: 14.4,
        severity: Severity::Critical,
    },
    BurnRule {
        long: MINUTE.saturating_mul(360),
        short: MINUTE.saturating_mul(30),
        limit: 6.0,
        severity: Severity::Warning,
    },
];

/// Bad share of a service over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Burn {
    /// Requests.
    pub requests: f64,
    /// Bad ones.
    pub bad: f64,
    /// `bad share / (1 - objective)`; 0 without requests.
    pub rate: f64,
    /// The same for the lower Wilson bound of the bad share.
    pub rate_at_least: f64,
}

/// Burn over the `window` that ends at `now`. Minutes count whole, the present one as far as it has come.
pub fn burn(points: &[SliPoint], sli: Sli, objective: f64, now: UnixNanos, window: Duration) -> Burn {
    let since = now.minus(window).floor(MINUTE);
    let inside = points.iter().filter(|point| point.minute >= since && point.minute <= now);
    let (requests, bad) = inside
        .fold((0.0, 0.0), |(requests, bad), point| (requests + point.requests, bad + bad_of(point, sli)));
    if requests <= 0.0 {
        return Burn::default();
    }
    let budget = (1.0 - objective).max(1e-9);
    Burn {
        requests,
        bad,
        rate: bad / requests / budget,
        rate_at_least: wilson(bad, requests, BOUND_Z).0 / budget,
    }
}

/// Findings for one service: at most one per objective, by the first rule that fires. `points` in any order.
pub fn evaluate(service: &str, points: &[SliPoint], objectives: &Objectives, now: UnixNanos) -> Vec<Finding> {
    [(Sli::Availability, objectives.availability), (Sli::Latency, objectives.latency_ratio)]
        .into_iter()
        .filter_map(|(sli, objective)| {
            RULES.iter().find_map(|rule| fire(service, points, objectives, sli, objective, rule, now))
        })
        .collect()
}

fn fire(
    service: &str,
    points: &[SliPoint],
    objectives: &Objectives,
    sli: Sli,
    objective: f64,
    rule: &BurnRule,
    now: UnixNanos,
) -> Option<Finding> {
    let short = burn(points, sli, objective, now, rule.short);
    let long = burn(points, sli, objective, now, rule.long);
    if short.rate_at_least <= rule.limit || long.rate_at_least <= rule.limit {
        return None;
    }
    Some(Finding {
        service: service.to_owned(),
        sli,
        objective,
        threshold_ms: (sli == Sli::Latency).then_some(objectives.latency_ms),
        severity: rule.severity,
        burn_long: long.rate,
        burn_short: short.rate,
        burn_limit: rule.limit,
        good_ratio: 1.0 - short.bad / short.requests,
        requests: short.requests as u64,
        started: started(points, sli, objective, now),
        window: Window::new(now.minus(rule.long), now),
    })
}

/// The first minute of the run of bad minutes that reaches the present. A minute is bad when its bad share exceeds the
/// budget. A run ends at a minute that is too good to belong to it (the upper Wilson bound of its bad share is below half
/// the present one), or after [`MAX_GAP`] minutes without harm; a minute of few, lucky requests ends nothing.
fn started(points: &[SliPoint], sli: Sli, objective: f64, now: UnixNanos) -> UnixNanos {
    let mut minutes: BTreeMap<UnixNanos, (f64, f64)> = BTreeMap::new();
    for point in points.iter().filter(|point| point.minute <= now && point.requests > 0.0) {
        let (requests, bad) = minutes.entry(point.minute).or_default();
        *requests += point.requests;
        *bad += bad_of(point, sli);
    }
    let recent =
        minutes.values().rev().take(2).fold((0.0, 0.0), |sum, minute| (sum.0 + minute.0, sum.1 + minute.1));
    let present = recent.1 / recent.0.max(1.0);
    let mut first = now.floor(MINUTE);
    let mut gap = 0;
    for (minute, (requests, bad)) in minutes.iter().rev() {
        if bad / requests > 1.0 - objective {
            first = *minute;
            gap = 0;
        } else {
            gap += 1;
            if gap > MAX_GAP || wilson(*bad, *requests, GOOD_Z).1 < present / 2.0 {
                break;
            }
        }
    }
    first
}

fn bad_of(point: &SliPoint, sli: Sli) -> f64 {
    match sli {
        Sli::Availability => point.errors,
        Sli::Latency => point.slow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);

    fn minutes(ago: std::ops::Range<i64>, requests: f64, errors: f64) -> Vec<SliPoint> {
        ago.map(|minute| SliPoint {
            minute: NOW.minus(MINUTE * u32::try_from(minute).unwrap()).floor(MINUTE),
            requests,
            errors,
            slow: 0.0,
        })
        .collect()
    }

    fn check(points: &[SliPoint], expected: Option<Severity>) {
        let findings = evaluate("checkout", points, &Objectives::default(), NOW);
        assert_eq!(findings.first().map(|finding| finding.severity), expected, "{findings:?}");
    }

    #[test]
    fn an_outage_fires_and_noise_does_not() {
        check(&minutes(0..60, 600.0, 0.0), None);
        check(&minutes(0..60, 600.0, 6.0), None);
        let mut outage = minutes(1..60, 600.0, 0.0);
        outage.extend(minutes(0..1, 600.0, 300.0));
        check(&outage, Some(Severity::Critical));
        check(&minutes(0..1, 3.0, 1.0), None);
        check(&minutes(0..360, 60.0, 6.0), Some(Severity::Warning));
        check(&[], None);
    }

    #[test]
    fn the_start_is_the_first_bad_minute() {
        let mut points = minutes(0..3, 600.0, 300.0);
        points.extend(minutes(3..30, 600.0, 1.0));
        let finding = evaluate("checkout", &points, &Objectives::default(), NOW).remove(0);
        assert_eq!(finding.started, NOW.minus(MINUTE * 2).floor(MINUTE));
    }

    #[test]
    fn a_lucky_partial_minute_does_not_move_the_start() {
        let mut points = minutes(0..1, 3.0, 0.0);
        points.extend(minutes(1..6, 20.0, 7.0));
        points.extend(minutes(6..40, 20.0, 0.0));
        let finding = evaluate("checkout", &points, &Objectives::default(), NOW).remove(0);
        assert_eq!(finding.started, NOW.minus(MINUTE * 5).floor(MINUTE));
    }

    proptest! {
        #[test]
        fn order_does_not_matter(mut points in prop::collection::vec((0i64..90, 0.0..500.0f64, 0.0..1.0f64), 0..80)) {
            let build = |points: &[(i64, f64, f64)]| -> Vec<SliPoint> {
                points.iter().flat_map(|(ago, requests, share)| minutes(*ago..*ago + 1, requests.round(), (requests * share).round())).collect()
            };
            let forward = evaluate("a", &build(&points), &Objectives::default(), NOW);
            points.reverse();
            prop_assert_eq!(forward, evaluate("a", &build(&points), &Objectives::default(), NOW));
        }
    }
}
