//! What is served on the main listener: pages, API and probes, behind one set of layers.
//!
//! Deliberately absent: drawing (`pages`), sign-in (bind to loopback, or put a proxy that has it in front), and OTLP, which
//! has listeners of its own.

mod api;
mod error;
pub mod export;
mod fleet;
mod health;
mod incidents;
mod mcp;
mod observed;
mod probes;
mod progress;
mod redaction;
mod review;
mod services;
mod settings;
mod slack;
mod token;
mod traces;
mod why;
pub mod wire;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use domain::{Clock, IncidentId, Report};
use investigator::Knowledge;
use prometheus_client::registry::Registry;
use storage::Store;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::csrf::CsrfLayer;

use crate::config::Secret;
use crate::detect::{Look, Outlooks};
use crate::incidents::Incidents;
use crate::investigate::Investigations;
use crate::lifecycle::Stage;
use crate::memory::Memory;
use crate::noise::Noise;
use crate::notify::Notifier;
use crate::pages;
use crate::slack::Slack;
use crate::telling::Telling;

/// Largest form or API request; changes and telemetry have limits of their own.
const MAX_BODY_BYTES: usize = 64 << 10;

/// What handlers need. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Where telemetry is.
    pub store: Store,
    /// Incidents.
    pub incidents: Incidents,
    /// Investigations.
    pub investigations: Investigations,
    /// Who phrases answers.
    pub telling: Telling,
    /// Past incidents.
    pub memory: Memory,
    /// What is known of failures.
    pub knowledge: Arc<Knowledge>,
    /// What detection looks at, for other times than the present.
    pub look: Look,
    /// What detection last saw.
    pub outlooks: Outlooks,
    /// The present instant.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub registry: Arc<Registry>,
    /// Alerts, and what holds them back.
    pub noise: Noise,
    /// What sends news.
    pub notifier: Notifier,
    /// The Slack app, when there is one.
    pub slack: Option<Slack>,
    /// What programs must show.
    pub api_token: Option<Secret>,
    /// Where work goes that outlasts its request; the program waits for it before it stops what the work needs.
    pub tasks: Stage,
    /// What stands before every link: empty, or `/inquest` behind a proxy that adds it.
    pub base_path: Arc<str>,
    /// Cancelled when the program is about to stop.
    pub draining: CancellationToken,
}

impl App {
    /// The bar at the top of a page. The page stands without the number of what waits for review.
    async fn top(&self) -> pages::Top {
        let waiting = self.noise.waiting().await.unwrap_or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "cannot count what waits for review");
            0
        });
        pages::Top {
            base_path: self.base_path.to_string(),
            open_incidents: self.incidents.open_count(),
            waiting,
        }
    }

    /// The latest report of an incident. One that a newer version wrote is left alone.
    async fn latest_report(&self, id: IncidentId) -> Result<Option<Report>, error::Error> {
        let Some(json) = self.store.report_get(id.0, None).await? else { return Ok(None) };
        match serde_json::from_str::<Report>(&json) {
            Ok(report) if report.format <= Report::FORMAT => Ok(Some(report)),
            Ok(_) => Ok(None),
            Err(error) => {
                tracing::warn!(incident = %id, %error, "a stored report cannot be read");
                Ok(None)
            }
        }
    }
}

