//! Multi-window, multi-burn-rate alerts on service level objectives.
//!
//! The burn rate is `bad share / (1 - objective)`: at 1 the error budget lasts exactly its period. A rule fires when
//!
//! 1. the burn over its long window is above its limit: the budget *was* spent, a fact and no estimate. Time before the
//!    service was first seen counts as good, so that a young service is not taken to have spent days of budget;
//! 2. the burn over its short window is above the limit: it still goes on;
//! 3. it is not luck: over the short window, or it doubled until it is the long one, the lower bound of the Jeffreys
//!    interval of the bad share lies above the limit, with a chance of error of [`TAIL`], and [`FEWEST_BAD`] requests
//!    were bad.
//!
//! 1 and 2 are Google's SRE Workbook, chapter 5. 3 is what makes it fit for services of any volume: one failure of three
//! requests at night is a burn of 33 with a 99% objective and pages nobody, while a short run of nothing but failures
//! does. The Jeffreys bound rather than Wilson's, because Wilson's leans on the normal distribution, which is too light on
//! the side that matters for few rare events: with a 99.9% objective one failure of three would page by it
//! (`statistics::tests::wilson_trusts_few_rare_events_too_much`). Its posterior is a beta distribution; nothing is fitted.
//!
//! No burn is above `1 / (1 - objective)`, that of nothing but failures: 5 with an objective of 80%. So that rules watch
//! objectives of any height, a limit counts as far as it is [`within_reach`].

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Detail, Finding, ObjectiveMissed, Severity, Sli, UnixNanos, Window};

use crate::objective::Goal;
pub use crate::sli::budget;
use crate::sli::{Burn, SliSeries};
use crate::statistics::{chance_at_most, jeffreys};

/// The chance that a bad share no worse than a rule's limit is taken for a worse one, per look.
///
/// Rules look every few seconds for months, so this is small. It binds only for traffic that burns at a rule's very limit;
/// clean traffic is far from looking this bad. `tests/simulation.rs` counts false alerts, also for traffic that exactly
/// meets its objective, which at 1e-4 still had some at one request in 100 seconds and at 1e-5 has none.
pub const TAIL: f64 = 1e-5;

/// Fewer bad requests than this are no pattern, however tight the objective: with one of 99.99% a single failure is ten
/// times more than any limit, and one in a hundred thousand requests still fails by chance.
pub const FEWEST_BAD: f64 = 4.0;

/// The chance that a minute is called too good to belong to a bad run although it does.
const GOOD_TAIL: f64 = 0.025;
/// Minutes without harm that a bad run may hold.
const MAX_GAP: u32 = 3;

/// A pair of windows and the burn rate that fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRule {
    /// The window that shows it matters.
    pub long: Duration,
    /// The window that shows it is still going on.
    pub short: Duration,
    /// Burn rate that both must exceed, as far as it is [`within_reach`].
    pub limit: f64,
    /// What a hit is worth.
    pub severity: Severity,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The rules in use unless the settings have others, most urgent first.
///
/// The second, third and last are the workbook's: 2% of a month's budget in an hour, 5% in six, 10% in three days. The
/// other two are ours, because an incident that is opened early is explained early: an outage within a minute, where the
/// workbook takes 9; and a tenth of all requests failing within a quarter of an hour, as a warning, where it takes hours.
/// They spend 0.05% and 0.2% of a month's budget, which by itself would not be worth waking anybody; what makes them safe
/// is the third condition. For traffic that exactly meets its objective the chance of a false hit of the first is below
/// 1e-6 a look at the worst volume there is (`tests::the_fast_rule_is_not_nervous` computes it exactly).
pub const RULES: [BurnRule; 5] = [
    BurnRule { long: MINUTE.saturating_mul(2), short: MINUTE, limit: 10.0, severity: Severity::Critical },
    BurnRule { long: HOUR, short: MINUTE.saturating_mul(5), limit: 14.4, severity: Severity::Critical },
    BurnRule {
        long: HOUR.saturating_mul(6),
        short: MINUTE.saturating_mul(30),
        limit: 6.0,
        severity: Severity::Critical,
    },
    BurnRule {
        long: MINUTE.saturating_mul(15),
        short: MINUTE.saturating_mul(5),
        limit: 5.0,
        severity: Severity::Warning,
    },
    BurnRule {
        long: HOUR.saturating_mul(72),
        short: HOUR.saturating_mul(6),
        limit: 1.0,
        severity: Severity::Warning,
    },
];

/// Windows whose burn is always shown.
pub const SHOWN: [Duration; 3] = [HOUR, HOUR.saturating_mul(6), HOUR.saturating_mul(24)];

