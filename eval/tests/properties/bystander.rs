//! A system that has nothing to do with the incident, and goes on as ever, changes no answer.

use std::sync::Arc;
use std::time::Duration;

use domain::{Batch, LogRecord, MetricKind, Sample, Series, Span, SpanKind, StatusCode, Window};
use investigator::observe::observe;
use storage::Store;

use crate::answer::{Answer, RECORDINGS, recording};

/// Milliseconds between its requests.
const EVERY: u64 = 200;
/// One in so many of its requests fails, as ever.
const FAILING: u64 = 10;

/// Rows of a service that only calls a ledger, at an even pace: requests, some of which fail in the ledger, log lines and
/// metrics.
fn bystander(over: Window) -> Batch {
    let mut batch = Batch::default();
    let series = |name: &str, kind: MetricKind, unit: &str| {
        let labels = [("service".to_owned(), "bystander".to_owned())].into();
        Arc::new(Series { name: name.into(), labels, kind, unit: unit.into() })
    };
    let used = series("process.memory.usage", MetricKind::Gauge, "By");
    let served = series("http.server.requests_total", MetricKind::Counter, "1");
    for step in 0..(over.seconds() * 1000.0) as u64 / EVERY {
        let at = over.start.plus(Duration::from_millis(step * EVERY));
        // A tenth more and less, always alike.
        let sway = step % 7;
        let failed = step % FAILING == 0;
        let status = if failed { StatusCode::Error } else { StatusCode::Unset };
        let mut parent = String::new();
        for (place, (service, kind)) in
            [("bystander", SpanKind::Server), ("bystander", SpanKind::Client), ("ledger", SpanKind::Server)]
                .into_iter()
                .enumerate()
        {
            let span_id = format!("{:016x}", 0xb000_0000 + step * 3 + place as u64);
            batch.spans.push(Span {
                start: at.plus(Duration::from_micros(200 * place as u64)),
                trace_id: format!("b{step:031x}"),
                parent_span_id: std::mem::replace(&mut parent, span_id.clone()),
                span_id,
                name: "POST /entries".into(),
                kind,
                service: service.into(),
                duration_ns: 5_000_000 + sway * 80_000 - 1_000_000 * place as u64,
                status,
                status_message: if failed { "entry is closed".into() } else { String::new() },
                ..Span::default()
            });
        }
        batch.logs.push(LogRecord {
            at,
            service: "ledger".into(),
            severity_number: if failed { 17 } else { 9 },
            body: if failed { format!("entry {step} is closed") } else { format!("wrote entry {step}") },
            ..LogRecord::default()
        });
        if step % (10_000 / EVERY) == 0 {
            let value = 5e7 + sway as f64 * 5e5;
            batch.samples.push(Sample { series: Arc::clone(&used), at, value });
            batch.samples.push(Sample { series: Arc::clone(&served), at, value: step as f64 });
        }
    }
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrelated_healthy_system_changes_nothing() {
    for name in RECORDINGS {
        let store = Store::scratch().await.expect("a store");
        let loaded = storage::recording::load(&store, &recording(name)).await.expect("a recording");
        let question = eval::case::question(&loaded);
        let alone = Answer::to(&observe(&store, &question, |_| {}).await.expect("observations"));
        let quiet = question.quiet_time();
        let over = Window::new(quiet.start.min(question.window.start), question.window.end.max(quiet.end));
        store.append(&bystander(over)).await.expect("rows");
        let seen = observe(&store, &question, |_| {}).await.expect("observations");
        assert!(seen.coverage.iter().any(|known| known.service == "ledger" && known.spans_now > 0));
        assert!(seen.errors_now.groups.iter().any(|group| group.service == "ledger"));
        assert_eq!(Answer::to(&seen), alone, "{name}");
        store.close().await.expect("a closed store");
    }
}
