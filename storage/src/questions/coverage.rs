//! What there is to look at: rows per service and signal, before and now.

use clickhouse::Row;
use domain::Window;
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Services returned, by name.
const MAX_SERVICES: usize = 5_000;

/// A service's telemetry in both windows.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub struct Coverage {
    /// Service.
    pub service: String,
    /// Spans in the baseline.
    pub spans_before: u64,
    /// Spans in the window.
    pub spans_now: u64,
    /// Last span in either, Unix nanoseconds; 0 when there is none.
    pub last_span: i64,
    /// Log records in the baseline.
    pub logs_before: u64,
    /// Log records in the window.
    pub logs_now: u64,
}

impl Store {
    /// Counts of every service seen in either window.
    pub async fn coverage(&self, baseline: Option<Window>, window: Window) -> Result<Vec<Coverage>, Error> {
        Ok(self.client().query(&query(baseline.as_ref(), &window)).fetch_all().await?)
    }

    /// Names of metrics that services report, with the number of series: what the metrics can speak to.
    pub async fn metric_services(&self) -> Result<Vec<(String, u64)>, Error> {
        let query = "SELECT toString(ServiceName), uniqExact(Id) FROM metric_series WHERE ServiceName != '' \
                     GROUP BY ServiceName ORDER BY ServiceName LIMIT 5000";
        Ok(self.client().query(query).fetch_all::<(String, u64)>().await?)
    }
}

/// The SQL of [`Store::coverage`].
pub fn query(baseline: Option<&Window>, window: &Window) -> String {
    let now = sql::within("Timestamp", window);
    let before = baseline.map_or_else(|| "0".to_owned(), |baseline| sql::within("Timestamp", baseline));
    format!(
        "SELECT service, sum(sb) AS spans_before, sum(sn) AS spans_now, max(sl) AS last_span, sum(lb) AS logs_before, sum(ln) AS logs_now FROM \
         (SELECT toString(ServiceName) AS service, countIf({before}) AS sb, countIf({now}) AS sn, \
            max(toUnixTimestamp64Nano(Timestamp)) AS sl, toUInt64(0) AS lb, toUInt64(0) AS ln \
          FROM otel_traces WHERE ({before}) OR ({now}) GROUP BY service \
          UNION ALL SELECT toString(ServiceName) AS service, toUInt64(0), toUInt64(0), toInt64(0), countIf({before}), countIf({now}) \
          FROM otel_logs WHERE ({before}) OR ({now}) GROUP BY service) \
         GROUP BY service ORDER BY service LIMIT {MAX_SERVICES}"
    )
}
