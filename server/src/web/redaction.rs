//! Who phrases answers, and a box to try what would be masked before a text leaves.

use std::collections::BTreeMap;

use axum::extract::{Form, State};
use axum::response::Response;
use investigator::redact::Redactor;
use serde::Deserialize;

use super::App;
use crate::pages::{self, RedactionPage, Tried};

/// Longest text tried; the limit on bodies is above it.
const MAX_TEXT: usize = 20_000;

/// A text to try.
#[derive(Debug, Deserialize)]
pub struct TryForm {
    text: String,
}

/// `GET /settings/redaction`.
pub async fn show(State(app): State<App>) -> Response {
    super::page(pages::render_redaction(&page(&app, None).await))
}

/// `POST /settings/redaction`: nothing is stored or sent.
pub async fn redact(State(app): State<App>, Form(form): Form<TryForm>) -> Response {
    let text: String = form.text.chars().take(MAX_TEXT).collect();
    let mut redactor = Redactor::new();
    let masked = redactor.text(&text).into_owned();
    let counts: BTreeMap<String, u32> =
        redactor.counts().iter().map(|(kind, count)| (kind.to_string(), *count)).collect();
    super::page(pages::render_redaction(&page(&app, Some(Tried { text, masked, counts })).await))
}

async fn page(app: &App, tried: Option<Tried>) -> RedactionPage {
    RedactionPage {
        narrator: app.telling.describe(),
        patterns: app.knowledge.patterns().len(),
        tried,
        top: app.top().await,
    }
}
