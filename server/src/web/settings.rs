//! The settings page, and the buttons on it.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::App;
use super::error::Error;
use crate::pages;

/// What was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Done {
    done: String,
}

/// `GET /settings`.
pub async fn show(State(app): State<App>, Query(query): Query<Done>) -> Response {
    let said = match query.done.as_str() {
        "test" => "A test is on its way; if it cannot be sent, it appears below.",
        "retry" => "It is tried again; if it cannot be sent, it appears below once more.",
        _ => "",
    };
    super::page(pages::render_settings(&app.notifier, said, &app.top().await))
}

/// `POST /settings/notify/{name}/test`.
pub async fn test(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Error> {
    match app.notifier.test(&name) {
        true => Ok(Redirect::to(&format!("{}/settings?done=test", app.base_path)).into_response()),
        false => Err(Error::not_found("there is no such channel, or too much waits for it")),
    }
}

/// `POST /settings/notify/letters/{id}/retry`.
pub async fn retry(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Error> {
    match app.notifier.retry(&id) {
        true => Ok(Redirect::to(&format!("{}/settings?done=retry", app.base_path)).into_response()),
        false => Err(Error::not_found("there is no such letter, or its channel is gone")),
    }
}
