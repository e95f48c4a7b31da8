//! Rows of every signal, and what is derived from them.

use clickhouse::Row;
use domain::{Attributes, Batch, LogRecord, Span, SpanKind, StatusCode, UnixNanos};
use serde::Deserialize;
use serde_json::json;
use storage::{SignalHealth, Store};

use crate::{NOON, attributes, batch, count, finish, sample, seconds, span, stores};

#[derive(Row, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredSpan {
    timestamp: i64,
    trace_id: String,
    span_id: String,
    parent_span_id: String,
    trace_state: String,
    span_name: String,
    span_kind: String,
    service_name: String,
    resource_attributes: Attributes,
    scope_name: String,
    scope_version: String,
    span_attributes: Attributes,
    duration: u64,
    status_code: String,
    status_message: String,
    #[serde(rename = "Events.Timestamp")]
    event_timestamps: Vec<i64>,
    #[serde(rename = "Events.Name")]
    event_names: Vec<String>,
    #[serde(rename = "Events.Attributes")]
    event_attributes: Vec<Attributes>,
    #[serde(rename = "Links.TraceId")]
    link_trace_ids: Vec<String>,
    #[serde(rename = "Links.SpanId")]
    link_span_ids: Vec<String>,
    #[serde(rename = "Links.TraceState")]
    link_trace_states: Vec<String>,
    #[serde(rename = "Links.Attributes")]
    link_attributes: Vec<Attributes>,
}

/// The spans of a store in the domain's form, oldest first.
pub async fn stored_spans(store: &Store) -> Vec<Span> {
    let rows: Vec<StoredSpan> = store
        .client()
        .query("SELECT ?fields FROM otel_traces ORDER BY Timestamp, SpanId DESC")
        .fetch_all()
        .await
        .unwrap();
    let span = |row: StoredSpan| {
        let events = row.event_timestamps.into_iter().zip(row.event_names).zip(row.event_attributes);
        let links = row.link_trace_ids.into_iter().zip(row.link_span_ids);
        let links = links.zip(row.link_trace_states.into_iter().zip(row.link_attributes));
        Span {
            start: UnixNanos(row.timestamp),
            trace_id: row.trace_id,
            span_id: row.span_id,
            parent_span_id: row.parent_span_id,
            trace_state: row.trace_state,
            name: row.span_name,
            kind: SpanKind::parse(&row.span_kind),
            service: row.service_name,
            resource: row.resource_attributes.into(),
            scope_name: row.scope_name,
            scope_version: row.scope_version,
            attributes: row.span_attributes,
            duration_ns: row.duration,
            status: StatusCode::parse(&row.status_code),
            status_message: row.status_message,
            events: events
                .map(|((at, name), attributes)| domain::telemetry::SpanEvent {
                    at: UnixNanos(at),
                    name,
                    attributes,
                })
                .collect(),
            links: links
                .map(|((trace_id, span_id), (trace_state, attributes))| domain::telemetry::SpanLink {
                    trace_id,
                    span_id,
                    trace_state,
                    attributes,
                })
                .collect(),
        }
    };
    rows.into_iter().map(span).collect()
}

#[derive(Row, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredLog {
    timestamp: i64,
    trace_id: String,
    span_id: String,
    severity_text: String,
    severity_number: u8,
    service_name: String,
    body: String,
    resource_attributes: Attributes,
    scope_name: String,
    log_attributes: Attributes,
    event_name: String,
}

pub async fn stored_logs(store: &Store) -> Vec<LogRecord> {
    let rows: Vec<StoredLog> =
        store.client().query("SELECT ?fields FROM otel_logs ORDER BY Timestamp").fetch_all().await.unwrap();
    let record = |row: StoredLog| LogRecord {
        at: UnixNanos(row.timestamp),
        trace_id: row.trace_id,
        span_id: row.span_id,
        severity_text: row.severity_text,
        severity_number: row.severity_number,
        service: row.service_name,
        body: row.body,
        resource: row.resource_attributes.into(),
        scope_name: row.scope_name,
        attributes: row.log_attributes,
        event_name: row.event_name,
    };
    rows.into_iter().map(record).collect()
}

#[derive(Row, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct StoredSample {
    pub series_id: u64,
    pub name: String,
    pub labels: Attributes,
    pub kind: String,
    pub unit: String,
    pub service_name: String,
    pub timestamp: i64,
    pub value: f64,
}

pub async fn stored_samples(store: &Store) -> Vec<StoredSample> {
    store
        .client()
        .query(
            "SELECT SeriesId, Name, Labels, Kind, Unit, ServiceName, Timestamp, Value
             FROM metric_samples JOIN metric_series ON SeriesId = Id ORDER BY Timestamp, SeriesId",
        )
        .fetch_all()
        .await
        .unwrap()
}

#[derive(Row, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct StoredProfile {
    timestamp: i64,
    service_name: String,
    r#type: String,
    stack: Vec<String>,
    value: i64,
    resource_attributes: Attributes,
}

pub async fn stored_profiles(store: &Store) -> Vec<StoredProfile> {
    store.client().query("SELECT ?fields FROM profiles ORDER BY Timestamp").fetch_all().await.unwrap()
}