/// The limit of a rule for an objective: `min(limit, (1 + 1 / (1 - objective)) / 2)`.
///
/// The cap lies midway between 1, at which the budget just lasts, and the largest burn there can be, so that it is met
/// neither by a budget that is merely spent nor only by nothing but failures: 3 with an objective of 80%, when 60% are
/// bad. Of [`RULES`] it lowers some below an objective of 96.4%, and from 90% down those that could never fire without it.
/// An objective of 0 has a cap of 1, which no burn is above.
pub fn within_reach(limit: f64, objective: f64) -> f64 {
    limit.min(f64::midpoint(1.0, 1.0 / budget(objective)))
}

/// What a rule saw when it fired.
struct Hit {
    limit: f64,
    long: f64,
    short: Burn,
    at_least: f64,
}

/// Findings about one service, or a `subject` of it: at most one for each goal, by the first rule that fires.
///
/// A function of the set of points of `series` up to `now`, and so replayable at any time: the order in which the points
/// came, and whether they came twice, makes no difference.
pub fn evaluate(
    service: &str,
    subject: &str,
    series: &SliSeries,
    goals: &[Goal],
    rules: &[BurnRule],
    now: UnixNanos,
) -> Vec<Finding> {
    let fired = |goal: &Goal| {
        let (rule, hit) = rules.iter().find_map(|rule| Some((rule, fire(series, goal, rule, now)?)))?;
        Some(Finding {
            service: service.to_owned(),
            subject: subject.to_owned(),
            severity: rule.severity,
            started: started(series, goal, now),
            window: Window::new(now.minus(rule.long), now),
            detail: Detail::Objective(ObjectiveMissed {
                sli: goal.sli,
                objective: goal.objective,
                threshold_ms: goal.threshold_ms,
                burn_long: hit.long,
                burn_short: hit.short.rate,
                burn_at_least: hit.at_least,
                burn_limit: hit.limit,
                good_ratio: 1.0 - hit.short.bad / hit.short.requests,
                requests: hit.short.requests as u64,
                short_seconds: rule.short.as_secs(),
            }),
        })
    };
    goals.iter().filter_map(fired).collect()
}

/// Whether any rule fires: [`evaluate`] without its words.
pub fn fires(series: &SliSeries, goal: &Goal, rules: &[BurnRule], now: UnixNanos) -> bool {
    rules.iter().any(|rule| fire(series, goal, rule, now).is_some())
}

fn fire(series: &SliSeries, goal: &Goal, rule: &BurnRule, now: UnixNanos) -> Option<Hit> {
    let over = |window| series.burn(goal.sli, goal.objective, now, window);
    let limit = within_reach(rule.limit, goal.objective);
    let short = over(rule.short);
    if short.rate <= limit {
        return None;
    }
    let long = over(rule.long).rate * series.coverage(now, rule.long);
    if long <= limit {
        return None;
    }
    let share = limit * budget(goal.objective);
    let surely = widths(rule.short, rule.long).map(over).find(|burn| is_surely_above(burn, share))?;
    let at_least = jeffreys(surely.bad, surely.requests, TAIL).0 / budget(goal.objective);
    Some(Hit { limit, long, short, at_least })
}

/// The first width, and it doubled until the last, which ends it.
pub(crate) fn widths(first: Duration, last: Duration) -> impl Iterator<Item = Duration> {
    let next = move |width: &Duration| (*width < last).then(|| width.saturating_mul(2).min(last));
    std::iter::successors(Some(first.max(Duration::from_secs(1))), next)
}

/// Whether the bad share is above `share` beyond chance, and by more than a few requests.
pub fn is_surely_above(burn: &Burn, share: f64) -> bool {
    burn.bad >= FEWEST_BAD
        && burn.bad > share * burn.requests
        && chance_at_most(burn.bad, burn.requests, share) < TAIL
}

