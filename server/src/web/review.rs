//! The review queue and what people decide there; alerts in and out.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use detectors::suppression::{Event, MAX_EXPIRY_DAYS, Mode, Reason, Source, never};
use domain::UnixNanos;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::{App, token};
use crate::noise::alertmanager::Webhook;
use crate::noise::{DecidedOn, Proposal, Step};
use crate::pages::{self, ReviewPage, RulesPage};

/// There is no sign-in: the audit notes that it was somebody who can reach the page.
const ACTOR: &str = "someone on this page";
/// Lines of the audit shown.
const MAX_AUDIT: usize = 500;
/// Days that a snoozed alert is left alone.
const SNOOZE_DAYS: u32 = 1;

/// What the queue is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct QueueQuery {
    open: String,
    done: String,
    what: String,
    /// How many others were decided on in the same step.
    also: usize,
}

/// `GET /review`.
pub async fn queue(State(app): State<App>, Query(query): Query<QueueQuery>) -> Result<Response, Error> {
    let proposals = app.noise.queue().await?;
    let done = proposals.iter().find(|one| one.fingerprint == query.done).map(|one| {
        let name = domain::text::plain(&format!("{}: {}", one.alert.service, one.alert.rule), 80);
        let name = match query.also {
            0 => name,
            1 => format!("{name} and 1 of the same pattern:"),
            many => format!("{name} and {many} of the same pattern:"),
        };
        let what = match query.what.as_str() {
            "approve" => match one.standing.approval() {
                Some(approval) if one.mode == Mode::Observe => {
                    format!("is noise until {}; mode observe hides nothing", approval.expires.date())
                }
                Some(approval) => format!("is suppressed until {}", approval.expires.date()),
                None => "approved".into(),
            },
            "reject" => "stays heard".into(),
            "snooze" => "snoozed for a day".into(),
            _ => "back as it was".into(),
        };
        (one.fingerprint.clone(), format!("{name} {what}"))
    });
    let details = app.noise.proposal(&query.open).await?.map(|(_, details)| details);
    let page = ReviewPage {
        now: app.clock.now(),
        proposals,
        details: details.unwrap_or_default(),
        open: query.open,
        done,
        measures: app.noise.measured().await?,
        modes: app.noise.modes(),
        expiry_days: app.noise.settings().expiry_days,
        top: app.top().await,
    };
    Ok(super::page(pages::render_review(&page)))
}

/// What a decision says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Decision {
    reason: String,
    note: String,
    days: Option<u32>,
    batch: String,
    /// Of what is to be taken back: when it began, in nanoseconds, as the page showed it; empty for whatever stands.
    since: String,
}

/// `POST /review/{fingerprint}/{action}`.
pub async fn decide(
    State(app): State<App>,
    Path((fingerprint, action)): Path<(String, String)>,
    Form(form): Form<Decision>,
) -> Result<Response, Error> {
    let decided = decide_on(&app, &fingerprint, &action, &form, ACTOR, Source::Web).await?;
    let also = decided.alerts.saturating_sub(1);
    let place =
        format!("{}/review?done={fingerprint}&what={action}&also={also}#q-{fingerprint}", app.base_path);
    Ok(Redirect::to(&place).into_response())
}

/// Notes a decision, wherever it was taken; what came of it.
pub(super) async fn decide_on(
    app: &App,
    fingerprint: &str,
    action: &str,
    form: &Decision,
    actor: &str,
    source: Source,
) -> Result<DecidedOn, Error> {
    let found = app.noise.proposal(fingerprint).await?;
    let (one, details) = found.ok_or_else(|| Error::not_found("there is no such alert"))?;
    let step = Step { actor, source, note: &form.note };
    if action == "undo" {
        let since = since(&form.since)?;
        return match app.noise.undo(fingerprint, &step, since).await? {
            Some(0) => Err(Error::bad_request("there is nothing to take back")),
            Some(count) => Ok(DecidedOn { alerts: count, changed: count }),
            None => Err(Error::bad_request(
                "nothing was taken back: what stands has changed since the page was drawn, so look at the review page again",
            )),
        };
    }
    let mut decided = vec![(one.fingerprint.clone(), event(app, &one, action, form)?)];
    if form.batch == "1" {
        for other in app.noise.proposals_of(&details.same_pattern).await? {
            // Of the others, those that a rule forbids to suppress stay as they are.
            if action != "approve" || never::forbids(&other.rulings).is_none() {
                decided.push((other.fingerprint.clone(), event(app, &other, action, form)?));
            }
        }
    }
    Ok(app.noise.decide(&step, decided).await?)
}

