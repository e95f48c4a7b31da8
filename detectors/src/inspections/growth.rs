//! Steady growth, as a leak grows.

use domain::UnixNanos;

use crate::statistics::median;

/// Values that the slope is estimated from at most; longer series are thinned evenly. Pairs grow with the square.
const MOST: usize = 60;
/// Fewest values, and shortest time, that growth is told from.
const FEWEST: usize = 10;
const SHORTEST_SECONDS: f64 = 900.0;
/// A fall by this share is a restart, or memory given back: only what follows counts.
const FALL: f64 = 0.5;
/// Standard errors by which rises must outnumber falls.
const SIGNIFICANT: f64 = 3.0;
const HOUR: f64 = 3600.0;

/// Growth per hour as a share of the median level, or 0 where there is none worth the name; `None` when too little is
/// known.
///
/// The slope is Theil and Sen's: the median of the slopes between all pairs, which up to 29% of outliers do not move. It
/// counts when the Mann-Kendall test says that the series rises: `S = rises - falls` over all pairs exceeds three standard
/// errors, `sqrt(n (n-1) (2n+5) / 18)`.
pub fn hourly(points: &[(UnixNanos, f64)]) -> Option<f64> {
    let points: Vec<(UnixNanos, f64)> =
        points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let tail = since_last_fall(&points);
    let (first, last) = (tail.first()?, tail.last()?);
    if tail.len() < FEWEST || last.0.seconds_since(first.0) < SHORTEST_SECONDS {
        return None;
    }
    let stride = tail.len().div_ceil(MOST);
    // From the end, so that the newest value counts.
    let thin: Vec<(UnixNanos, f64)> = tail.iter().rev().step_by(stride).rev().copied().collect();
    let (mut slopes, mut balance) = (Vec::with_capacity(thin.len() * thin.len() / 2), 0.0);
    for (place, left) in thin.iter().enumerate() {
        for right in &thin[place + 1..] {
            let seconds = right.0.seconds_since(left.0);
            if seconds > 0.0 {
                slopes.push((right.1 - left.1) / seconds);
                balance += match right.1.total_cmp(&left.1) {
                    std::cmp::Ordering::Less => -1.0,
                    std::cmp::Ordering::Equal => 0.0,
                    std::cmp::Ordering::Greater => 1.0,
                };
            }
        }
    }
    let count = thin.len() as f64;
    let error = (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    if balance < SIGNIFICANT * error {
        return Some(0.0);
    }
    let level = median(&mut thin.iter().map(|(_, value)| *value).collect::<Vec<_>>())?;
    let growth = median(&mut slopes)? * HOUR / level;
    (level > 0.0 && growth.is_finite()).then_some(growth)
}

fn since_last_fall(points: &[(UnixNanos, f64)]) -> &[(UnixNanos, f64)] {
    let fall = points.windows(2).rposition(|pair| pair[1].1 < (1.0 - FALL) * pair[0].1);
    &points[fall.map_or(0, |place| place + 1)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One value a minute for an hour.
    fn hour(value: impl Fn(usize) -> f64) -> Vec<(UnixNanos, f64)> {
        (0..=60).map(|minute| (UnixNanos::from_seconds(60 * minute as i64), value(minute))).collect()
    }

    fn check(value: impl Fn(usize) -> f64, expected: Option<f64>) {
        let growth = hourly(&hour(value));
        let close = match (growth, expected) {
            (Some(growth), Some(expected)) => (growth - expected).abs() < 0.01,
            (growth, expected) => growth == expected,
        };
        assert!(close, "{growth:?} not {expected:?}");
    }

    #[test]
    fn leaks_and_what_looks_like_them() {
        let waver = |minute: usize| (minute * 37 % 11) as f64 - 5.0;
        check(|minute| 1000.0 + 5.0 * minute as f64, Some(300.0 / 1150.0));
        check(|minute| 1000.0 + 5.0 * minute as f64 + waver(minute), Some(300.0 / 1150.0));
        // A collector that gives back what was taken, noise, a plateau, a single jump of an outlier.
        check(|minute| 1000.0 + 5.0 * (minute % 10) as f64, Some(0.0));
        check(|minute| 1000.0 + waver(minute), Some(0.0));
        check(|_| 1000.0, Some(0.0));
        check(|minute| if minute == 30 { 1e9 } else { 1000.0 }, Some(0.0));
        // A restart: only what follows counts, if it is long enough.
        check(|minute| if minute < 30 { 5000.0 } else { 1000.0 + 5.0 * minute as f64 }, Some(300.0 / 1225.0));
        check(|minute| if minute < 55 { 5000.0 } else { 1000.0 + 5.0 * minute as f64 }, None);
        check(|_| f64::NAN, None);
        assert_eq!(hourly(&[]), None);
    }

    proptest! {
        #[test]
        fn units_do_not_matter(values in prop::collection::vec(1.0..1e6_f64, 61), exponent in -20..20_i32) {
            let scale = f64::from(exponent).exp2();
            prop_assert_eq!(hourly(&hour(|minute| values[minute])), hourly(&hour(|minute| values[minute] * scale)));
        }
    }
}
