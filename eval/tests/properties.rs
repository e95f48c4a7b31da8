//! What must not change an answer: an unrelated healthy service, other names, another day, rows in another order. And what
//! must not break one: numbers at the ends of what a number can hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::{
    Batch, Diagnosis, LogRecord, MetricKind, Sample, Series, Span, SpanKind, UnixNanos, Verdict, Window,
};
use investigator::{Observations, observe, reason};
use serde_json::Value;
use storage::Store;

const RECORDINGS: [&str; 3] = ["shop-n-plus-one", "shop-database-lock", "shop-traffic-surge"];

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(name)
}

async fn observations(name: &str) -> Observations {
    eval::case::investigate(&recording(name), || Duration::ZERO).await.expect("an investigation").observations
}

/// What is answered: the verdict, how sure, and each cause in order with how, which change and what score.
#[derive(Debug, PartialEq)]
struct Answer {
    verdict: Verdict,
    confidence: String,
    causes: Vec<(String, String, String, String)>,
}

fn answer(seen: &Observations) -> Answer {
    let Diagnosis { verdict, confidence, hypotheses, .. } = reason::reason(seen);
    let mut causes: Vec<_> = hypotheses
        .iter()
        .map(|cause| {
            let score = format!("{:.9}", cause.score);
            (
                score,
                cause.service.clone(),
                cause.mechanism.as_str().to_owned(),
                cause.change.clone().unwrap_or_default(),
            )
        })
        .collect();
    assert!(causes.windows(2).all(|pair| pair[0].0 >= pair[1].0), "in order of score");
    // Equal scores are ordered by name.
    causes.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.cmp(right)));
    Answer { verdict, confidence: format!("{:.9}", confidence.score), causes }
}

/// The answer to other observations is the same one, but for names.
async fn check(changed: impl Fn(Observations) -> Observations, renamed: impl Fn(&str) -> String) {
    for name in RECORDINGS {
        let seen = observations(name).await;
        let mut expected = answer(&seen);
        for (_, service, _, change) in &mut expected.causes {
            (*service, *change) = (renamed(service), renamed(change));
        }
        expected.causes.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.cmp(right)));
        assert_eq!(answer(&changed(seen)), expected, "{name}");
    }
}

fn rewritten(seen: &Observations, rewrite: &impl Fn(Value) -> Value) -> Observations {
    fn walk(value: Value, rewrite: &impl Fn(Value) -> Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| walk(item, rewrite)).collect(),
            Value::Object(fields) => {
                let key = |key: String| match rewrite(Value::String(key)) {
                    Value::String(key) => key,
                    _ => unreachable!("a key stays text"),
                };
                fields.into_iter().map(|(name, value)| (key(name), walk(value, rewrite))).collect()
            }
            other => rewrite(other),
        }
    }
    let value = serde_json::to_value(seen).expect("JSON");
    serde_json::from_value(walk(value, rewrite)).expect("observations")
}

