//! Properties of the detector of anomalies, and made-up series of every shape that metrics take.

use detectors::anomaly::episode::{Direction, Episode, Episodes};
use detectors::anomaly::{Verdict, score};
use domain::UnixNanos;
use proptest::prelude::*;

/// Noise from a fixed generator (SplitMix64): 0 to 1.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Roughly normal, mean 0, deviation 1.
fn gauss(next: &mut impl FnMut() -> f64) -> f64 {
    (0..12).map(|_| next()).sum::<f64>() - 6.0
}

fn at(place: usize, step: i64) -> UnixNanos {
    UnixNanos::from_seconds(1_795_046_400 + place as i64 * step)
}

fn verdicts(values: &[f64], step: i64) -> Vec<Verdict> {
    score(values.iter().enumerate().map(|(place, value)| (at(place, step), *value)))
}

fn scores(values: &[f64]) -> Vec<f64> {
    verdicts(values, 300).iter().map(|verdict| verdict.score).collect()
}

fn episodes(values: &[f64], step: i64) -> Vec<Episode> {
    let mut episodes = Episodes::default();
    for (place, verdict) in verdicts(values, step).iter().enumerate() {
        episodes.push(at(place, step), verdict);
    }
    episodes.finish()
}

/// Made with `shape(place, noise)`; an anomaly must begin within `expected`, in that direction.
fn check(
    name: &str,
    length: usize,
    step: i64,
    shape: impl Fn(usize, f64) -> f64,
    expected: std::ops::Range<usize>,
    direction: Direction,
) {
    let mut next = noise(7);
    let values: Vec<f64> = (0..length).map(|place| shape(place, gauss(&mut next))).collect();
    let found = episodes(&values, step);
    let hit = found.iter().find(|episode| {
        let inside = at(expected.start, step) <= episode.noticed && episode.noticed < at(expected.end, step);
        inside && episode.direction == direction
    });
    assert!(hit.is_some(), "{name}: {found:#?}");
}

/// The share of a day that has gone by, for five-minute values.
fn day(place: usize) -> f64 {
    (place % 288) as f64 / 288.0
}

/// A load that is high in working hours, with noise.
fn office(place: usize, noise: f64) -> f64 {
    let busy = (0.375..0.75).contains(&day(place));
    if busy { 80.0 + 4.0 * noise } else { 20.0 + 2.0 * noise }
}

#[test]
fn shapes() {
    use Direction::{Down, Still, Up};
    check("spike", 2000, 300, |p, n| if p == 1500 { 30.0 } else { 10.0 + n }, 1500..1501, Up);
    check("dip", 2000, 300, |p, n| if p == 1500 { -9.0 } else { 10.0 + n }, 1500..1501, Down);
    check("step", 2000, 300, |p, n| if p >= 1500 { 25.0 + n } else { 10.0 + n }, 1500..1502, Up);
    check(
        "small lasting step",
        2000,
        300,
        |p, n| if p >= 1500 { 11.5 + n } else { 10.0 + n },
        1500..1540,
        Up,
    );
    check(
        "step in a trend",
        2000,
        300,
        |p, n| p as f64 / 50.0 + n + if p >= 1500 { 15.0 } else { 0.0 },
        1500..1502,
        Up,
    );
    check("flat line", 2000, 300, |p, n| if p >= 1500 { 10.0 } else { 10.0 + n }, 1500..1540, Still);
    check("first move ever", 500, 300, |p, _| if p >= 400 { 1.0 } else { 0.0 }, 400..401, Up);
    check("growing noise", 2000, 300, |p, n| 10.0 + n * if p >= 1500 { 5.0 } else { 1.0 }, 1500..1510, Up);
    check("a short history", 60, 15, |p, n| if p >= 40 { 30.0 } else { 10.0 + n }, 40..41, Up);
    // The load of a working day that does not come, and of a day off that does.
    check(
        "no rise",
        288 * 14,
        300,
        |p, n| office(if p / 288 == 10 { 0 } else { p }, n),
        288 * 10 + 100..288 * 11,
        Down,
    );
    check(
        "high at night",
        288 * 14,
        300,
        |p, n| office(if p / 288 == 10 { 120 } else { p }, n),
        288 * 10..288 * 10 + 30,
        Up,
    );
}

