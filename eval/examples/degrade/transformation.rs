//! What other systems do to their telemetry. Each transformation is general: it knows no recording.

use std::time::Duration;

use domain::{UnixNanos, Window};
use futures::future::LocalBoxFuture;
use serde_json::Value;

use super::draft::{Draft, Table};
use super::names::{self, Convention};
use super::{Context, stranger};
use Transformation::{Ask, Edit};

/// Changes a draft.
pub enum Transformation {
    /// By the draft and the seed alone.
    Edit(fn(&mut Draft, u64)),
    /// Having asked for more.
    Ask(for<'a> fn(&'a mut Draft, &'a Context<'a>) -> LocalBoxFuture<'a, anyhow::Result<()>>),
}

impl Transformation {
    /// Does it.
    pub async fn apply(&self, draft: &mut Draft, context: &Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Edit(edit) => {
                edit(draft, context.seed);
                Ok(())
            }
            Self::Ask(ask) => ask(draft, context).await,
        }
    }
}

/// Clocks are off by up to so much.
const SKEW_NANOS: u64 = 50_000_000;
/// What questions are asked too early or too late by.
const OFF: Duration = Duration::from_secs(120);
/// A young system's baseline.
const SHORT: Duration = Duration::from_secs(300);

/// All of them, by name.
pub const ALL: &[(&str, Transformation)] = &[
    ("plain", Edit(|_, _| {})),
    ("sampled-25", Edit(|draft, seed| sample(draft, seed, 25))),
    ("sampled-10", Edit(|draft, seed| sample(draft, seed, 10))),
    ("no-metrics", Edit(|draft, _| draft.metrics = None)),
    ("no-logs", Edit(|draft, _| draft.logs = None)),
    ("no-traces", Edit(|draft, _| draft.spans = None)),
    ("no-changes", Edit(|draft, _| drop(draft.documents.remove("changes.json")))),
    ("no-topology", Edit(|draft, _| drop(draft.documents.remove("topology.json")))),
    ("no-status", Edit(|draft, _| blank(draft, &["StatusCode", "StatusMessage"]))),
    ("no-kind", Edit(|draft, _| blank(draft, &["SpanKind"]))),
    ("clock-skew", Edit(skew)),
    ("opaque-services", Ask(|draft, context| Box::pin(names::opaque_services(draft, context)))),
    (
        "dotted-metrics",
        Ask(|draft, context| Box::pin(names::rename_metrics(draft, context, Convention::Dotted))),
    ),
    (
        "camel-metrics",
        Ask(|draft, context| Box::pin(names::rename_metrics(draft, context, Convention::Camel))),
    ),
    ("baseline-halved", Ask(|draft, context| Box::pin(shorten(draft, context, None)))),
    ("baseline-5-min", Ask(|draft, context| Box::pin(shorten(draft, context, Some(SHORT))))),
    ("window-2-min", Ask(|draft, _| Box::pin(async { tight(draft) }))),
    ("told-2-min-early", Ask(|draft, _| Box::pin(async { move_detection(draft, |at| at.minus(OFF)) }))),
    ("told-2-min-late", Ask(|draft, _| Box::pin(async { move_detection(draft, |at| at.plus(OFF)) }))),
    ("healthy-stranger", Ask(|draft, context| Box::pin(stranger::add(draft, context, false)))),
    ("noisy-stranger", Ask(|draft, context| Box::pin(stranger::add(draft, context, true)))),
];

/// Head-based sampling: a trace is kept whole or not at all. Logs and metrics are not sampled.
fn sample(draft: &mut Draft, seed: u64, percent: u64) {
    if let Some(spans) = &mut draft.spans {
        spans.kept.push(format!("sipHash64({seed}, TraceId) % 100 < {percent}"));
    }
}

fn blank(draft: &mut Draft, columns: &[&'static str]) {
    if let Some(spans) = &mut draft.spans {
        spans.replaced.extend(columns.iter().map(|column| (*column, "''".to_owned())));
    }
}

/// Each service's host has a clock of its own.
fn skew(draft: &mut Draft, seed: u64) {
    let range = 2 * SKEW_NANOS + 1;
    // Records without a time stay so.
    let skewed = format!(
        "if(toUnixTimestamp64Nano(Timestamp) > 0, Timestamp + toIntervalNanosecond(\
           toInt64(sipHash64({seed}, ServiceName) % {range}) - {SKEW_NANOS}), Timestamp)"
    );
    for table in [&mut draft.spans, &mut draft.logs].into_iter().flatten() {
        table.replaced.push(("Timestamp", skewed.clone()));
    }
}

/// Less quiet time: of what is known the part nearest to the window, half of it or `length`. The rest is forgotten.
async fn shorten(draft: &mut Draft, context: &Context<'_>, length: Option<Duration>) -> anyhow::Result<()> {
    let question = draft.question()?;
    let extent = draft.extent(context.store).await?;
    let window = question.window;
    let is_given = question.baseline.is_some();
    let quiet = if is_given {
        let known = question.quiet_time();
        Window::new(known.start.max(extent.start), known.end.min(extent.end))
    } else {
        // What is before the harm: it begins no later than it is told of.
        let told = question.started.unwrap_or(window.end);
        Window::new(extent.start, if length.is_some() { told.minus(SHORT) } else { told })
    };
    let length = length.unwrap_or(quiet.duration() / 2).min(quiet.duration());
    let kept = if is_given && quiet.start >= window.end {
        Window::new(quiet.start, quiet.start.plus(length))
    } else {
        Window::new(quiet.end.minus(length), quiet.end)
    };
    if is_given {
        draft.set_baseline(kept);
        let (now, before) = (within(&window), within(&kept));
        draft.tables().for_each(|table| table.kept.push(format!("({now} OR {before})")));
    } else {
        let since = Window::new(kept.start, extent.end);
        draft.tables().for_each(|table| table.kept.push(within(&since)));
        draft.set_window(Window::new(window.start.max(kept.start), window.end));
    }
    Ok(())
}

/// The window begins two minutes before the alarm.
fn tight(draft: &mut Draft) -> anyhow::Result<()> {
    let question = draft.question()?;
    if let Some(told) = question.started {
        let start = question.window.start.max(told.minus(OFF));
        draft.set_window(Window::new(start, question.window.end));
    }
    Ok(())
}

/// The alarm comes at another time; the window stays.
fn move_detection(draft: &mut Draft, moved: impl Fn(UnixNanos) -> UnixNanos) -> anyhow::Result<()> {
    let question = draft.question()?;
    if let Some(told) = question.started {
        draft.set_window(question.window);
        draft.set_detected(moved(told));
    }
    Ok(())
}

/// Rows of a time, as SQL; rows without one are of any.
pub fn within(window: &Window) -> String {
    let at = "toUnixTimestamp64Nano(Timestamp)";
    format!("({at} <= 0 OR {at} >= {} AND {at} < {})", window.start.0, window.end.0)
}

/// All strings of a JSON value, told otherwise.
pub fn retell(value: &mut Value, told: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = told(text),
        Value::Array(values) => values.iter_mut().for_each(|value| retell(value, told)),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(key, mut value)| {
                    retell(&mut value, told);
                    (key, value)
                })
                .collect();
        }
        _ => {}
    }
}

/// Distinct strings of a table, in order.
pub async fn strings(context: &Context<'_>, table: &Table, expression: &str) -> anyhow::Result<Vec<String>> {
    let query = format!(
        "SELECT DISTINCT toString({expression}) AS text FROM {} WHERE text != '' ORDER BY text",
        table.source
    );
    Ok(context.store.client().query_raw(&query).fetch_all().await?)
}
