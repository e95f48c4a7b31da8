//! `POST /api/v1/changes`.

use ingest::Limits;

use crate::support::{Answer, Harness, Store};

const JSON: &str = "application/json";
const DEPLOY: &str = r#"{"kind":"deploy","service":"cart","version":"2","ref":"d1","detail":"by <b>ci</b>"}"#;

#[track_caller]
fn check(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, body));
    assert_eq!(answer.content_type, JSON);
}

#[tokio::test]
async fn stores_then_accepts() {
    let harness = Harness::new();
    check(&harness.post("/api/v1/changes", JSON, DEPLOY).await, 202, r#"{"accepted":1}"#);
    let list = format!("[{DEPLOY},{DEPLOY}]");
    check(&harness.post_gzip("/api/v1/changes", JSON, list.as_bytes()).await, 202, r#"{"accepted":2}"#);
    check(&harness.post("/api/v1/changes", JSON, "[]").await, 202, r#"{"accepted":0}"#);
    let changes = harness.take().changes;
    assert_eq!(changes.len(), 3);
    assert_eq!((changes[0].source.as_str(), changes[0].detail.as_str()), ("api", "by <b>ci</b>"));
    harness.check_metric(r#"inquest_ingest_accepted_total{signal="changes"} 3"#);
    harness.check_metric(r#"inquest_ingest_requests_total{transport="changes",outcome="ok"} 3"#);
}

#[tokio::test]
async fn refuses_all_for_one() {
    let harness = Harness::new();
    let answer = harness.post("/api/v1/changes", JSON, format!(r#"[{DEPLOY},{{"kind":"deploy"}}]"#)).await;
    check(&answer, 400, r#"{"error":"malformed request: change 2: missing field `service`"}"#);
    let answer =
        harness.post("/api/v1/changes", JSON, format!("[{}{DEPLOY}]", format!("{DEPLOY},").repeat(1000)));
    check(&answer.await, 413, r#"{"error":"request of more than 1000 elements; send smaller batches"}"#);
    let answer = harness.post("/api/v1/changes", "text/plain", DEPLOY).await;
    check(&answer, 415, r#"{"error":"unsupported content type `text/plain`; supported: application/json"}"#);
    assert!(harness.take().is_empty());
}

#[tokio::test]
async fn tells_the_sender_when_to_come_back() {
    let harness = Harness::with(Limits::default(), Store::Fails);
    let answer = harness.post("/api/v1/changes", JSON, DEPLOY).await;
    check(&answer, 503, r#"{"error":"telemetry could not be stored; try again later"}"#);
    assert_eq!(answer.retry_after.as_deref(), Some("5"));
}
