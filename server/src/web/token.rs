//! The token that programs show.

use axum::http::{HeaderMap, header};

use super::App;
use super::error::Error;
use crate::signature;

/// Whether a request carries the token; every one does when none is set.
pub fn check(app: &App, headers: &HeaderMap) -> Result<(), Error> {
    let Some(token) = &app.api_token else { return Ok(()) };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    match signature::is_same(given, token.expose()) {
        true => Ok(()),
        false => {
            Err(Error::Refused("the header `Authorization: Bearer` does not carry the API token".into()))
        }
    }
}
