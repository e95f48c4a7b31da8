//! Requests meant to hurt: each is answered, and nothing unbounded comes out.

use axum::body::Body;
use http::Request;
use ingest::Limits;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use crate::support::{Harness, Store, gzip};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Posts a body that must be refused with `status`, in words.
async fn check(path: &str, content_type: &str, body: impl Into<Body>, status: u16, words: &str) {
    let harness = Harness::new();
    let answer = harness.post(path, content_type, body).await;
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(words), "{}", answer.text());
    assert!(harness.take().is_empty());
}

/// A log record of a service called `name`, with `body` as its body in JSON.
fn log(name: &str, body: &str) -> String {
    let name = serde_json::to_string(name).unwrap();
    format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":{name}}}}}]}},
        "scopeLogs":[{{"logRecords":[{{"timeUnixNano":"9","body":{body}}}]}}]}}]}}"#
    )
}

#[tokio::test]
async fn words_of_any_kind_are_kept_as_they_are_within_bounds() {
    for name in
        ["a\0b", "<script>alert(1)</script>", "'; DROP TABLE otel_logs; --", "\u{202e}live\u{0}", "é🙂"]
    {
        let harness = Harness::new();
        let body = serde_json::json!({ "stringValue": name }).to_string();
        assert_eq!(harness.post("/v1/logs", JSON, log(name, &body)).await.status, 200);
        let logs = harness.take().logs;
        assert_eq!((logs[0].service.as_str(), logs[0].body.as_str()), (name, name));
    }
    let harness = Harness::new();
    let body = serde_json::json!({ "stringValue": "é".repeat(1 << 20) }).to_string();
    assert_eq!(harness.post("/v1/logs", JSON, log(&"é🙂".repeat(2_000), &body)).await.status, 200);
    let logs = harness.take().logs;
    let limits = Limits::default();
    assert!(
        logs[0].service.len() <= limits.max_name_bytes && logs[0].service.len() > limits.max_name_bytes - 6
    );
    assert_eq!(logs[0].body.len(), limits.max_field_bytes);
    // The attribute and the name made from it are within different bounds.
    harness.check_metric("inquest_ingest_truncated_total 2");
}

#[tokio::test]
async fn deep_nesting_is_cut_or_refused() {
    let deep = |levels: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(levels);
        log("a", &format!("{open}{}", "]}}".repeat(levels)))
    };
    let harness = Harness::new();
    assert_eq!(harness.post("/v1/logs", JSON, deep(12)).await.status, 200);
    assert_eq!(harness.take().logs[0].body, r#"[[[[[[[["…"]]]]]]]]"#);
    check("/v1/logs", JSON, deep(100_000), 400, "recursion limit").await;
    check("/v1/logs", JSON, "[".repeat(1 << 20), 400, "recursion limit").await;

    let nested = (0..1_000).fold(Value::BoolValue(true), |inner, _| {
        Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue {
            values: vec![AnyValue { value: Some(inner) }],
        })
    });
    let span = Span { attributes: vec![attribute("deep", nested)], ..Span::default() };
    check("/v1/traces", PROTOBUF, traces(vec![span]).encode_to_vec(), 400, "recursion limit").await;
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn traces(spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

#[tokio::test]
async fn bodies_that_would_unfold_are_refused_before_they_do() {
    let limits = Limits::default();
    check("/v1/logs", JSON, vec![b' '; limits.max_body_bytes + 1], 413, "larger than 16777216 bytes").await;
    check(
        "/v1/logs",
        JSON,
        format!("[{}]", "0,".repeat(limits.max_elements)),
        413,
        "more than 2000000 elements",
    )
    .await;

    // Empty messages: 2 bytes each on the wire.
    let group = |bytes: Vec<u8>| {
        let mut framed = vec![if bytes.len() > 9_000_000 { 0x0a } else { 0x12 }];
        prost::encoding::encode_varint(bytes.len() as u64, &mut framed);
        framed.extend(bytes);
        framed
    };
    let spans = [0x12, 0].repeat(limits.max_elements + 1);
    let mut scope = group(spans);
    scope.resize(9_000_001, 0);
    check("/v1/traces", PROTOBUF, group(scope), 413, "elements").await;
}

#[tokio::test]
async fn gzip_bombs_are_not_unpacked() {
    // A gigabyte of blanks, as members that are unpacked one after the other.
    let bomb = gzip(&vec![b' '; 1 << 20]).repeat(1 << 10);
    for path in ["/v1/logs", "/api/v1/changes"] {
        let harness = Harness::new();
        let request = Request::post(path).header("content-type", JSON).header("content-encoding", "gzip");
        let answer = harness.send(request.body(Body::from(bomb.clone())).unwrap()).await;
        assert_eq!(answer.status, 413, "{}", answer.text());
        harness.check_metric("inquest_ingest_inflight_bytes 0");
    }
}

#[tokio::test]
async fn parts_of_an_item_are_bounded() {
    let list = (0..1_000).map(|index| attribute(&format!("key{index:04}"), Value::IntValue(index))).collect();
    let event = opentelemetry_proto::tonic::trace::v1::span::Event::default();
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        start_time_unix_nano: 5,
        end_time_unix_nano: 6,
        attributes: list,
        events: vec![event; 1_000],
        ..Span::default()
    };
    let harness = Harness::new();
    assert_eq!(harness.post("/v1/traces", PROTOBUF, traces(vec![span]).encode_to_vec()).await.status, 200);
    let spans = harness.take().spans;
    assert_eq!((spans[0].attributes.len(), spans[0].events.len()), (128, 128));
    assert_eq!(spans[0].attributes.last_key_value().unwrap().0, "key0127");
    harness.check_metric("inquest_ingest_truncated_total 1744");
}

