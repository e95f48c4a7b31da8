//! Buckets of both kinds of histogram as Prometheus has them: cumulative, named by their upper bound.
//!
//! Exponential histograms are laid on one fixed grid, two steps to an octave (upper bounds 2^(k/2)), coarser by powers
//! of two where a point spans too much. Buckets of scale 1 and above end on grid lines or between two of them, those
//! below on every second line and so on, so that no count is split, and a bound means the same in every point. Values
//! at or below zero are counted under the bound 0. The grid costs at most 41% in a quantile before interpolation.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point;

use crate::limits::MAX_BUCKETS;
use crate::normalise::NOT_FINITE;
use crate::tally::Reason;

/// Upper bounds and cumulative counts, ascending; the last bound is `+Inf`. Empty when the point has no buckets.
pub(super) type Buckets = Vec<(String, u64)>;

const INFINITE: &str = "+Inf";

/// Bounds of one exponential histogram, beside 0 and infinity.
const MAX_GRID_BUCKETS: i64 = 40;

/// The scales that the specification gives senders.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;

/// Grid lines that a normal double can hold: from 2^-1022 to 2^1023.5.
const GRID: std::ops::RangeInclusive<i64> = -2044..=2047;

/// `bounds` has one entry less than `counts`, or both are empty. An infinite last bound, which some senders write, is
/// the same as none.
pub(super) fn explicit_buckets(bounds: &[f64], counts: &[u64]) -> Result<Buckets, Reason> {
    if counts.is_empty() {
        return if bounds.is_empty() { Ok(Vec::new()) } else { Err(Reason::MalformedPoint) };
    }
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    let finite = bounds.split_last().is_none_or(|(last, rest)| {
        !last.is_nan() && *last > -NOT_FINITE && rest.iter().all(|bound| bound.abs() < NOT_FINITE)
    });
    if counts.len() != bounds.len() + 1 || counts.len() > MAX_BUCKETS || !ascending || !finite {
        return Err(Reason::MalformedPoint);
    }
    let mut total = 0_u64;
    let mut buckets = Vec::with_capacity(counts.len());
    for (position, count) in counts.iter().enumerate() {
        total = total.saturating_add(*count);
        if let Some(bound) = bounds.get(position).filter(|bound| **bound < NOT_FINITE) {
            buckets.push((bound_text(*bound), total));
        }
    }
    buckets.push((INFINITE.into(), total));
    Ok(buckets)
}

pub(super) fn exponential_buckets(point: &ExponentialHistogramDataPoint) -> Result<Buckets, Reason> {
    if !SCALES.contains(&point.scale) {
        return Err(Reason::MalformedPoint);
    }
    let negative: u64 =
        point.negative.iter().flat_map(|buckets| &buckets.bucket_counts).fold(0, saturating_sum);
    let mut grid = BTreeMap::new();
    for (index, count) in point.positive.iter().flat_map(indexed) {
        let line = grid_line(index, point.scale).max(*GRID.start());
        let total: &mut u64 = grid.entry(line).or_default();
        *total = total.saturating_add(count);
    }
    let step = coarsen(&mut grid);

    let mut total = point.zero_count.saturating_add(negative);
    let mut buckets = vec![("0".to_owned(), total)];
    if let (Some((first, _)), Some((last, _))) = (grid.first_key_value(), grid.last_key_value()) {
        // Empty buckets between two others are written too, so that a quantile is not stretched across them.
        for line in *first..=*last {
            total = total.saturating_add(grid.get(&line).copied().unwrap_or(0));
            if let Some(bound) = grid_bound(line.saturating_mul(step)) {
                buckets.push((bound_text(bound), total));
            }
        }
    }
    buckets.push((INFINITE.into(), total));
    Ok(buckets)
}

/// Populated buckets with their index.
fn indexed(buckets: &exponential_histogram_data_point::Buckets) -> impl Iterator<Item = (i64, u64)> {
    let counts = buckets.bucket_counts.iter().copied();
    (i64::from(buckets.offset)..).zip(counts).filter(|(_, count)| *count > 0)
}

/// The first grid line at or above the upper bound of a bucket, which is 2^((index + 1) / 2^scale).
fn grid_line(index: i64, scale: i32) -> i64 {
    let upper = index.saturating_add(1);
    match scale - 1 {
        finer if finer >= 0 => ceil_div(upper, 1 << finer),
        coarser => upper.saturating_mul(1 << -coarser),
    }
    .min(GRID.end() + 1)
}

/// Joins neighbours until few enough are left; returns how many grid lines one step is then.
fn coarsen(grid: &mut BTreeMap<i64, u64>) -> i64 {
    let mut step = 1;
    while let (Some((first, _)), Some((last, _))) = (grid.first_key_value(), grid.last_key_value())
        && last - first >= MAX_GRID_BUCKETS
    {
        let mut joined = BTreeMap::new();
        for (line, count) in std::mem::take(grid) {
            let total: &mut u64 = joined.entry(ceil_div(line, 2)).or_default();
            *total = total.saturating_add(count);
        }
        *grid = joined;
        step *= 2;
    }
    step
}

