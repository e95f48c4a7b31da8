//! Calls from one service to another: client spans, trace context in the headers, a real timeout.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::{SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde::de::DeserializeOwned;

use crate::directory::Directory;
use crate::failure::Failure;
use crate::telemetry::{Telemetry, fail};

/// Answers inside the shop are a few kilobytes.
const BODY_LIMIT: usize = 1 << 20;
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// A plain HTTP client over loopback.
pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Builds a client with connections of its own.
pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .build(connector)
}

/// A call to make.
pub(crate) struct Call {
    /// Name in the directory, and `server.address` on the span.
    pub to: &'static str,
    /// `peer.service`, for what is not part of the shop.
    pub peer: Option<&'static str>,
    pub method: Method,
    /// The path with its parameters still named: bounded in number, so fit for a span name.
    pub template: &'static str,
    pub path: String,
    /// JSON.
    pub body: Vec<u8>,
    pub limit: Duration,
}

impl Call {
    pub fn get(to: &'static str, template: &'static str, path: String, limit: Duration) -> Self {
        Self { to, peer: None, method: Method::GET, template, path, body: Vec::new(), limit }
    }

    pub fn post(to: &'static str, path: &'static str, body: &serde_json::Value, limit: Duration) -> Self {
        let body = body.to_string().into_bytes();
        Self { to, peer: None, method: Method::POST, template: path, path: path.to_owned(), body, limit }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{to} did not answer within {limit_ms} ms")]
    Timeout { to: &'static str, limit_ms: u128 },
    #[error("{to} answered {status}")]
    Status { to: &'static str, status: StatusCode },
    #[error("failed to reach {to}: {reason}")]
    Unreachable { to: &'static str, reason: String },
    #[error("failed to read the answer of {to}: {reason}")]
    Answer { to: &'static str, reason: String },
}

impl CallError {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "CallTimeout",
            Self::Status { .. } => "UpstreamStatus",
            Self::Unreachable { .. } => "UpstreamUnreachable",
            Self::Answer { .. } => "UpstreamAnswer",
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let status = match &error {
            CallError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            CallError::Status { status, .. } if status.is_client_error() => *status,
            CallError::Status { status: StatusCode::SERVICE_UNAVAILABLE, .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            CallError::Status { status: StatusCode::GATEWAY_TIMEOUT, .. } => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self { status, kind: error.kind(), message: error.to_string() }
    }
}

/// The calling side of one service instance.
pub(crate) struct Outbound {
    telemetry: Arc<Telemetry>,
    directory: Arc<Directory>,
    client: HttpClient,
}

impl Outbound {
    pub fn new(telemetry: Arc<Telemetry>, directory: Arc<Directory>) -> Self {
        Self { telemetry, directory, client: http_client() }
    }

    /// Makes the call below the current span and reads the JSON answer.
    pub async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<T, CallError> {
        let parent = Context::current();
        let name = format!("{} {}", call.method, call.template);
        let context = self.telemetry.span(name, SpanKind::Client, self.attributes(&call), &parent);
        let ended = EndOnDrop(&context);
        let limit_ms = call.limit.as_millis();
        let (to, limit) = (call.to, call.limit);
        let result = tokio::time::timeout(limit, self.exchange(call, &context))
            .await
            .unwrap_or(Err(CallError::Timeout { to, limit_ms }));
        if let Err(error) = &result {
            fail(&context, error.kind(), &error.to_string());
        }
        drop(ended);
        result
    }

    fn attributes(&self, call: &Call) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new("http.request.method", call.method.to_string()),
            KeyValue::new("server.address", call.to),
            KeyValue::new("url.template", call.template),
            KeyValue::new("url.full", format!("http://{}{}", call.to, call.path)),
        ];
        attributes.extend(call.peer.map(|peer| KeyValue::new("peer.service", peer)));
        if let Some(address) = self.directory.get(call.to) {
            attributes.push(KeyValue::new("server.port", i64::from(address.port())));
        }
        attributes
    }

    async fn exchange<T: DeserializeOwned>(&self, call: Call, context: &Context) -> Result<T, CallError> {
        let to = call.to;
        let unreachable = |reason: String| CallError::Unreachable { to, reason };
        let address = self.directory.get(to).ok_or_else(|| unreachable("no address is known".to_owned()))?;
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("http://{address}{}", call.path))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(call.body)))
            .map_err(|error| unreachable(error.to_string()))?;
        // What nobody records, nobody needs to find.
        if context.span().span_context().is_sampled() {
            TraceContextPropagator::new().inject_context(context, &mut Headers(request.headers_mut()));
        }
        let response = self.client.request(request).await.map_err(|error| unreachable(error.to_string()))?;
        let status = response.status();
        context.span().set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if !status.is_success() {
            return Err(CallError::Status { to, status });
        }
        let body = Limited::new(response.into_body(), BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| CallError::Answer { to, reason: error.to_string() })?;
        serde_json::from_slice(&body.to_bytes())
            .map_err(|error| CallError::Answer { to, reason: error.to_string() })
    }
}

/// Ends the span even when the caller gives up half way.
struct EndOnDrop<'a>(&'a Context);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.span().end();
    }
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
