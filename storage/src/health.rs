//! Whether the store answers, and what it holds: from the metadata of its parts, without reading rows.

use clickhouse::Row;
use domain::UnixNanos;
use serde::Deserialize;

use crate::Store;
use crate::error::Error;

/// What the store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Spans.
    pub traces: SignalHealth,
    /// Logs.
    pub logs: SignalHealth,
    /// Metric samples.
    pub metrics: SignalHealth,
    /// Profile stacks.
    pub profiles: SignalHealth,
    /// Changes.
    pub changes: SignalHealth,
    /// Bytes on the disk, all tables.
    pub disk_bytes: u64,
}

/// What the store holds of one signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalHealth {
    /// Rows.
    pub rows: u64,
    /// Time of the newest row; `None` when there is none.
    pub newest: Option<UnixNanos>,
}

#[derive(Row, Deserialize)]
struct StoredHealth {
    signal: String,
    rows: u64,
    newest: i64,
}

impl Store {
    /// Asks the least that shows the engine to answer on our database: a row of its smallest table.
    ///
    /// # Errors
    /// The engine's: it does not answer, or the database is gone.
    pub async fn ping(&self) -> Result<(), Error> {
        Ok(self.client().query_raw("SELECT 1 FROM schema_migrations LIMIT 1").execute().await?)
    }

    /// Rows, newest times and size.
    pub async fn health(&self) -> Result<Health, Error> {
        let parts: Vec<String> = [
            ("traces", "otel_traces", "toUnixTimestamp64Nano(max(Timestamp))"),
            ("logs", "otel_logs", "toInt64(toUnixTimestamp(max(TimestampTime))) * 1000000000"),
            ("metrics", "metric_samples", "toUnixTimestamp64Nano(toDateTime64(max(Timestamp), 9))"),
            ("profiles", "profiles", "toUnixTimestamp64Nano(max(Timestamp))"),
            ("changes", "changes", "toUnixTimestamp64Nano(max(Timestamp))"),
        ]
        .iter()
        .map(|(signal, table, newest)| {
            format!("SELECT '{signal}' AS signal, count() AS rows, {newest} AS newest FROM {table}")
        })
        .chain(["SELECT 'disk', sum(bytes_on_disk), toInt64(0) FROM system.parts
             WHERE active AND database = currentDatabase()"
            .to_owned()])
        .collect();
        let stored: Vec<StoredHealth> =
            self.client().query_raw(&parts.join(" UNION ALL ")).fetch_all().await?;
        let mut health = Health::default();
        for StoredHealth { signal, rows, newest } in stored {
            let found = SignalHealth { rows, newest: (rows > 0).then_some(UnixNanos(newest)) };
            match signal.as_str() {
                "traces" => health.traces = found,
                "logs" => health.logs = found,
                "metrics" => health.metrics = found,
                "profiles" => health.profiles = found,
                "changes" => health.changes = found,
                _ => health.disk_bytes = rows,
            }
        }
        Ok(health)
    }
}
