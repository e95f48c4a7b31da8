//! A stretch of a store as a recording.

use std::fs;
use std::path::{Path, PathBuf};

use clickhouse::Row;
use domain::{UnixNanos, Window};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{LOGS, METRICS, Meta, PROFILES, Part, SPANS, copy, execute, path_literal};
use crate::Store;
use crate::error::Error;
use crate::store::blocking;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The folder.
    pub dir: PathBuf,
    /// Spans.
    pub spans: u64,
    /// Log records.
    pub logs: u64,
    /// Metric samples.
    pub samples: u64,
    /// Profile stacks.
    pub profiles: u64,
    /// Changes.
    pub changes: u64,
}

/// Writes the telemetry of `window`, and of the baseline that `meta` names, into a new or existing folder. Changes stop
/// at the time of detection. Parts without rows are not written. Alerts and edges are not in the store.
///
/// The engine of this process writes the files; for a store on a server, the rows are fetched first.
pub async fn export(store: &Store, dir: &Path, meta: &Meta, window: Window) -> Result<Summary, Error> {
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let stretches: Vec<Window> = std::iter::once(window).chain(meta.baseline).collect();
    let mut summary = if store.is_embedded() {
        export_telemetry(store, dir, &stretches).await?
    } else {
        let scratch = Store::scratch().await?;
        let outcome = fetch_through(store, &scratch, dir, &stretches).await;
        scratch.close().await?;
        outcome?
    };
    let changes = changes(store, &stretches, meta.detected_at).await?;
    summary.changes = changes.len() as u64;
    let (dir, incident) = (dir.to_owned(), incident(meta, window));
    blocking(move || {
        if !changes.is_empty() {
            write_json(&dir, "changes.json", &Value::Array(changes))?;
        }
        // Last: a folder with it is whole.
        write_json(&dir, "incident.json", &incident)
    })
    .await?;
    Ok(summary)
}

async fn fetch_through(
    store: &Store,
    scratch: &Store,
    dir: &Path,
    stretches: &[Window],
) -> Result<Summary, Error> {
    for table in ["otel_traces", "otel_logs", "metric_samples", "profiles"] {
        copy(store, scratch, table, &within(stretches)).await?;
    }
    let described = format!("Id IN (SELECT SeriesId FROM metric_samples WHERE {})", within(stretches));
    copy(store, scratch, "metric_series", &described).await?;
    export_telemetry(scratch, dir, stretches).await
}

async fn export_telemetry(store: &Store, dir: &Path, stretches: &[Window]) -> Result<Summary, Error> {
    let within = within(stretches);
    let spans = format!(
        "SELECT Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName,
             ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage,
             `Events.Timestamp`, `Events.Name`, `Events.Attributes`,
             `Links.TraceId`, `Links.SpanId`, `Links.TraceState`, `Links.Attributes`
         FROM otel_traces WHERE {within} ORDER BY Timestamp, TraceId, SpanId"
    );
    let logs = format!(
        "SELECT Timestamp, TraceId, SpanId, SeverityText, toInt32(SeverityNumber) AS SeverityNumber, ServiceName,
             Body, ResourceAttributes, ScopeName, LogAttributes, EventName
         FROM otel_logs WHERE {within} ORDER BY Timestamp, ServiceName"
    );
    let metrics = format!(
        "SELECT toDateTime64(samples.Timestamp, 9) AS Timestamp, series.Name AS MetricName, series.Labels AS Labels,
             samples.Value AS Value, series.Kind AS Kind, series.Unit AS Unit
         FROM (SELECT * FROM metric_samples WHERE {within}) AS samples
         INNER JOIN (
             SELECT Id, any(Name) AS Name, any(Labels) AS Labels, any(Kind) AS Kind, any(Unit) AS Unit
             FROM metric_series GROUP BY Id
         ) AS series ON samples.SeriesId = series.Id
         ORDER BY MetricName, samples.SeriesId, Timestamp"
    );
    let profiles = format!(
        "SELECT Timestamp, ServiceName, Type, Stack, Value, ResourceAttributes
         FROM profiles WHERE {within} ORDER BY Timestamp, ServiceName"
    );
    Ok(Summary {
        dir: dir.to_owned(),
        spans: write_part(store, dir, &SPANS, "otel_traces", &within, &spans).await?,
        logs: write_part(store, dir, &LOGS, "otel_logs", &within, &logs).await?,
        samples: write_part(store, dir, &METRICS, "metric_samples", &within, &metrics).await?,
        profiles: write_part(store, dir, &PROFILES, "profiles", &within, &profiles).await?,
        changes: 0,
    })
}