fn since(text: &str) -> Result<Option<UnixNanos>, Error> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(|nanos| Some(UnixNanos(nanos)))
            .map_err(|_| Error::bad_request("`since` is not a number of nanoseconds")),
    }
}

fn event(app: &App, one: &Proposal, action: &str, form: &Decision) -> Result<Event, Error> {
    let now = app.clock.now();
    match action {
        "approve" => {
            if let Some(ruling) = never::forbids(&one.rulings) {
                let words = domain::text::plain(&ruling.words, 120);
                return Err(Error::bad_request(format!("this alert cannot be suppressed: {words}")));
            }
            let reason = match form.reason.as_str() {
                "" => one.reason,
                other => Reason::parse(other).ok_or_else(|| Error::bad_request("there is no such reason"))?,
            };
            let days = form.days.unwrap_or(app.noise.settings().expiry_days);
            if !(1..=MAX_EXPIRY_DAYS).contains(&days) {
                return Err(Error::bad_request(format!("a suppression lasts 1 to {MAX_EXPIRY_DAYS} days")));
            }
            Ok(Event::Approved(one.approval(reason, &form.note, days, now)))
        }
        "reject" => Ok(Event::Rejected),
        "snooze" => Ok(Event::Snoozed { until: detectors::suppression::policy::expiry(now, SNOOZE_DAYS) }),
        _ => Err(Error::not_found("a decision is approve, reject, snooze or undo")),
    }
}

/// The mode of a rule.
#[derive(Debug, Deserialize)]
pub struct ModeForm {
    rule: String,
    mode: String,
    /// The page to return to; the queue, when left out.
    #[serde(default)]
    from: String,
}

/// What was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RulesQuery {
    set: String,
}

/// `GET /review/rules`.
pub async fn rules(State(app): State<App>, Query(query): Query<RulesQuery>) -> Result<Response, Error> {
    let rules = app.noise.rules().await?;
    let said = rules.iter().find(|rule| rule.rule == query.set).map_or(String::new(), |rule| {
        format!("{} is now in mode {}.", domain::text::plain(&rule.rule, 80), rule.mode.as_str())
    });
    Ok(super::page(pages::render_rules(&RulesPage {
        rules: &rules,
        default_mode: app.noise.modes().0,
        measures: &app.noise.measured().await?,
        said: &said,
        top: &app.top().await,
    })))
}

/// `POST /review/mode`.
pub async fn mode(State(app): State<App>, Form(form): Form<ModeForm>) -> Result<Response, Error> {
    let mode =
        Mode::parse(&form.mode).ok_or_else(|| Error::bad_request("a mode is observe, recommend or auto"))?;
    if form.rule.is_empty() || form.rule.len() > 400 {
        return Err(Error::bad_request("a rule has 1 to 400 bytes"));
    }
    match app.noise.set_mode(&form.rule, mode, ACTOR).await? {
        Ok(()) if form.from == "rules" => {
            let rule: String = form_urlencoded::byte_serialize(form.rule.as_bytes()).collect();
            Ok(Redirect::to(&format!("{}/review/rules?set={rule}", app.base_path)).into_response())
        }
        Ok(()) => Ok(Redirect::to(&format!("{}/review", app.base_path)).into_response()),
        Err(why) => Err(Error::bad_request(why)),
    }
}

/// `GET /review/audit`.
pub async fn audit(State(app): State<App>) -> Response {
    let (decisions, modes) = (app.noise.audit(MAX_AUDIT), app.noise.mode_changes(MAX_AUDIT));
    super::page(pages::render_audit(&decisions, &modes, &app.top().await))
}

