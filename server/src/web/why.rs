//! `GET /api/v1/why/{service}`: the answer for a program that can only ask with an address.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use domain::Report;
use serde::Deserialize;

use super::error::Error;
use super::wire::InvestigateRequest;
use super::{App, api, token};

/// What may be said besides the service.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhyQuery {
    /// RFC 3339 or Unix seconds; now, when left out.
    at: Option<String>,
    /// `1h`; the incident at that time, or an hour, when left out.
    since: Option<String>,
}

/// The report.
pub async fn why(
    State(app): State<App>,
    Path(service): Path<String>,
    Query(query): Query<WhyQuery>,
    headers: HeaderMap,
) -> Result<Json<Report>, Error> {
    token::check(&app, &headers)?;
    let request = InvestigateRequest { service, at: query.at, since: query.since };
    Ok(Json(api::answer(&app, &request).await?))
}
