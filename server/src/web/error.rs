//! The one place where what went wrong becomes an HTTP status: JSON for programs, a page for people.

use axum::Json;
use axum::extract::Request;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;

use crate::pages;

/// Characters of a reason that may repeat what was sent.
const MAX_REASON: usize = 300;

/// Why a request was not answered as asked.
#[derive(Debug)]
pub enum Error {
    /// There is no such thing.
    NotFound(String),
    /// The request makes no sense.
    BadRequest(String),
    /// Whoever asks may not.
    Refused(String),
    /// The store or an investigation failed. The cause is logged, not shown.
    Failed(anyhow::Error),
}

/// What programs get.
#[derive(Clone, Debug, Serialize)]
struct Body {
    error: String,
}

impl Error {
    /// There is no such thing.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound(what.into())
    }

    /// The request makes no sense.
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::BadRequest(why.into())
    }
}

/// The body of an API request, or why it is none, in the API's own form.
pub fn body<T>(read: Result<Json<T>, JsonRejection>) -> Result<T, Error> {
    match read {
        Ok(Json(body)) => Ok(body),
        Err(rejection) => Err(Error::bad_request(domain::text::plain(&rejection.body_text(), MAX_REASON))),
    }
}

impl<E: Into<anyhow::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::NotFound(what) => (StatusCode::NOT_FOUND, what),
            Self::BadRequest(why) => (StatusCode::BAD_REQUEST, why),
            Self::Refused(why) => (StatusCode::UNAUTHORIZED, why),
            Self::Failed(error) => {
                tracing::error!(error = format!("{error:#}"), "a request failed");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "something failed; the program's log says what".to_owned(),
                )
            }
        };
        let body = Body { error };
        let mut response = (status, Json(&body)).into_response();
        response.extensions_mut().insert(body);
        response
    }
}

/// Turns errors into pages for those who ask for pages, and adds a page to what axum answers by itself.
pub async fn as_page(request: Request, next: Next) -> Response {
    let wants_page = !request.uri().path().starts_with("/api/") && accepts_html(request.headers());
    let response = next.run(request).await;
    let status = response.status();
    if !wants_page || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let message = match response.extensions().get::<Body>() {
        Some(body) => body.error.clone(),
        None => status.canonical_reason().unwrap_or("The request failed").to_owned(),
    };
    (status, pages::assets::PAGE_HEADERS, Html(pages::render_error(status.as_u16(), &message)))
        .into_response()
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}
