//! Which services there are: those that sent something, and those that others call.

use std::time::Duration;

use clickhouse::Row;
use domain::Window;
use serde::Deserialize;

use super::sql;
use crate::{Error, Store};

/// Names returned, in order of the alphabet.
const MAX_SERVICES: usize = 20_000;
/// A service that spoke this long before the window's end is still one.
const LOOK_BACK: Duration = Duration::from_secs(24 * 3600);

#[derive(Row, Deserialize)]
struct NameRow {
    name: String,
}

impl Store {
    /// Names of the services that sent spans or logs in the window or the day before its end, were called in it, or ever
    /// sent metrics.
    pub async fn services(&self, window: Window) -> Result<Vec<String>, Error> {
        let window = Window::new(window.start.min(window.end.minus(LOOK_BACK)), window.end);
        let minutes = sql::within_minutes("Minute", &window);
        let logs = sql::within_minutes("TimestampTime", &window);
        let query = format!(
            "SELECT DISTINCT name FROM ( \
               SELECT DISTINCT toString(ServiceName) AS name FROM span_minutes WHERE {minutes} \
               UNION ALL SELECT DISTINCT toString(Peer) FROM span_minutes WHERE {minutes} \
               UNION ALL SELECT DISTINCT toString(ServiceName) FROM otel_logs WHERE {logs} \
               UNION ALL SELECT DISTINCT toString(ServiceName) FROM metric_series) \
             WHERE name != '' ORDER BY name LIMIT {MAX_SERVICES}"
        );
        let rows = self.client().query(&query).fetch_all::<NameRow>().await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }
}