#[derive(Row, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "PascalCase")]
struct StoredChange {
    timestamp: i64,
    kind: String,
    service_name: String,
    version: String,
    previous: String,
    reference: String,
    detail: String,
    source: String,
}

#[tokio::test]
async fn every_signal_comes_back_as_it_went() {
    let batch = batch();
    for store in stores().await {
        store.append(&batch).await.unwrap();
        assert_eq!(stored_spans(&store).await, batch.spans);
        assert_eq!(stored_logs(&store).await, batch.logs);

        let mut samples: Vec<_> = batch
            .samples
            .iter()
            .map(|sample| StoredSample {
                series_id: sample.series.id().0,
                name: sample.series.name.clone(),
                labels: sample.series.labels.clone(),
                kind: "counter".into(),
                unit: "1".into(),
                service_name: "checkout".into(),
                timestamp: sample.at.millis(),
                value: sample.value,
            })
            .collect();
        samples.sort_by_key(|sample| (sample.timestamp, sample.series_id));
        assert_eq!(stored_samples(&store).await, samples);

        let profile = &batch.profiles[0];
        let expected = StoredProfile {
            timestamp: profile.at.0,
            service_name: profile.service.clone(),
            r#type: profile.kind.clone(),
            stack: profile.stack.clone(),
            value: profile.value,
            resource_attributes: (*profile.resource).clone(),
        };
        assert_eq!(stored_profiles(&store).await, [expected]);

        let change = &batch.changes[0];
        let changes: Vec<StoredChange> =
            store.client().query("SELECT ?fields FROM changes").fetch_all().await.unwrap();
        let expected = StoredChange {
            timestamp: change.at.0,
            kind: "canary_step".into(),
            service_name: change.service.clone(),
            version: change.version.clone(),
            previous: change.previous.clone(),
            reference: change.reference.clone(),
            detail: change.detail.clone(),
            source: change.source.clone(),
        };
        assert_eq!(changes, [expected]);
        finish(store).await;
    }
}

#[tokio::test]
async fn a_batch_may_be_empty_or_span_many_days() {
    for store in stores().await {
        store.append(&Batch::default()).await.unwrap();
        let samples = (0..200).map(|day| sample(&[("service", "old")], day * 86_400, 1.0)).collect();
        store.append(&Batch { samples, ..Batch::default() }).await.unwrap();
        assert_eq!(count(&store, "metric_samples").await, 200);
        finish(store).await;
    }
}

#[tokio::test]
async fn a_series_is_described_once_and_a_repeated_change_kept_once() {
    for store in stores().await {
        for _ in 0..3 {
            store.append(&batch()).await.unwrap();
        }
        assert_eq!(count(&store, "metric_series").await, 2);
        assert_eq!(count(&store, "metric_samples").await, 9);
        assert_eq!(count(&store, "changes FINAL").await, 1);
        finish(store).await;
    }
}

#[tokio::test]
async fn views_keep_what_detectors_ask_for() {
    let call = |id: &str, parent: &str, service: &str, kind, extra: &[(&str, &str)]| {
        let mut span = span(service, id, parent, kind);
        span.attributes = attributes(extra);
        span
    };
    let mut failed =
        call("c1", "s1", "checkout", SpanKind::Client, &[("peer.service", "stock"), ("server.address", "x")]);
    failed.status = StatusCode::Error;
    failed.duration_ns = 1_000;
    let mut later = call("s9", "", "checkout", SpanKind::Server, &[]);
    later.start = NOON.plus(seconds(61));
    later.duration_ns = 0;
    let spans = vec![
        call("s1", "", "checkout", SpanKind::Server, &[("server.address", "own")]),
        failed,
        call("s2", "c1", "stock", SpanKind::Server, &[]),
        call(
            "c2",
            "s2",
            "stock",
            SpanKind::Client,
            &[("db.system.name", "postgresql"), ("db.namespace", "stock")],
        ),
        call("c3", "s2", "stock", SpanKind::Client, &[("db.system", "redis")]),
        call("p1", "s2", "stock", SpanKind::Producer, &[("messaging.destination.name", "orders")]),
        later,
    ];
    for store in stores().await {
        store.append(&Batch { spans: spans.clone(), ..Batch::default() }).await.unwrap();

        let minutes: Vec<(String, String, String, i16, u64, u64, u64)> = store
            .client()
            .query(
                "SELECT ServiceName, SpanKind, Peer, Bucket, sum(Requests), sum(Errors), sum(DurationNs)
                 FROM span_minutes GROUP BY Minute, ServiceName, SpanName, SpanKind, Peer, Bucket
                 ORDER BY ServiceName, SpanKind, Peer, Bucket",
            )
            .fetch_all()
            .await
            .unwrap();
        // 3 ms: floor(4 log2(3000)) = 46; at most a microsecond: 0.
        let row = |service: &str, kind: &str, peer: &str, bucket, errors, duration| {
            (service.to_owned(), kind.to_owned(), peer.to_owned(), bucket, 1, errors, duration)
        };
        let expected = [
            row("checkout", "Client", "stock", 0, 1, 1_000),
            row("checkout", "Server", "", 0, 0, 0),
            row("checkout", "Server", "", 46, 0, 3_000_000),
            row("stock", "Client", "postgresql:stock", 46, 0, 3_000_000),
            row("stock", "Client", "redis", 46, 0, 3_000_000),
            row("stock", "Producer", "orders", 46, 0, 3_000_000),
            row("stock", "Server", "", 46, 0, 3_000_000),
        ];
        assert_eq!(minutes, expected);

        let edges: Vec<(String, String, u64, u64)> = store
            .client()
            .query(
                "SELECT max(Caller) AS Caller, max(Callee) AS Callee, max(DurationNs), max(toUInt64(Failed))
                 FROM call_ends GROUP BY CallKey HAVING Caller != '' AND Callee != ''",
            )
            .fetch_all()
            .await
            .unwrap();
        assert_eq!(edges, [("checkout".to_owned(), "stock".to_owned(), 3_000_000, 1)]);

        let seen: Vec<(String, String, i64)> = store
            .client()
            .query("SELECT ServiceName, Version, min(Seen) FROM first_seen GROUP BY ALL ORDER BY ALL")
            .fetch_all()
            .await
            .unwrap();
        let first = |service: &str| (service.to_owned(), "1.4.2".to_owned(), NOON.0);
        assert_eq!(seen, [first("checkout"), first("stock")]);

        let traces: Vec<(String, u32, u32)> = store
            .client()
            .query("SELECT TraceId, min(Start), max(End) FROM otel_traces_trace_id_ts GROUP BY TraceId")
            .fetch_all()
            .await
            .unwrap();
        let start = u32::try_from(NOON.seconds()).unwrap();
        assert_eq!(traces, [("0af7651916cd43dd8448eb211c80319c".to_owned(), start, start + 61)]);
        finish(store).await;
    }
}

