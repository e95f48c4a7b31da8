//! `inquest why`: the answer in a terminal, from a running server or from a recording.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use domain::{Report, UnixNanos, Window};
use investigator::Question;
use investigator::narrate::narrate;
use investigator::observe::observe;
use investigator::reason::reason;
use storage::Store;
use storage::recording::{self, Recording};

use crate::answer;
use crate::cli::{Format, WhyArgs};
use crate::investigate::DEFAULT_SINCE;
use crate::known_service;
use crate::output;
use crate::web::wire::InvestigateRequest;

/// Columns when the terminal does not say.
const DEFAULT_COLUMNS: usize = 100;

/// Longest that the server may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Largest report that is read, in bytes: ample for one, and little beside the memory of a host.
const MAX_REPORT_BYTES: usize = 64 << 20;

/// Runs the command.
pub async fn run(arguments: &WhyArgs) -> anyhow::Result<()> {
    let report = match &arguments.recording {
        Some(dir) => of_recording(dir, arguments).await?,
        None => of_server(arguments).await?,
    };
    output::text(&print(&report, arguments.format)?);
    Ok(())
}

/// A report in one of its forms, ending with a line break.
pub fn print(report: &Report, format: Format) -> anyhow::Result<String> {
    let mut text = match format {
        Format::Text => investigator::terminal::to_text(report, columns()),
        Format::Markdown => investigator::markdown::to_markdown(report),
        Format::Json => serde_json::to_string_pretty(report).context("the report does not serialise")?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn columns() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|text| text.parse::<usize>().ok());
    named.map_or(DEFAULT_COLUMNS, |columns| columns.clamp(40, 160))
}

async fn of_server(arguments: &WhyArgs) -> anyhow::Result<Report> {
    let request = InvestigateRequest {
        service: arguments.service.clone().unwrap_or_default(),
        at: arguments.at.clone(),
        since: arguments.since.map(|since| since.to_string()),
    };
    let url = format!("{}/api/v1/investigate", arguments.server.trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let response = client
        .post(&url)
        .json(&request)
        .send()
        .await
        .with_context(|| format!("cannot reach {} (is `inquest serve` running?)", arguments.server))?;
    let response = accepted(response).await?;
    answer::json(response, MAX_REPORT_BYTES).await.context("the server's answer cannot be read")
}

/// A response that is one, or the server's own words about why not.
pub async fn accepted(response: reqwest::Response) -> anyhow::Result<reqwest::Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    let said = answer::json::<Refusal>(response, answer::MAX_BYTES).await.map(|refusal| refusal.error);
    anyhow::bail!("the server answered {status}: {}", said.unwrap_or_else(|_| "without a reason".to_owned()))
}

async fn of_recording(dir: &Path, arguments: &WhyArgs) -> anyhow::Result<Report> {
    let store = Store::scratch().await.context("cannot open a store for the recording")?;
    let report = investigate(&store, dir, arguments).await;
    store.close().await.context("cannot close the store of the recording")?;
    report
}

async fn investigate(store: &Store, dir: &Path, arguments: &WhyArgs) -> anyhow::Result<Report> {
    let timed = |began: tokio::time::Instant, what: &str, note: &str| {
        if arguments.timings {
            output::note(&format!("{:>7} ms  {what}  {note}", began.elapsed().as_millis()));
        }
    };
    let began = tokio::time::Instant::now();
    let recording = recording::load(store, dir).await.context("cannot read the recording")?;
    timed(began, "loaded", "");
    let question = question(&recording, arguments)?;
    if let Some(service) = &arguments.service {
        known_service::check(store, service, question.window).await??;
    }
    // Questions to the store are asked side by side: each takes as long as it took since they began.
    let began = tokio::time::Instant::now();
    let told = |progress: investigator::Progress| {
        timed(began, &format!("  {}", progress.check.title()), &progress.note)
    };
    let seen = observe(store, &question, told).await.context("the investigation failed")?;
    timed(began, "observed", "");
    let began = tokio::time::Instant::now();
    let diagnosis = reason(&seen);
    timed(began, "reasoned", "");
    let began = tokio::time::Instant::now();
    let report = narrate(diagnosis).context("the investigation failed")?;
    timed(began, "phrased", "");
    Ok(report)
}

/// What is asked of a recording: what it says of itself, unless the command line says otherwise.
fn question(recording: &Recording, arguments: &WhyArgs) -> anyhow::Result<Question> {
    let mut question = eval::case::question(recording);
    if arguments.service.is_some() {
        question.service.clone_from(&arguments.service);
    }
    if arguments.at.is_some() || arguments.since.is_some() {
        let end = match &arguments.at {
            Some(text) => UnixNanos::parse(text).with_context(|| {
                format!("`{text}` is neither a time such as 2026-11-19T14:02:31Z nor Unix seconds")
            })?,
            None => recording.meta.detected_at,
        };
        let since = arguments.since.map_or(DEFAULT_SINCE, |since| since.0);
        question.window = Window::new(end.minus(since), end);
        question.started = None;
    }
    Ok(question)
}