#[tokio::test]
async fn the_name_of_the_service_survives_a_flood_of_attributes() {
    let mut list: Vec<_> =
        (0..1_000).map(|index| attribute(&format!("a{index:04}"), Value::IntValue(index))).collect();
    list.push(attribute("service.name", Value::StringValue("cart".into())));
    let mut request = traces(vec![Span { trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() }]);
    request.resource_spans[0].resource =
        Some(opentelemetry_proto::tonic::resource::v1::Resource { attributes: list, ..Default::default() });
    let harness = Harness::new();
    assert_eq!(harness.post("/v1/traces", PROTOBUF, request.encode_to_vec()).await.status, 200);
    let spans = harness.take().spans;
    assert_eq!((spans[0].service.as_str(), spans[0].resource.len()), ("cart", 128));
}

#[tokio::test]
async fn histograms_do_not_multiply_labels_without_bound() {
    let point = HistogramDataPoint {
        time_unix_nano: 9,
        bucket_counts: vec![1; 256],
        explicit_bounds: (0..255).map(f64::from).collect(),
        attributes: (0..48)
            .map(|index| attribute(&format!("label{index}"), Value::StringValue("x".repeat(500))))
            .collect(),
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram { data_points: vec![point; 100], aggregation_temporality: 2 };
    let metric =
        Metric { name: "m".into(), data: Some(metric::Data::Histogram(histogram)), ..Metric::default() };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    };
    let harness = Harness::with(Limits::default(), Store::Works);
    let answer = harness.post("/v1/metrics", PROTOBUF, request.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("beyond the size one request may unfold to"), "{}", answer.text());
    let samples = harness.take().samples.len();
    assert!((257..=20 * 257).contains(&samples), "{samples}");
}

/// A resource of as many and as long attributes as are kept, and how many bytes of it each row repeats.
fn large_resource() -> (Resource, usize) {
    let limits = Limits::default();
    let text = || Value::StringValue("x".repeat(limits.max_field_bytes));
    let attributes =
        (0..limits.max_attributes).map(|index| attribute(&format!("key{index:03}"), text())).collect();
    let bytes = limits.max_attributes * ("key000".len() + limits.max_field_bytes) + "unknown_service".len();
    (Resource { attributes, ..Resource::default() }, bytes)
}

