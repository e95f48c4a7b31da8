//! What the store promises, on the real engine; and on a ClickHouse server too when `CLICKHOUSE_URL` names one.

mod alerts;
mod engine;
mod folder;
mod memory;
mod recording;
mod schema;
mod signals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::{
    Attributes, Batch, Change, ChangeKind, LogRecord, MetricKind, ProfileSample, Sample, Series, Span,
    SpanKind, StatusCode, UnixNanos,
};
use storage::{Location, Options, Store};

/// Noon of a day within reach of every column type.
const NOON: UnixNanos = UnixNanos::from_seconds(1_795_089_600);

/// A store of each kind there is: embedded, and on the server if there is one.
async fn stores() -> Vec<Store> {
    let mut stores = vec![Store::scratch().await.expect("the embedded engine opens")];
    stores.extend(remote().await);
    stores
}

/// A store on the server, in a database of its own.
async fn remote() -> Option<Store> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(url) = std::env::var("CLICKHOUSE_URL") else {
        eprintln!("CLICKHOUSE_URL is not set: tested on the embedded engine only");
        return None;
    };
    let database = format!("inquest_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let options = Options { database, ..Options::default() };
    Some(Store::open(Location::Remote { url }, options).await.expect("the server takes the schema"))
}

async fn finish(store: Store) {
    if !store.is_embedded() {
        let statement = format!("DROP DATABASE {} SYNC", store.database());
        store.client().query(&statement).execute().await.expect("the test database goes away");
    }
    store.close().await.expect("the store closes");
}

async fn count(store: &Store, from: &str) -> u64 {
    store.client().query_raw(&format!("SELECT count() FROM {from}")).fetch_one().await.expect("a count")
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn span(service: &str, id: &str, parent: &str, kind: SpanKind) -> Span {
    Span {
        start: NOON,
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        span_id: id.into(),
        parent_span_id: parent.into(),
        name: format!("{service} work"),
        kind,
        service: service.into(),
        resource: Arc::new(attributes(&[("service.name", service), ("service.version", "1.4.2")])),
        duration_ns: 3_000_000,
        status: StatusCode::Ok,
        ..Span::default()
    }
}

/// A row of every signal, with every field set and some that try to break out.
fn batch() -> Batch {
    let hostile = "it's a \\ \"quote\"; DROP TABLE x -- \u{0}\n\t ✓ ?";
    let mut whole = span("checkout", "b7ad6b7169203331", "00f067aa0ba902b7", SpanKind::Server);
    whole.trace_state = "a=1".into();
    whole.scope_name = "scope".into();
    whole.scope_version = "2".into();
    whole.attributes = attributes(&[("http.route", "/cart"), ("hostile", hostile), ("empty", "")]);
    whole.status = StatusCode::Error;
    whole.status_message = hostile.into();
    whole.events = vec![domain::telemetry::SpanEvent {
        at: NOON.plus(Duration::from_nanos(1)),
        name: "exception".into(),
        attributes: attributes(&[("exception.type", "Timeout")]),
    }];
    whole.links = vec![domain::telemetry::SpanLink {
        trace_id: "11111111111111111111111111111111".into(),
        span_id: "2222222222222222".into(),
        trace_state: "b=2".into(),
        attributes: attributes(&[("why", "batch")]),
    }];
    Batch {
        spans: vec![whole, span("checkout", "1", "", SpanKind::Internal)],
        logs: vec![LogRecord {
            at: NOON.plus(Duration::from_nanos(7)),
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            span_id: "b7ad6b7169203331".into(),
            severity_text: "ERROR".into(),
            severity_number: 17,
            service: "checkout".into(),
            body: hostile.into(),
            resource: Arc::new(attributes(&[("service.name", "checkout")])),
            scope_name: "logger".into(),
            attributes: attributes(&[("thread", "main")]),
            event_name: "event".into(),
        }],
        samples: vec![
            sample(&[("service", "checkout"), ("instance", "a")], 0, 1.5),
            sample(&[("service", "checkout"), ("instance", "b")], 0, -0.0),
            sample(&[("service", "checkout"), ("instance", "a")], 60, f64::MAX),
        ],
        profiles: vec![ProfileSample {
            at: NOON,
            service: "checkout".into(),
            kind: "cpu:nanoseconds".into(),
            stack: vec!["main".into(), "pay".into()],
            value: -3,
            resource: Arc::new(attributes(&[("host.name", "h")])),
        }],
        changes: vec![Change {
            at: NOON,
            kind: ChangeKind::CanaryStep,
            service: "checkout".into(),
            version: "1.4.2".into(),
            previous: "1.4.1".into(),
            reference: "d-1".into(),
            detail: hostile.into(),
            source: "api".into(),
        }],
    }
}

fn sample(labels: &[(&str, &str)], offset: u64, value: f64) -> Sample {
    let series = Series {
        name: "requests".into(),
        labels: attributes(labels),
        kind: MetricKind::Counter,
        unit: "1".into(),
    };
    Sample { series: Arc::new(series), at: NOON.plus(seconds(offset)), value }
}