/// `GET /review/policies`.
pub async fn policies(State(app): State<App>) -> Result<Response, Error> {
    let yaml = app.noise.export()?;
    Ok(super::page(pages::render_policies(&yaml, "", false, &app.top().await)))
}

/// `GET /review/policies.yaml`.
pub async fn export(State(app): State<App>) -> Result<Response, Error> {
    let headers = [
        (header::CONTENT_TYPE, "application/yaml; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"policies.yaml\""),
    ];
    Ok((headers, app.noise.export()?).into_response())
}

/// A file of policies.
#[derive(Debug, Deserialize)]
pub struct PoliciesForm {
    yaml: String,
}

/// `POST /review/policies`.
pub async fn import(State(app): State<App>, Form(form): Form<PoliciesForm>) -> Result<Response, Error> {
    // Browsers send line ends of their own.
    let yaml = form.yaml.replace("\r\n", "\n");
    let (yaml, said, failed) = match app.noise.import(&yaml, ACTOR).await? {
        Ok(outcome) => (app.noise.export()?, outcome.words(), !outcome.forbidden.is_empty()),
        Err(why) => (yaml, format!("This file cannot be used: {why}"), true),
    };
    Ok(super::page(pages::render_policies(&yaml, &said, failed, &app.top().await)))
}

/// What became of a webhook.
#[derive(Debug, Serialize)]
pub struct Accepted {
    heard: usize,
    suppressed: usize,
    repeated: usize,
    left_out: usize,
}

/// `POST /api/v1/alerts/alertmanager`: the webhook of Alertmanager. Answered when all of it is stored.
pub async fn alertmanager(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Accepted>, Error> {
    token::check(&app, &headers)?;
    let webhook = Webhook::parse(&body).map_err(Error::bad_request)?;
    let (alerts, left_out) = webhook.into_alerts(app.clock.now());
    let outcomes = app.noise.accept(alerts).await?;
    let count =
        |wanted: fn(&crate::noise::Outcome) -> bool| outcomes.iter().filter(|one| wanted(one)).count();
    Ok(Json(Accepted {
        heard: count(|one| matches!(one, crate::noise::Outcome::Heard)),
        suppressed: count(|one| matches!(one, crate::noise::Outcome::Suppressed)),
        repeated: count(|one| matches!(one, crate::noise::Outcome::GoesOn { .. })),
        left_out,
    }))
}

/// One alert as the API tells of it.
#[derive(Debug, Serialize)]
pub struct AlertSummary {
    fingerprint: String,
    rule: String,
    service: String,
    severity: domain::Severity,
    pattern: String,
    alerts: u64,
    pages: usize,
    pages_left: usize,
    confidence: f64,
    proposed: bool,
    suppressed: bool,
    limit_per_hour: f64,
    last: Option<String>,
}

/// Which alerts are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AlertsQuery {
    /// Those of this service; of all, when left out.
    service: String,
}

/// `GET /api/v1/alerts[?service=NAME]`: the most worth deciding first.
pub async fn alerts(
    State(app): State<App>,
    Query(query): Query<AlertsQuery>,
) -> Result<Json<Vec<AlertSummary>>, Error> {
    let summary = |one: Proposal| AlertSummary {
        suppressed: one.standing.approval().is_some() && one.mode != Mode::Observe,
        rule: one.alert.rule.clone(),
        service: one.alert.service.clone(),
        severity: one.alert.severity,
        pattern: one.alert.pattern.clone(),
        alerts: one.history.total,
        pages: one.pages.0,
        pages_left: one.pages.1,
        confidence: one.confidence,
        proposed: one.proposed,
        limit_per_hour: one.limit.0,
        last: one.history.last.map(|at| at.to_string()),
        fingerprint: one.fingerprint,
    };
    let queue = match query.service.as_str() {
        "" => app.noise.queue().await?,
        service => app.noise.queue_of(&BTreeSet::from([service])).await?,
    };
    Ok(Json(queue.into_iter().map(summary).collect()))
}
