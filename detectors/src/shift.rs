//! Whether a metric left its baseline, robustly.

use serde::{Deserialize, Serialize};

use crate::statistics::MAD_TO_SIGMA;

/// A baseline flatter than this share of its level is given this much spread: meters round, and a change of a hair is no
/// finding.
const FLOOR_SHARE: f64 = 0.05;
/// And this share divided by its number of values: few values know little of their own spread.
const FEW_SHARE: f64 = 0.5;

/// Order statistics of one side of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Values.
    pub count: f64,
    /// Middle value.
    pub median: f64,
    /// Median absolute deviation from it.
    pub mad: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// Signed robust score of a level against its baseline: `(median now - median before) / (1.4826 MAD + (5% + 50%/n) of level)`.
///
/// Median and MAD resist outliers (Rousseeuw and Croux 1993). A value counts the more, the fewer of the baseline's own
/// values reach it: inside the baseline's range the score is halved. 0 when either side is empty or not finite.
pub fn score(before: Level, now: Level) -> f64 {
    if before.count < 2.0 || now.count < 1.0 {
        return 0.0;
    }
    let level = before.median.abs().max(now.median.abs());
    let spread = MAD_TO_SIGMA * before.mad + (FLOOR_SHARE + FEW_SHARE / before.count) * level;
    let difference = now.median - before.median;
    if !difference.is_finite() || spread <= 0.0 || !spread.is_finite() {
        return 0.0;
    }
    let inside = now.median >= before.min && now.median <= before.max;
    difference / spread * if inside { 0.5 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level(median: f64, mad: f64) -> Level {
        Level { count: 30.0, median, mad, min: median - 3.0 * mad, max: median + 3.0 * mad }
    }

    #[test]
    fn constants_noise_and_steps() {
        assert_eq!(score(level(5.0, 0.0), level(5.0, 0.0)), 0.0);
        assert!(score(level(5.0, 0.0), level(50.0, 1.0)) > 10.0);
        assert!(score(level(5.0, 1.0), level(6.0, 1.0)).abs() < 1.0);
        assert_eq!(score(Level::default(), level(1.0, 0.0)), 0.0);
        assert_eq!(score(level(0.0, 0.0), level(0.0, 0.0)), 0.0);
        assert_eq!(score(level(1.0, 0.1), level(f64::NAN, 0.1)), 0.0);
    }

    proptest! {
        #[test]
        fn units_do_not_matter(before in 0.1..1e6f64, now in 0.1..1e6f64, mad in 0.0..100.0f64, scale in 1e-3..1e3f64) {
            let plain = score(level(before, mad), level(now, mad));
            let scaled = score(level(before * scale, mad * scale), level(now * scale, mad * scale));
            prop_assert!((plain - scaled).abs() < 1e-6 * plain.abs().max(1.0));
        }
    }
}
