//! OTLP over HTTP: encodings, status codes, error bodies, back-pressure, and when a sender is answered.

use axum::body::Body;
use domain::Batch;
use http::Request;
use ingest::Limits;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic_types::pb;

use crate::support::{Answer, Harness, Store};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const LOG: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hi"}}]}]}]}"#;
const BAD_SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}"#;

/// What an answer must say.
#[track_caller]
fn check(answer: &Answer, status: u16, content_type: &str, text: &str) {
    assert_eq!((answer.status, answer.content_type.as_str()), (status, content_type), "{}", answer.text());
    assert_eq!(answer.text(), text);
}

#[tokio::test]
async fn answers_in_the_encoding_of_the_request() {
    let harness = Harness::new();
    check(&harness.post("/v1/logs", "Application/JSON; charset=utf-8", LOG).await, 200, JSON, "{}");
    check(
        &harness.post("/v1/logs", "application/x-ndjson", format!("{LOG}\n\n{LOG}\n")).await,
        200,
        JSON,
        "{}",
    );
    check(&harness.post_gzip("/v1/logs", JSON, LOG.as_bytes()).await, 200, JSON, "{}");
    check(&harness.post("/v1/traces", PROTOBUF, "").await, 200, PROTOBUF, "");
    assert_eq!(harness.take().logs.len(), 4);
    harness.check_metric(r#"inquest_ingest_accepted_total{signal="logs"} 4"#);
    harness.check_metric(r#"inquest_ingest_requests_total{transport="http_json",outcome="ok"} 3"#);
    harness.check_metric("inquest_ingest_inflight_bytes 0");
}

#[tokio::test]
async fn says_what_it_did_not_take() {
    let harness = Harness::new();
    let message = "2 spans rejected: 2 with an invalid trace or span id";
    let expected = format!(r#"{{"partialSuccess":{{"errorMessage":"{message}","rejectedSpans":"2"}}}}"#);
    check(&harness.post("/v1/traces", JSON, BAD_SPAN).await, 200, JSON, &expected);

    let request: opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest =
        serde_json::from_str(BAD_SPAN).unwrap();
    let answer = harness.post("/v1/traces", PROTOBUF, request.encode_to_vec()).await;
    let partial = ExportTraceServiceResponse::decode(&*answer.body).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (2, message));
    harness.check_metric(r#"inquest_ingest_rejected_total{signal="traces",reason="invalid_id"} 4"#);
    harness.check_metric(r#"inquest_ingest_requests_total{transport="http_json",outcome="partial"} 1"#);
}

#[tokio::test]
async fn refuses_what_it_cannot_read() {
    let harness = Harness::new();
    let answer = harness.post("/v1/logs", JSON, "{").await;
    check(
        &answer,
        400,
        JSON,
        r#"{"code":3,"message":"malformed request: EOF while parsing an object at line 1 column 1"}"#,
    );
    let answer = harness.post("/v1/logs", "application/x-ndjson", format!("{LOG}\n[]")).await;
    check(
        &answer,
        400,
        JSON,
        r#"{"code":3,"message":"malformed request: line 2: a request is a JSON object"}"#,
    );
    let answer = harness.post("/v1/logs", PROTOBUF, vec![0xff; 9]).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (400, PROTOBUF));
    let status = pb::Status::decode(&*answer.body).unwrap();
    assert_eq!(status.code, 3);
    assert!(status.message.starts_with("malformed request: "), "{}", status.message);
    let not_gzip = Request::post("/v1/logs").header("content-type", JSON).header("content-encoding", "gzip");
    let answer = harness.send(not_gzip.body(Body::from(LOG)).unwrap()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(harness.take().is_empty());
}

#[tokio::test]
async fn refuses_what_it_does_not_speak() {
    let harness = Harness::new();
    let answer = harness.post("/v1/logs", "text/plain", LOG).await;
    check(
        &answer,
        415,
        JSON,
        r#"{"code":3,"message":"unsupported content type `text/plain`; supported: application/x-protobuf, application/json, application/x-ndjson"}"#,
    );
    let none = harness.send(Request::post("/v1/logs").body(Body::from(LOG)).unwrap()).await;
    assert_eq!(none.status, 415);
    let brotli = Request::post("/v1/logs").header("content-type", JSON).header("content-encoding", "br");
    let answer = harness.send(brotli.body(Body::from(LOG)).unwrap()).await;
    check(
        &answer,
        415,
        JSON,
        r#"{"code":12,"message":"unsupported content encoding `br`; supported: gzip, identity"}"#,
    );
    assert_eq!(harness.send(Request::get("/v1/logs").body(Body::empty()).unwrap()).await.status, 405);
    harness.check_metric(r#"inquest_ingest_requests_total{transport="http_json",outcome="unsupported"} 3"#);
}

#[tokio::test]
async fn what_was_not_stored_is_not_acknowledged() {
    for store in [Store::Fails, Store::Dies] {
        let harness = Harness::with(Limits::default(), store);
        let answer = harness.post("/v1/logs", JSON, LOG).await;
        check(
            &answer,
            503,
            JSON,
            r#"{"code":14,"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"5s"}],"message":"telemetry could not be stored; try again later"}"#,
        );
        assert_eq!(answer.retry_after.as_deref(), Some("5"));
        harness
            .check_metric(r#"inquest_ingest_requests_total{transport="http_json",outcome="unavailable"} 1"#);
    }
    // A request without rows needs no store.
    let harness = Harness::with(Limits::default(), Store::Fails);
    check(&harness.post("/v1/logs", JSON, "{}").await, 200, JSON, "{}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_makes_senders_come_back_and_then_stay_away() {
    // Room for one request and a half.
    let limits = Limits { max_inflight_bytes: LOG.len() * 3 / 2, ..Limits::default() };
    let harness = Harness::with(limits, Store::Hangs);
    let answer = harness.post("/v1/logs", JSON, LOG).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    // The store still holds the first request.
    let answer = harness.post("/v1/logs", PROTOBUF, LOG).await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("1")));
    let status = pb::Status::decode(&*answer.body).unwrap();
    assert_eq!(
        (status.code, status.details[0].type_url.as_str()),
        (8, "type.googleapis.com/google.rpc.RetryInfo")
    );
    harness.check_metric(&format!("inquest_ingest_inflight_bytes {}", LOG.len()));
    harness.check_metric(r#"inquest_ingest_requests_total{transport="http_protobuf",outcome="busy"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_dawdles_is_let_go() {
    let harness = Harness::new();
    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(harness.post("/v1/logs", JSON, never).await.status, 408);
}

#[tokio::test]
async fn big_bodies_are_decoded_elsewhere_with_the_same_result() {
    let harness = Harness::new();
    let lines = format!("{LOG}\n").repeat(10_000);
    assert_eq!(harness.post("/v1/logs", "application/x-ndjson", lines.clone()).await.status, 200);
    let plain: Batch = harness.take();
    assert_eq!(harness.post_gzip("/v1/logs", "application/x-ndjson", lines.as_bytes()).await.status, 200);
    assert_eq!(plain.logs.len(), 10_000);
    assert_eq!(harness.take(), plain);
}
