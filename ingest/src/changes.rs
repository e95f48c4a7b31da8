//! `POST /api/v1/changes`: deploys, flags and other changes, told by people and pipelines.
//!
//! All or nothing: a request with one bad change stores none, so that a pipeline notices at once and can send it again.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use domain::{Batch, Change, ChangeKind, UnixNanos};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{gunzip, is_gzip, read};
use crate::http::content_type;
use crate::intake::Ingest;
use crate::limits::{Limits, MAX_CHANGE_BODY_BYTES, MAX_CHANGES, MAX_CLOCK_AHEAD};
use crate::refusal::Refusal;
use crate::reply;

/// Who told us, on every change that comes this way.
const SOURCE: &str = "api";

/// The route for changes, for the main listener.
pub fn change_router(ingest: Arc<Ingest>) -> Router {
    Router::new().route("/api/v1/changes", post(post_changes)).with_state(ingest)
}

/// A change as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentChange {
    kind: String,
    service: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    previous: Option<String>,
    #[serde(default, alias = "ref", alias = "id")]
    reference: Option<String>,
    #[serde(default, alias = "ts")]
    at: Option<Value>,
    #[serde(default)]
    detail: Option<String>,
}

async fn post_changes(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let outcome = receive(&ingest, request).await;
    ingest.metrics.answered("changes", outcome.as_ref().map_or_else(Refusal::outcome, |_| "ok"));
    match outcome {
        Ok(accepted) => (StatusCode::ACCEPTED, Json(json!({"accepted": accepted}))).into_response(),
        Err(refusal) => {
            let body = Json(json!({"error": refusal.to_string()}));
            let mut response = (reply::status_code(&refusal), body).into_response();
            if let Some(delay) = refusal.retry_after() {
                response.headers_mut().insert(header::RETRY_AFTER, delay.as_secs().into());
            }
            response
        }
    }
}

async fn receive(ingest: &Ingest, request: Request) -> Result<usize, Refusal> {
    let found = content_type(request.headers());
    if found != reply::JSON {
        // Also what keeps a page of another site from posting changes through a reader's browser.
        let found = domain::text::plain(&found, 60);
        return Err(Refusal::ContentType { found, supported: reply::JSON });
    }
    let gzip = is_gzip(request.headers())?;
    let reservation = Arc::new(ingest.reserve());
    let body = read(request.into_body(), MAX_CHANGE_BODY_BYTES, &ingest.limits, &reservation).await?;
    let parsed = if gzip {
        parse(&gunzip(&body, MAX_CHANGE_BODY_BYTES, &reservation)?, &ingest.limits, ingest.now())?
    } else {
        parse(&body, &ingest.limits, ingest.now())?
    };
    let accepted = parsed.changes.len();
    ingest.store(Batch { changes: parsed.changes, ..Batch::default() }, reservation).await?;
    ingest.metrics.stored_changes(accepted, parsed.truncated);
    Ok(accepted)
}

/// Changes ready to be stored, and how many details were cut.
#[derive(Debug, Default)]
struct Parsed {
    changes: Vec<Change>,
    truncated: u64,
}

fn parse(body: &[u8], limits: &Limits, now: UnixNanos) -> Result<Parsed, Refusal> {
    let value: Value = serde_json::from_slice(body).map_err(|error| malformed(&error.to_string()))?;
    let mut parsed = Parsed::default();
    match value {
        Value::Array(list) if list.len() > MAX_CHANGES => {
            return Err(Refusal::TooManyElements { limit: MAX_CHANGES });
        }
        Value::Array(list) => {
            for (index, value) in list.into_iter().enumerate() {
                parsed
                    .add(value, limits, now)
                    .map_err(|error| malformed(&format!("change {}: {error}", index + 1)))?;
            }
        }
        Value::Object(_) => parsed.add(value, limits, now).map_err(|error| malformed(&error))?,
        _ => return Err(malformed("expected an object, or an array of objects")),
    }
    Ok(parsed)
}

impl Parsed {
    /// Adds one change; the error is a sentence that names the field.
    fn add(&mut self, value: Value, limits: &Limits, now: UnixNanos) -> Result<(), String> {
        if !value.is_object() {
            return Err("expected an object".into());
        }
        let sent: SentChange = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let name = |field: &str, text: Option<String>| match text.unwrap_or_default() {
            text if text.len() > limits.max_name_bytes => {
                Err(format!("field `{field}` is longer than {} bytes", limits.max_name_bytes))
            }
            text => Ok(text),
        };
        if sent.kind.is_empty() {
            return Err("field `kind` is empty".into());
        }
        let mut detail = sent.detail.unwrap_or_default();
        if detail.len() > limits.max_field_bytes {
            detail.truncate(detail.floor_char_boundary(limits.max_field_bytes));
            self.truncated += 1;
        }
        let mut change = Change {
            at: sent.at.map_or(Ok(now), |at| instant(&at, now))?,
            kind: ChangeKind::parse(&sent.kind),
            service: name("service", Some(sent.service))?,
            version: name("version", sent.version)?,
            previous: name("previous", sent.previous)?,
            reference: name("reference", sent.reference)?,
            detail,
            source: SOURCE.into(),
        };
        if change.reference.is_empty() {
            change.reference = reference(&change);
        }
        self.changes.push(change);
        Ok(())
    }
}

