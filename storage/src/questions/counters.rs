//! How much counters grew, minute by minute: what custom SLIs are made of.

use std::collections::BTreeMap;

use clickhouse::Row;
use domain::{Attributes, UnixNanos, Window};
use serde::Deserialize;

use super::sql;
use crate::{Error, Store};

/// Series read at most for one selector.
const MAX_SERIES: usize = 10_000;

/// Which counters: a metric's name, and labels that must have these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterSelector {
    /// The metric.
    pub metric: String,
    /// Labels, by exact value.
    pub labels: Attributes,
}

#[derive(Row, Deserialize)]
struct MinuteRow {
    minute: u32,
    growth: f64,
}

impl Store {
    /// The sum of what the selected counters grew by in each minute of the window. A counter that falls was reset, so its
    /// new value is what it grew by; what it stood at when it was first seen is not growth. Delta counters are summed.
    /// Gauges count for nothing. A sample sent twice counts once.
    pub async fn counter_growth(
        &self,
        selector: &CounterSelector,
        window: Window,
    ) -> Result<BTreeMap<UnixNanos, f64>, Error> {
        let labels: Vec<String> = selector
            .labels
            .iter()
            .map(|(key, value)| format!(" AND Labels[{}] = {}", sql::quote(key), sql::quote(value)))
            .collect();
        // The last sample before the window is where growth begins.
        let reach = Window::new(window.start.minus(std::time::Duration::from_secs(300)), window.end);
        let query = format!(
            "WITH series AS (SELECT Id, any(Kind) AS kind FROM metric_series WHERE Name = {}{} AND Kind IN ('counter', 'delta') \
               GROUP BY Id ORDER BY Id LIMIT {MAX_SERIES}) \
             SELECT toUInt32(toUnixTimestamp(toStartOfMinute(at))) AS minute, sum(grown) AS growth FROM \
               (SELECT at, multiIf(kind = 'delta', value, isNaN(before), 0, value < before, value, value - before) AS grown FROM \
                 (SELECT SeriesId, kind, at, value, lagInFrame(value, 1, nan) OVER \
                    (PARTITION BY SeriesId ORDER BY at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before \
                  FROM (SELECT SeriesId, any(series.kind) AS kind, Timestamp AS at, max(Value) AS value \
                    FROM metric_samples INNER JOIN series ON SeriesId = series.Id \
                    WHERE SeriesId IN (SELECT Id FROM series) AND {} AND isFinite(Value) GROUP BY SeriesId, Timestamp))) \
             WHERE {} GROUP BY minute ORDER BY minute",
            sql::quote(&selector.metric),
            labels.concat(),
            sql::within("Timestamp", &reach),
            sql::within("at", &window),
        );
        let rows = self.client().query(&query).fetch_all::<MinuteRow>().await?;
        Ok(rows.into_iter().map(|row| (UnixNanos::from_seconds(i64::from(row.minute)), row.growth)).collect())
    }
}
