//! One instance of a service unlike its peers.
//!
//! Clustering is `augurs`' DBSCAN in one dimension, which looks for the majority at each instant. What is ours is how far
//! apart is far: `augurs` derives it from the whole span of the values, so that of three instances at 10.0, 10.1 and 10.3
//! the last one stands out (a test shows it). Here it follows from how much instances differ ordinarily.

use std::time::Duration;

use augurs_outlier::{DbscanDetector, OutlierDetector as _};
use domain::{UnixNanos, Window, text};
use serde::{Deserialize, Serialize};

use crate::statistics::{MAD_TO_SIGMA, median};

/// Fewest instances of which a majority can be told.
pub const FEWEST: usize = 3;
/// Instants compared at most.
const MOST_INSTANTS: usize = 1000;
/// Neighbours may lie apart by three robust deviations of the group, and by a quarter of its level besides: instances
/// carry somewhat different loads.
const DEVIATIONS: f64 = 3.0;
const LEVEL_SHARE: f64 = 0.25;
/// An instance stands out when it does so for at least this share of the window: a spike is no difference.
const LASTING: f64 = 0.5;

/// An instance unlike its peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlier {
    /// Its place in the group.
    pub member: usize,
    /// Its median value.
    pub value: f64,
    /// The median of the others' medians.
    pub peers: f64,
    /// Share of the window in which it stood apart, 0 to 1.
    pub share: f64,
    /// Since when it has.
    pub since: UnixNanos,
}

impl Outlier {
    /// `cart-2 is at 95.1, its 4 peers at 30.2 (3.15 times), for 100% of the time.` `name` is text from telemetry.
    pub fn sentence(&self, name: &str, members: usize) -> String {
        let ratio = self.value / self.peers;
        let times = if ratio.is_finite() && ratio > 0.0 {
            format!(" ({} times)", text::number(ratio))
        } else {
            String::new()
        };
        format!(
            "{} is at {}, its {} peers at {}{times}, for {} of the time since {}.",
            text::plain(name, 100),
            text::number(self.value),
            members.saturating_sub(1),
            text::number(self.peers),
            text::percent(self.share),
            self.since.clock_time(),
        )
    }
}

/// The members of a group that stand apart from its majority, those furthest from it first.
///
/// Series are sampled at every `beat` of the window (a value holds until the next), gaps are filled with the median of the
/// others. At each instant, members that a chain of gaps of at most `3 x 1.4826 x median MAD + 25% of the median level`
/// connects form a cluster; when it holds the majority, those outside stand apart. None with fewer than three members.
pub fn outliers(series: &[&[(UnixNanos, f64)]], window: Window, beat: Duration) -> Vec<Outlier> {
    let instants = instants(window, beat);
    if series.len() < FEWEST || instants.is_empty() {
        return Vec::new();
    }
    let mut rows: Vec<Vec<f64>> = series.iter().map(|points| sampled(points, &instants)).collect();
    let apart = fill_and_measure(&mut rows, instants.len());
    let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
    let detector = DbscanDetector::with_epsilon(apart);
    let Ok(found) = detector.preprocess(&slices).and_then(|data| detector.detect(&data)) else {
        return Vec::new();
    };
    // Where no cluster holds the majority, everything is an outlier to DBSCAN and nothing is to us.
    let Some(band) = found.cluster_band else { return Vec::new() };
    let mut outliers: Vec<Outlier> = found
        .series_results
        .iter()
        .enumerate()
        .filter_map(|(member, result)| {
            let apart = |place: &usize| result.scores[*place] > 0.0 && band.min[*place].is_finite();
            let places: Vec<usize> = (0..instants.len()).filter(apart).collect();
            let share = places.len() as f64 / instants.len() as f64;
            // Only what still stands apart.
            let lasts = share >= LASTING && places.last() == Some(&(instants.len() - 1));
            lasts.then(|| Outlier {
                member,
                value: median(&mut rows[member].clone()).unwrap_or_default(),
                peers: level_of_others(&rows, member),
                share,
                since: instants[places[0]],
            })
        })
        .collect();
    let distance = |outlier: &Outlier| (outlier.value - outlier.peers).abs();
    outliers.sort_by(|left, right| {
        distance(right).total_cmp(&distance(left)).then(left.member.cmp(&right.member))
    });
    outliers
}

fn instants(window: Window, beat: Duration) -> Vec<UnixNanos> {
    let beat = beat.max(window.duration() / MOST_INSTANTS as u32).max(Duration::from_millis(1));
    let next = |at: &UnixNanos| Some(at.plus(beat)).filter(|next| window.contains(*next));
    std::iter::successors(Some(window.start).filter(|start| window.contains(*start)), next)
        .take(MOST_INSTANTS + 1)
        .collect()
}

/// The value that holds at each instant: the last one of the beat before it. NaN where there is none.
fn sampled(points: &[(UnixNanos, f64)], instants: &[UnixNanos]) -> Vec<f64> {
    let mut points: Vec<(UnixNanos, f64)> =
        points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    points.sort_by_key(|(at, _)| *at);
    let beat = instants.get(1).map_or(Duration::ZERO, |second| Window::new(instants[0], *second).duration());
    let value = |at: &UnixNanos| {
        let next = points.partition_point(|(point, _)| *point < at.plus(beat));
        let last = next.checked_sub(1).map(|place| points[place]);
        // Values come a beat apart, or two when one is late.
        last.filter(|(point, _)| *point >= at.minus(beat)).map_or(f64::NAN, |(_, value)| value)
    };
    instants.iter().map(value).collect()
}

