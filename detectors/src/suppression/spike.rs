//! How loud a suppressed alert may become before it is heard again.
//!
//! The limit is Sentry's for "archived until escalating": the higher of a spike limit around the mean and a bursty limit
//! around the highest hour. With `avg`, `std`, `max` of the hourly counts of a week and `cv = std / avg`:
//!
//! - `spike = avg_w + min(max((avg + 5 std) / avg, 5), 8) * avg`, with `avg_w` the mean that weighs a day ago half as much
//! - `bursty = max * min(max(5 e^(-0.65 cv), 2), 5)`
//!
//! An alert that is known for less than a day has no shape yet: its limit is ten times its highest hour.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Hours that the limit is made of.
pub const WEEK: usize = 7 * 24;
const DAY: usize = 24;

/// Alerts in an hour above which a suppressed alert comes back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpikeLimit(pub f64);

impl SpikeLimit {
    /// The limit after these hourly counts, oldest first; only the last week counts. Without any alert it is 1: a second
    /// one within the hour is a spike.
    pub fn of(hourly: &[f64]) -> Self {
        let week = &hourly[hourly.len().saturating_sub(WEEK)..];
        let total: f64 = week.iter().sum();
        let highest = week.iter().copied().fold(0.0, f64::max);
        if total <= 0.0 {
            return Self(1.0);
        }
        if week.len() < DAY {
            return Self(10.0 * highest);
        }
        let count = week.len() as f64;
        let mean = total / count;
        let variance = week.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt();
        let factor = ((mean + 5.0 * deviation) / mean).clamp(5.0, 8.0);
        let spike = weighted_mean(week) + factor * mean;
        let bursty = highest * (5.0 * (-0.65 * deviation / mean).exp()).clamp(2.0, 5.0);
        Self(spike.max(bursty))
    }

    /// Whether so many alerts in one hour are a spike.
    pub fn exceeded_by(self, in_an_hour: f64) -> bool {
        in_an_hour > self.0
    }
}

/// The mean in which the weight of an hour halves with every day of its age.
fn weighted_mean(hourly: &[f64]) -> f64 {
    static OF_AGE: LazyLock<[f64; WEEK]> =
        LazyLock::new(|| std::array::from_fn(|age| (-(age as f64) / DAY as f64).exp2()));
    let (sum, weights) = hourly
        .iter()
        .rev()
        .zip(&*OF_AGE)
        .fold((0.0, 0.0), |(sum, weights), (value, weight)| (sum + weight * value, weights + weight));
    sum / weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hourly: &[f64], expected: f64) {
        let limit = SpikeLimit::of(hourly).0;
        assert!((limit - expected).abs() < 0.05, "{limit} is not {expected}");
    }

    #[test]
    fn the_limit_follows_the_shape() {
        check(&[], 1.0);
        check(&[0.0; 300], 1.0);
        check(&[2.0], 20.0);
        // Without any deviation: 6 times the mean, and 5 times the highest hour; the higher counts.
        check(&[6.0; WEEK], 36.0);
        // A single burst of 168 in a week of silence, seven days ago: twice the burst.
        let mut burst = [0.0; WEEK];
        burst[0] = 168.0;
        check(&burst, 336.0);
    }

    proptest::proptest! {
        #[test]
        fn the_limit_is_finite_and_scales(hourly in proptest::collection::vec(0.0..1e6_f64, 24..400), by in 1.0..100.0_f64) {
            let limit = SpikeLimit::of(&hourly).0;
            proptest::prop_assert!(limit.is_finite() && limit > 0.0);
            if hourly[hourly.len().saturating_sub(WEEK)..].iter().sum::<f64>() > 0.0 {
                let scaled: Vec<f64> = hourly.iter().map(|value| value * by).collect();
                proptest::prop_assert!((SpikeLimit::of(&scaled).0 / (limit * by) - 1.0).abs() < 1e-6);
                proptest::prop_assert!(!SpikeLimit(limit).exceeded_by(hourly[hourly.len().saturating_sub(WEEK)..].iter().copied().fold(0.0, f64::max)));
            }
        }
    }
}