/// Clean series of several shapes: how many anomalies a week of five-minute values has on average.
#[test]
fn clean_series_are_left_alone() {
    type Shape = fn(usize, f64) -> f64;
    let shapes: [(&str, Shape); 7] = [
        ("noise", |_, n| 10.0 + n),
        ("constant", |_, _| 42.0),
        ("trend", |p, n| p as f64 + n),
        ("office", office),
        ("sine", |p, n| 100.0 + 50.0 * (day(p) * std::f64::consts::TAU).sin() + 3.0 * n),
        ("nightly job", |p, n| if p % 288 < 3 { 90.0 + n } else { 10.0 + n }),
        ("heavy tail", |_, n| n.exp()),
    ];
    let mut total = 0.0;
    for (name, shape) in shapes {
        let mut found = 0;
        for seed in 0..5 {
            let mut next = noise(seed);
            let values: Vec<f64> = (0..288 * 28).map(|place| shape(place, gauss(&mut next))).collect();
            // The first week is for learning.
            found +=
                episodes(&values, 300).iter().filter(|episode| episode.noticed >= at(288 * 7, 300)).count();
        }
        let a_week = found as f64 / 15.0;
        eprintln!("{name}: {a_week:.2} anomalies a week");
        total += a_week;
    }
    assert!(total / 7.0 < 2.5, "{total}");
}

#[test]
fn gaps_are_bridged() {
    let mut next = noise(3);
    let mut values: Vec<f64> = (0..2000).map(|_| 10.0 + gauss(&mut next)).collect();
    values[700..760].fill(f64::NAN);
    values[900] = f64::INFINITY;
    let verdicts = verdicts(&values, 300);
    assert!(verdicts[700..760].iter().all(|verdict| verdict.score == 0.0));
    assert!(verdicts[760..1000].iter().all(|verdict| !verdict.is_anomaly()));
}

fn any_values() -> impl Strategy<Value = Vec<f64>> {
    let odd = prop_oneof![
        8 => -1e3..1e3_f64,
        2 => Just(0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => any::<f64>(),
    ];
    prop::collection::vec(odd, 0..400)
}

fn plain_values() -> impl Strategy<Value = Vec<f64>> {
    // Small whole numbers, so that shifting by one is exact.
    prop::collection::vec((-1000..1000_i32).prop_map(f64::from), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn scores_are_between_0_and_1_whatever_comes(values in any_values(), step in -10..1_000_000_000_i64) {
        for verdict in verdicts(&values, step) {
            prop_assert!((0.0..=1.0).contains(&verdict.score), "{verdict:?}");
        }
    }

    #[test]
    fn the_future_changes_no_score(values in any_values(), cut in 0..400_usize) {
        let cut = cut.min(values.len());
        prop_assert_eq!(&scores(&values)[..cut], &scores(&values[..cut])[..]);
    }

    #[test]
    fn units_do_not_matter(values in plain_values(), exponent in -20..20_i32) {
        // Powers of two are exact; any other factor would do but for rounding.
        let scaled: Vec<f64> = values.iter().map(|value| value * f64::from(exponent).exp2()).collect();
        prop_assert_eq!(scores(&values), scores(&scaled));
    }

    #[test]
    fn nor_does_the_zero(values in plain_values(), shift in -1000..1000_i32) {
        let shifted: Vec<f64> = values.iter().map(|value| value + f64::from(shift)).collect();
        for (plain, moved) in scores(&values).into_iter().zip(scores(&shifted)) {
            // The means round differently, which may break a tie between an early value and its like.
            prop_assert!((plain - moved).abs() < 0.02, "{plain} {moved}");
        }
    }

    #[test]
    fn nor_does_the_sign(values in plain_values()) {
        let mirrored: Vec<f64> = values.iter().map(|value| -value).collect();
        prop_assert_eq!(scores(&values), scores(&mirrored));
    }

    #[test]
    fn what_is_no_number_is_as_if_it_were_not_there(values in plain_values(), place in 0..400_usize) {
        let place = place.min(values.len());
        let points = |values: &[f64]| -> Vec<(UnixNanos, f64)> {
            values.iter().enumerate().map(|(place, value)| (at(place, 300), *value)).collect()
        };
        let mut with = points(&values);
        with.insert(place, (at(place, 300), f64::NAN));
        let without = score(points(&values));
        let mut verdicts = score(with);
        prop_assert_eq!(verdicts.remove(place).score, 0.0);
        prop_assert_eq!(verdicts, without);
    }

    #[test]
    fn constants_are_no_anomaly(value in any::<f64>(), length in 0..400_usize) {
        prop_assert!(scores(&vec![value; length]).iter().all(|score| *score == 0.0));
    }
}