/// Fills gaps with the median of the instant, and says how far apart neighbours may lie.
fn fill_and_measure(rows: &mut [Vec<f64>], instants: usize) -> f64 {
    let (mut levels, mut deviations) = (Vec::new(), Vec::new());
    for place in 0..instants {
        let mut present: Vec<f64> =
            rows.iter().map(|row| row[place]).filter(|value| value.is_finite()).collect();
        let middle = median(&mut present).unwrap_or_default();
        let mut distances: Vec<f64> = present.iter().map(|value| (value - middle).abs()).collect();
        levels.push(middle.abs());
        deviations.extend(median(&mut distances));
        for row in rows.iter_mut().filter(|row| !row[place].is_finite()) {
            row[place] = middle;
        }
    }
    let [level, deviation] = [&mut levels, &mut deviations].map(|values| median(values).unwrap_or_default());
    DEVIATIONS * MAD_TO_SIGMA * deviation + LEVEL_SHARE * level
}

fn level_of_others(rows: &[Vec<f64>], member: usize) -> f64 {
    let others = rows.iter().enumerate().filter(|(other, _)| *other != member);
    let mut levels: Vec<f64> = others.filter_map(|(_, row)| median(&mut row.clone())).collect();
    median(&mut levels).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BEAT: Duration = Duration::from_secs(15);

    fn window() -> Window {
        Window::new(UnixNanos::from_seconds(1_795_000_000), UnixNanos::from_seconds(1_795_000_900))
    }

    fn outliers(series: &[Vec<(UnixNanos, f64)>]) -> Vec<Outlier> {
        let series: Vec<_> = series.iter().map(Vec::as_slice).collect();
        super::outliers(&series, window(), BEAT)
    }

    /// Sixty values per member around its level, wavering by a few percent.
    fn group(levels: &[f64]) -> Vec<Vec<(UnixNanos, f64)>> {
        let member = |(number, level): (usize, &f64)| {
            let value = |place: usize| level * (1.0 + 0.02 * ((place * 7 + number * 3) % 5) as f64);
            (0..60).map(|place| (window().start.plus(BEAT * place as u32), value(place))).collect()
        };
        levels.iter().enumerate().map(member).collect()
    }

    fn check(levels: &[f64], expected: &[usize]) {
        let found: Vec<usize> = outliers(&group(levels)).iter().map(|outlier| outlier.member).collect();
        assert_eq!(found, expected, "{levels:?}");
    }

    #[test]
    fn the_odd_one_out() {
        check(&[30.0, 31.0, 95.0, 30.0, 29.0], &[2]);
        check(&[30.0, 31.0, 0.0, 30.0], &[2]);
        check(&[10.0, 10.1, 10.3], &[]);
        check(&[30.0, 30.0, 30.0], &[]);
        check(&[0.0, 0.0, 0.0, 5.0], &[3]);
        // A group that differs by nature, two groups of equal size, too few.
        check(&[10.0, 20.0, 30.0, 40.0, 50.0], &[]);
        check(&[10.0, 10.0, 90.0, 90.0], &[]);
        check(&[10.0, 90.0], &[]);
        check(&[], &[]);
    }

    #[test]
    fn a_spike_is_no_difference_and_a_gap_is_none_either() {
        let mut series = group(&[30.0, 31.0, 30.0]);
        series[1].iter_mut().skip(10).take(10).for_each(|(_, value)| *value = 900.0);
        series[2].drain(20..40);
        assert_eq!(outliers(&series), []);
    }

    #[test]
    fn it_is_said_in_a_sentence() {
        let found = outliers(&group(&[30.0, 31.0, 95.0, 30.0, 29.0]));
        assert_eq!(
            found[0].sentence("cart-2", 5),
            "cart-2 is at 98.8, its 4 peers at 31.2 (3.17 times), for 100% of the time since 11:06:40."
        );
    }

    #[test]
    fn augurs_alone_takes_the_span_for_the_measure() {
        let rows = [10.0, 10.1, 10.3].map(|level| vec![level; 60]);
        let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let detector = DbscanDetector::with_sensitivity(0.5).unwrap();
        let found = detector.detect(&detector.preprocess(&slices).unwrap()).unwrap();
        assert!(found.is_outlier(2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn neither_units_nor_order_matter(levels in prop::collection::vec(1.0..100.0_f64, 3..8), exponent in -10..10_i32) {
            let members = |levels: &[f64]| -> Vec<usize> {
                let mut found: Vec<usize> = outliers(&group(levels)).iter().map(|outlier| outlier.member).collect();
                found.sort_unstable();
                found
            };
            let scaled: Vec<f64> = levels.iter().map(|level| level * f64::from(exponent).exp2()).collect();
            prop_assert_eq!(members(&levels), members(&scaled));
            let series = group(&levels);
            let reversed: Vec<_> = series.iter().rev().cloned().collect();
            let count = |series: &[Vec<(UnixNanos, f64)>]| outliers(series).len();
            prop_assert_eq!(count(&series), count(&reversed));
        }
    }
}