/// Writes one Parquet file, unless it would be empty, and returns its rows.
async fn write_part(
    store: &Store,
    dir: &Path,
    part: &Part,
    table: &str,
    within: &str,
    select: &str,
) -> Result<u64, Error> {
    let rows: u64 =
        store.client().query_raw(&format!("SELECT count() FROM {table} WHERE {within}")).fetch_one().await?;
    if rows == 0 {
        return Ok(0);
    }
    // Written under another name first, so that a part that is there is whole.
    let (partial, path) = (dir.join(format!("partial-{}", part.file)), dir.join(part.file));
    let target = path_literal(&partial)?;
    let statement = format!(
        "INSERT INTO FUNCTION file({target}, 'Parquet') {select} SETTINGS engine_file_truncate_on_insert = 1"
    );
    execute(store.client(), &statement).await?;
    fs::rename(&partial, &path).map_err(Error::io(path))?;
    Ok(rows)
}

/// Rows whose `Timestamp` is in one of the stretches.
fn within(stretches: &[Window]) -> String {
    let one = |window: &Window| {
        let (start, end) = (window.start.0, window.end.0);
        format!(
            "(Timestamp >= fromUnixTimestamp64Nano({start}) AND Timestamp < fromUnixTimestamp64Nano({end}))"
        )
    };
    format!("({})", stretches.iter().map(one).collect::<Vec<_>>().join(" OR "))
}

#[derive(Row, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredChange {
    timestamp: i64,
    kind: String,
    service_name: String,
    version: String,
    previous: String,
    reference: String,
    detail: String,
}

async fn changes(store: &Store, stretches: &[Window], until: UnixNanos) -> Result<Vec<Value>, Error> {
    let stored: Vec<StoredChange> = store
        .client()
        .query_raw(&format!(
            "SELECT Timestamp, Kind, ServiceName, Version, Previous, Reference, Detail FROM changes FINAL
             WHERE {} AND Timestamp <= fromUnixTimestamp64Nano({}) ORDER BY Timestamp, Reference",
            within(stretches),
            until.0,
        ))
        .fetch_all()
        .await?;
    Ok(stored
        .into_iter()
        .map(|change| {
            json!({
                "ts": seconds(UnixNanos(change.timestamp)),
                "kind": change.kind,
                "service": change.service_name,
                "version": change.version,
                "previous": change.previous,
                "ref": change.reference,
                "detail": change.detail,
            })
        })
        .collect())
}

fn incident(meta: &Meta, window: Window) -> Value {
    let stretch = |window: Window| json!({"start": seconds(window.start), "end": seconds(window.end)});
    json!({
        "id": meta.id,
        "system": meta.system,
        "detected_at": seconds(meta.detected_at),
        "window": stretch(meta.window.unwrap_or(window)),
        "baseline": meta.baseline.map(stretch),
        "symptom": meta.symptom,
        "impacted_service": meta.impacted_service,
    })
}

/// Unix seconds; whole where they are, since a fraction loses the last digits.
fn seconds(at: UnixNanos) -> Value {
    if at.0 % 1_000_000_000 == 0 { at.seconds().into() } else { (at.0 as f64 / 1e9).into() }
}

fn write_json(dir: &Path, file: &str, value: &Value) -> Result<(), Error> {
    let (partial, path) = (dir.join(format!("partial-{file}")), dir.join(file));
    fs::write(&partial, format!("{value:#}\n")).map_err(Error::io(&partial))?;
    fs::rename(&partial, &path).map_err(Error::io(path))
}
