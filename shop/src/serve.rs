//! One running service instance: its listener, the server spans and metrics around its routes, and its orderly end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::ListenerExt;
use http::HeaderMap;
use opentelemetry::logs::Severity;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{FutureExt as _, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::telemetry::{Identity, Telemetry, fail};

/// How long requests in flight may take to finish once an instance is told to stop.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// A service instance that answers requests.
pub(crate) struct Instance {
    pub identity: Identity,
    pub address: SocketAddr,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Instance {
    /// Serves `router` on a loopback port of its own.
    pub async fn start(telemetry: Arc<Telemetry>, router: Router) -> anyhow::Result<Self> {
        let (address, stop, server) = serve(observed(router, &telemetry)).await?;
        telemetry.log(
            Severity::Info,
            format!("{} {} started", telemetry.identity.service, telemetry.identity.version),
            vec![],
        );
        Ok(Self { identity: telemetry.identity.clone(), address, telemetry, stop, server })
    }

    /// Stops accepting, lets requests in flight finish, then flushes the telemetry.
    pub async fn stop(self) {
        let identity = &self.identity;
        self.telemetry.log(
            Severity::Info,
            format!("{} {} stopping", identity.service, identity.version),
            vec![],
        );
        drain(self.stop, self.server).await;
        self.telemetry.shutdown().await;
    }
}

/// Serves `router` without any telemetry until the token is cancelled.
pub(crate) async fn serve(router: Router) -> anyhow::Result<(SocketAddr, CancellationToken, JoinHandle<()>)> {
    serve_at(router, 0).await
}

/// The same at a port of loopback; 0 for any.
pub(crate) async fn serve_at(
    router: Router,
    port: u16,
) -> anyhow::Result<(SocketAddr, CancellationToken, JoinHandle<()>)> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("failed to open a loopback port")?;
    let address = listener.local_addr().context("failed to read the loopback port")?;
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    // Answers are small: waiting to fill a packet would only add delay. A socket that refuses still works.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move {
        // Cannot fail: accept errors are retried inside.
        let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
    });
    Ok((address, stop, server))
}

/// Asks a server to stop, and makes it after [`DRAIN_LIMIT`].
pub(crate) async fn drain(stop: CancellationToken, mut server: JoinHandle<()>) {
    stop.cancel();
    if tokio::time::timeout(DRAIN_LIMIT, &mut server).await.is_err() {
        server.abort();
    }
}

fn observed(router: Router, telemetry: &Arc<Telemetry>) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::clone(telemetry), observe))
}

async fn observe(State(telemetry): State<Arc<Telemetry>>, request: Request, next: Next) -> Response {
    let mut exchange = Exchange::begin(telemetry, &request);
    let response = next.run(request).with_context(exchange.context.clone()).await;
    exchange.status = Some(response.status().as_u16());
    exchange.failure = response.extensions().get::<Arc<Failure>>().cloned();
    response
}

/// A request being served. Ends its span and counts itself when dropped, answered or not.
struct Exchange {
    telemetry: Arc<Telemetry>,
    context: Context,
    started: Instant,
    method: String,
    route: String,
    status: Option<u16>,
    failure: Option<Arc<Failure>>,
}

impl Exchange {
    fn begin(telemetry: Arc<Telemetry>, request: &Request) -> Self {
        let method = request.method().to_string();
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(request.headers()));
        let attributes = vec![
            KeyValue::new("http.request.method", method.clone()),
            KeyValue::new("http.route", route.clone()),
            KeyValue::new("url.path", request.uri().path().to_owned()),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("server.address", telemetry.identity.service),
        ];
        let context = telemetry.span(
            format!("{method} {route}").trim_end().to_owned(),
            SpanKind::Server,
            attributes,
            &parent,
        );
        telemetry.server.active.add(1, &[]);
        Self { telemetry, context, started: Instant::now(), method, route, status: None, failure: None }
    }

    fn log_failure(&self, kind: &'static str, message: &str) {
        let _current = self.context.clone().attach();
        self.telemetry.log(
            Severity::Error,
            format!("{} {} failed: {message}", self.method, self.route),
            vec![("exception.type", kind.into()), ("exception.message", message.to_owned().into())],
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut labels = vec![
            KeyValue::new("http.request.method", self.method.clone()),
            KeyValue::new("http.route", self.route.clone()),
        ];
        let outcome = match (self.status, &self.failure) {
            (None, _) => Some(("client_disconnected", "the caller went away before the answer".to_owned())),
            (Some(500..), Some(failure)) => Some((failure.kind, failure.message.clone())),
            (Some(500..), None) => Some(("server_error", "the request could not be served".to_owned())),
            _ => None,
        };
        if let Some(status) = self.status {
            let status = KeyValue::new("http.response.status_code", i64::from(status));
            self.context.span().set_attribute(status.clone());
            labels.push(status);
        }
        if let Some((kind, message)) = outcome {
            fail(&self.context, kind, &message);
            self.log_failure(kind, &message);
            labels.push(KeyValue::new("error.type", kind));
        }
        let server = &self.telemetry.server;
        server.active.add(-1, &[]);
        server.requests.add(1, &labels);
        server.duration.record(self.started.elapsed().as_secs_f64(), &labels);
        self.context.span().end();
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
