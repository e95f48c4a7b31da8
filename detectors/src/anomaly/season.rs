//! What a series did at this time of day on the seven days before.

use std::collections::VecDeque;
use std::time::Duration;

use domain::UnixNanos;

const DAY: Duration = Duration::from_secs(86_400);
/// Days looked back at: a week, so that a Monday has a Monday to be like.
const DAYS: u32 = 7;
/// What is compared is the mean over this long: days do not repeat to the minute.
const SMOOTH: Duration = Duration::from_secs(3600);
/// Points of that hour kept at most; series of a faster beat are smoothed over less.
const SMOOTH_POINTS: usize = 512;
/// Means are noted and compared at most this often.
const BEAT: Duration = Duration::from_secs(300);
/// How far a noted mean may lie from the time of day asked for.
const NEAR: f64 = 1800.0;

/// Hourly means of the last week: at most 2,029 of them.
#[derive(Clone, Debug, Default)]
pub struct Season {
    hour: VecDeque<(UnixNanos, f64)>,
    sum: f64,
    pushes: usize,
    noted: VecDeque<(UnixNanos, f64)>,
}

/// The mean of the last hour, and that of an earlier day that comes nearest to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Now.
    pub mean: f64,
    /// On the day most like it.
    pub earlier: f64,
}

impl Season {
    /// Adds a value. Compares every five minutes at most, and only once a day before is known.
    pub fn push(&mut self, at: UnixNanos, value: f64) -> Option<Comparison> {
        let mean = self.smooth(at, value);
        if self.noted.back().is_some_and(|(last, _)| at < last.plus(BEAT)) {
            return None;
        }
        let earlier = (1..=DAYS)
            .filter_map(|day| self.noted_near(at.minus(DAY * day)))
            .min_by(|left, right| (left - mean).abs().total_cmp(&(right - mean).abs()));
        self.noted.push_back((at, mean));
        let oldest = at.minus(DAY * DAYS + SMOOTH);
        while self.noted.front().is_some_and(|(noted, _)| *noted < oldest) {
            self.noted.pop_front();
        }
        earlier.map(|earlier| Comparison { mean, earlier })
    }

    fn smooth(&mut self, at: UnixNanos, value: f64) -> f64 {
        self.hour.push_back((at, value));
        self.sum += value;
        let oldest = at.minus(SMOOTH);
        while self.hour.len() > SMOOTH_POINTS || self.hour.front().is_some_and(|(first, _)| *first <= oldest)
        {
            self.sum -= self.hour.pop_front().map_or(0.0, |(_, dropped)| dropped);
        }
        self.pushes += 1;
        // Rounding errors of large values must not outlive them.
        if self.hour.len() < 8 || self.pushes.is_multiple_of(SMOOTH_POINTS) {
            self.sum = self.hour.iter().map(|(_, value)| value).sum();
        }
        self.sum / self.hour.len().max(1) as f64
    }

    fn noted_near(&self, wanted: UnixNanos) -> Option<f64> {
        // Most series are shorter than a day.
        if self.noted.front().is_none_or(|(first, _)| first.seconds_since(wanted) > NEAR) {
            return None;
        }
        let next = self.noted.partition_point(|(noted, _)| *noted < wanted);
        [next.checked_sub(1), Some(next)]
            .into_iter()
            .filter_map(|place| self.noted.get(place?))
            .map(|(noted, mean)| (noted.seconds_since(wanted).abs(), *mean))
            .filter(|(distance, _)| *distance <= NEAR)
            .min_by(|left, right| left.0.total_cmp(&right.0))
            .map(|(_, mean)| mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_compared_with_the_day_most_like_it() {
        let mut season = Season::default();
        let mut last = None;
        // Busy days and a quiet weekend; then a quiet Monday: like a Sunday, not like a Friday.
        for hour in 0..24 * 8 {
            let weekend = (5..7).contains(&(hour / 24)) || hour / 24 == 7;
            let value = if weekend { 10.0 } else { 100.0 } + f64::from(hour % 24);
            last = season.push(UnixNanos::from_seconds(i64::from(hour) * 3600), value);
            assert_eq!(last.is_some(), hour >= 24, "{hour}");
        }
        assert_eq!(last, Some(Comparison { mean: 33.0, earlier: 33.0 }));
        assert!(season.noted.len() <= 170);
    }

    #[test]
    fn memory_is_bounded_at_any_beat() {
        let mut season = Season::default();
        for second in 0..200_000 {
            season.push(UnixNanos::from_seconds(second), 1.0);
        }
        assert!(season.hour.len() <= SMOOTH_POINTS && season.noted.len() <= 700);
    }
}
