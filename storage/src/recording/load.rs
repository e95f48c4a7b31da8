//! Telemetry of a recording into a store: the engine reads the Parquet files itself.

use std::path::Path;

use clickhouse::Row;
use domain::{Attributes, Batch, MetricKind, Series};
use serde::Deserialize;

use super::{LOGS, METRICS, PROFILES, Part, Recording, SPANS, copy, execute, json, patterns};
use crate::Store;
use crate::append::write;
use crate::error::Error;
use crate::rows::SeriesRow;
use crate::store::blocking;

/// Reads a recording, and its telemetry and changes into `store`. Loading it twice doubles its telemetry.
///
/// The engine of this process reads the files; for a store on a server, the rows are sent on from here.
pub async fn load(store: &Store, dir: &Path) -> Result<Recording, Error> {
    let owned = dir.to_owned();
    let mut recording = blocking(move || json::read(&owned)).await?;
    if store.is_embedded() {
        load_telemetry(store, &mut recording).await?;
    } else {
        let scratch = Store::scratch().await?;
        let outcome = send_through(&scratch, store, &mut recording).await;
        scratch.close().await?;
        outcome?;
    }
    let changes = std::mem::take(&mut recording.changes);
    let batch = Batch { changes, ..Batch::default() };
    store.append(&batch).await?;
    recording.changes = batch.changes;
    Ok(recording)
}

async fn send_through(scratch: &Store, store: &Store, recording: &mut Recording) -> Result<(), Error> {
    load_telemetry(scratch, recording).await?;
    for table in ["otel_traces", "log_patterns", "otel_logs", "metric_series", "metric_samples", "profiles"] {
        copy(scratch, store, table, "1").await?;
    }
    Ok(())
}

async fn load_telemetry(store: &Store, recording: &mut Recording) -> Result<(), Error> {
    let dir = &recording.dir;
    let (spans, logs, metrics, profiles) = tokio::join!(
        part(store, dir, &SPANS, load_spans(store, dir)),
        part(store, dir, &LOGS, load_logs(store, dir)),
        part(store, dir, &METRICS, load_metrics(store, dir)),
        part(store, dir, &PROFILES, load_profiles(store, dir)),
    );
    let notes = [spans?, logs?, metrics?, profiles?];
    recording.notes.extend(notes.into_iter().flatten());
    Ok(())
}

/// Runs `work` when the part is there. A part that is absent, or that the engine cannot read, becomes a note;
/// `work` may have one of its own.
async fn part(
    store: &Store,
    dir: &Path,
    part: &Part,
    work: impl Future<Output = Result<Option<String>, Error>>,
) -> Result<Option<String>, Error> {
    if !dir.join(part.file).is_file() {
        // No given set has profiles yet: their absence is nothing to remark on.
        return Ok((part.file != PROFILES.file).then(|| format!("no {}", part.file)));
    }
    match work.await {
        Ok(note) => Ok(note),
        Err(error) if is_of_the_store(&error) => Err(error),
        Err(error) => {
            tracing::debug!(%error, file = part.file, database = store.database(), "part not read");
            Ok(Some(format!("{} cannot be read: {}", part.file, brief(&error))))
        }
    }
}

/// Whether loading failed for want of memory, disk or engine, and not because of the file.
fn is_of_the_store(error: &Error) -> bool {
    const MEMORY: u32 = 241;
    const DISK: u32 = 243;
    const TOO_MANY_PARTS: u32 = 252;
    const CLOSED: u32 = 236;
    match error.clickhouse_code() {
        Some(code) => [MEMORY, DISK, TOO_MANY_PARTS, CLOSED].contains(&code),
        None => !matches!(error, Error::Recording { .. }),
    }
}

/// The first sentence of what ClickHouse says, without its code.
fn brief(error: &Error) -> String {
    let text = error.to_string();
    let text = text.split_once("DB::Exception: ").map_or(text.as_str(), |(_, rest)| rest);
    let text = text.split(": (in file").next().unwrap_or(text);
    domain::text::plain(text.split(". ").next().unwrap_or(text), 200)
}

