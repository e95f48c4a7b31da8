//! An incident is opened, explained, told, and outlives the program.

use domain::{ConfidenceLevel, Incident, IncidentStatus};
use serde_json::{Value, json};
use system_tests::load::{self, Behaviour, Outcome, Signal, SpanTemplate};

use crate::harness::{TestServer, serve};

const MINUTE_NS: u64 = 60_000_000_000;
const HEALTHY_MINUTES: u64 = 40;
const FAILING_MINUTES: u64 = 6;
/// Twenty traces.
const SPANS_PER_MINUTE: u32 = 200;
const LOGS_PER_MINUTE: u32 = 60;

/// Forty quiet minutes, then six in which a third of the charges fail, all of it in the past: nothing has to be waited for.
pub async fn break_payment(server: &TestServer) {
    let mut at = load::now_ns() - (HEALTHY_MINUTES + FAILING_MINUTES) * MINUTE_NS;
    for (number, (behaviour, minutes)) in
        [(Behaviour::Healthy, HEALTHY_MINUTES), (Behaviour::PaymentFails, FAILING_MINUTES)]
            .into_iter()
            .enumerate()
    {
        let rows = |per_minute: u32| per_minute * minutes as u32;
        let length = minutes * MINUTE_NS;
        // One seed each: a span's id is made of the sender's seed and its number.
        let template = SpanTemplate::new(rows(SPANS_PER_MINUTE), behaviour, 0);
        let spans = template.request(number as u16 + 1, 0, at, length);
        let logs = load::log_request(rows(LOGS_PER_MINUTE), behaviour, number as u64, at, length);
        // Spans last: they are what opens the incident, which is looked into at once.
        for (signal, request) in [(Signal::Logs, logs), (Signal::Traces, spans)] {
            assert_eq!(server.send(signal, request).await, Outcome::Acknowledged { rejected: 0 });
        }
        at += length;
    }
}

/// The incident, once it was looked into.
pub async fn investigated(server: &TestServer) -> Incident {
    server
        .until("investigated incident", async |server: &TestServer| {
            server.incidents().into_iter().find(|incident| incident.runs > 0)
        })
        .await
}

#[tokio::test]
async fn a_failing_service_becomes_an_explained_incident() {
    serve(async |server| {
        break_payment(server).await;
        let incident = investigated(server).await;
        let (_, told) = server.get(&format!("/incidents/{}.md", incident.id)).await;
        assert_eq!(incident.root_service, "payment", "{told}");
        assert!(incident.confidence > Some(ConfidenceLevel::Inconclusive));

        let path = format!("/incidents/{}", incident.id);
        let (status, page) = server.get(&path).await;
        assert_eq!(status, 200);
        assert!(page.contains("Most likely cause") && page.contains("payment"), "{page}");

        let (status, json) = server.get(&format!("{path}.json")).await;
        assert_eq!(status, 200);
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let answer = &json["report"]["answer"];
        let sentences: Vec<&Value> = ["going_on", "cause"]
            .iter()
            .flat_map(|part| answer[part].as_array().into_iter().flatten())
            .collect();
        assert!(!sentences.is_empty(), "{answer}");
        for sentence in sentences {
            assert!(
                sentence["cites"].as_array().is_some_and(|cites| !cites.is_empty()),
                "{sentence} cites nothing"
            );
        }

        let (status, markdown) = server.get(&format!("{path}.md")).await;
        assert_eq!(status, 200);
        assert!(markdown.starts_with("# ") && markdown.contains("payment"), "{markdown}");

        let (status, list) = server.get("/incidents").await;
        assert_eq!(status, 200);
        assert!(list.contains(&incident.id.to_string()));
    })
    .await;
}

#[tokio::test]
async fn an_incident_and_what_people_said_outlive_a_restart() {
    serve(async |server| {
        break_payment(server).await;
        let id = investigated(server).await.id;
        let form = "application/x-www-form-urlencoded";
        let feedback = server.page(&format!("/incidents/{id}/feedback"));
        let (status, _) =
            server.post(&feedback, form, "verdict=not-quite&service=bank&text=it+was+the+bank").await;
        assert_eq!(status, 200, "followed back to the page");
        let (status, _) = server.post(&feedback, form, "verdict=maybe").await;
        assert_eq!(status, 400);
        let (status, _) = server.post(&server.page(&format!("/incidents/{id}/resolve")), form, "").await;
        assert_eq!(status, 200);

        server.restart().await;
        let incident =
            server.incidents().into_iter().find(|incident| incident.id == id).expect("the incident is back");
        assert_eq!(incident.status, IncidentStatus::Resolved);
        let (status, page) = server.get(&format!("/incidents/{id}")).await;
        assert_eq!(status, 200);
        assert!(page.contains("it was the bank"), "what people said is kept");
        assert!(page.contains("Most likely cause"), "and so is the report");
    })
    .await;
}
