//! The few statistics that detectors and the investigator share.

/// Ratio of the standard deviation to the median absolute deviation of a normal distribution.
pub const MAD_TO_SIGMA: f64 = 1.4826;

/// Lower and upper bound of the Wilson score interval for `hits` of `trials` at `z` standard deviations.
///
/// `(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)`, Wilson 1927. Chosen over the normal interval because it
/// stays inside 0..1 and does not collapse at small counts: 1 failure of 3 has a lower bound of 2% at z = 3.
/// No trials: (0, 1).
pub fn wilson(hits: f64, trials: f64, z: f64) -> (f64, f64) {
    if trials <= 0.0 {
        return (0.0, 1.0);
    }
    let ratio = (hits / trials).clamp(0.0, 1.0);
    let square = z * z;
    let middle = ratio + square / (2.0 * trials);
    let spread = z * (ratio * (1.0 - ratio) / trials + square / (4.0 * trials * trials)).sqrt();
    let scale = 1.0 + square / trials;
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

/// How many standard errors two proportions lie apart, by the pooled two-proportion z-test with one pseudo-hit and one
/// pseudo-miss on each side (Agresti and Caffo 2000), so that zero counts are tame. Positive when the second is larger.
pub fn proportion_z(before_hits: f64, before: f64, now_hits: f64, now: f64) -> f64 {
    let (before, now) = (before + 2.0, now + 2.0);
    let (before_ratio, now_ratio) = ((before_hits + 1.0) / before, (now_hits + 1.0) / now);
    let spread = before_ratio * (1.0 - before_ratio) / before + now_ratio * (1.0 - now_ratio) / now;
    if spread <= 0.0 { 0.0 } else { (now_ratio - before_ratio) / spread.sqrt() }
}

/// How many standard errors two means lie apart (Welch 1947). Zero when either side has fewer than two values; when
/// neither side varies, the sign of the difference times infinity is cut to 1000.
pub fn welch_z(before: Moments, now: Moments) -> f64 {
    if before.count < 2.0 || now.count < 2.0 {
        return 0.0;
    }
    let difference = now.mean() - before.mean();
    let spread = (before.variance() / before.count + now.variance() / now.count).sqrt();
    if difference == 0.0 { 0.0 } else { (difference / spread.max(1e-12)).clamp(-1000.0, 1000.0) }
}

/// Count, sum and sum of squares: enough for a mean and a variance, and cheap to aggregate in SQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Moments {
    /// Values.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

impl Moments {
    /// Mean; 0 without values.
    pub fn mean(&self) -> f64 {
        if self.count > 0.0 { self.sum / self.count } else { 0.0 }
    }

    /// Sample variance, never negative; 0 with fewer than two values.
    pub fn variance(&self) -> f64 {
        if self.count < 2.0 {
            return 0.0;
        }
        ((self.squares - self.sum * self.sum / self.count) / (self.count - 1.0)).max(0.0)
    }
}

/// Median of values, which are sorted in place; `None` when there are none. NaN sorts last.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_failure_of_three_pages_nobody() {
        let (low, _) = wilson(1.0, 3.0, 3.0);
        assert!(low < 0.05, "{low}");
        let (low, _) = wilson(30.0, 30.0, 3.0);
        assert!(low > 0.7, "{low}");
        assert_eq!(wilson(0.0, 0.0, 3.0), (0.0, 1.0));
    }

    #[test]
    fn constants_do_not_divide_by_zero() {
        let flat = |value: f64| Moments { count: 5.0, sum: 5.0 * value, squares: 5.0 * value * value };
        assert_eq!(welch_z(flat(1.0), flat(1.0)), 0.0);
        assert_eq!(welch_z(flat(1.0), flat(2.0)), 1000.0);
        assert_eq!(welch_z(Moments::default(), flat(2.0)), 0.0);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_ratio(trials in 1.0..1e6f64, share in 0.0..1.0f64) {
            let (low, high) = wilson(trials * share, trials, 3.0);
            prop_assert!(low <= share + 1e-9 && share <= high + 1e-9);
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
        }
    }
}
