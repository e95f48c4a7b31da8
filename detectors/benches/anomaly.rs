//! `cargo bench -p detectors`: ten thousand series of one hour at 15 s steps, on one core.
#![allow(missing_docs, reason = "criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use detectors::anomaly::score;
use domain::UnixNanos;

const SERIES: usize = 10_000;
const VALUES: usize = 240;

/// Noise around a level, with a step or a spike in every tenth series.
fn series(number: usize) -> Vec<(UnixNanos, f64)> {
    let mut state = number as u64 + 1;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    };
    let value = move |place: usize| {
        let step = if number.is_multiple_of(10) && place > 200 { 5.0 } else { 0.0 };
        (UnixNanos::from_seconds(1_795_000_000 + place as i64 * 15), 10.0 + step + noise())
    };
    (0..VALUES).map(value).collect()
}

fn ten_thousand(criterion: &mut Criterion) {
    let all: Vec<_> = (0..SERIES).map(series).collect();
    let mut group = criterion.benchmark_group("anomaly");
    group.sample_size(10);
    group.bench_function("10 000 series of 240 values", |bencher| {
        bencher.iter(|| {
            let anomalies =
                |series: &Vec<_>| score(series.iter().copied()).iter().filter(|v| v.is_anomaly()).count();
            all.iter().map(anomalies).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, ten_thousand);
criterion_main!(benches);
