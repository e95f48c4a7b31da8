//! Requests over time, as objectives look at them: counts per stretch, and sums over windows that end now.
//!
//! A series is a function of the *set* of its points: their order does not matter, and neither does being told a point
//! twice. A stretch that is told with different counts is taken with the most requests, since counts only grow while
//! late telemetry comes in.

use std::time::Duration;

use domain::{Sli, UnixNanos};

const MINUTE: Duration = Duration::from_secs(60);

/// Requests that arrived within a stretch of time, most often a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SliPoint {
    /// Start of the stretch.
    pub minute: UnixNanos,
    /// Requests received, or events of a custom SLI.
    pub requests: f64,
    /// Ones that failed, or were not good.
    pub errors: f64,
    /// Ones whose latency counts: all but those that wait by design.
    pub timed: f64,
    /// Ones of these slower than the latency objective's threshold.
    pub slow: f64,
}

impl SliPoint {
    /// All that count for an objective, and the bad ones among them.
    pub const fn of(&self, sli: Sli) -> (f64, f64) {
        match sli {
            Sli::Availability | Sli::Custom => (self.requests, self.errors),
            Sli::Latency => (self.timed, self.slow),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            minute: other.minute,
            requests: self.requests + other.requests,
            errors: self.errors + other.errors,
            timed: self.timed + other.timed,
            slow: self.slow + other.slow,
        }
    }
}

/// Bad share over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Burn {
    /// Requests that count.
    pub requests: f64,
    /// Bad ones.
    pub bad: f64,
    /// Burn rate: `bad share / (1 - objective)`; 0 without requests.
    pub rate: f64,
}

/// Points in order of time with their running totals, so that a window of any length is two look-ups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SliSeries {
    points: Vec<SliPoint>,
    /// `totals[i]` is the sum of the first `i` points.
    totals: Vec<SliPoint>,
}

impl SliSeries {
    /// A series of points in any order.
    pub fn new(points: impl IntoIterator<Item = SliPoint>) -> Self {
        let mut points: Vec<SliPoint> = points.into_iter().collect();
        if !points.is_sorted_by_key(|point| point.minute) {
            points.sort_by_key(|point| point.minute);
        }
        points.dedup_by(|next, kept| {
            let same = next.minute == kept.minute;
            if same && (next.requests, next.errors, next.slow) > (kept.requests, kept.errors, kept.slow) {
                *kept = *next;
            }
            same
        });
        let mut totals = Vec::with_capacity(points.len() + 1);
        let mut total = SliPoint::default();
        totals.push(total);
        for point in &points {
            total = total.plus(point);
            totals.push(total);
        }
        Self { points, totals }
    }

    /// The points up to `now`, oldest first.
    pub fn until(&self, now: UnixNanos) -> &[SliPoint] {
        &self.points[..self.points.partition_point(|point| point.minute <= now)]
    }

    /// Burn over the `window` that ends at `now`. Minutes count whole, the present one as far as it has come; a longer
    /// stretch counts when it begins inside.
    pub fn burn(&self, sli: Sli, objective: f64, now: UnixNanos, window: Duration) -> Burn {
        let since = now.minus(window).floor(MINUTE);
        let end = self.points.partition_point(|point| point.minute <= now);
        let start = self.points.partition_point(|point| point.minute < since).min(end);
        let total = |place: usize| self.totals.get(place).map_or((0.0, 0.0), |total| total.of(sli));
        let (after, before) = (total(end), total(start));
        let (requests, bad) = (after.0 - before.0, (after.1 - before.1).max(0.0));
        if requests <= 0.0 {
            return Burn::default();
        }
        Burn { requests, bad, rate: bad / requests / budget(objective) }
    }

    /// Share of the `window` before `now` that lies after the first point: how much of it is known.
    pub fn coverage(&self, now: UnixNanos, window: Duration) -> f64 {
        let known = self.points.first().map_or(0.0, |first| now.seconds_since(first.minute).max(0.0));
        (known / window.as_secs_f64().max(1.0)).min(1.0)
    }
}

/// The share that may be bad: `1 - objective`, never quite nothing.
pub fn budget(objective: f64) -> f64 {
    (1.0 - objective).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(minute: i64, requests: u32, errors: u32) -> SliPoint {
        SliPoint {
            minute: UnixNanos::from_seconds(60 * minute),
            requests: f64::from(requests),
            errors: f64::from(errors.min(requests)),
            timed: f64::from(requests),
            slow: 0.0,
        }
    }

    #[test]
    fn windows_hold_whole_minutes() {
        let series = SliSeries::new([point(0, 10, 1), point(1, 10, 2), point(2, 10, 4), point(9, 10, 10)]);
        let check = |window: u64, now: i64, expected: (f64, f64)| {
            let burn = series.burn(
                Sli::Availability,
                0.9,
                UnixNanos::from_seconds(now),
                Duration::from_secs(window),
            );
            assert_eq!((burn.requests, burn.bad), expected);
            assert!((burn.rate - expected.1 / expected.0.max(1.0) * 10.0).abs() < 1e-9);
        };
        check(60, 130, (20.0, 6.0));
        check(120, 130, (30.0, 7.0));
        check(60, 121, (20.0, 6.0));
        check(3600, 130, (30.0, 7.0));
        check(60, 400, (0.0, 0.0));
        assert_eq!(SliSeries::default().burn(Sli::Latency, 0.9, UnixNanos(0), MINUTE), Burn::default());
    }

    #[test]
    fn what_is_not_known_is_not_covered() {
        let series = SliSeries::new([point(10, 1, 0)]);
        let hour = Duration::from_secs(3600);
        assert_eq!(series.coverage(UnixNanos::from_seconds(60 * 25), hour), 0.25);
        assert_eq!(series.coverage(UnixNanos::from_seconds(60 * 500), hour), 1.0);
        assert_eq!(SliSeries::default().coverage(UnixNanos(0), hour), 0.0);
    }

    proptest! {
        #[test]
        fn a_series_is_a_function_of_the_set_of_its_points(
            points in prop::collection::vec((0i64..50, 0u32..100, 0u32..100), 0..40),
            seed in 0usize..1000,
        ) {
            let points: Vec<SliPoint> = points.iter().map(|(at, requests, errors)| point(*at, *requests, *errors)).collect();
            let expected = SliSeries::new(points.clone());
            let mut mixed = [points.clone(), points].concat();
            let length = mixed.len().max(1);
            mixed.rotate_left(seed % length);
            mixed.reverse();
            prop_assert_eq!(expected, SliSeries::new(mixed));
        }
    }
}
