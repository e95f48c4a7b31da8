//! The API for programs: incidents, and investigations of any service and time.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use domain::{Report, UnixNanos, Window};
use investigator::Question;
use serde::Deserialize;

use super::App;
use super::error::{self, Error};
use super::wire::{self, IncidentDetail, IncidentSummary, InvestigateRequest};
use crate::config::Span;
use crate::investigate::DEFAULT_SINCE;
use crate::known_service;

/// Longest service name taken.
const MAX_SERVICE_BYTES: usize = 512;

/// What findings are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FindingsQuery {
    /// RFC 3339 or Unix seconds; left out, the latest round.
    at: Option<String>,
}

/// `GET /api/v1/findings`: what detectors see now, worst first, or what they would have seen at another time. Alerts name
/// the open incident that they belong to.
pub async fn findings(
    State(app): State<App>,
    Query(query): Query<FindingsQuery>,
) -> Result<Json<Vec<wire::Finding>>, Error> {
    let findings = match query.at.as_deref().map(instant).transpose()? {
        None => app.outlooks.borrow().findings.clone(),
        Some(at) => app.look.all(at).await?,
    };
    let open = app.incidents.open();
    let findings = findings.iter().map(|finding| {
        let about = |incident: &&domain::Incident| {
            incident.findings.iter().any(|known| known.is_about_the_same(finding))
        };
        let incident = open.iter().find(about).map(|incident| incident.id.to_string());
        wire::Finding { incident, ..finding.into() }
    });
    Ok(Json(findings.collect()))
}

/// `GET /api/v1/incidents`: newest first.
pub async fn incidents(State(app): State<App>) -> Json<Vec<IncidentSummary>> {
    Json(app.incidents.all().iter().rev().map(IncidentSummary::from).collect())
}

/// `GET /api/v1/incidents/{id}`.
pub async fn incident(State(app): State<App>, Path(id): Path<String>) -> Result<Json<IncidentDetail>, Error> {
    let incident = super::incidents::find(&app, &id)?;
    let report = app.latest_report(incident.id).await?;
    Ok(Json(IncidentDetail::new(&incident, report)))
}

/// `POST /api/v1/investigate`.
pub async fn investigate(
    State(app): State<App>,
    request: Result<Json<InvestigateRequest>, JsonRejection>,
) -> Result<Json<Report>, Error> {
    Ok(Json(answer(&app, &error::body(request)?).await?))
}

/// The report that answers a request, wherever it came from.
pub(super) async fn answer(app: &App, request: &InvestigateRequest) -> Result<Report, Error> {
    let question = question(app, request)?;
    known_service::check(&app.store, &request.service, question.window)
        .await?
        .map_err(|unknown| Error::not_found(unknown.to_string()))?;
    Ok(app.investigations.answer(&question, |_| ()).await?)
}

fn question(app: &App, request: &InvestigateRequest) -> Result<Question, Error> {
    if request.service.is_empty() || request.service.len() > MAX_SERVICE_BYTES {
        return Err(Error::bad_request(format!("`service` has 1 to {MAX_SERVICE_BYTES} bytes")));
    }
    let at = request.at.as_deref().map(instant).transpose()?.unwrap_or_else(|| app.clock.now());
    let Some(since) = &request.since else {
        let known = app.incidents.all().into_iter().rev().find(|incident| {
            let about = incident.findings.iter().any(|finding| finding.service == request.service);
            about && incident.started <= at && incident.resolved.is_none_or(|resolved| at <= resolved)
        });
        return Ok(match known {
            Some(incident) => {
                let window = Window::new(incident.started, at);
                Question {
                    started: Some(incident.started),
                    ..app.investigations.question(&request.service, window)
                }
            }
            None => app.investigations.question(&request.service, Window::new(at.minus(DEFAULT_SINCE), at)),
        });
    };
    let since: Span =
        since.parse().map_err(|error: String| Error::bad_request(format!("`since`: {error}")))?;
    if since.0.is_zero() {
        return Err(Error::bad_request("`since` is more than nothing"));
    }
    Ok(app.investigations.question(&request.service, Window::new(at.minus(since.0), at)))
}

/// RFC 3339 or Unix seconds.
pub(super) fn instant(text: &str) -> Result<UnixNanos, Error> {
    UnixNanos::parse(text).ok_or_else(|| {
        let shown = domain::text::plain(text, 60);
        Error::bad_request(format!(
            "`{shown}` is neither a time such as 2026-11-19T14:02:31Z nor Unix seconds"
        ))
    })
}
