//! Which of many series are anomalous now, with a bound on how many of them are chance.
//!
//! One series has an anomaly now and then by chance; ten thousand always have some. So the anomalies of a round are told
//! together: by Benjamini and Hochberg's procedure (1995), of those that are told the share [`FALSE_SHARE`] at most is
//! expected to be chance. When one series moves among thousands it must move far; when much moves, as in an outage, more of
//! it is told.

use std::time::Duration;

use domain::UnixNanos;

use super::episode::{Episode, Episodes};
use super::{Detector, RARE, View};
use crate::statistics::median;

/// Anomalies that began longer ago are no news.
pub const NEWS: Duration = Duration::from_secs(600);
/// Share of the told that may be chance; where nothing happens, the chance that a round tells anything.
pub const FALSE_SHARE: f64 = 0.01;
/// The last values, whose median says whether a change still stands.
const LAST: usize = 4;
/// Different values that a series must have had before for its tail to be extrapolated. Fewer vouch for no chance below
/// `1/n²`: a series that has not moved does not say how far it may.
const FEWEST_DISTINCT: usize = 8;

/// A change of a series that still stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The change.
    pub episode: Episode,
    /// Chance of as much anywhere in the last [`NEWS`], 0 to 1.
    pub chance: f64,
}

/// The most surprising anomaly that began within [`NEWS`] and has not ended, of values in order of time.
pub fn standing(points: &[(UnixNanos, f64)], now: UnixNanos) -> Option<Standing> {
    let since = now.minus(NEWS);
    let recent = points.partition_point(|(at, _)| *at < since);
    let looks = points.len() - recent;
    if looks == 0 || recent == 0 {
        return None;
    }
    let (mut detector, mut episodes) = (Detector::default(), Episodes::default());
    let mut least = 1.0_f64;
    for (place, (at, value)) in points.iter().enumerate() {
        let verdict = detector.push(*at, *value);
        // Stillness is rare by a measure of its own, whose tail an hour does not tell.
        if place >= recent && verdict.view != Some(View::Quiet) {
            episodes.push(*at, &verdict);
            // The score is 1 - 2^(-s / ln 288).
            let surprise = -(1.0 - verdict.score).log2() * RARE.ln();
            least = least.min((-surprise).exp());
        }
    }
    let episode = episodes.finish().into_iter().max_by(|a, b| a.score.total_cmp(&b.score))?;
    if !still_stands(&episode, points) {
        return None;
    }
    let vouched = if is_lively(&points[..recent]) { 0.0 } else { (recent as f64).powi(-2) };
    Some(Standing { episode, chance: (looks as f64 * least.max(vouched)).min(1.0) })
}

fn is_lively(points: &[(UnixNanos, f64)]) -> bool {
    let mut seen: Vec<f64> = Vec::with_capacity(FEWEST_DISTINCT);
    for (_, value) in points {
        if !seen.contains(value) {
            seen.push(*value);
        }
        if seen.len() == FEWEST_DISTINCT {
            return true;
        }
    }
    false
}

/// Whether the last values are nearer to what came than to what was to be expected.
fn still_stands(episode: &Episode, points: &[(UnixNanos, f64)]) -> bool {
    let mut last: Vec<f64> = points.iter().rev().take(LAST).map(|(_, value)| *value).collect();
    median(&mut last).is_some_and(|last| (last - episode.after).abs() < (last - episode.before).abs())
}

/// The largest chance that is told of, when `of` series were looked at and some have a standing change:
/// `max { p_(k) : p_(k) <= k/of x FALSE_SHARE }` over the chances in order of size; `None` when nothing is.
pub fn bar(chances: &[f64], of: usize) -> Option<f64> {
    let mut sorted = chances.to_vec();
    sorted.sort_by(f64::total_cmp);
    let allowed = |rank: usize| (rank + 1) as f64 / of.max(1) as f64 * FALSE_SHARE;
    (0..sorted.len()).rev().find(|rank| sorted[*rank] <= allowed(*rank)).map(|rank| sorted[rank])
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const BEAT: Duration = Duration::from_secs(15);
    const NOW: UnixNanos = UnixNanos::from_seconds(1_795_000_000);

    /// An hour of values by how many beats ago.
    fn hour(mut value: impl FnMut(u32) -> f64) -> Vec<(UnixNanos, f64)> {
        (0..240).rev().map(|ago| (NOW.minus(BEAT * ago), value(ago))).collect()
    }

    /// Sum of twelve: near enough to a normal distribution.
    fn noise(random: &mut Rng) -> f64 {
        (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
    }

    #[track_caller]
    fn check(value: impl FnMut(u32) -> f64, chance: Option<std::ops::RangeInclusive<f64>>) {
        let standing = standing(&hour(value), NOW);
        match (&standing, chance) {
            (Some(standing), Some(expected)) => assert!(expected.contains(&standing.chance), "{standing:?}"),
            (found, expected) => assert_eq!(found.is_some(), expected.is_some(), "{found:?}"),
        }
    }

    #[test]
    fn what_changed_and_stands() {
        let mut random = Rng::with_seed(1);
        let step = |at: u32| move |ago: u32, noise: f64| noise + if ago < at { 40.0 } else { 0.0 };
        let (late, early) = (step(16), step(200));
        check(|ago| late(ago, 100.0 + noise(&mut random)), Some(0.0..=1e-6));
        // Long ago, and over again.
        check(|ago| early(ago, 100.0 + noise(&mut random)), None);
        check(|ago| 100.0 + noise(&mut random) + if (16..24).contains(&ago) { 40.0 } else { 0.0 }, None);
        // Never moved before: one step proves little by itself.
        check(|ago| f64::from(u8::from(ago < 10)), Some(1e-4..=1e-2));
        check(|_| 5.0, None);
        check(|_| f64::NAN, None);
        assert_eq!(super::standing(&[], NOW), None);
    }

    #[test]
    fn the_bar_is_that_of_benjamini_and_hochberg() {
        assert_eq!(bar(&[], 100), None);
        assert_eq!(bar(&[1e-3], 100), None);
        assert_eq!(bar(&[1e-4], 100), Some(1e-4));
        // Two of ten together reach what neither does alone.
        assert_eq!(bar(&[2e-3, 1.9e-3, 0.5], 10), Some(2e-3));
    }

    /// A hundred rounds over a hundred series in which nothing happens.
    #[test]
    fn quiet_systems_are_left_alone() {
        let mut random = Rng::with_seed(7);
        let mut told = 0;
        for _ in 0..100 {
            let chances: Vec<f64> = (0..100_u32)
                .filter_map(|series| {
                    let mut level = 0.0;
                    let points = hour(|ago| match series % 5 {
                        0 => 100.0 + noise(&mut random),
                        1 => (noise(&mut random) * 2.0).exp(),
                        2 => (f64::from(ago) / 9.0).sin() * 10.0 + noise(&mut random),
                        3 => {
                            level += noise(&mut random);
                            level
                        }
                        _ => f64::from(u8::from(random.f64() < 0.02)),
                    });
                    standing(&points, NOW).map(|standing| standing.chance)
                })
                .collect();
            told += usize::from(bar(&chances, 100).is_some());
        }
        assert!(told <= 5, "{told} rounds of 100 told of something");
    }
}
