//! What outside bytes may try, and what the server makes of it.

use serde_json::{Value, json};
use system_tests::load;

use crate::harness::serve;

const MARKUP: &str = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>";

fn request(service: &str, span: &str, parent: Option<&str>) -> Value {
    let at = load::now_ns();
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"spans": [{
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": span, "parentSpanId": parent.unwrap_or(""),
            "name": format!("GET {service}"), "kind": 2,
            "startTimeUnixNano": at.to_string(), "endTimeUnixNano": (at + 1_000_000).to_string(),
            "status": {"code": 2, "message": service},
        }]}]
    }]})
}

#[tokio::test]
async fn odd_service_names_are_data_on_every_page() {
    serve(async |server| {
        let long = "x".repeat(10 * 1024);
        let names = [
            MARKUP,
            "PetSearch_AWS::ECS::Fargate",
            "https://shop.example/cart?id=1&x=<b>",
            "",
            "\u{202e}gnp.exe",
            &long,
        ];
        for (index, name) in names.iter().enumerate() {
            let body = request(name, &format!("eee19b7ec3c1b1{index:02x}"), None).to_string();
            let (status, answer) = server.post(&server.otlp("/v1/traces"), "application/json", body).await;
            assert_eq!(status, 200, "{answer}");
        }
        assert_eq!(server.store().health().await.expect("the store answers").traces.rows, names.len() as u64);

        for path in [
            "/",
            "/incidents",
            &format!("/incidents?q={}", "%3Cscript%3Ealert(1)"),
            "/traces/5b8efff798038103d269b633813fc60c",
        ] {
            let (status, page) = server.get(path).await;
            assert_eq!(status, 200, "{path}");
            assert!(!page.contains("<script>alert"), "{path} carries markup from telemetry");
            assert!(!page.contains("<img src=x"), "{path} carries markup from telemetry");
            assert!(!page.contains(&long), "{path} repeats 10 KB of a name");
        }
        let (_, overview) = server.get("/").await;
        assert!(overview.contains("PetSearch_AWS::ECS::Fargate"));
        assert!(overview.contains("&lt;script&gt;"), "the name is shown, as text");
    })
    .await;
}

#[tokio::test]
async fn spans_in_a_circle_and_orphans_are_shown_without_hanging() {
    serve(async |server| {
        let (first, second) = ("eee19b7ec3c1b101", "eee19b7ec3c1b102");
        for body in [
            request("a", first, Some(second)),
            request("b", second, Some(first)),
            request("c", "eee19b7ec3c1b103", Some("aaaaaaaaaaaaaaaa")),
            request("d", "eee19b7ec3c1b104", Some("eee19b7ec3c1b104")),
        ] {
            let (status, answer) =
                server.post(&server.otlp("/v1/traces"), "application/json", body.to_string()).await;
            assert_eq!(status, 200, "{answer}");
        }
        let (status, page) = server.get("/traces/5b8efff798038103d269b633813fc60c").await;
        assert_eq!(status, 200);
        for service in ["GET a", "GET b", "GET c", "GET d"] {
            assert!(page.contains(service), "{service} is missing");
        }
        let question = json!({"service": "a", "since": "10m"}).to_string();
        let (status, answer) =
            server.post(&server.page("/api/v1/investigate"), "application/json", question).await;
        assert_eq!(status, 200, "{answer}");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_reason() {
    serve(async |server| {
        let check = async |content_type: &str, body: &'static str, expected: u16| {
            let (status, answer) = server.post(&server.otlp("/v1/traces"), content_type, body).await;
            assert_eq!(status, expected, "{content_type} {body:?}: {answer}");
        };
        check("application/json", "{", 400).await;
        check("application/json", "[]", 400).await;
        check("application/x-protobuf", "not protobuf", 400).await;
        check("text/plain", "hello", 415).await;
        check("application/json", "{}", 200).await;
        let (status, _) =
            server.post(&server.page("/api/v1/investigate"), "application/json", r#"{"service": ""}"#).await;
        assert_eq!(status, 400);
    })
    .await;
}
