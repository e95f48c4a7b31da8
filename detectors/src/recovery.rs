//! Whether what was found is over: opened at one limit, closed at a lower one, and never for want of requests.

use std::time::Duration;

use domain::UnixNanos;

use crate::burn_rate::{widths, within_reach};
use crate::objective::Goal;
use crate::sli::{SliSeries, budget};
use crate::statistics::jeffreys;

/// The chance that a burn still at its limit is taken for one that is over, per look.
const TAIL: f64 = 0.001;

/// Longest stretch of good requests that is waited for.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Silence lasts this many times longer than health before it is believed.
const SILENCE_FACTOR: u32 = 6;

/// Requests that should have come, by the rate before, before their absence is believed.
const FEWEST_EXPECTED: f64 = 5.0;

/// How an objective that was missed stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is missed still, or there are too few requests to say that it is not.
    Burning,
    /// It has been met for long enough.
    Met,
    /// There have been no requests for so long that nobody can tell: a state of its own, neither good nor bad.
    Silent,
}

/// How an objective stands that fired at the burn rate `limit`, which counts as far as it is [`within_reach`].
///
/// `Met` takes a stretch of at least `recent`, doubled until it holds enough requests, over which the burn is at most 1
/// (hysteresis: what opens at 14 closes at 1) and surely below `limit` (the upper Jeffreys bound at 0.1%), so that two good
/// requests after an outage at 0.01 requests a second close nothing. With the default objective and a limit of 14.4 that
/// is 5 minutes from 0.13 requests a second on, and about 35 good requests below.
pub fn standing(series: &SliSeries, goal: &Goal, limit: f64, recent: Duration, now: UnixNanos) -> Standing {
    let share = within_reach(limit, goal.objective) * budget(goal.objective);
    let met = widths(recent, LONGEST.max(recent)).any(|width| {
        let burn = series.burn(goal.sli, goal.objective, now, width);
        burn.requests > 0.0 && burn.rate <= 1.0 && jeffreys(burn.bad, burn.requests, TAIL).1 < share
    });
    if met {
        Standing::Met
    } else if is_silent(series, goal, recent, now) {
        Standing::Silent
    } else {
        Standing::Burning
    }
}

/// No requests for a while in which several were to be expected; or none for hours.
fn is_silent(series: &SliSeries, goal: &Goal, recent: Duration, now: UnixNanos) -> bool {
    let over = |window: Duration, now| series.burn(goal.sli, goal.objective, now, window).requests;
    let quiet = recent * SILENCE_FACTOR;
    if over(quiet, now) > 0.0 {
        return false;
    }
    let before = over(LONGEST, now);
    let expected = before * quiet.as_secs_f64() / LONGEST.as_secs_f64();
    before <= 0.0 || expected >= FEWEST_EXPECTED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Objectives, SliPoint};

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);
    const RECENT: Duration = Duration::from_secs(300);

    /// Requests and errors per minute by how many minutes ago; the last three hours.
    #[track_caller]
    fn check(minute: impl Fn(u32) -> (f64, f64), expected: Standing) {
        let points = (0..180).map(|ago| {
            let (requests, errors) = minute(ago);
            let minute = NOW.minus(Duration::from_secs(60) * ago);
            SliPoint { minute, requests, errors, timed: requests, slow: 0.0 }
        });
        let goal = Objectives::default().goals()[0];
        assert_eq!(standing(&SliSeries::new(points), &goal, 14.4, RECENT, NOW), expected);
    }

    #[test]
    fn closes_at_a_lower_limit_than_it_opened() {
        check(|_| (600.0, 300.0), Standing::Burning);
        check(|_| (600.0, 30.0), Standing::Burning);
        check(|ago| (600.0, if ago > 6 { 300.0 } else { 3.0 }), Standing::Met);
    }

    #[test]
    fn few_good_requests_close_nothing() {
        // One request in two minutes: two good ones after an outage of an hour, and then thirty.
        let rare = |ago: u32| if ago.is_multiple_of(2) { 1.0 } else { 0.0 };
        check(|ago| (rare(ago), if ago > 4 { rare(ago) } else { 0.0 }), Standing::Burning);
        check(|ago| (rare(ago), if ago > 85 { rare(ago) } else { 0.0 }), Standing::Met);
    }

    /// What opens and what closes go by the same limit: at 80%, where nothing burns at 14.4, by 3. A limit beyond all burns
    /// was met by any good request.
    #[test]
    fn a_limit_out_of_reach_closes_by_the_one_that_opened() {
        let goal = Goal { objective: 0.8, ..Objectives::default().goals()[0] };
        let check = |requests: f64, good_minutes: u32, expected: Standing| {
            let points = (0..180).map(|ago| {
                let minute = NOW.minus(Duration::from_secs(60) * ago);
                let errors = if ago < good_minutes { 0.0 } else { requests };
                SliPoint { minute, requests, errors, timed: requests, slow: 0.0 }
            });
            let series = SliSeries::new(points);
            for limit in [3.0, 14.4] {
                assert_eq!(standing(&series, &goal, limit, RECENT, NOW), expected, "{limit}");
            }
        };
        check(0.5, 6, Standing::Burning);
        check(600.0, 6, Standing::Met);
    }

    #[test]
    fn silence_is_neither_good_nor_bad() {
        check(|ago| if ago < 10 { (0.0, 0.0) } else { (600.0, 300.0) }, Standing::Burning);
        check(|ago| if ago < 40 { (0.0, 0.0) } else { (600.0, 300.0) }, Standing::Silent);
        // A service that is asked once an hour is not silent after half of one.
        check(|ago| if ago % 60 == 45 { (1.0, 1.0) } else { (0.0, 0.0) }, Standing::Burning);
        check(|_| (0.0, 0.0), Standing::Silent);
    }
}
