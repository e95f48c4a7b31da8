//! A recording that is about to be written again: its tables as questions to the engine, the rest as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use domain::{UnixNanos, Window};
use serde_json::Value;
use storage::Store;

const SPANS: &str = "Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, SpanName String, \
    SpanKind String, ServiceName String, ResourceAttributes Map(String, String), SpanAttributes Map(String, String), \
    Duration UInt64, StatusCode String, StatusMessage String";
const LOGS: &str = "Timestamp DateTime64(9), TraceId String, SpanId String, SeverityText String, SeverityNumber Int32, \
    ServiceName String, Body String, ResourceAttributes Map(String, String), LogAttributes Map(String, String)";
const METRICS: &str = "Timestamp DateTime64(9), MetricName String, Labels Map(String, String), Value Float64, Kind String, Unit String";

/// Files of JSON that are kept beside the tables.
const DOCUMENTS: [&str; 5] = ["incident.json", "changes.json", "topology.json", "alerts.json", "label.json"];

/// A table of a recording, and what becomes of it.
#[derive(Clone)]
pub struct Table {
    /// The table as it is.
    pub source: String,
    /// Conditions on its rows.
    pub kept: Vec<String>,
    /// Columns that are told otherwise: name and expression.
    pub replaced: Vec<(&'static str, String)>,
    /// Questions whose rows are added.
    pub added: Vec<String>,
}

impl Table {
    /// The table of a file with these columns; `None` where there is no file.
    fn of(dir: &Path, file: &str, columns: &str) -> Option<Self> {
        let path = dir.join(file);
        let source = format!("file({}, 'Parquet', {})", literal(&path.to_string_lossy()), literal(columns));
        let (kept, replaced, added) = <(Vec<_>, Vec<_>, Vec<_>)>::default();
        path.is_file().then_some(Self { source, kept, replaced, added })
    }

    /// The rows as they are to be written.
    pub fn query(&self) -> String {
        let kept = if self.kept.is_empty() { "1".to_owned() } else { self.kept.join(" AND ") };
        let replaced: Vec<String> =
            self.replaced.iter().map(|(column, told)| format!("{told} AS {column}")).collect();
        let columns =
            if replaced.is_empty() { "*".to_owned() } else { format!("* REPLACE ({})", replaced.join(", ")) };
        let own = format!("SELECT {columns} FROM (SELECT * FROM {} WHERE {kept})", self.source);
        std::iter::once(own).chain(self.added.iter().cloned()).collect::<Vec<_>>().join(" UNION ALL ")
    }
}

/// A recording on its way.
pub struct Draft {
    /// Spans.
    pub spans: Option<Table>,
    /// Log records.
    pub logs: Option<Table>,
    /// Samples of metrics.
    pub metrics: Option<Table>,
    /// JSON by file name.
    pub documents: BTreeMap<&'static str, Value>,
    dir: PathBuf,
}

impl Draft {
    /// A recording as it is.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let mut documents = BTreeMap::new();
        for file in DOCUMENTS {
            let path = dir.join(file);
            if path.is_file() {
                let text = std::fs::read_to_string(&path)?;
                let value =
                    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
                documents.insert(file, value);
            }
        }
        Ok(Self {
            spans: Table::of(&dir, "spans.parquet", SPANS),
            logs: Table::of(&dir, "logs.parquet", LOGS),
            metrics: Table::of(&dir, "metrics.parquet", METRICS),
            documents,
            dir,
        })
    }

    /// The tables that it has.
    pub fn tables(&mut self) -> impl Iterator<Item = &mut Table> {
        [&mut self.spans, &mut self.logs, &mut self.metrics].into_iter().flatten()
    }

    /// The question that it asks.
    pub fn question(&self) -> anyhow::Result<investigator::Question> {
        Ok(eval::case::question(&storage::recording::read(&self.dir)?))
    }

    /// Says in `incident.json` when the incident was noticed.
    pub fn set_detected(&mut self, at: UnixNanos) {
        self.incident("detected_at", seconds(at));
    }

    /// Says in `incident.json` how long it took.
    pub fn set_window(&mut self, window: Window) {
        self.incident("window", stretch(window));
    }

    /// Says in `incident.json` which time was quiet.
    pub fn set_baseline(&mut self, baseline: Window) {
        self.incident("baseline", stretch(baseline));
    }

    fn incident(&mut self, key: &str, value: Value) {
        if let Some(Value::Object(incident)) = self.documents.get_mut("incident.json") {
            incident.insert(key.to_owned(), value);
        }
    }

    /// The first and the last moment with telemetry.
    pub async fn extent(&self, store: &Store) -> anyhow::Result<Window> {
        let parts: Vec<String> = [&self.spans, &self.logs, &self.metrics]
            .into_iter()
            .flatten()
            .map(|table| format!("SELECT toUnixTimestamp64Nano(Timestamp) AS at FROM {}", table.source))
            .collect();
        let all = parts.join(" UNION ALL ");
        let (first, last): (i64, i64) = store
            .client()
            .query_raw(&format!("SELECT min(at), max(at) FROM ({all}) WHERE at > 0"))
            .fetch_one()
            .await?;
        Ok(Window::new(UnixNanos(first), UnixNanos(last + 1)))
    }

    /// Writes it into a folder. A table without rows is not written.
    pub async fn write(&self, store: &Store, dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir)?;
        let dir = std::path::absolute(dir)?;
        let parts = [
            (&self.spans, "spans.parquet"),
            (&self.logs, "logs.parquet"),
            (&self.metrics, "metrics.parquet"),
        ];
        for (table, file) in parts {
            let Some(query) = table.as_ref().map(Table::query) else { continue };
            let rows: u64 =
                store.client().query_raw(&format!("SELECT count() FROM ({query})")).fetch_one().await?;
            if rows == 0 {
                continue;
            }
            let target = literal(&dir.join(file).to_string_lossy());
            // One thread: rows keep their order.
            let statement = format!(
                "INSERT INTO FUNCTION file({target}, 'Parquet') {query} \
                 SETTINGS engine_file_truncate_on_insert = 1, max_threads = 1, max_insert_threads = 1, \
                 max_parsing_threads = 1, input_format_parquet_preserve_order = 1"
            );
            store.client().query_raw(&statement).execute().await.with_context(|| statement.clone())?;
        }
        for (file, value) in &self.documents {
            std::fs::write(dir.join(file), format!("{value:#}\n"))?;
        }
        Ok(())
    }
}

/// Text as SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn stretch(window: Window) -> Value {
    serde_json::json!({"start": seconds(window.start), "end": seconds(window.end)})
}

fn seconds(at: UnixNanos) -> Value {
    (at.0 as f64 / 1e9).into()
}
