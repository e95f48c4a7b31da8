//! The pages of incidents, and what people do there.

use axum::extract::{Form, Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use domain::{Incident, IncidentEvent, IncidentId, Mechanism, Report};
use investigator::narrate::Asked;
use serde::Deserialize;

use super::App;
use super::error::Error;
use super::wire::IncidentDetail;
use crate::pages::{self, Beside, IncidentFilter, IncidentPage, IncidentsPage};

/// There is no sign-in: the journal notes that it was somebody who can reach the page.
const ACTOR: &str = "someone on this page";

/// Characters kept of what people write.
const MAX_NAME: usize = 200;
const MAX_TEXT: usize = 1000;

/// What the list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    status: String,
    q: String,
}

/// `GET /incidents`.
pub async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> Response {
    let page = IncidentsPage {
        incidents: app.incidents.all(),
        filter: IncidentFilter::parse(&query.status),
        query: domain::text::plain(&query.q, MAX_NAME),
        now: app.clock.now(),
        top: app.top().await,
    };
    super::page(pages::render_incidents(&page))
}

/// What the page of an incident is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PageQuery {
    frame: Option<u32>,
}

/// `GET /incidents/{id}`, the same with `.json` or `.md`, and with `.tar` its recording, labelled by what was said of the answer.
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Error> {
    let (id, form) = match name.rsplit_once('.') {
        Some((id, form)) => (id, Some(form)),
        None => (name.as_str(), None),
    };
    let incident = find(&app, id)?;
    match form {
        None => Ok(page(&app, incident, query.frame, None).await?),
        Some("json") => {
            Ok(axum::Json(IncidentDetail::new(&incident, app.latest_report(incident.id).await?))
                .into_response())
        }
        Some("tar") => {
            let plan = crate::export::of_incident(&incident, app.clock.now());
            let label = crate::memory::label(&incident);
            let name = format!("attachment; filename=\"{}.tar\"", incident.id);
            Ok(([(header::CONTENT_DISPOSITION, name)], super::export::packed(&app, &plan, label).await?)
                .into_response())
        }
        Some("md") => Ok(markdown(&incident, app.latest_report(incident.id).await?)),
        Some(_) => {
            Err(Error::not_found("an incident comes as a page, as .json, as .md, and its recording as .tar"))
        }
    }
}

async fn page(
    app: &App,
    incident: Incident,
    frame: Option<u32>,
    asked: Option<Asked>,
) -> Result<Response, Error> {
    let report = app.latest_report(incident.id).await?;
    let most = u32::try_from(pages::MOST_ALERTS).unwrap_or(u32::MAX);
    let held_back = app.noise.held_back(&incident, report.as_ref(), most).await.unwrap_or_else(|error| {
        tracing::warn!(incident = %incident.id, error = format!("{error:#}"), "cannot show what was held back");
        (Vec::new(), 0)
    });
    let beside = match &report {
        Some(report) => Beside { asked, held_back, ..beside(app, incident.id, report).await },
        None => Beside { held_back, ..Beside::default() },
    };
    let page = IncidentPage {
        report,
        beside,
        progress: app.incidents.progress(incident.id),
        now: app.clock.now(),
        frame,
        top: app.top().await,
        incident,
    };
    Ok(super::page(pages::render_incident(&page)))
}

/// What is known beside the telemetry. The page stands without it.
async fn beside(app: &App, id: IncidentId, report: &Report) -> Beside {
    let pattern = app.knowledge.fit(&report.diagnosis).map(|fit| fit.pattern);
    let similar = app.memory.near(id, &report.diagnosis).await.unwrap_or_else(|error| {
        tracing::warn!(incident = %id, error = format!("{error:#}"), "cannot look for similar incidents");
        Vec::new()
    });
    Beside {
        pattern: pattern.map(|known| (known.title.clone(), known.mechanism.clone(), known.text.clone())),
        similar,
        ..Beside::default()
    }
}

/// A question about an incident.
#[derive(Debug, Deserialize)]
pub struct AskForm {
    question: String,
}