/// 2^(line / 2), the same on every machine; `None` beyond what a double can hold.
fn grid_bound(line: i64) -> Option<f64> {
    if !GRID.contains(&line) {
        return None;
    }
    const EXPONENT_BIAS: i64 = 1023;
    const MANTISSA_BITS: u32 = 52;
    let octave = f64::from_bits(((line.div_euclid(2) + EXPONENT_BIAS) as u64) << MANTISSA_BITS);
    Some(if line.rem_euclid(2) == 0 { octave } else { octave * std::f64::consts::SQRT_2 })
}

fn ceil_div(value: i64, by: i64) -> i64 {
    value.div_euclid(by) + i64::from(value.rem_euclid(by) != 0)
}

fn saturating_sum(total: u64, count: &u64) -> u64 {
    total.saturating_add(*count)
}

/// `10`, `0.005`, `1e-9`: the shortest that reads back as the same number.
fn bound_text(bound: f64) -> String {
    const PLAIN: std::ops::Range<f64> = 1e-5..1e15;
    if bound == 0.0 || PLAIN.contains(&bound.abs()) { bound.to_string() } else { format!("{bound:e}") }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets as Exponential;

    use super::*;

    fn show(buckets: Result<Buckets, Reason>) -> String {
        match buckets {
            Ok(buckets) => {
                buckets.iter().map(|(bound, count)| format!("{bound}:{count}")).collect::<Vec<_>>().join(" ")
            }
            Err(reason) => reason.as_str().into(),
        }
    }

    fn check_explicit(bounds: &[f64], counts: &[u64], expected: &str) {
        assert_eq!(show(explicit_buckets(bounds, counts)), expected, "{bounds:?} {counts:?}");
    }

    #[test]
    fn explicit_buckets_become_cumulative() {
        check_explicit(&[0.005, 10.0, 2e20], &[1, 0, 2, 4], "0.005:1 10:1 2e20:3 +Inf:7");
        check_explicit(&[-1.0, 0.0], &[1, 1, 1], "-1:1 0:2 +Inf:3");
        check_explicit(&[], &[5], "+Inf:5");
        check_explicit(&[], &[], "");
        check_explicit(&[1.0, f64::INFINITY], &[1, 2, 0], "1:1 +Inf:3");
        check_explicit(&[1.0], &[u64::MAX, 1], &format!("1:{0} +Inf:{0}", u64::MAX));
    }

    #[test]
    fn explicit_buckets_that_do_not_fit_are_refused() {
        check_explicit(&[1.0], &[1], "malformed_point");
        check_explicit(&[1.0], &[], "malformed_point");
        check_explicit(&[2.0, 1.0], &[1, 1, 1], "malformed_point");
        check_explicit(&[f64::NAN], &[1, 1], "malformed_point");
        check_explicit(&[f64::NEG_INFINITY], &[1, 1], "malformed_point");
        check_explicit(&vec![0.0; 300], &vec![1; 301], "malformed_point");
    }

    fn check_exponential(scale: i32, offset: i32, counts: &[u64], expected: &str) {
        let point = ExponentialHistogramDataPoint {
            scale,
            zero_count: 1,
            positive: Some(Exponential { offset, bucket_counts: counts.to_vec() }),
            negative: Some(Exponential { offset: 0, bucket_counts: vec![2] }),
            ..Default::default()
        };
        assert_eq!(show(exponential_buckets(&point)), expected, "scale {scale} offset {offset}");
    }

    #[test]
    fn exponential_buckets_lie_on_the_grid() {
        // Base 2: (1, 2], (2, 4], (4, 8].
        check_exponential(
            0,
            0,
            &[1, 0, 2],
            "0:3 2:4 2.8284271247461903:4 4:4 5.656854249492381:4 8:6 +Inf:6",
        );
        // Base 2^(1/8): the eight buckets of the octave (1, 2] fall into two.
        check_exponential(3, 0, &[1; 8], "0:3 1.4142135623730951:7 2:11 +Inf:11");
        // Below one.
        check_exponential(0, -2, &[1], "0:3 0.5:4 +Inf:4");
        check_exponential(0, 0, &[], "0:3 +Inf:3");
        check_exponential(21, 0, &[1], "malformed_point");
    }

    #[test]
    fn wide_exponential_histograms_get_coarser() {
        let point = ExponentialHistogramDataPoint {
            scale: 0,
            positive: Some(Exponential { offset: -30, bucket_counts: vec![1; 60] }),
            ..Default::default()
        };
        let buckets = exponential_buckets(&point).unwrap();
        assert!(buckets.len() as i64 <= MAX_GRID_BUCKETS + 2, "{buckets:?}");
        assert_eq!(buckets.last().unwrap(), &(INFINITE.to_owned(), 60));
        // Two octaves to a step: bounds are powers of four.
        assert!(buckets.contains(&("4".to_owned(), 32)), "{buckets:?}");
    }

    #[test]
    fn extreme_exponential_histograms_stay_bounded() {
        for (scale, offset) in
            [(-10, i32::MAX), (-10, i32::MIN), (20, i32::MAX), (20, i32::MIN), (0, i32::MAX)]
        {
            let point = ExponentialHistogramDataPoint {
                scale,
                positive: Some(Exponential { offset, bucket_counts: vec![u64::MAX; 3] }),
                ..Default::default()
            };
            let buckets = exponential_buckets(&point).unwrap();
            assert!(buckets.len() as i64 <= MAX_GRID_BUCKETS + 2);
            assert!(buckets.is_sorted_by_key(|(_, count)| *count));
        }
    }
}