/// The first minute of the run of bad minutes that reaches the present. A minute is bad when its bad share exceeds the
/// budget. A run ends at a minute that is too good to belong to it (the upper bound of its bad share is below half the
/// present one), or after [`MAX_GAP`] minutes without harm; a minute of few, lucky requests ends nothing.
fn started(series: &SliSeries, goal: &Goal, now: UnixNanos) -> UnixNanos {
    let minutes: BTreeMap<UnixNanos, (f64, f64)> = series
        .until(now)
        .iter()
        .map(|point| (point.minute, point.of(goal.sli)))
        .filter(|(_, (requests, _))| *requests > 0.0)
        .collect();
    let recent =
        minutes.values().rev().take(2).fold((0.0, 0.0), |sum, minute| (sum.0 + minute.0, sum.1 + minute.1));
    let present = recent.1 / recent.0.max(1.0);
    let mut first = now.floor(MINUTE);
    let mut gap = 0;
    for (minute, (requests, bad)) in minutes.iter().rev() {
        if bad / requests > budget(goal.objective) {
            first = *minute;
            gap = 0;
        } else {
            gap += 1;
            if gap > MAX_GAP || jeffreys(*bad, *requests, GOOD_TAIL).1 < present / 2.0 {
                break;
            }
        }
    }
    first
}