/// `POST /incidents/{id}/ask`: the page, with the answer. A question is not stored.
pub async fn ask(
    State(app): State<App>,
    Path(id): Path<String>,
    Form(form): Form<AskForm>,
) -> Result<Response, Error> {
    let incident = find(&app, &id)?;
    let Some(report) = app.latest_report(incident.id).await? else {
        return Err(Error::bad_request("this incident is not investigated yet: there is nothing to ask of"));
    };
    let asked = app.telling.ask(&report, &form.question, &incident.id.to_string()).await?;
    page(&app, incident, None, Some(asked)).await
}

fn markdown(incident: &Incident, report: Option<Report>) -> Response {
    let body = match report {
        Some(report) => investigator::markdown::to_markdown(&report),
        None => format!("# {}\n\nNot investigated yet.\n", domain::text::plain(&incident.title, MAX_NAME)),
    };
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], body).into_response()
}

/// `POST /incidents/{id}/acknowledge`.
pub async fn acknowledge(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Error> {
    let incident = find(&app, &id)?;
    if incident.is_open() {
        note(&app, incident.id, IncidentEvent::Acknowledged { actor: ACTOR.into() }).await?;
    }
    Ok(back(&app, incident.id))
}

/// `POST /incidents/{id}/resolve`.
pub async fn resolve(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Error> {
    let incident = find(&app, &id)?;
    if incident.is_open() {
        let event = IncidentEvent::Resolved { actor: ACTOR.into(), reason: "resolved by hand".into() };
        note(&app, incident.id, event).await?;
    }
    Ok(back(&app, incident.id))
}

/// What a person says of the answer.
#[derive(Debug, Deserialize)]
pub struct FeedbackForm {
    verdict: String,
    #[serde(default)]
    service: String,
    /// One of [`Mechanism`], or empty.
    #[serde(default)]
    mechanism: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    fixed: String,
}

/// `POST /incidents/{id}/feedback`.
pub async fn feedback(
    State(app): State<App>,
    Path(id): Path<String>,
    Form(form): Form<FeedbackForm>,
) -> Result<Response, Error> {
    let incident = find(&app, &id)?;
    if !["right", "not-quite", "wrong"].contains(&form.verdict.as_str()) {
        return Err(Error::bad_request("feedback is right, not-quite or wrong"));
    }
    let mechanism = match form.mechanism.as_str() {
        "" => None,
        named => Some(Mechanism::parse(named).ok_or_else(|| {
            let known = Mechanism::ALL.map(Mechanism::as_str).join(", ");
            Error::bad_request(format!("a mechanism is one of {known}"))
        })?),
    };
    let event = IncidentEvent::Feedback {
        actor: ACTOR.into(),
        verdict: form.verdict,
        service: domain::text::plain(form.service.trim(), MAX_NAME),
        mechanism,
        text: domain::text::plain(form.text.trim(), MAX_TEXT),
    };
    note(&app, incident.id, event).await?;
    let fixed = domain::text::plain(form.fixed.trim(), MAX_TEXT);
    if !fixed.is_empty() {
        note(&app, incident.id, IncidentEvent::Fixed { actor: ACTOR.into(), text: fixed }).await?;
    }
    Ok(back(&app, incident.id))
}

async fn note(app: &App, id: IncidentId, event: IncidentEvent) -> Result<(), Error> {
    Ok(app.incidents.append(id, event).await?)
}

/// `INC-0142` or `142`.
pub(super) fn find(app: &App, id: &str) -> Result<Incident, Error> {
    let incident = IncidentId::parse(id).and_then(|id| app.incidents.get(id));
    incident.ok_or_else(|| Error::not_found(format!("there is no incident {}", domain::text::plain(id, 40))))
}

/// Back to the page, with a GET: 303.
fn back(app: &App, id: IncidentId) -> Response {
    Redirect::to(&format!("{}/incidents/{}", app.base_path, id.0)).into_response()
}