/// Everything on the main listener. `changes` is the route for changes; `public_url` is trusted to send forms.
pub fn router(app: App, changes: Router, public_url: Option<&str>) -> anyhow::Result<Router> {
    let mut csrf = CsrfLayer::new();
    if let Some(origin) = public_url.map(origin) {
        csrf = csrf
            .add_trusted_origin(&origin)
            .with_context(|| format!("the public URL's origin {origin} is wrong"))?;
    }
    let tasks = app.tasks.clone();
    let router = Router::new()
        .route("/", get(health::show))
        .route("/incidents", get(incidents::list))
        .route("/incidents/{id}", get(incidents::show))
        .route("/incidents/{id}/progress", get(progress::events))
        .route("/incidents/{id}/acknowledge", post(incidents::acknowledge))
        .route("/incidents/{id}/resolve", post(incidents::resolve))
        .route("/incidents/{id}/feedback", post(incidents::feedback))
        .route("/incidents/{id}/ask", post(incidents::ask))
        .route("/settings/redaction", get(redaction::show).post(redaction::redact))
        .route("/services", get(services::list))
        .route("/services/{name}", get(services::show))
        .route("/traces/{id}", get(traces::show))
        .route("/review", get(review::queue))
        .route(
            "/review/policies",
            // In a form a byte may take three.
            get(review::policies)
                .post(review::import)
                .layer(DefaultBodyLimit::max(3 * crate::noise::policies::MAX_FILE_BYTES + MAX_BODY_BYTES)),
        )
        .route("/review/rules", get(review::rules))
        .route("/review/policies.yaml", get(review::export))
        .route("/review/audit", get(review::audit))
        .route("/review/mode", post(review::mode))
        .route("/review/{fingerprint}/{action}", post(review::decide))
        .route("/settings", get(settings::show))
        .route("/settings/notify/{name}/test", post(settings::test))
        .route("/settings/notify/letters/{id}/retry", post(settings::retry))
        .route("/api/v1/why/{service}", get(why::why))
        .route("/api/v1/alerts", get(review::alerts))
        .route(
            "/api/v1/alerts/alertmanager",
            post(review::alertmanager)
                .layer(DefaultBodyLimit::max(crate::noise::alertmanager::MAX_BODY_BYTES)),
        )
        .route("/slack/command", post(slack::command))
        .route("/slack/action", post(slack::action))
        .route("/slack/event", post(slack::event))
        .route("/api/v1/findings", get(api::findings))
        .route("/api/v1/incidents", get(api::incidents))
        .route("/api/v1/incidents/{id}", get(api::incident))
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .layer(axum::middleware::from_fn_with_state(tasks.clone(), finish))
        // These take long and change nothing: whoever goes away is not waited for.
        .route("/mcp", post(mcp::call))
        .route("/api/v1/investigate", post(api::investigate))
        .route("/api/v1/recording", post(export::download))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
        .merge(pages::assets::router())
        .merge(changes.layer(axum::middleware::from_fn_with_state(tasks, finish)))
        .layer(axum::middleware::from_fn(error::as_page))
        .layer(csrf)
        .layer(CompressionLayer::new());
    Ok(router)
}

/// Finishes what a request has begun even when whoever asked goes away. The server drops the handler of a connection that was cut
/// off, between any two steps: a decision would stand in the journal and not in memory. What only reads may be dropped.
async fn finish(State(tasks): State<Stage>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let (done, answer) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        // Nobody waiting any longer is no error.
        let _ = done.send(next.run(request).await);
    });
    let lost = |_| error::Error::Failed(anyhow::anyhow!("a request ended without an answer")).into_response();
    answer.await.unwrap_or_else(lost)
}

/// `https://host:port` of an address.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
}

/// The path of a public address, without a slash at its end: what stands before every link.
pub fn base_path(public_url: Option<&str>) -> String {
    let path = public_url.and_then(|url| url.split_once("://")).and_then(|(_, rest)| rest.split_once('/'));
    match path.map(|(_, path)| path.trim_matches('/')) {
        Some(path) if !path.is_empty() => format!("/{path}"),
        _ => String::new(),
    }
}

/// A page with its headers.
fn page(html: String) -> Response {
    (pages::assets::PAGE_HEADERS, Html(html)).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Whether what a request began was finished, though its client went away midway.
    async fn finished_without_its_client(method: &str) -> bool {
        let [began, go_on, finished, dropped] = std::array::from_fn(|_| CancellationToken::new());
        let handler = {
            let (began, go_on, finished) = (began.clone(), go_on.clone(), finished.clone());
            async move || {
                began.cancel();
                go_on.cancelled().await;
                finished.cancel();
            }
        };
        let outermost = {
            let dropped = dropped.clone();
            move |request: Request, next: Next| {
                let told = dropped.clone().drop_guard();
                async move {
                    let _told = told;
                    next.run(request).await
                }
            }
        };
        let tasks = Stage::default();
        let router = Router::new()
            .route("/", get(handler.clone()).post(handler))
            .layer(axum::middleware::from_fn_with_state(tasks.clone(), finish))
            .layer(axum::middleware::from_fn(outermost));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = tokio::spawn(std::future::IntoFuture::into_future(axum::serve(listener, router)));
        let request = format!("{method} / HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        began.cancelled().await;
        drop(client);
        dropped.cancelled().await;
        go_on.cancel();
        assert!(tasks.stop().await);
        server.abort();
        finished.is_cancelled()
    }

    #[tokio::test]
    async fn a_request_that_is_cut_off_is_finished() {
        assert!(finished_without_its_client("POST").await);
        assert!(!finished_without_its_client("GET").await, "what only reads is dropped");
    }

    #[test]
    fn addresses_come_apart() {
        assert_eq!(base_path(None), "");
        assert_eq!(base_path(Some("https://example.com")), "");
        assert_eq!(base_path(Some("https://example.com/")), "");
        assert_eq!(base_path(Some("https://example.com/ops/inquest/")), "/ops/inquest");
        assert_eq!(origin("https://example.com:8443/inquest"), "https://example.com:8443");
    }
}
