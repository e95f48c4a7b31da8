//! Of more than is returned, what deviates is kept.

use std::sync::Arc;

use domain::{Batch, LogRecord, MetricKind, Sample, Series, SpanKind};
use storage::questions::call_tree::Sampling;

use super::{at, attributes, failed, span, store, window};

/// A word for each number, without a digit: those are masked.
fn word(number: u32) -> String {
    (0..4).map(|place| char::from(b'g' + (number / 16_u32.pow(place) % 16) as u8)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_much_what_matters_is_kept() {
    let log = |severity: u8, service: String, body: &str, second: i64| LogRecord {
        at: at(second * 1000),
        service,
        severity_number: severity,
        body: body.into(),
        ..LogRecord::default()
    };
    let mut logs: Vec<LogRecord> = Vec::new();
    let mut spans = Vec::new();
    for number in 0..5_200 {
        logs.extend([10, 20, 110].map(|second| log(9, word(number), "did it", second)));
        // Each path once a window, but a few hundred of them, others before than now, more often.
        let favoured = |from: u32| (from..from + 300).contains(&number);
        for (trace, second, often) in [(1, 20, favoured(100)), (2, 120, favoured(4_800))] {
            for copy in 0..if often { 2 } else { 1 } {
                let id = 1 + number * 2 + copy;
                spans.push(span(
                    trace * 100_000 + number,
                    (id, 0),
                    "catalog",
                    &word(number),
                    SpanKind::Server,
                    second * 1000,
                    1,
                ));
            }
        }
    }
    logs.push(log(17, "catalog".into(), "disk gone", 150));
    let mut samples = Vec::new();
    for number in 0..20_010 {
        let name = if number == 20_009 { "z_last".to_owned() } else { format!("level_{number:05}") };
        let series = Arc::new(Series {
            name,
            labels: attributes(&[("service", "catalog")]),
            kind: MetricKind::Gauge,
            unit: String::new(),
        });
        for step in 0..6 {
            let value = if number == 20_009 && step >= 3 { 9.0 } else { 1.0 };
            samples.push(Sample { series: Arc::clone(&series), at: at(step * 30_000 + 20_000), value });
        }
    }
    let store = store(&Batch { logs, spans, samples, ..Batch::default() }).await;
    let (before, now) = (window(0, 100), window(100, 200));

    let groups = store.log_groups(Some(before), now).await.unwrap();
    assert!(groups.cut);
    assert!(groups.groups.iter().any(|group| group.sample == "disk gone"), "one new error among thousands");

    let (old, new) = store.call_trees(before, now, Sampling::ALL).await.unwrap();
    assert!(old.cut_paths && new.cut_paths);
    let paths = |tree: &storage::questions::call_tree::CallTree| {
        tree.paths.iter().map(|path| path.path).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(paths(&old), paths(&new), "what is in both windows is in both answers");
    assert_eq!(old.paths.len(), paths(&old).len(), "each once");

    let levels = store.metric_levels(before, now, None).await.unwrap();
    assert!(levels.cut && levels.series.len() == 20_000);
    assert_eq!(levels.series.last().unwrap().name, "z_last");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_new_failure_is_found_among_frequent_ones() {
    let mut spans = Vec::new();
    let mut fail = |second: i64, message: &str| {
        let trace = spans.len() as u32 + 1;
        let plain = span(trace, (1, 0), "catalog", "GET /products", SpanKind::Server, second * 1000, 1);
        spans.push(failed(plain, message));
    };
    for number in 0..1_100 {
        for second in [10, 20, 110, 120] {
            fail(second, &format!("no {}", word(number)));
        }
    }
    // Each message another one, as often as before.
    for number in 0..500 {
        fail(30, &format!("order {number} is closed"));
        fail(130, &format!("order {} is closed", number + 500));
    }
    fail(150, "disk gone");
    fail(40, "disk slow");
    let store = store(&Batch { spans, ..Batch::default() }).await;

    let (before, now) = store.error_causes(window(0, 100), window(100, 200)).await.unwrap();
    assert!(before.cut && now.cut);
    assert_eq!((before.failing_traces, now.failing_traces), (2_701, 2_701));
    let group = |causes: &storage::questions::error_causes::ErrorCauses, start: &str| {
        let mut found = causes.groups.iter().filter(|group| group.message.starts_with(start));
        (found.next().map(|group| (group.traces, group.first_seen)), found.count())
    };
    assert_eq!(group(&now, "disk gone"), (Some((1, at(150_000).0)), 0));
    assert_eq!(group(&before, "disk gone"), (None, 0));
    assert_eq!(group(&now, "order"), (Some((500, at(130_000).0)), 0), "numbers do not tell messages apart");
    assert_eq!(group(&before, "order"), (Some((500, at(30_000).0)), 0));
    assert_eq!(group(&before, "disk slow").0, None, "what became less is left out first");
    assert!(now.groups.is_sorted_by_key(|group| std::cmp::Reverse(group.traces)));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_new_step_is_found_among_frequent_ones() {
    let mut logs = Vec::new();
    let mut executions = 0_u64;
    let mut execute = |second: i64, statements: &[String]| {
        executions += 1;
        for (place, body) in statements.iter().enumerate() {
            logs.push(LogRecord {
                at: at(second * 1000 + place as i64),
                service: "catalog".into(),
                severity_number: 9,
                trace_id: format!("{executions:032x}"),
                span_id: format!("{executions:016x}"),
                body: body.clone(),
                ..LogRecord::default()
            });
        }
    };
    for path in 0..85 {
        let statements: Vec<String> = (path * 100..path * 100 + 100).map(word).collect();
        execute(10, &statements);
        execute(110, &statements);
    }
    let (read, known, new) = ("read it".to_owned(), "kept it".to_owned(), "gave it up".to_owned());
    for _ in 0..5 {
        execute(20, &[read.clone(), known.clone()]);
    }
    for _ in 0..4 {
        execute(120, &[read.clone(), known.clone()]);
    }
    execute(121, &[read.clone(), new.clone()]);
    let store = store(&Batch { logs, ..Batch::default() }).await;

    let flow = store.log_flow(window(0, 100), window(100, 200)).await.unwrap();
    assert!(flow.cut);
    let step = flow.steps.iter().find(|step| step.to == new).expect("the new step");
    assert_eq!((step.from.as_str(), step.before, step.now), ("read it", 0, 1));
    assert_eq!((step.all_before, step.all_now), (5, 5));
    assert!(flow.steps.iter().all(|step| !step.from.is_empty()));
    store.close().await.unwrap();
}
