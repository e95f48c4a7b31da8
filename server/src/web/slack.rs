//! What Slack sends: commands, buttons, mentions. Each is acknowledged at once; the answer follows.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use detectors::suppression::Source;
use domain::{IncidentEvent, IncidentId, NarratedBy, Report};
use investigator::narrate::Asked;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Error;
use super::wire::InvestigateRequest;
use super::{App, api, review};
use crate::brief::Brief;
use crate::slack::blocks::{self, incident_buttons, why_buttons};
use crate::slack::{Ask, Refused, Slack};

const FAILED: &str = "I could not find that out just now. The incident pages may say more.";

/// The app and the body, when the request is Slack's.
fn verified<'a>(app: &'a App, headers: &HeaderMap, body: &[u8]) -> Result<&'a Slack, Box<Response>> {
    let Some(slack) = &app.slack else {
        return Err(Box::new(Error::not_found("the Slack app is not set up").into_response()));
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (timestamp, signature) = (header("x-slack-request-timestamp"), header("x-slack-signature"));
    slack.verify(app.clock.now(), timestamp, signature, body).map_err(|refused| {
        tracing::warn!(%refused, "a request to the Slack app was refused");
        let status = if refused == Refused::TooMany {
            StatusCode::TOO_MANY_REQUESTS
        } else {
            StatusCode::UNAUTHORIZED
        };
        Box::new((status, Json(json!({"error": refused.to_string()}))).into_response())
    })?;
    Ok(slack)
}

fn field(body: &[u8], name: &str) -> String {
    let mut pairs = form_urlencoded::parse(body);
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// `POST /slack/command`: `/why`.
pub async fn command(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let slack = match verified(&app, &headers, &body) {
        Ok(slack) => slack.clone(),
        Err(refused) => return *refused,
    };
    let (user, response_url) = (field(&body, "user_id"), field(&body, "response_url"));
    if !slack.client().allows(&response_url) {
        return Json(blocks::say("The address to answer to is not one of Slack's.")).into_response();
    }
    if !slack.may_ask(&user, app.clock.now()) {
        return Json(blocks::say("That is a lot of questions. Try again in a minute.")).into_response();
    }
    let ask = match Ask::parse(&field(&body, "text")) {
        Ok(Ask::Help) => return Json(blocks::help()).into_response(),
        Ok(ask) => ask,
        Err(why) => return Json(blocks::say(&why)).into_response(),
    };
    let looking = match &ask {
        Ask::Service { service, .. } => format!("Looking at {service}…"),
        Ask::Incident(id) | Ask::Question(id, _) => format!("Looking at {id}…"),
        Ask::Help => String::new(),
    };
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        let post = async |mut message: Value| {
            message["response_type"] = json!("ephemeral");
            message["replace_original"] = json!(true);
            slack.client().respond(&response_url, &message).await
        };
        let first = answer(&app, &slack, &ask, false).await;
        let posted = match post(first).await {
            Ok(()) => match retold(&app, &slack, &ask).await {
                Some(message) => post(message).await,
                None => Ok(()),
            },
            failed => failed,
        };
        if let Err(error) = posted {
            tracing::warn!(error = format!("{error:#}"), "an answer could not be posted to Slack");
        }
    });
    Json(blocks::say(&looking)).into_response()
}

/// The answer, whatever becomes of it: a message.
async fn answer(app: &App, slack: &Slack, ask: &Ask, in_channel: bool) -> Value {
    match try_answer(app, slack, ask, in_channel).await {
        Ok(message) => message,
        Err(Error::NotFound(why) | Error::BadRequest(why) | Error::Refused(why)) => blocks::say(&why),
        Err(Error::Failed(error)) => {
            tracing::error!(error = format!("{error:#}"), "a question from Slack could not be answered");
            blocks::say(FAILED)
        }
    }
}

async fn try_answer(app: &App, slack: &Slack, ask: &Ask, in_channel: bool) -> Result<Value, Error> {
    let incident = match ask {
        Ask::Help => return Ok(blocks::help()),
        Ask::Incident(id) => Some(super::incidents::find(app, &id.to_string())?),
        Ask::Question(id, question) => return asked(app, slack, *id, question).await,
        // A running incident has been looked into: its answer is at hand.
        Ask::Service { service, since: None } => {
            let about = |incident: &domain::Incident| {
                incident.runs > 0 && incident.findings.iter().any(|finding| finding.service == *service)
            };
            app.incidents.open().into_iter().rev().find(about)
        }
        Ask::Service { .. } => None,
    };
    if let Some(incident) = incident {
        return incident_message(app, slack, incident.id, in_channel).await;
    }
    let Ask::Service { service, since } = ask else { return Ok(blocks::help()) };
    let request = InvestigateRequest {
        service: service.clone(),
        at: None,
        since: since.map(|since| since.to_string()),
    };
    let report = api::answer(app, &request).await?;
    let link = format!("{}{}", slack.pages_url(), pages_path(service));
    let asked = match since {
        Some(since) => format!("why {service} since {since}"),
        None => format!("why {service}"),
    };
    let buttons = why_buttons(&asked, in_channel);
    let mut message = blocks::answer(&Brief::of_report(&report), None, Some(&link), &buttons);
    let diagnosis = &report.diagnosis;
    let services = diagnosis.chain.iter().map(|link| link.component.as_str());
    ask_of_noise(app, services.chain([diagnosis.service.as_str()]).collect(), &mut message).await?;
    Ok(message)
}

