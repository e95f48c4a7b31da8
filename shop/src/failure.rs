//! The one way a handler fails: a status for the caller, and a type and message for the telemetry.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde_json::json;

/// Why a request could not be served. Travels with the response, so that the server layer can say it on the span and in
/// the log, once.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub status: StatusCode,
    /// Becomes `exception.type` and `error.type`.
    pub kind: &'static str,
    pub message: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.kind, "message": self.message }));
        (self.status, Extension(Arc::new(self)), body).into_response()
    }
}
