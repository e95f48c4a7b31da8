//! OTLP over gRPC, with the client that senders use, on the loopback.

use std::time::Duration;

use ingest::{Limits, serve_grpc};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::support::{Harness, Store};

/// A listener that has to end when told.
struct Server {
    harness: Harness,
    channel: Channel,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ingest::ServeError>>,
}

impl Server {
    async fn start(limits: Limits, store: Store) -> Self {
        let harness = Harness::with(limits, store);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve_grpc(harness.ingest.clone(), listener, shutdown.clone()));
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        Self { harness, channel, shutdown, task }
    }

    async fn stop(self) {
        drop(self.channel);
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    fn logs(&self) -> LogsServiceClient<Channel> {
        LogsServiceClient::new(self.channel.clone())
    }
}

fn logs(count: usize, body: &str) -> ExportLogsServiceRequest {
    let value = Some(AnyValue { value: Some(Value::StringValue(body.into())) });
    let record = LogRecord { time_unix_nano: 9, body: value, ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record; count], ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

#[tokio::test]
async fn stores_all_signals_plain_and_gzip() {
    let server = Server::start(Limits::default(), Store::Works).await;
    let answer = server.logs().export(logs(2, "hi")).await.unwrap();
    assert_eq!(answer.into_inner().partial_success, None);
    let mut packed = server.logs().send_compressed(CompressionEncoding::Gzip);
    packed.export(logs(20_000, "a longer body, so that it is decoded elsewhere")).await.unwrap();
    assert_eq!(server.harness.take().logs.len(), 20_002);

    let spans: ExportTraceServiceRequest =
        serde_json::from_value(json!({"resourceSpans": [{"scopeSpans": [{"spans": [
            {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "good"},
            {"name": "bad"},
        ]}]}]}))
        .unwrap();
    let answer = TraceServiceClient::new(server.channel.clone()).export(spans).await.unwrap();
    let partial = answer.into_inner().partial_success.unwrap();
    assert_eq!(
        (partial.rejected_spans, partial.error_message.as_str()),
        (1, "1 span rejected: 1 with an invalid trace or span id")
    );
    let points: ExportMetricsServiceRequest = serde_json::from_value(json!({"resourceMetrics": [{"scopeMetrics": [
        {"metrics": [{"name": "m", "gauge": {"dataPoints": [{"timeUnixNano": "9", "asInt": "1"}]}}, {"name": "none"}]},
    ]}]}))
    .unwrap();
    let answer = MetricsServiceClient::new(server.channel.clone()).export(points).await.unwrap();
    assert_eq!(answer.into_inner().partial_success.unwrap().rejected_data_points, 1);
    let batch = server.harness.take();
    assert_eq!((batch.spans.len(), batch.samples.len()), (1, 1));
    server.harness.check_metric(r#"inquest_ingest_requests_total{transport="grpc",outcome="ok"} 2"#);
    server.stop().await;
}

/// The code of a refusal, and whether the sender is told to come back.
async fn check(server: &Server, request: ExportLogsServiceRequest, code: Code, retry: Option<u64>) {
    let status = server.logs().export(request).await.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(delay, retry.map(Duration::from_secs));
}

#[tokio::test]
async fn says_whether_to_come_back() {
    let failing = Server::start(Limits::default(), Store::Fails).await;
    check(&failing, logs(1, "hi"), Code::Unavailable, Some(5)).await;
    failing.stop().await;

    let narrow = Limits { max_body_bytes: 1_000, max_inflight_bytes: 2_000, ..Limits::default() };
    let server = Server::start(narrow, Store::Works).await;
    check(&server, logs(1, &"x".repeat(1_100)), Code::ResourceExhausted, None).await;
    server.stop().await;

    let full = Server::start(Limits { max_inflight_bytes: 100, ..Limits::default() }, Store::Works).await;
    check(&full, logs(1, &"x".repeat(200)), Code::ResourceExhausted, Some(1)).await;
    full.logs().export(logs(1, "hi")).await.unwrap();
    full.stop().await;
}

#[tokio::test]
async fn bombs_and_unknown_methods_are_refused() {
    let server = Server::start(Limits::default(), Store::Works).await;
    let mut packed = server.logs().send_compressed(CompressionEncoding::Gzip);
    let status = packed.export(logs(1, &" ".repeat(17 << 20))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");

    let elsewhere = "http://127.0.0.1/elsewhere".parse().unwrap();
    let mut lost = LogsServiceClient::with_origin(server.channel.clone(), elsewhere);
    let status = lost.export(logs(1, "hi")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    drop((packed, lost));
    server.stop().await;
}