/// Copies of text columns that are sure to be UTF-8, as the client reads them.
const MAP: &str = "mapApply((k, v) -> (toValidUTF8(k), toValidUTF8(v)), ";

/// What tells rows with a time from rows without: those come as zero, or as what zero is to other programs.
const TIMED: &str = "toUnixTimestamp64Nano(Timestamp) > 0";

async fn load_spans(store: &Store, dir: &Path) -> Result<Option<String>, Error> {
    let source = SPANS.source(dir)?;
    let statement = format!(
        "INSERT INTO otel_traces (
             Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName,
             ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage,
             `Events.Timestamp`, `Events.Name`, `Events.Attributes`,
             `Links.TraceId`, `Links.SpanId`, `Links.TraceState`, `Links.Attributes`)
         SELECT
             Timestamp, lower(toValidUTF8(TraceId)), lower(toValidUTF8(SpanId)), lower(toValidUTF8(ParentSpanId)),
             toValidUTF8(TraceState), toValidUTF8(SpanName),
             transform(replaceOne(lower(SpanKind), 'span_kind_', ''),
                 ['internal', 'server', 'client', 'producer', 'consumer'],
                 ['Internal', 'Server', 'Client', 'Producer', 'Consumer'], 'Unspecified'),
             toValidUTF8(ServiceName), {MAP} ResourceAttributes), toValidUTF8(ScopeName),
             toValidUTF8(ScopeVersion), {MAP} SpanAttributes), Duration,
             transform(replaceOne(lower(StatusCode), 'status_code_', ''), ['ok', 'error'], ['Ok', 'Error'], 'Unset'),
             toValidUTF8(StatusMessage),
             `Events.Timestamp`, `Events.Name`, `Events.Attributes`,
             `Links.TraceId`, `Links.SpanId`, `Links.TraceState`, `Links.Attributes`
         FROM {source} WHERE {TIMED}"
    );
    execute(&store.writer(), &statement).await.map(|()| None)
}

async fn load_logs(store: &Store, dir: &Path) -> Result<Option<String>, Error> {
    let source = LOGS.source(dir)?;
    insert_logs(store, &format!("{source} WHERE {TIMED}")).await?;
    let untimed: u64 = store
        .client()
        .query_raw(&format!("SELECT count() FROM {source} WHERE NOT ({TIMED})"))
        .fetch_one()
        .await?;
    if untimed == 0 {
        return Ok(None);
    }
    // Records without a time, stack traces among them, may still name the span in which they were written.
    let mut recovered = 0_u64;
    if dir.join(SPANS.file).is_file() {
        let spans = SPANS.source(dir)?;
        let rows = format!(
            "(
                 SELECT * REPLACE (spans.Started AS Timestamp)
                 FROM (SELECT * FROM {source} WHERE NOT ({TIMED})) AS logs
                 INNER JOIN (
                     SELECT TraceId, SpanId, min(Timestamp) AS Started FROM {spans} WHERE {TIMED} GROUP BY ALL
                 ) AS spans ON logs.TraceId = spans.TraceId AND logs.SpanId = spans.SpanId
             )"
        );
        recovered = store.client().query_raw(&format!("SELECT count() FROM {rows}")).fetch_one().await?;
        insert_logs(store, &rows).await?;
    }
    Ok(Some(format!(
        "{}: {untimed} records have no time; {recovered} were given that of their span, the rest left out",
        LOGS.file
    )))
}

