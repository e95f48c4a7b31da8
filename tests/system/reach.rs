//! The answer reaches people: alerts and their review, Slack, notifications, tools. Other companies' servers are played
//! in-process (`fakes`), within the limits that they document.

mod news;
mod queue;
mod silences;
mod slack;
mod tools;

use std::sync::{Arc, Mutex};

use domain::IncidentEvent;
use serde_json::{Value, json};
use server::config::{Channel, Config, NameGlob, Secret, SlackUser, Target};
use server::signature;

use crate::fakes::{Company, Fake};
use crate::harness::{TestServer, now, serve_with};
use crate::slow_model::{FakeModel, Play};

const TOKEN: &str = "a token of tests";
const SIGNING: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// Signs webhooks.
const HOOK: &str = "a secret of hooks";
/// Keys of PagerDuty have 32 characters.
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn webhook(service: &str, pod: &str, summary: &str, seconds_ago: i64) -> String {
    let at = domain::UnixNanos::from_seconds(now().seconds() - seconds_ago);
    json!({"version": "4", "status": "firing", "receiver": "inquest", "alerts": [{
        "status": "firing", "startsAt": at.to_string(), "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f",
        "labels": {"alertname": "Retries", "service": service, "severity": "warning", "pod": pod},
        "annotations": {"summary": summary},
    }]})
    .to_string()
}

async fn send_alert(server: &TestServer, body: String) -> Value {
    let request =
        server.http().post(server.page("/api/v1/alerts/alertmanager")).bearer_auth(TOKEN).body(body);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    answer.json().await.expect("JSON")
}

async fn press(server: &TestServer, path: &str, form: &str) -> u16 {
    server.post(&server.page(path), "application/x-www-form-urlencoded", form.to_owned()).await.0
}

/// The fingerprint of a service's only alert.
async fn fingerprint_of(server: &TestServer, service: &str) -> (String, Value) {
    let alerts: Vec<Value> = serde_json::from_str(&server.get("/api/v1/alerts").await.1).expect("JSON");
    let alert = alerts.into_iter().find(|one| one["service"] == service).expect("its alert");
    (alert["fingerprint"].as_str().expect("a fingerprint").to_owned(), alert)
}

fn form(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn channel(name: &str, target: Target) -> Channel {
    Channel { name: name.into(), severity: domain::Severity::Warning, services: None, alerts: true, target }
}

fn chat(url: &str) -> Target {
    Target::Slack { channel: "C1".into(), token: Secret::new("xoxb"), api: format!("{url}/api") }
}

fn hook(url: &str) -> Target {
    Target::Webhook { url: Secret::new(url), secret: Secret::new(HOOK), private: true }
}

fn pager(url: &str) -> Target {
    Target::Pagerduty { routing_key: Secret::new(KEY), api: url.into() }
}

/// Serves what `router` answers; its address.
async fn listening(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}
