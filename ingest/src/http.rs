//! OTLP over HTTP: `POST /v1/traces`, `/v1/logs`, `/v1/metrics`, in protobuf, JSON or JSON lines, plain or gzip.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, header};

use crate::body::{is_gzip, read};
use crate::decode::Encoding;
use crate::intake::{Body, Ingest};
use crate::refusal::Refusal;
use crate::reply;
use crate::tally::{Partial, Signal};

/// The OTLP routes, for port 4318 or any other listener.
pub fn http_router(ingest: Arc<Ingest>) -> Router {
    let route = |signal| {
        post(move |State(ingest): State<Arc<Ingest>>, request: Request| export(ingest, signal, request))
    };
    Router::new()
        .route("/v1/traces", route(Signal::Traces))
        .route("/v1/logs", route(Signal::Logs))
        .route("/v1/metrics", route(Signal::Metrics))
        .with_state(ingest)
}

async fn export(ingest: Arc<Ingest>, signal: Signal, request: Request) -> Response {
    let encoding = encoding(request.headers());
    // An answer to a request in no encoding that we know has to be in one that people can read.
    let answer_in = *encoding.as_ref().unwrap_or(&Encoding::Json);
    let outcome = match encoding {
        Ok(encoding) => receive(&ingest, signal, encoding, request).await,
        Err(refusal) => Err(refusal),
    };
    let transport = match answer_in {
        Encoding::Protobuf => "http_protobuf",
        Encoding::Json | Encoding::JsonLines => "http_json",
    };
    ingest.metrics.answered_export(transport, &outcome);
    reply::http(signal, answer_in, &outcome)
}

async fn receive(
    ingest: &Ingest,
    signal: Signal,
    encoding: Encoding,
    request: Request,
) -> Result<Option<Partial>, Refusal> {
    let gzip = is_gzip(request.headers())?;
    let reservation = Arc::new(ingest.reserve());
    let limits = &ingest.limits;
    let bytes = read(request.into_body(), limits.max_body_bytes, limits, &reservation).await?;
    ingest.export(signal, Body { bytes, encoding, gzip }, reservation).await
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    match content_type(headers).as_str() {
        "application/x-protobuf" | "application/protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        "application/x-ndjson" => Ok(Encoding::JsonLines),
        found => Err(Refusal::ContentType {
            found: domain::text::plain(found, 60),
            supported: "application/x-protobuf, application/json, application/x-ndjson",
        }),
    }
}

/// The media type without its parameters, in lower case; empty when there is none.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
