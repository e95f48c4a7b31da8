//! The page of one trace.

use axum::extract::{Path, State};
use axum::response::Response;
use investigator::reason::collect::latency::waterfall;

use super::App;
use super::error::Error;
use crate::pages::{self, TracePage};

/// Hex digits of a trace id.
const ID_DIGITS: usize = 32;

/// `GET /traces/{id}`.
pub async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Error> {
    let id = id.to_ascii_lowercase();
    if id.len() > ID_DIGITS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::bad_request("a trace id is up to 32 hexadecimal digits"));
    }
    let rows = app.store.trace(&id).await?;
    let trace =
        waterfall(&id, &rows).ok_or_else(|| Error::not_found(format!("no span of trace {id} is stored")))?;
    let page = TracePage { trace, top: app.top().await };
    Ok(super::page(pages::render_trace(&page)))
}