#[tokio::test]
async fn health_tells_rows_and_newest() {
    for store in stores().await {
        assert_eq!(store.health().await.unwrap().traces, SignalHealth::default());
        store.append(&batch()).await.unwrap();
        let health = store.health().await.unwrap();
        let newest = |rows, at| SignalHealth { rows, newest: Some(at) };
        assert_eq!(health.traces, newest(2, NOON));
        assert_eq!(health.logs, newest(1, NOON));
        assert_eq!(health.metrics, newest(3, NOON.plus(seconds(60))));
        assert_eq!(health.profiles, newest(1, NOON));
        assert_eq!(health.changes, newest(1, NOON));
        assert!(health.disk_bytes > 0);
        finish(store).await;
    }
}

#[tokio::test]
async fn the_journal_keeps_its_order() {
    for store in stores().await {
        // At the same time from several tasks: numbers are neither lost nor given twice.
        let write = |task: u64| {
            let store = store.clone();
            async move {
                for step in 0..5_u64 {
                    let stream = if step % 2 == 0 { "incident" } else { "alert" };
                    store
                        .journal_append(NOON, stream, "k'", &json!({"task": task, "step": step}))
                        .await
                        .unwrap();
                }
            }
        };
        tokio::join!(write(0), write(1), write(2));
        let incidents = store.journal_read("incident").await.unwrap();
        let alerts = store.journal_read("alert").await.unwrap();
        assert_eq!((incidents.len(), alerts.len()), (9, 6));
        let mut all: Vec<u64> = incidents.iter().chain(&alerts).map(|entry| entry.sequence).collect();
        assert!(incidents.is_sorted_by(|one, next| one.sequence < next.sequence));
        all.sort_unstable();
        assert_eq!(all, (1..=15).collect::<Vec<u64>>());
        for task in 0..3 {
            let steps: Vec<_> = incidents
                .iter()
                .filter(|entry| entry.body["task"] == task)
                .map(|entry| &entry.body["step"])
                .collect();
            assert_eq!(steps, [0, 2, 4]);
        }
        assert_eq!((incidents[0].at, incidents[0].key.as_str()), (NOON, "k'"));
        assert!(store.journal_read("nothing").await.unwrap().is_empty());
        finish(store).await;
    }
}

#[tokio::test]
async fn reports_are_found_by_run_or_as_the_latest() {
    for store in stores().await {
        assert_eq!(store.report_get(1, None).await.unwrap(), None);
        store.report_put(1, 1, NOON, "first").await.unwrap();
        store.report_put(1, 2, NOON, "second").await.unwrap();
        store.report_put(1, 1, NOON.plus(seconds(1)), "first, corrected").await.unwrap();
        store.report_put(2, 7, NOON, "other").await.unwrap();
        let get = async |incident, run| store.report_get(incident, run).await.unwrap();
        assert_eq!(get(1, None).await.as_deref(), Some("second"));
        assert_eq!(get(1, Some(1)).await.as_deref(), Some("first, corrected"));
        assert_eq!(get(1, Some(3)).await, None);
        assert_eq!(get(2, None).await.as_deref(), Some("other"));
        finish(store).await;
    }
}