/// Asks under an answer whether the alert of these services that is the likeliest noise is noise, when one waits for a decision.
async fn ask_of_noise(app: &App, services: BTreeSet<&str>, message: &mut Value) -> Result<(), Error> {
    let now = app.clock.now();
    let queue = app.noise.queue_of(&services).await?;
    if let Some(one) = queue.iter().find(|one| one.waits(now)) {
        let may_suppress = detectors::suppression::never::forbids(&one.rulings).is_none();
        blocks::with_alert(message, &one.alert, may_suppress);
    }
    Ok(())
}

/// A question about an incident, answered from templates: nobody waits for a model.
async fn asked(app: &App, slack: &Slack, id: IncidentId, question: &str) -> Result<Value, Error> {
    let report = report_of(app, id).await?;
    let asked = app.telling.ask_at_once(&report, question).await;
    Ok(asked_message(slack, id, &asked, &report))
}

/// The same answer in a model's words, once they are checked; `None` when there is no model to ask, or nothing of it passed.
async fn retold(app: &App, slack: &Slack, ask: &Ask) -> Option<Value> {
    let Ask::Question(id, question) = ask else { return None };
    if !app.telling.has_model() {
        return None;
    }
    let report = report_of(app, *id).await.ok()?;
    match app.telling.ask(&report, question, &id.to_string()).await {
        Ok(asked) if matches!(asked.narrated, NarratedBy::Model { .. }) => {
            Some(asked_message(slack, *id, &asked, &report))
        }
        Ok(_) => None,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "a question from Slack could not be told");
            None
        }
    }
}

async fn report_of(app: &App, id: IncidentId) -> Result<Report, Error> {
    let incident = super::incidents::find(app, &id.to_string())?;
    let report = app.latest_report(incident.id).await?;
    report.ok_or_else(|| Error::not_found(format!("{id} was not looked into yet")))
}

/// An answer with what it cites, as on the incident's page.
fn asked_message(slack: &Slack, id: IncidentId, asked: &Asked, report: &Report) -> Value {
    let said = asked.sentences.iter().map(|sentence| {
        let cites: Vec<String> = sentence.cites.iter().map(ToString::to_string).collect();
        match cites.is_empty() {
            true => sentence.text.clone(),
            false => format!("{} [{}]", sentence.text, cites.join(", ")),
        }
    });
    let (checked, cited) = asked.citations(report);
    let source = format!("{}, {checked} of {cited} citations checked", asked.narrated.words());
    let link = format!("{}/incidents/{}", slack.pages_url(), id.0);
    blocks::asked(&id.to_string(), &asked.question, &said.collect::<Vec<_>>(), &source, &link)
}

fn pages_path(service: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(service.as_bytes()).collect();
    format!("/services?name={encoded}")
}

async fn incident_message(
    app: &App,
    slack: &Slack,
    id: IncidentId,
    in_channel: bool,
) -> Result<Value, Error> {
    let incident = super::incidents::find(app, &id.to_string())?;
    let report = app.latest_report(id).await?;
    let brief = Brief::of_incident(&incident, report.as_ref());
    let link = format!("{}/incidents/{}", slack.pages_url(), id.0);
    let name = id.to_string();
    let mut message = blocks::answer(&brief, Some(&name), Some(&link), &incident_buttons(&name, in_channel));
    let services = incident.findings.iter().map(|finding| finding.service.as_str());
    ask_of_noise(app, services.chain([incident.root_service.as_str()]).collect(), &mut message).await?;
    Ok(message)
}

/// A button that was pressed. What it is about is looked up here, never taken from the message.
#[derive(Debug, Deserialize)]
struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    user: Named,
    #[serde(default)]
    channel: Named,
    #[serde(default)]
    response_url: String,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Debug, Default, Deserialize)]
struct Named {
    #[serde(default)]
    id: String,
}

#[derive(Debug, Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: String,
}

/// `POST /slack/action`: buttons.
pub async fn action(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let slack = match verified(&app, &headers, &body) {
        Ok(slack) => slack.clone(),
        Err(refused) => return *refused,
    };
    let interaction: Interaction = match serde_json::from_str(&field(&body, "payload")) {
        Ok(interaction) => interaction,
        Err(_) => return Error::bad_request("the payload cannot be read").into_response(),
    };
    let pressed = interaction.actions.first().filter(|_| interaction.kind == "block_actions");
    let Some(action) = pressed else { return StatusCode::OK.into_response() };
    let (action, value) = (action.action_id.clone(), action.value.clone());
    // A link opens by itself.
    if action == "open" {
        return StatusCode::OK.into_response();
    }
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        let said = match press(&app, &slack, &interaction, &action, &value).await {
            Ok(said) => said,
            Err(Error::NotFound(why) | Error::BadRequest(why) | Error::Refused(why)) => why,
            Err(Error::Failed(error)) => {
                tracing::error!(error = format!("{error:#}"), "a button in Slack failed");
                FAILED.to_owned()
            }
        };
        if said.is_empty() || !slack.client().allows(&interaction.response_url) {
            return;
        }
        let mut message = blocks::say(&said);
        message["replace_original"] = json!(false);
        if let Err(error) = slack.client().respond(&interaction.response_url, &message).await {
            tracing::warn!(error = format!("{error:#}"), "an answer could not be posted to Slack");
        }
    });
    StatusCode::OK.into_response()
}

