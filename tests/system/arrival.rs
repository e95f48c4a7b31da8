//! A signal arrives: over every door, stored, counted.

use flate2::{Compression, write::GzEncoder};
use std::io::Write;

use serde_json::json;
use system_tests::load::{self, Behaviour, Outcome, Signal, SpanTemplate};

use crate::harness::{now, serve};

#[tokio::test]
async fn telemetry_over_grpc_and_http_is_stored_and_counted() {
    serve(async |server| {
    let at = load::now_ns();
    let template = SpanTemplate::new(1_000, Behaviour::Healthy, 0);

    let outcome = server.send(Signal::Traces, template.request(1, 0, at, 0)).await;
    assert_eq!(outcome, Outcome::Acknowledged { rejected: 0 });
    let outcome = server.send(Signal::Logs, load::log_request(200, Behaviour::Healthy, 0, at, 0)).await;
    assert_eq!(outcome, Outcome::Acknowledged { rejected: 0 });
    let outcome = server.send(Signal::Metrics, load::metric_request(300, at)).await;
    assert_eq!(outcome, Outcome::Acknowledged { rejected: 0 });

    let (status, _) = server
        .post(&server.otlp("/v1/traces"), "application/x-protobuf", template.request(2, 0, at, 0))
        .await;
    assert_eq!(status, 200);

    let json = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "json-service"}}]},
        "scopeSpans": [{"spans": [{
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "GET /", "kind": 2,
            "startTimeUnixNano": at.to_string(), "endTimeUnixNano": (at + 1_000_000).to_string()
        }]}]
    }]});
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(json.to_string().as_bytes()).expect("memory");
    let answer = server
        .http()
        .post(server.otlp("/v1/traces"))
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(gzip.finish().expect("memory"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);

    // Acknowledged means stored: no waiting here.
    let health = server.store().health().await.expect("the store answers");
    assert_eq!((health.traces.rows, health.logs.rows, health.metrics.rows), (2_001, 200, 300));

    let (status, metrics) = server.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "inquest_store_rows_total{signal=\"traces\"} 2001",
        "inquest_store_rows_total{signal=\"logs\"} 200",
        "inquest_store_rows_total{signal=\"metrics\"} 300",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let (status, overview) = server.get("/").await;
    assert_eq!(status, 200);
    assert!(overview.contains("checkout") && overview.contains("json-service"));

    let question = r#"{"service": "chekout"}"#;
    let (status, body) = server.post(&server.page("/api/v1/investigate"), "application/json", question).await;
    assert_eq!(status, 404);
    assert!(body.contains("did you mean `checkout`?"), "{body}");
    })
    .await;
}

#[tokio::test]
async fn probes_answer() {
    serve(async |server| {
        assert_eq!(server.get("/healthz").await.0, 200);
        assert_eq!(server.get("/readyz").await, (200, "ready\n".into()));
        assert_eq!(server.get("/no-such-page").await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn a_change_is_accepted_stored_and_shown() {
    serve(async |server| {
    let change = json!({
        "kind": "deploy", "service": "checkout", "version": "1.4.1", "previous": "1.4.0", "reference": "deploy-77",
        "at": now().to_string(), "detail": "drop the price cache"
    });
    let url = server.page("/api/v1/changes");
    let (status, body) = server.post(&url, "application/json", change.to_string()).await;
    assert_eq!(status, 202, "{body}");
    assert_eq!(server.store().health().await.expect("the store answers").changes.rows, 1);
    let (_, overview) = server.get("/").await;
    assert!(overview.contains("1.4.1"), "the overview does not show the deploy");

    let (status, body) = server.post(&url, "application/json", r#"{"kind": "deploy"}"#).await;
    assert!((400..500).contains(&status), "{status} {body}");
    assert!(body.contains("service"), "the refusal names what is missing: {body}");
    })
    .await;
}

#[tokio::test]
async fn a_new_version_in_the_telemetry_counts_as_a_deploy() {
    serve(async |server| {
        let span = |version: &str, id: &str| {
            let at = load::now_ns();
            json!({"resourceSpans": [{
                "resource": {"attributes": [
                    {"key": "service.name", "value": {"stringValue": "cart"}},
                    {"key": "service.version", "value": {"stringValue": version}},
                ]},
                "scopeSpans": [{"spans": [{
                    "traceId": "5b8efff798038103d269b633813fc60c", "spanId": id, "name": "GET /", "kind": 2,
                    "startTimeUnixNano": at.to_string(), "endTimeUnixNano": (at + 1_000_000).to_string()
                }]}]
            }]})
            .to_string()
        };
        for (version, id) in
            [("2.0.0", "eee19b7ec3c1b171"), ("2.0.1", "eee19b7ec3c1b172"), ("2.0.1", "eee19b7ec3c1b173")]
        {
            let (status, body) =
                server.post(&server.otlp("/v1/traces"), "application/json", span(version, id)).await;
            assert_eq!(status, 200, "{body}");
        }
        // The first version ever seen is no deploy: the service was just not known.
        assert_eq!(server.store().health().await.expect("the store answers").changes.rows, 1);
    })
    .await;
}
