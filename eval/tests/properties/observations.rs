//! Observations in another order are answered alike, and numbers at the ends of what a number can hold break no answer.

use std::time::Duration;

use domain::{UnixNanos, Verdict, Window};
use investigator::{Observations, reason};

use crate::answer::{Answer, RECORDINGS, recording};

async fn observations(name: &str) -> Observations {
    eval::case::investigate(&recording(name), || Duration::ZERO).await.expect("an investigation").observations
}

/// Another order of a list, the same each time: from both ends inwards.
fn shuffle<T>(list: &mut Vec<T>) {
    let mut rest: std::collections::VecDeque<T> = std::mem::take(list).into();
    while let Some(last) = rest.pop_back() {
        list.push(last);
        list.extend(rest.pop_front());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_observations_does_not_matter() {
    for name in RECORDINGS {
        let mut seen = observations(name).await;
        let expected = Answer::to(&seen);
        shuffle(&mut seen.calls_now.paths);
        shuffle(&mut seen.calls_before.paths);
        shuffle(&mut seen.errors_now.groups);
        shuffle(&mut seen.errors_before.groups);
        shuffle(&mut seen.logs.groups);
        shuffle(&mut seen.flow.steps);
        shuffle(&mut seen.metrics.series);
        shuffle(&mut seen.changes);
        shuffle(&mut seen.coverage);
        shuffle(&mut seen.metric_services);
        shuffle(&mut seen.endpoints);
        shuffle(&mut seen.graph);
        shuffle(&mut seen.requests);
        shuffle(&mut seen.operations);
        shuffle(&mut seen.attributes.values);
        assert_eq!(Answer::to(&seen), expected, "{name}");
    }
}

/// Numbers from a seed, without chance (Steele et al. 2014, SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Makes some numbers hostile: one in `rarity`.
    fn spoil(&mut self, values: &mut [f64], rarity: u64) {
        const HOSTILE: [f64; 9] = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            -1.0,
            0.0,
            1e300,
        ];
        for value in values {
            if self.next().is_multiple_of(rarity) {
                *value = HOSTILE[(self.next() % HOSTILE.len() as u64) as usize];
            }
        }
    }

    fn spoil_count(&mut self, value: &mut u64, rarity: u64) {
        if self.next().is_multiple_of(rarity) {
            // Counts are the engine's own: as many rows as it could ever hold.
            *value = [0, 1, u64::from(u32::MAX), 1 << 53][(self.next() % 4) as usize];
        }
    }

    fn spoil_time(&mut self, value: &mut i64, rarity: u64) {
        if self.next().is_multiple_of(rarity) {
            *value = [0, -1, i64::MIN, i64::MAX][(self.next() % 4) as usize];
        }
    }
}

fn hostile(seen: &Observations, seed: u64) -> Observations {
    let mut seen = seen.clone();
    let mut numbers = Numbers(seed);
    let rarity = 2 + seed % 20;
    for series in &mut seen.metrics.series {
        for part in [&mut series.before, &mut series.now, &mut series.early, &mut series.late] {
            numbers.spoil(part, rarity);
        }
        numbers.spoil_time(&mut series.left_at, rarity);
    }
    for path in seen.calls_now.paths.iter_mut().chain(&mut seen.calls_before.paths) {
        for value in [
            &mut path.total_ms,
            &mut path.total_squares,
            &mut path.self_ms,
            &mut path.self_squares,
            &mut path.self_logs,
            &mut path.self_log_squares,
        ] {
            numbers.spoil(std::slice::from_mut(value), rarity);
        }
        numbers.spoil_count(&mut path.calls, rarity);
        numbers.spoil_count(&mut path.errors, rarity);
        numbers.spoil_count(&mut path.origins, rarity);
    }
    for slice in seen.requests.iter_mut().chain(&mut seen.operations) {
        numbers.spoil(std::slice::from_mut(&mut slice.mean_ms), rarity);
        numbers.spoil(std::slice::from_mut(&mut slice.p95_ms), rarity);
        numbers.spoil_count(&mut slice.calls, rarity);
        numbers.spoil_count(&mut slice.errors, rarity);
        numbers.spoil_time(&mut slice.at, rarity);
    }
    for group in &mut seen.logs.groups {
        numbers.spoil_count(&mut group.before, rarity);
        numbers.spoil_count(&mut group.now, rarity);
        numbers.spoil_time(&mut group.first_seen, rarity);
    }
    for group in seen.errors_now.groups.iter_mut().chain(&mut seen.errors_before.groups) {
        numbers.spoil_count(&mut group.traces, rarity);
        numbers.spoil_count(&mut group.spans, rarity);
        numbers.spoil_time(&mut group.first_seen, rarity);
    }
    for step in &mut seen.flow.steps {
        for count in [&mut step.before, &mut step.now, &mut step.all_before, &mut step.all_now] {
            numbers.spoil_count(count, rarity);
        }
    }
    for coverage in &mut seen.coverage {
        numbers.spoil_count(&mut coverage.spans_before, rarity);
        numbers.spoil_count(&mut coverage.spans_now, rarity);
        numbers.spoil_time(&mut coverage.last_span, rarity);
    }
    for value in &mut seen.attributes.values {
        numbers.spoil_count(&mut value.bad, rarity);
        numbers.spoil_count(&mut value.good, rarity);
    }
    for change in &mut seen.changes {
        numbers.spoil_time(&mut change.at.0, rarity);
    }
    for points in seen.points.values_mut() {
        for (at, value) in points {
            numbers.spoil(std::slice::from_mut(value), rarity);
            numbers.spoil_time(&mut at.0, rarity);
        }
    }
    numbers.spoil_count(&mut seen.calls_now.traces, rarity);
    numbers.spoil_count(&mut seen.calls_before.traces, rarity);
    numbers.spoil_count(&mut seen.errors_now.failing_traces, rarity);
    if let Some(question) = &mut seen.question {
        numbers.spoil_time(&mut question.window.start.0, rarity);
        if let Some(started) = &mut question.started {
            numbers.spoil_time(&mut started.0, rarity);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_numbers_neither_break_nor_enter_an_answer() {
    for name in RECORDINGS {
        let seen = observations(name).await;
        for seed in 0..40_u64 {
            let diagnosis = reason::reason(&hostile(&seen, seed));
            for cause in &diagnosis.hypotheses {
                assert!(cause.score.is_finite(), "{name} {seed}: {}", cause.service);
            }
            for figure in diagnosis.evidence.iter().flat_map(|evidence| &evidence.figures) {
                let mut values = [figure.before_value, figure.now_value].into_iter().flatten();
                assert!(values.all(f64::is_finite), "{name} {seed}: {figure:?}");
            }
            assert!((0.0..=1.0).contains(&diagnosis.confidence.score), "{name} {seed}");
        }
    }
}

#[test]
fn nothing_at_all_is_answered() {
    let mut seen = Observations::default();
    assert_eq!(reason::reason(&seen).verdict, Verdict::Inconclusive);
    let window = Window::new(UnixNanos::from_seconds(1000), UnixNanos::from_seconds(1000));
    seen.question = Some(investigator::Question::new(Some("cart".into()), window));
    assert_eq!(reason::reason(&seen).verdict, Verdict::Inconclusive);
}