/// What a button does; what to say to the one who pressed it.
async fn press(
    app: &App,
    slack: &Slack,
    interaction: &Interaction,
    action: &str,
    value: &str,
) -> Result<String, Error> {
    if action == "post" {
        if !slack.may_ask(&interaction.user.id, app.clock.now()) {
            return Ok("That is a lot of questions. Try again in a minute.".into());
        }
        let ask = match IncidentId::parse(value) {
            Some(id) => Ask::Incident(id),
            None => Ask::parse(value).map_err(Error::bad_request)?,
        };
        let message = try_answer(app, slack, &ask, true).await?;
        slack.client().post(&interaction.channel.id, None, &message).await?;
        return Ok(String::new());
    }
    let person = slack.person(&interaction.user.id).ok_or_else(|| {
        Error::Refused(
            "You are not among the people who may decide here; settings name them under [[slack.users]]."
                .into(),
        )
    })?;
    let actor = format!("{person} in Slack");
    match action {
        "right" | "wrong" => {
            let incident = super::incidents::find(app, value)?;
            let last = incident.events.iter().rev().find_map(|(_, event)| match event {
                IncidentEvent::Feedback { actor, verdict, .. } => Some((actor.clone(), verdict.clone())),
                _ => None,
            });
            // Pressed twice means once.
            if last != Some((actor.clone(), action.to_owned())) {
                let event = IncidentEvent::Feedback {
                    actor,
                    verdict: action.into(),
                    service: String::new(),
                    mechanism: None,
                    text: String::new(),
                };
                app.incidents.append(incident.id, event).await?;
            }
            Ok(format!("Noted: the answer to {} is {action}.", incident.id))
        }
        "suppress" | "not_noise" => {
            let fingerprint = value.strip_prefix("alert-").unwrap_or(value);
            let decision = if action == "suppress" { "approve" } else { "reject" };
            let decided = review::decide_on(
                app,
                fingerprint,
                decision,
                &review::Decision::default(),
                &actor,
                Source::Slack,
            )
            .await?;
            Ok(match (action, decided.changed) {
                ("suppress", 0) => {
                    "It is suppressed already. The review page shows it, and takes it back.".into()
                }
                ("suppress", _) => "Suppressed. The review page shows it, and takes it back.".into(),
                (_, 0) => "Noted already: it is not noise.".into(),
                _ => "Noted: it is not noise.".into(),
            })
        }
        _ => Err(Error::bad_request("this button is unknown")),
    }
}

/// What the Events API sends.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    challenge: String,
    #[serde(default)]
    event_id: String,
    #[serde(default)]
    event: Value,
}

/// `POST /slack/event`: mentions.
pub async fn event(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let slack = match verified(&app, &headers, &body) {
        Ok(slack) => slack.clone(),
        Err(refused) => return *refused,
    };
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&body) else {
        return Error::bad_request("the event cannot be read").into_response();
    };
    if envelope.kind == "url_verification" {
        return Json(json!({"challenge": envelope.challenge})).into_response();
    }
    let text = |name: &str| envelope.event[name].as_str().unwrap_or_default().to_owned();
    let from_app = envelope.event.get("bot_id").is_some();
    if text("type") != "app_mention" || from_app || !slack.is_new_event(&envelope.event_id) {
        return StatusCode::OK.into_response();
    }
    let (user, channel, asked) = (text("user"), text("channel"), text("text"));
    let thread = if text("thread_ts").is_empty() { text("ts") } else { text("thread_ts") };
    if !slack.may_ask(&user, app.clock.now()) {
        return StatusCode::OK.into_response();
    }
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        if let Err(error) = reply(&app, &slack, &channel, &thread, &asked).await {
            tracing::warn!(error = format!("{error:#}"), "a mention in Slack could not be answered");
        }
    });
    StatusCode::OK.into_response()
}

/// One message: first that it is being looked at, then the answer in its place, then its better wording.
async fn reply(app: &App, slack: &Slack, channel: &str, thread: &str, asked: &str) -> anyhow::Result<()> {
    let ask = match Ask::parse(asked) {
        Ok(ask) => ask,
        Err(why) => return slack.client().post(channel, Some(thread), &blocks::say(&why)).await.map(|_| ()),
    };
    let posted = slack.client().post(channel, Some(thread), &blocks::say("Looking…")).await?;
    let message = answer(app, slack, &ask, true).await;
    let posted = slack.client().update(&posted, &message).await?;
    if let Some(message) = retold(app, slack, &ask).await {
        slack.client().update(&posted, &message).await?;
    }
    Ok(())
}
