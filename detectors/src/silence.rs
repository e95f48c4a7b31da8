//! A service whose traffic vanished while its callers still call.
//!
//! Silence by itself is no finding: batch jobs end, shops close. It becomes one when the other end of the calls goes on.

use std::time::Duration;

use domain::{Detail, Finding, Severity, Silence, Sli, UnixNanos, Window};

use crate::sli::SliSeries;

const MINUTE: Duration = Duration::from_secs(60);
/// Traffic is known by this much of it before it ended.
const KNOWN_BY: Duration = Duration::from_secs(3600);
/// Requests that should have come by the rate before. Were they a Poisson process, none of 20 is a chance of 2e-9; real
/// traffic is burstier, hence the next bound too.
const FEWEST_EXPECTED: f64 = 20.0;
/// The silence is this many times longer than the longest one that was usual.
const TIMES_USUAL: f64 = 3.0;
/// Calls that callers made since, for it to count as still calling.
const FEWEST_CALLS: u64 = 10;
/// And this share of the requests that would have been expected.
const SHARE_OF_EXPECTED: f64 = 0.1;
/// Share of failing calls that makes it people being hurt.
const FAILING: f64 = 0.1;

/// Traffic that ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vanished {
    /// End of the last minute that had requests.
    pub since: UnixNanos,
    /// Requests that would have come since.
    pub expected: f64,
}

/// The calls of one caller to the silent service since it fell silent.
#[derive(Clone, Debug, PartialEq)]
pub struct CallerCalls {
    /// Who calls.
    pub caller: String,
    /// Calls made.
    pub calls: u64,
    /// Ones that failed.
    pub failed: u64,
}

/// Whether steady traffic ended: none for three times the longest usual gap, and long enough that 20 requests were to be
/// expected by the mean rate of the hour before.
pub fn vanished(series: &SliSeries, now: UnixNanos) -> Option<Vanished> {
    let seen = series.until(now);
    let last = seen.iter().rposition(|point| point.requests > 0.0)?;
    let since = seen[last].minute.plus(MINUTE);
    let quiet = now.seconds_since(since);
    let from = seen[last].minute.minus(KNOWN_BY);
    let active: Vec<_> = seen[..=last].iter().filter(|p| p.minute >= from && p.requests > 0.0).collect();
    let gaps = active.windows(2).map(|pair| pair[1].minute.seconds_since(pair[0].minute));
    let usual = gaps.fold(MINUTE.as_secs_f64(), f64::max);
    let length = since.seconds_since(active.first()?.minute).max(1.0);
    let expected = active.iter().map(|point| point.requests).sum::<f64>() / length * quiet;
    (active.len() >= 3 && quiet >= TIMES_USUAL * usual && expected >= FEWEST_EXPECTED)
        .then_some(Vanished { since, expected })
}

/// The finding, when callers still call.
pub fn evaluate(
    service: &str,
    vanished: &Vanished,
    callers: &[CallerCalls],
    now: UnixNanos,
) -> Option<Finding> {
    let (calls, failed) =
        callers.iter().fold((0, 0), |(calls, failed), one| (calls + one.calls, failed + one.failed));
    if calls < FEWEST_CALLS || (calls as f64) < SHARE_OF_EXPECTED * vanished.expected {
        return None;
    }
    let mut callers: Vec<&CallerCalls> = callers.iter().filter(|one| one.calls > 0).collect();
    callers.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.caller.cmp(&b.caller)));
    let hurt = failed as f64 >= FAILING * calls as f64;
    Some(Finding {
        service: service.to_owned(),
        subject: String::new(),
        severity: if hurt { Severity::Critical } else { Severity::Warning },
        started: vanished.since,
        window: Window::new(vanished.since, now),
        detail: Detail::Silence(Silence {
            expected: vanished.expected,
            callers: callers.iter().map(|one| one.caller.clone()).collect(),
            calls,
            failed,
        }),
    })
}

/// Whether a service has received requests again since it was found silent.
pub fn is_over(series: &SliSeries, since: UnixNanos, now: UnixNanos) -> bool {
    let window = Duration::from_secs_f64(now.seconds_since(since).max(0.0));
    now > since && series.burn(Sli::Availability, 0.5, now, window).requests > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SliPoint;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);

    /// Requests per minute by how many minutes ago, over two hours.
    fn since(requests: impl Fn(u32) -> f64) -> Option<f64> {
        let points = (0..120).map(|ago| SliPoint {
            minute: NOW.minus(MINUTE * ago),
            requests: requests(ago),
            ..SliPoint::default()
        });
        vanished(&SliSeries::new(points), NOW).map(|vanished| NOW.seconds_since(vanished.since) / 60.0)
    }

    #[test]
    fn steady_traffic_that_ends_has_vanished() {
        let check = |requests: fn(u32) -> f64, expected: Option<f64>| assert_eq!(since(requests), expected);
        check(|_| 60.0, None);
        check(|ago| if ago < 2 { 0.0 } else { 60.0 }, None);
        check(|ago| if ago < 5 { 0.0 } else { 60.0 }, Some(4.0));
        // One request a minute: twenty must be missing.
        check(|ago| if ago < 15 { 0.0 } else { 1.0 }, None);
        check(|ago| if ago < 25 { 0.0 } else { 1.0 }, Some(24.0));
        // A job that runs every quarter of an hour is not gone between its runs.
        check(|ago| if ago % 15 == 14 { 600.0 } else { 0.0 }, None);
        check(|_| 0.0, None);
    }

    #[test]
    fn it_is_a_finding_while_somebody_still_calls() {
        let vanished = Vanished { since: NOW.minus(MINUTE * 5), expected: 300.0 };
        let check = |calls: &[(u64, u64)], expected: Option<Severity>| {
            let callers: Vec<CallerCalls> = calls
                .iter()
                .map(|(calls, failed)| CallerCalls {
                    caller: "gateway".into(),
                    calls: *calls,
                    failed: *failed,
                })
                .collect();
            let finding = evaluate("cart", &vanished, &callers, NOW);
            assert_eq!(finding.map(|finding| finding.severity), expected);
        };
        check(&[], None);
        check(&[(12, 0)], None);
        check(&[(300, 0)], Some(Severity::Warning));
        check(&[(100, 0), (200, 200)], Some(Severity::Critical));
    }

    #[test]
    fn it_is_over_when_requests_come_again() {
        let point =
            |ago: u32| SliPoint { minute: NOW.minus(MINUTE * ago), requests: 5.0, ..SliPoint::default() };
        let quiet = SliSeries::new((20..60).map(point));
        let back = SliSeries::new((20..60).chain(0..1).map(point));
        assert!(!is_over(&quiet, NOW.minus(MINUTE * 19), NOW));
        assert!(is_over(&back, NOW.minus(MINUTE * 19), NOW));
    }
}
