//! Other companies' servers, played in-process within the limits that they publish. The limits stand here a second time, as their
//! documents have them, so that a mistake in ours is seen.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use server::signature;

/// Whose server it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Company {
    /// Messages through the web API, answers through a `response_url`.
    #[default]
    Slack,
    /// A Workflows webhook.
    Teams,
    /// Events API v2.
    Pagerduty,
    /// Alerts API v2.
    Opsgenie,
    /// Somebody who follows Standard Webhooks, with this secret.
    Webhook(&'static str),
}

/// What came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A server of somebody else: notes what it is sent, refuses what is beyond its limits, and answers what it was told to, then
/// what it would answer.
#[derive(Clone, Default)]
pub struct Fake {
    company: Company,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    faults: Arc<Mutex<Vec<String>>>,
    refuses: Arc<AtomicBool>,
    /// Names of the messages that Slack has.
    posted: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub async fn start(company: Company, answers: &[(u16, &'static str)]) -> (Self, String) {
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let fake = Self { company, answers, ..Self::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = axum::Router::new().fallback(Self::take).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (fake, format!("http://{address}"))
    }

    async fn take(
        State(fake): State<Self>,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        raw: String,
    ) -> Response {
        let body: Value = serde_json::from_str(&raw).unwrap_or(Value::Null);
        let path = uri.path().to_owned();
        let seen = Seen { method, path, headers, body };
        let told = fake.answers.lock().expect("a lock").pop_front();
        let fault = match fake.company {
            Company::Slack => fake.slack(&seen),
            Company::Teams => teams(&seen, &raw),
            Company::Pagerduty => pagerduty(&seen, &raw),
            Company::Opsgenie => opsgenie(&seen, uri.query().unwrap_or_default()),
            Company::Webhook(secret) => webhook(&seen, &raw, secret),
        };
        if let Some(fault) = &fault {
            fake.faults.lock().expect("a lock").push(format!("{fault}: {}", seen.path));
        }
        let method = seen.path.strip_prefix("/api/").map(str::to_owned);
        let named = seen.body["ts"].as_str().map(str::to_owned);
        fake.seen.lock().expect("a lock").push(seen);
        if fake.refuses.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        if let Some((status, text)) = told {
            let status = StatusCode::from_u16(status).expect("a status");
            return (status, [("retry-after", "1")], text.to_owned()).into_response();
        }
        match (fake.company, fault, method) {
            // The web API says "no" with a success.
            (Company::Slack, Some(error), Some(_)) => {
                axum::Json(json!({"ok": false, "error": error})).into_response()
            }
            (Company::Slack, None, Some(method)) => {
                let name = match method.as_str() {
                    "chat.update" => named.unwrap_or_default(),
                    _ => format!("{}.000100", 1_700_000_000 + fake.seen().len()),
                };
                fake.posted.lock().expect("a lock").push(name.clone());
                axum::Json(json!({"ok": true, "channel": "C9", "ts": name})).into_response()
            }
            (_, Some(error), _) => (StatusCode::BAD_REQUEST, error).into_response(),
            (Company::Slack, None, None) => "ok".into_response(),
            (_, None, _) => (StatusCode::ACCEPTED, axum::Json(json!({"status": "success"}))).into_response(),
        }
    }

    /// Whether it is out of order from now on.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Somebody deletes all messages.
    pub fn forget(&self) {
        self.posted.lock().expect("a lock").clear();
    }

    /// Paths and bodies, in their order.
    pub fn seen(&self) -> Vec<(String, Value)> {
        self.all().into_iter().map(|seen| (seen.path, seen.body)).collect()
    }

    /// Everything, in its order.
    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().expect("a lock").clone()
    }

    /// What was beyond a limit.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().expect("a lock").clone()
    }

    /// docs.slack.dev: "Using response_url", "chat.postMessage", "chat.update", "Block Kit reference".
    fn slack(&self, seen: &Seen) -> Option<String> {
        let body = &seen.body;
        if let Some(method) = seen.path.strip_prefix("/api/") {
            let authorised = seen.headers.get("authorization");
            if !authorised.is_some_and(|value| value.to_str().is_ok_and(|text| text.starts_with("Bearer "))) {
                return Some("not_authed".into());
            }
            if body["channel"].as_str().is_none_or(str::is_empty) {
                return Some("channel_not_found".into());
            }
            let known = |ts: &str| self.posted.lock().expect("a lock").iter().any(|known| known == ts);
            match method {
                "chat.postMessage" => {}
                "chat.update" if body["ts"].as_str().is_some_and(known) => {}
                "chat.update" => return Some("message_not_found".into()),
                _ => return Some("unknown_method".into()),
            }
        } else if self.all().iter().filter(|other| other.path == seen.path).count() >= 5 {
            return Some("used_url".into());
        }
        message(body).map(|fault| format!("invalid_blocks {fault}"))
    }
}

/// Characters of a text.
fn length(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

/// What is wrong with a message of Slack.
fn message(body: &Value) -> Option<String> {
    if length(&body["text"]) == 0 {
        return Some("no_text".into());
    }
    let none = Vec::new();
    let blocks = body["blocks"].as_array().unwrap_or(&none);
    if blocks.len() > 50 {
        return Some(format!("{} blocks", blocks.len()));
    }
    // Not documented, and refused: `msg_blocks_too_long`.
    if body["blocks"].to_string().chars().count() > 13_200 && !blocks.is_empty() {
        return Some("msg_blocks_too_long".into());
    }
    blocks.iter().find_map(block)
}

fn block(block: &Value) -> Option<String> {
    let none = Vec::new();
    let elements = block["elements"].as_array().unwrap_or(&none);
    let text = length(&block["text"]["text"]);
    let fits = match block["type"].as_str()? {
        "section" => {
            let fields = block["fields"].as_array().unwrap_or(&none);
            let all_fit = fields.len() <= 10 && fields.iter().all(|field| length(&field["text"]) <= 2000);
            text <= 3000 && all_fit && (text > 0 || !fields.is_empty())
        }
        "header" => block["text"]["type"] == "plain_text" && (1..=150).contains(&text),
        "context" => {
            let is_text = |one: &Value| matches!(one["type"].as_str(), Some("mrkdwn" | "plain_text"));
            (1..=10).contains(&elements.len()) && elements.iter().all(is_text)
        }
        "actions" => {
            let fits = |one: &Value| {
                one["type"] == "button"
                    && one["text"]["type"] == "plain_text"
                    && (1..=75).contains(&length(&one["text"]["text"]))
                    && length(&one["value"]) <= 2000
                    && length(&one["url"]) <= 3000
                    && (1..=255).contains(&length(&one["action_id"]))
            };
            let names: Vec<&Value> = elements.iter().map(|one| &one["action_id"]).collect();
            let twice = names.iter().enumerate().any(|(place, name)| names[..place].contains(name));
            (1..=25).contains(&elements.len()) && elements.iter().all(fits) && !twice
        }
        _ => false,
    };
    let fits = fits && length(&block["block_id"]) <= 255;
    (!fits).then(|| block.to_string())
}

/// learn.microsoft.com: "Create and send messages": 28 KB; cards of workflows open addresses and do nothing else.
fn teams(seen: &Seen, raw: &str) -> Option<String> {
    if raw.len() > 28 * 1024 {
        return Some("413 too large".into());
    }
    let attachment = &seen.body["attachments"][0];
    let card = &attachment["content"];
    let none = Vec::new();
    let actions = card["actions"].as_array().unwrap_or(&none);
    let fits = seen.body["type"] == "message"
        && attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        && card["type"] == "AdaptiveCard"
        && card["body"].as_array().is_some_and(|body| !body.is_empty())
        && actions.iter().all(|action| action["type"] == "Action.OpenUrl");
    (!fits).then(|| "no card that a workflow takes".into())
}

/// developer.pagerduty.com: "Send an Alert Event".
fn pagerduty(seen: &Seen, raw: &str) -> Option<String> {
    let (body, payload) = (&seen.body, &seen.body["payload"]);
    let action = body["event_action"].as_str().unwrap_or_default();
    let severity = payload["severity"].as_str().unwrap_or_default();
    let trigger = (1..=1024).contains(&length(&payload["summary"]))
        && length(&payload["source"]) > 0
        && matches!(severity, "critical" | "error" | "warning" | "info");
    let key = length(&body["dedup_key"]);
    let fits = seen.path == "/v2/enqueue"
        && raw.len() <= 512 * 1024
        && length(&body["routing_key"]) == 32
        && key <= 255
        && match action {
            "trigger" => trigger,
            "acknowledge" | "resolve" => key > 0,
            _ => false,
        };
    (!fits).then(|| format!("invalid event {body}"))
}

/// docs.opsgenie.com: "Alert API".
fn opsgenie(seen: &Seen, query: &str) -> Option<String> {
    let key = seen.headers.get("authorization").and_then(|value| value.to_str().ok());
    if !key.is_some_and(|key| key.starts_with("GenieKey ")) {
        return Some("401".into());
    }
    let body = &seen.body;
    let priority = matches!(body["priority"].as_str(), Some("P1" | "P2" | "P3" | "P4" | "P5"));
    let message = (1..=130).contains(&length(&body["message"]));
    let description = length(&body["description"]) <= 15_000;
    let by_alias = query == "identifierType=alias";
    let parts: Vec<&str> = seen.path.trim_start_matches('/').split('/').collect();
    let fits = match (seen.method.as_str(), parts.as_slice()) {
        ("POST", ["v2", "alerts"]) => message && description && priority && length(&body["alias"]) <= 512,
        ("POST", ["v2", "alerts", _, "close"]) => by_alias,
        ("PUT", ["v2", "alerts", _, "message"]) => by_alias && message,
        ("PUT", ["v2", "alerts", _, "description"]) => {
            by_alias && description && length(&body["description"]) > 0
        }
        ("PUT", ["v2", "alerts", _, "priority"]) => by_alias && priority,
        _ => false,
    };
    (!fits).then(|| format!("422 {} {}", seen.method, seen.path))
}

/// standardwebhooks.com: id, time and signature over both and the body.
fn webhook(seen: &Seen, raw: &str, secret: &str) -> Option<String> {
    let header =
        |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts = [header("webhook-id"), ".", header("webhook-timestamp"), ".", raw].map(str::as_bytes);
    let signed = header("webhook-signature").strip_prefix("v1,").unwrap_or_default();
    let tag = signature::hmac(secret.as_bytes(), &parts);
    let wanted: String = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(tag)
    };
    (header("webhook-id").is_empty() || signed != wanted).then(|| "the signature is wrong".into())
}