#[tokio::test]
async fn log_records_do_not_multiply_their_resource_without_bound() {
    const RECORDS: usize = 300_000;
    let (resource, row_bytes) = large_resource();
    let large = ResourceLogs {
        resource: Some(resource),
        scope_logs: vec![ScopeLogs {
            log_records: vec![LogRecord::default(); RECORDS],
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    let small = ResourceLogs {
        scope_logs: vec![ScopeLogs { log_records: vec![LogRecord::default()], ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    let request = ExportLogsServiceRequest { resource_logs: vec![large, small] };
    let packed = gzip(&request.encode_to_vec());
    assert!(packed.len() < 100_000, "{} bytes would be rows of a terabyte", packed.len());

    let fits = Limits::default().max_repeated_bytes / row_bytes;
    let harness = Harness::new();
    let request =
        Request::post("/v1/logs").header("content-type", PROTOBUF).header("content-encoding", "gzip");
    let answer = harness.send(request.body(Body::from(packed)).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let partial = ExportLogsServiceResponse::decode(&*answer.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_log_records, (RECORDS - fits) as i64);
    assert!(partial.error_message.contains("beyond the size one request may unfold to"), "{partial:?}");
    assert_eq!(harness.take().logs.len(), fits + 1, "one of a small resource is still taken");
}

#[tokio::test]
async fn spans_do_not_multiply_the_names_of_their_scope_without_bound() {
    const SPANS: usize = 10_000;
    let limits = Limits { max_repeated_bytes: 2 << 20, ..Limits::default() };
    let span = Span { trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() };
    let mut request = traces(vec![span; SPANS]);
    let scope = InstrumentationScope {
        name: "n".repeat(limits.max_name_bytes),
        version: "v".repeat(limits.max_name_bytes),
        ..InstrumentationScope::default()
    };
    request.resource_spans[0].scope_spans[0].scope = Some(scope);

    let fits = limits.max_repeated_bytes / (2 * limits.max_name_bytes + "unknown_service".len());
    let harness = Harness::with(limits, Store::Works);
    let answer = harness.post("/v1/traces", PROTOBUF, request.encode_to_vec()).await;
    let partial = ExportTraceServiceResponse::decode(&*answer.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, (SPANS - fits) as i64);
    assert_eq!(harness.take().spans.len(), fits);
}

#[tokio::test]
async fn points_do_not_multiply_the_name_of_their_metric_without_bound() {
    const POINTS: usize = 10_000;
    let limits = Limits { max_series_bytes: 2 << 20, ..Limits::default() };
    let value = Some(number_data_point::Value::AsInt(1));
    let points = vec![NumberDataPoint { time_unix_nano: 9, value, ..NumberDataPoint::default() }; POINTS];
    let metric = Metric {
        name: "m".repeat(limits.max_name_bytes),
        unit: "u".repeat(limits.max_name_bytes),
        data: Some(metric::Data::Gauge(Gauge { data_points: points })),
        ..Metric::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    };
    let most = limits.max_series_bytes / (2 * limits.max_name_bytes);
    let harness = Harness::with(limits, Store::Works);
    let answer = harness.post("/v1/metrics", PROTOBUF, request.encode_to_vec()).await;
    assert!(answer.text().contains("beyond the size one request may unfold to"), "{}", answer.text());
    let samples = harness.take().samples.len();
    assert!((1_000..=most).contains(&samples), "{samples}");
}

#[tokio::test]
async fn large_batches_of_collectors_are_taken_whole() {
    const RECORDS: usize = 50_000;
    let attributes =
        (0..30).map(|index| attribute(&format!("key{index:02}"), Value::StringValue("x".repeat(95))));
    let scope = InstrumentationScope { name: "n".repeat(60), ..InstrumentationScope::default() };
    let logs = ResourceLogs {
        resource: Some(Resource { attributes: attributes.collect(), ..Resource::default() }),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope),
            log_records: vec![LogRecord::default(); RECORDS],
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    let request = ExportLogsServiceRequest { resource_logs: vec![logs] };
    let harness = Harness::new();
    let answer = harness.post("/v1/logs", PROTOBUF, request.encode_to_vec()).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", answer.text());
    assert_eq!(harness.take().logs.len(), RECORDS);
}
