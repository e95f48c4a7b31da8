//! How fast the bytes of a request of 1,000 spans become rows, on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use domain::UnixNanos;
use ingest::{Encoding, Limits, Signal, decode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

const SPANS: u64 = 1000;
const START: u64 = 1_795_096_951_000_000_000;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// Spans as an instrumented HTTP service sends them: ten attributes each, ten more on the resource.
fn request() -> ExportTraceServiceRequest {
    let span = |index: u64| Span {
        trace_id: (u128::from(index / 10) + 1).to_be_bytes().to_vec(),
        span_id: (index + 1).to_be_bytes().to_vec(),
        parent_span_id: if index.is_multiple_of(10) { Vec::new() } else { index.to_be_bytes().to_vec() },
        name: "GET /api/products/{id}".into(),
        kind: 2,
        start_time_unix_nano: START + index,
        end_time_unix_nano: START + index + 4_000_000,
        attributes: vec![
            text("http.request.method", "GET"),
            text("http.route", "/api/products/{id}"),
            text("url.path", "/api/products/66VCHSJNUP"),
            text("url.scheme", "http"),
            text("server.address", "frontend-proxy"),
            attribute("server.port", Value::IntValue(8080)),
            attribute("http.response.status_code", Value::IntValue(200)),
            text("user_agent.original", "python-requests/2.32.5"),
            text("network.protocol.version", "1.1"),
            text("client.address", "172.18.0.26"),
        ],
        ..Span::default()
    };
    let resource = (0..10).map(|index| text(&format!("resource.attribute.{index}"), "a value")).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: resource, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

fn decode_convert(criterion: &mut Criterion) {
    let request = request();
    let bodies = [
        ("protobuf", Encoding::Protobuf, request.encode_to_vec()),
        ("json", Encoding::Json, serde_json::to_vec(&request).unwrap_or_default()),
    ];
    let limits = Limits::default();
    let now = UnixNanos(START as i64);
    let mut group = criterion.benchmark_group("decode_convert");
    group.throughput(Throughput::Elements(SPANS));
    for (name, encoding, body) in bodies {
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(Signal::Traces, encoding, black_box(&body), &limits, now));
        });
    }
    group.finish();
}

criterion_group!(benches, decode_convert);
criterion_main!(benches);
