//! One operation over time: calls, failures and latency per slice, to draw and to find when it began to deviate.

use clickhouse::Row;
use domain::Window;
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// A slice of an operation's life.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub struct OperationSlice {
    /// Service.
    pub service: String,
    /// Operation; empty when all of a service's requests are meant.
    pub name: String,
    /// Start of the slice, Unix nanoseconds.
    pub at: i64,
    /// Calls.
    pub calls: u64,
    /// Failed calls.
    pub errors: u64,
    /// Mean length, milliseconds.
    pub mean_ms: f64,
    /// 95th percentile, milliseconds.
    pub p95_ms: f64,
}

impl Store {
    /// Slices of `width_seconds` of some operations, oldest first.
    pub async fn operation_slices(
        &self,
        operations: &[(String, String)],
        span: Window,
        width_seconds: u32,
    ) -> Result<Vec<OperationSlice>, Error> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let pairs: Vec<String> = operations
            .iter()
            .map(|(service, name)| format!("({}, {})", sql::quote(service), sql::quote(name)))
            .collect();
        let which = format!("(ServiceName, SpanName) IN ({})", pairs.join(", "));
        Ok(self.client().query(&query("SpanName", &which, &span, width_seconds)).fetch_all().await?)
    }

    /// Slices of all requests that some services receive, oldest first.
    pub async fn request_slices(
        &self,
        services: &[String],
        span: Window,
        width_seconds: u32,
    ) -> Result<Vec<OperationSlice>, Error> {
        let names = sql::quote_list(services.iter().map(String::as_str));
        // Systems that name no kinds: whatever has no parent in its own service would do, but roots are cheap to tell.
        let which =
            format!("ServiceName IN {names} AND (SpanKind IN ('Server', 'Consumer') OR ParentSpanId = '')");
        Ok(self.client().query(&query("''", &which, &span, width_seconds)).fetch_all().await?)
    }
}

fn query(name: &str, which: &str, span: &Window, width_seconds: u32) -> String {
    let width = i64::from(width_seconds.max(1)) * 1_000_000_000;
    format!(
        "SELECT toString(ServiceName) AS service, toString({name}) AS name, \
           toInt64(intDiv(toUnixTimestamp64Nano(Timestamp), {width}) * {width}) AS at, \
           count() AS calls, countIf(StatusCode = 'Error') AS errors, avg(Duration) / 1e6 AS mean_ms, \
           toFloat64(quantileTDigest(0.95)(Duration)) / 1e6 AS p95_ms \
         FROM otel_traces WHERE {which} AND {} GROUP BY service, name, at ORDER BY service, name, at LIMIT 50000",
        sql::within("Timestamp", span)
    )
}
