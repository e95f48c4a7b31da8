//! Recordings: an incident in a folder, to be read again by any version of this program.
//!
//! Telemetry is in Parquet files, which the engine itself reads and writes; the rest is JSON. Damaged or missing parts
//! become notes. Deliberately absent: `label.json`, the answer. Nothing here opens it.

mod export;
mod json;
mod load;
mod patterns;

use std::path::{Path, PathBuf};

use clickhouse::Client;
use domain::{Change, UnixNanos, Window};

use crate::Store;
use crate::error::Error;

pub use export::{Summary, export};
pub use json::read;
pub use load::load;

/// What `incident.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Name of the recording.
    pub id: String,
    /// The system it was made of.
    pub system: String,
    /// When somebody or something noticed.
    pub detected_at: UnixNanos,
    /// The incident, where its extent is known.
    pub window: Option<Window>,
    /// A time known to be good, if the recording has one.
    pub baseline: Option<Window>,
    /// What was noticed.
    pub symptom: String,
    /// Where it was noticed.
    pub impacted_service: Option<String>,
}

/// An alert that fired.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alert {
    /// When.
    pub at: UnixNanos,
    /// On which service; or empty.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The value that fired it.
    pub value: Option<f64>,
    /// What it said.
    pub text: String,
}

/// A recording but for its telemetry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Its folder.
    pub dir: PathBuf,
    /// What it is about.
    pub meta: Meta,
    /// Changes, oldest first.
    pub changes: Vec<Change>,
    /// Alerts, oldest first.
    pub alerts: Vec<Alert>,
    /// Calls between services that its spans need not show: caller, callee.
    pub edges: Vec<(String, String)>,
    /// What is damaged, and of telemetry what is missing, for people.
    pub notes: Vec<String>,
}

/// A Parquet file, and the columns that are read of it. Those it lacks are read as empty.
struct Part {
    file: &'static str,
    columns: &'static str,
}

const SPANS: Part = Part {
    file: "spans.parquet",
    columns: "Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String, \
              SpanName String, SpanKind String, ServiceName String, ResourceAttributes Map(String, String), \
              ScopeName String, ScopeVersion String, SpanAttributes Map(String, String), Duration UInt64, \
              StatusCode String, StatusMessage String, \
              `Events.Timestamp` Array(DateTime64(9)), `Events.Name` Array(String), \
              `Events.Attributes` Array(Map(String, String)), `Links.TraceId` Array(String), \
              `Links.SpanId` Array(String), `Links.TraceState` Array(String), \
              `Links.Attributes` Array(Map(String, String))",
};

const LOGS: Part = Part {
    file: "logs.parquet",
    columns: "Timestamp DateTime64(9), TraceId String, SpanId String, SeverityText String, SeverityNumber Int32, \
              ServiceName String, Body String, ResourceAttributes Map(String, String), ScopeName String, \
              LogAttributes Map(String, String), EventName String",
};

const METRICS: Part = Part {
    file: "metrics.parquet",
    columns: "Timestamp DateTime64(9), MetricName String, Labels Map(String, String), Value Float64, \
              Kind String, Unit String",
};

const PROFILES: Part = Part {
    file: "profiles.parquet",
    columns: "Timestamp DateTime64(9), ServiceName String, Type String, Stack Array(String), Value Int64, \
              ResourceAttributes Map(String, String)",
};

impl Part {
    /// The table expression for the file in `dir`.
    fn source(&self, dir: &Path) -> Result<String, Error> {
        Ok(format!("file({}, 'Parquet', {})", path_literal(&dir.join(self.file))?, literal(self.columns)))
    }
}

/// A path as a literal. The engine takes some characters of a path as patterns, and has no way to quote them.
fn path_literal(path: &Path) -> Result<String, Error> {
    let refuse = |reason: &str| Error::Recording { dir: path.to_owned(), reason: reason.into() };
    let absolute = std::path::absolute(path).map_err(Error::io(path))?;
    let text = absolute.to_str().ok_or_else(|| refuse("its path is not UTF-8"))?;
    if text.contains(['*', '?', '{', '}', '[', ']']) {
        return Err(refuse("its path holds one of * ? { } [ ], which the engine would take for a pattern"));
    }
    Ok(literal(text))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

async fn execute(client: &Client, statement: &str) -> Result<(), Error> {
    Ok(client.query_raw(statement).execute().await?)
}

/// Copies rows of one table between stores, as bytes that neither side looks into.
async fn copy(from: &Store, to: &Store, table: &str, condition: &str) -> Result<(), Error> {
    let columns: Vec<String> = from
        .client()
        .query(
            "SELECT name FROM system.columns
             WHERE database = currentDatabase() AND table = ? AND default_kind = '' ORDER BY position",
        )
        .bind(table)
        .fetch_all()
        .await?;
    let columns = columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let select = format!("SELECT {columns} FROM {table} WHERE {condition}");
    let mut rows = from.client().query_raw(&select).fetch_bytes("RowBinary")?;
    let mut insert =
        to.writer().insert_formatted_with(format!("INSERT INTO {table} ({columns}) FORMAT RowBinary"));
    while let Some(piece) = rows.next().await? {
        insert.send(piece).await?;
    }
    Ok(insert.end().await?)
}