/// Rows of a service that nobody calls and that is as well as ever: requests, log lines and a metric, at an even pace.
fn bystander(over: Window) -> Batch {
    let mut batch = Batch::default();
    let series = |name: &str, kind: MetricKind, unit: &str| {
        let labels = [("service".to_owned(), "bystander".to_owned())].into();
        Arc::new(Series { name: name.into(), labels, kind, unit: unit.into() })
    };
    let used = series("process.memory.usage", MetricKind::Gauge, "By");
    let served = series("http.server.requests_total", MetricKind::Counter, "1");
    for step in 0..over.seconds() as i64 {
        let at = over.start.plus(Duration::from_secs(step as u64));
        // A tenth more and less, always alike.
        let sway = (step % 7) as u64;
        batch.spans.push(Span {
            start: at,
            trace_id: format!("b{step:031x}"),
            span_id: format!("b{step:015x}"),
            name: "GET /health".into(),
            kind: SpanKind::Server,
            service: "bystander".into(),
            duration_ns: 5_000_000 + sway * 80_000,
            ..Span::default()
        });
        batch.logs.push(LogRecord {
            at,
            service: "bystander".into(),
            severity_number: 9,
            body: format!("checked {step} times"),
            ..LogRecord::default()
        });
        if step % 10 == 0 {
            let value = 5e7 + sway as f64 * 5e5;
            batch.samples.push(Sample { series: Arc::clone(&used), at, value });
            batch.samples.push(Sample { series: Arc::clone(&served), at, value: step as f64 });
        }
    }
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrelated_healthy_service_changes_nothing() {
    for name in RECORDINGS {
        let store = Store::scratch().await.expect("a store");
        let loaded = storage::recording::load(&store, &recording(name)).await.expect("a recording");
        let question = eval::case::question(&loaded);
        let alone = answer(&observe::observe(&store, &question, |_| {}).await.expect("observations"));
        let quiet = question.quiet_time();
        let over = Window::new(quiet.start.min(question.window.start), question.window.end.max(quiet.end));
        store.append(&bystander(over)).await.expect("rows");
        let seen = observe::observe(&store, &question, |_| {}).await.expect("observations");
        assert!(seen.coverage.iter().any(|known| known.service == "bystander" && known.spans_now > 0));
        let beside = answer(&seen);
        store.close().await.expect("a closed store");
        let told = |answer: &Answer| -> Vec<(String, String, String)> {
            let causes = answer.causes.iter().cloned();
            causes.map(|(_, service, mechanism, change)| (service, mechanism, change)).collect()
        };
        assert_eq!((beside.verdict, told(&beside)), (alone.verdict, told(&alone)), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_do_not_matter() {
    const NAMES: [&str; 5] = ["catalog", "inventory", "checkout", "gateway", "cart"];
    let renamed = |text: &str| {
        NAMES
            .iter()
            .enumerate()
            .fold(text.to_owned(), |text, (place, name)| text.replace(name, &format!("qx{place}wz")))
    };
    let rename = |value: Value| match value {
        Value::String(text) => Value::String(renamed(&text)),
        other => other,
    };
    // Paths and operations are known by hashes of names: other names, other hashes.
    let hash = |value: &mut u64| *value = value.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let rehashed = |mut seen: Observations| {
        for tree in [&mut seen.calls_now, &mut seen.calls_before] {
            for path in &mut tree.paths {
                [&mut path.path, &mut path.parent, &mut path.operation].into_iter().for_each(hash);
            }
            tree.operations = std::mem::take(&mut tree.operations)
                .into_iter()
                .map(|(mut key, operation)| {
                    hash(&mut key);
                    (key, operation)
                })
                .collect();
        }
        seen
    };
    check(|seen| rehashed(rewritten(&seen, &rename)), renamed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_does_not_matter() {
    const LATER: i64 = 40 * 86_400 * 1_000_000_000;
    let shift = |seen: Observations| {
        let window = seen.asked().window;
        let near = window.start.0 - 6 * 3_600_000_000_000..window.end.0 + 6 * 3_600_000_000_000;
        rewritten(&seen, &|value: Value| match value.as_i64() {
            Some(number) if near.contains(&number) => Value::from(number + LATER),
            _ => value,
        })
    };
    check(shift, str::to_owned).await;
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
async fn the_order_of_rows_does_not_matter() {
    let shuffled = |mut seen: Observations| {
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
        seen
    };
    check(shuffled, str::to_owned).await;
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
            if self.next() % rarity == 0 {
                *value = HOSTILE[(self.next() % HOSTILE.len() as u64) as usize];
            }
        }
    }

    fn spoil_count(&mut self, value: &mut u64, rarity: u64) {
        if self.next() % rarity == 0 {
            // Counts are the engine's own: as many rows as it could ever hold.
            *value = [0, 1, u64::from(u32::MAX), 1 << 53][(self.next() % 4) as usize];
        }
    }

    fn spoil_time(&mut self, value: &mut i64, rarity: u64) {
        if self.next() % rarity == 0 {
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
        let mut values = [
            path.total_ms,
            path.total_squares,
            path.self_ms,
            path.self_squares,
            path.self_logs,
            path.self_log_squares,
        ];
        numbers.spoil(&mut values, rarity);
        [
            path.total_ms,
            path.total_squares,
            path.self_ms,
            path.self_squares,
            path.self_logs,
            path.self_log_squares,
        ] = values;
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
        numbers.spoil_count(&mut step.before, rarity);
        numbers.spoil_count(&mut step.now, rarity);
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
