//! How long each signal is kept. A change takes effect on tables that are there already.

use std::collections::HashMap;
use std::time::Duration;

use clickhouse::Client;

use crate::error::Error;

/// How long to keep each signal; `None` keeps it for ever. Journal and reports are always kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Spans.
    pub traces: Option<Duration>,
    /// Logs.
    pub logs: Option<Duration>,
    /// Metric samples.
    pub metrics: Option<Duration>,
    /// Profiles.
    pub profiles: Option<Duration>,
    /// Changes.
    pub changes: Option<Duration>,
    /// What is derived from spans.
    pub aggregates: Option<Duration>,
}

impl Retention {
    /// Tables, the expression that ClickHouse counts from, and how long their rows are kept.
    fn tables(&self) -> [(&'static str, &'static str, Option<Duration>); 14] {
        [
            ("otel_traces", "toDateTime(Timestamp)", self.traces),
            ("otel_traces_trace_id_ts", "toDateTime(Start)", self.traces),
            ("otel_logs", "toDateTime(Timestamp)", self.logs),
            ("metric_samples", "toDateTime(Timestamp)", self.metrics),
            ("profiles", "toDateTime(Timestamp)", self.profiles),
            ("changes", "toDateTime(Timestamp)", self.changes),
            ("span_minutes", "Minute", self.aggregates),
            ("call_ends", "Minute", self.aggregates),
            ("request_minutes", "Minute", self.aggregates),
            ("request_hours", "Hour", self.aggregates),
            ("log_pattern_minutes", "Minute", self.aggregates),
            ("log_pattern_lives", "Last", self.aggregates),
            ("alerts", "toDateTime(Timestamp)", self.aggregates),
            ("alert_hours", "Hour", self.aggregates),
        ]
    }
}

/// Brings the tables' TTL in line. A table that has the right one is not touched: changing it rewrites data.
pub(crate) async fn apply(client: &Client, retention: &Retention) -> Result<(), Error> {
    let engines: HashMap<String, String> = client
        .query_raw("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()")
        .fetch_all::<(String, String)>()
        .await?
        .into_iter()
        .collect();
    for (table, time, keep) in retention.tables() {
        let found = engines.get(table).and_then(|engine| ttl(engine));
        let wanted = keep.map(|keep| format!("{time} + toIntervalSecond({})", keep.as_secs().max(1)));
        let change = match (found, wanted) {
            (None, None) => continue,
            (Some(found), Some(wanted)) if found == wanted => continue,
            (_, Some(wanted)) => format!("ALTER TABLE {table} MODIFY TTL {wanted}"),
            (Some(_), None) => format!("ALTER TABLE {table} REMOVE TTL"),
        };
        tracing::info!(table, change, "retention changes");
        client.query_raw(&change).execute().await?;
    }
    Ok(())
}

/// The TTL clause within the description of an engine, as ClickHouse prints it.
fn ttl(engine: &str) -> Option<&str> {
    let (_, clause) = engine.split_once(" TTL ")?;
    Some(clause.split_once(" SETTINGS ").map_or(clause, |(clause, _)| clause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clause_is_found() {
        let engine = "MergeTree PARTITION BY toDate(Minute) ORDER BY Minute \
                      TTL Minute + toIntervalSecond(60) SETTINGS ttl_only_drop_parts = 1";
        assert_eq!(ttl(engine), Some("Minute + toIntervalSecond(60)"));
        assert_eq!(ttl("MergeTree ORDER BY tuple() TTL a + toIntervalDay(1)"), Some("a + toIntervalDay(1)"));
        assert_eq!(ttl("MergeTree ORDER BY Minute SETTINGS ttl_only_drop_parts = 1"), None);
    }
}