async fn insert_logs(store: &Store, rows: &str) -> Result<(), Error> {
    let found = patterns::find(store, rows).await?;
    let (severity, key) = (patterns::SEVERITY, patterns::KEY);
    let statement = format!(
        "INSERT INTO otel_logs (
             Timestamp, TraceId, SpanId, SeverityText, SeverityNumber, ServiceName, Body,
             ResourceAttributes, ScopeName, LogAttributes, EventName, PatternId)
         SELECT
             Timestamp, lower(toValidUTF8(TraceId)), lower(toValidUTF8(SpanId)), toValidUTF8(SeverityText),
             {severity}, toValidUTF8(ServiceName), toValidUTF8(Body),
             {MAP} ResourceAttributes), toValidUTF8(ScopeName), {MAP} LogAttributes), toValidUTF8(EventName),
             Pattern
         FROM (SELECT * FROM {rows}) AS messages LEFT ANY JOIN {found} AS found ON {key} = found.Key"
    );
    let inserted = execute(&store.writer(), &statement).await;
    patterns::forget(store, &found).await?;
    inserted
}

async fn load_profiles(store: &Store, dir: &Path) -> Result<Option<String>, Error> {
    let source = PROFILES.source(dir)?;
    let statement = format!(
        "INSERT INTO profiles (Timestamp, ServiceName, Type, Stack, Value, ResourceAttributes)
         SELECT Timestamp, toValidUTF8(ServiceName), toValidUTF8(Type), arrayMap(f -> toValidUTF8(f), Stack), Value,
             {MAP} ResourceAttributes)
         FROM {source} WHERE {TIMED}"
    );
    execute(&store.writer(), &statement).await.map(|()| None)
}

/// Names a series within a file or a table, whatever the order of its labels. The stored id is [`Series::id`], which
/// SQL cannot compute: this is how the rows of a file find it.
fn series_key(name: &str) -> String {
    format!(
        "sipHash64(toString({name}), arraySort(arrayMap(k -> (toString(k), toValidUTF8(toString(Labels[k]))), mapKeys(Labels))))"
    )
}

/// A series as a file has it. Of kinds and units, which other programs do not write, any will do.
#[derive(Row, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    name: String,
    some_labels: Attributes,
    some_kind: String,
    some_unit: String,
}

async fn load_metrics(store: &Store, dir: &Path) -> Result<Option<String>, Error> {
    let source = METRICS.source(dir)?;
    let described: Vec<Described> = store
        .client()
        .query_raw(&format!(
            "SELECT toValidUTF8(MetricName) AS Name, any({MAP} Labels)) AS SomeLabels,
                 any(lower(Kind)) AS SomeKind, any(toValidUTF8(Unit)) AS SomeUnit
             FROM {source} GROUP BY Name, {} ORDER BY Name",
            series_key("MetricName")
        ))
        .fetch_all()
        .await?;
    let series: Vec<Series> = described
        .into_iter()
        .map(|found| Series {
            name: found.name,
            labels: found.some_labels,
            kind: MetricKind::parse(&found.some_kind),
            unit: found.some_unit,
        })
        .collect();
    let rows = series.iter().map(|series| SeriesRow::new(series.id().0, series));
    write::<SeriesRow<'_>>(&store.writer(), "metric_series", rows).await?;
    let statement = format!(
        "INSERT INTO metric_samples (SeriesId, Timestamp, Value)
         SELECT series.Id, toDateTime64(samples.Timestamp, 3), samples.Value
         FROM (
             SELECT {} AS Series, Timestamp, Value FROM {source}
             WHERE isFinite(Value) AND {TIMED}
         ) AS samples
         INNER JOIN (
             SELECT {} AS Series, any(Id) AS Id FROM metric_series
             WHERE Name IN (SELECT toValidUTF8(MetricName) FROM {source}) GROUP BY Series
         ) AS series ON samples.Series = series.Series",
        series_key("toValidUTF8(MetricName)"),
        series_key("Name"),
    );
    execute(&store.writer(), &statement).await?;
    let dropped: u64 = store
        .client()
        .query_raw(&format!("SELECT countIf(isInfinite(Value)) FROM {source} WHERE {TIMED}"))
        .fetch_one()
        .await?;
    // Sets of other programs write no value as NaN; infinity is said by mistake.
    Ok((dropped > 0).then(|| format!("{}: {dropped} samples are infinite and were left out", METRICS.file)))
}