/// The burn over one window of points in any order, for whoever has no series.
pub fn burn(points: &[crate::SliPoint], sli: Sli, objective: f64, now: UnixNanos, window: Duration) -> Burn {
    SliSeries::new(points.iter().copied()).burn(sli, objective, now, window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Objectives, SliPoint};
    use proptest::prelude::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);

    fn minutes(ago: std::ops::Range<i64>, requests: f64, errors: f64) -> Vec<SliPoint> {
        ago.map(|minute| SliPoint {
            minute: NOW.minus(MINUTE * u32::try_from(minute).unwrap()).floor(MINUTE),
            requests,
            errors,
            timed: requests,
            slow: 0.0,
        })
        .collect()
    }

    fn find(points: &[SliPoint], objective: f64) -> Vec<Finding> {
        let objectives = Objectives { availability: objective, ..Objectives::default() };
        evaluate("checkout", "", &SliSeries::new(points.to_vec()), &objectives.goals(), &RULES, NOW)
    }

    #[track_caller]
    fn check(points: &[SliPoint], expected: Option<(Severity, f64)>) {
        let findings = find(points, 0.99);
        let found =
            findings.first().map(|finding| (finding.severity, finding.objective().unwrap().burn_limit));
        assert_eq!(found, expected, "{findings:?}");
    }

    #[test]
    fn an_outage_fires_and_noise_does_not() {
        check(&minutes(0..60, 600.0, 0.0), None);
        check(&minutes(0..60, 600.0, 6.0), None);
        let mut outage = minutes(1..60, 600.0, 0.0);
        outage.extend(minutes(0..1, 600.0, 300.0));
        check(&outage, Some((Severity::Critical, 10.0)));
        check(&minutes(0..480, 60.0, 6.0), Some((Severity::Critical, 6.0)));
        check(&minutes(0..4320, 60.0, 2.0), Some((Severity::Warning, 1.0)));
        check(&[], None);
    }

    #[test]
    fn one_failure_of_three_at_night_pages_nobody() {
        for objective in [0.9, 0.99, 0.999] {
            let mut night = minutes(5..700, 0.0, 0.0);
            night.extend(minutes(0..1, 3.0, 1.0));
            assert_eq!(find(&night, objective), [], "{objective}");
        }
        let mut outage = minutes(30..600, 0.6, 0.0);
        outage.extend(minutes(0..1, 6.0, 6.0));
        check(&outage, Some((Severity::Critical, 10.0)));
    }

    #[test]
    fn a_young_service_has_not_spent_the_budget_of_days() {
        check(&minutes(0..60, 600.0, 12.0), None);
        check(&minutes(0..10, 6000.0, 180.0), None);
    }

    #[test]
    fn a_limit_that_is_only_met_by_luck_does_not_fire() {
        let mut points = minutes(3..600, 1.0, 0.0);
        points.extend(minutes(0..2, 5.0, 1.0));
        check(&points, None);
    }

    /// Rules whose limit is above the largest burn there can be never fired: at 80% not even when nothing succeeded.
    #[test]
    fn an_objective_of_80_percent_or_less_is_watched() {
        let outage = |bad: f64| {
            let mut points = minutes(5..600, 600.0, 60.0);
            points.extend(minutes(0..5, 600.0, bad));
            points
        };
        let limit = |bad: f64, objective: f64| {
            let found = find(&outage(bad), objective);
            found.first().map(|finding| (finding.severity, finding.objective().unwrap().burn_limit))
        };
        let check = |objective: f64, expected: f64| {
            let (severity, limit) = limit(600.0, objective).unwrap();
            assert!(
                severity == Severity::Critical && (limit - expected).abs() < 1e-9,
                "{objective}: {limit}"
            );
        };
        check(0.9, 5.5);
        check(0.8, 3.0);
        check(0.5, 1.5);
        check(0.3, 17.0 / 14.0);
        assert_eq!(limit(330.0, 0.8), None, "more than the budget, less than an outage");
        assert_eq!(limit(600.0, 0.0), None, "all may fail");
    }

    #[test]
    fn limits_within_reach_are_what_they_were() {
        for rule in RULES {
            assert_eq!(within_reach(rule.limit, 0.99), rule.limit);
            assert_eq!(within_reach(rule.limit, 1.0), rule.limit);
            let once = within_reach(rule.limit, 0.8);
            assert_eq!(within_reach(once, 0.8), once, "a limit that was stored stays");
        }
    }

    #[test]
    fn the_start_is_the_first_bad_minute() {
        let mut points = minutes(0..3, 600.0, 300.0);
        points.extend(minutes(3..30, 600.0, 1.0));
        assert_eq!(find(&points, 0.99)[0].started, NOW.minus(MINUTE * 2).floor(MINUTE));
    }

    #[test]
    fn a_lucky_partial_minute_does_not_move_the_start() {
        let mut points = minutes(0..1, 3.0, 0.0);
        points.extend(minutes(1..6, 20.0, 7.0));
        points.extend(minutes(6..40, 20.0, 0.0));
        assert_eq!(find(&points, 0.99)[0].started, NOW.minus(MINUTE * 5).floor(MINUTE));
    }

    /// The chance that traffic which *exactly* meets its objective looks like a hit of the fast rule, over all volumes:
    /// binomial tails from the fewest failures that satisfy the third condition.
    #[test]
    fn the_fast_rule_is_not_nervous() {
        for objective in [0.5, 0.8, 0.9, 0.99, 0.999, 0.9999] {
            let allowed = budget(objective);
            let share = within_reach(RULES[0].limit, objective) * allowed;
            let mut worst: f64 = 0.0;
            let mut requests = 1.0;
            while requests < 1e6 {
                let fewest = (1..)
                    .map(f64::from)
                    .take_while(|bad| *bad <= requests)
                    .find(|bad| is_surely_above(&Burn { requests, bad: *bad, rate: 0.0 }, share));
                if let Some(fewest) = fewest {
                    worst = worst.max(binomial_tail(requests, allowed, fewest));
                }
                requests = (requests * 1.3).ceil();
            }
            assert!(worst < 1e-6, "{objective}: {worst}");
        }
    }

    /// `P(X >= fewest)`, summed until terms stop mattering.
    fn binomial_tail(trials: f64, share: f64, fewest: f64) -> f64 {
        let mut log = 0.0;
        for place in 0..fewest as u64 {
            let place = place as f64;
            log += ((trials - place) / (place + 1.0)).ln() + share.ln();
        }
        log += (trials - fewest) * (-share).ln_1p();
        let (mut term, mut sum, mut hits) = (log.exp(), 0.0, fewest);
        while hits <= trials && term > sum * 1e-12 {
            sum += term;
            term *= (trials - hits) / (hits + 1.0) * share / (1.0 - share);
            hits += 1.0;
        }
        sum
    }

    proptest! {
        #[test]
        fn findings_are_the_same_in_order_late_or_twice(
            points in prop::collection::vec((0i64..90, 0u32..500, 0.0..1.0f64), 0..80),
            seed in 0usize..1000,
        ) {
            let points: Vec<SliPoint> = points
                .iter()
                .flat_map(|(ago, requests, share)| {
                    let requests = f64::from(*requests);
                    minutes(*ago..*ago + 1, requests, (requests * share).round())
                })
                .collect();
            let expected = find(&points, 0.99);
            let mut late = points.clone();
            late.rotate_left(seed % points.len().max(1));
            prop_assert_eq!(&expected, &find(&late, 0.99));
            prop_assert_eq!(&expected, &find(&[late, points].concat(), 0.99));
        }

        #[test]
        fn the_past_does_not_depend_on_the_future(
            points in prop::collection::vec((0i64..90, 0u32..500, 0.0..1.0f64), 0..80),
        ) {
            let points: Vec<SliPoint> = points
                .iter()
                .flat_map(|(ago, requests, share)| {
                    let requests = f64::from(*requests);
                    minutes(*ago..*ago + 1, requests, (requests * share).round())
                })
                .collect();
            let then = NOW.minus(MINUTE * 30);
            let known = points.iter().copied().filter(|point| point.minute <= then);
            let goals = Objectives::default().goals();
            prop_assert_eq!(
                evaluate("a", "", &SliSeries::new(known), &goals, &RULES, then),
                evaluate("a", "", &SliSeries::new(points.clone()), &goals, &RULES, then)
            );
        }
    }
}
