//! Whether the program runs, whether it can answer, and what it counts: for machines.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::App;
use super::error::Error;
use crate::metrics;

/// Longest that the store may take to answer before the program counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /healthz`: the program runs.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store answers. It is asked for nothing else, so that a machine which is merely busy stays ready.
pub async fn readyz(State(app): State<App>) -> impl IntoResponse {
    match tokio::time::timeout(READY_TIMEOUT, app.store.ping()).await {
        Ok(Ok(())) if !app.draining.is_cancelled() => (StatusCode::OK, "ready\n".to_owned()),
        Ok(Ok(())) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n".to_owned())
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store answers too slowly\n".to_owned()),
    }
}

/// `GET /metrics`.
pub async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Error> {
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::encode(&app.registry)?))
}