fn instant(value: &Value, now: UnixNanos) -> Result<UnixNanos, String> {
    let at = match value {
        Value::String(text) => UnixNanos::parse(text),
        Value::Number(number) => UnixNanos::parse(&number.to_string()),
        _ => None,
    };
    match at {
        None => Err("field `at` is neither RFC 3339 nor Unix seconds".into()),
        Some(at) if at > now.plus(MAX_CLOCK_AHEAD) => {
            Err("field `at` is more than 24 hours in the future".into())
        }
        Some(at) => Ok(at),
    }
}

/// A name for a change whose sender gave none: equal changes get equal names, so that sending one twice shows.
fn reference(change: &Change) -> String {
    const DIGITS: usize = 16;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&change.at.0.to_le_bytes());
    for part in [change.kind.as_str(), &change.service, &change.version, &change.previous, &change.detail] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    let mut name = hasher.finalize().to_hex().to_string();
    name.truncate(DIGITS);
    format!("change-{name}")
}

fn malformed(error: &str) -> Refusal {
    const MAX_CHARS: usize = 300;
    Refusal::Malformed(domain::text::plain(error, MAX_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_795_096_951);

    fn check(body: &str, expected: &str) {
        let shown = match parse(body.as_bytes(), &Limits::default(), NOW) {
            Ok(parsed) => {
                let show = |change: &Change| {
                    format!(
                        "{} {} {} {}->{} {}",
                        change.at,
                        change.kind.as_str(),
                        change.service,
                        change.previous,
                        change.version,
                        change.reference
                    )
                };
                parsed.changes.iter().map(show).collect::<Vec<_>>().join("; ")
            }
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(shown, expected, "{body}");
    }

    #[test]
    fn reads_one_change_or_several() {
        check(
            r#"{"kind":"deploy","service":"cart","version":"2","previous":"1","ref":"d1","at":"2026-11-19T13:00:00Z"}"#,
            "2026-11-19T13:00:00Z deploy cart 1->2 d1",
        );
        check(
            r#"[{"kind":"flag","service":"cart","version":"on","id":"f1","ts":1795096900},
                {"kind":"tea","service":"","reference":"t1","at":"1795096900.5"}]"#,
            "2026-11-19T14:01:40Z flag cart ->on f1; 2026-11-19T14:01:40Z other  -> t1",
        );
        check("[]", "");
    }

    #[test]
    fn a_missing_reference_is_made_from_the_rest() {
        let body = r#"{"kind":"deploy","service":"cart","version":"2"}"#;
        check(body, "2026-11-19T14:02:31Z deploy cart ->2 change-17d51e3c833ab9be");
    }

    #[test]
    fn errors_name_the_field() {
        let fields = "expected one of `kind`, `service`, `version`, `previous`, `id`, `ref`, `reference`, `at`, `ts`, `detail`";
        check(
            r#"{"kind":"deploy","service":"cart","verison":"2"}"#,
            &format!("malformed request: unknown field `verison`, {fields}"),
        );
        check(r#"[{"kind":"deploy"}]"#, "malformed request: change 1: missing field `service`");
        check(r#"{"kind":"","service":""}"#, "malformed request: field `kind` is empty");
        check(
            r#"{"kind":"deploy","service":"a","ref":"1","id":"2"}"#,
            "malformed request: duplicate field `reference`",
        );
        check(
            r#"{"kind":"deploy","service":"a","at":"yesterday"}"#,
            "malformed request: field `at` is neither RFC 3339 nor Unix seconds",
        );
        check(
            r#"{"kind":"deploy","service":"a","at":1795296951}"#,
            "malformed request: field `at` is more than 24 hours in the future",
        );
        let long = format!(r#"{{"kind":"deploy","service":"{}"}}"#, "x".repeat(10_000));
        check(&long, "malformed request: field `service` is longer than 512 bytes");
        check("7", "malformed request: expected an object, or an array of objects");
        check("[7]", "malformed request: change 1: expected an object");
        check("{", "malformed request: EOF while parsing an object at line 1 column 1");
    }
}
