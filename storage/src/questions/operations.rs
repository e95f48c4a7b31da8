//! One operation over time: calls, failures and latency per slice, to draw and to find when it began to deviate.

use clickhouse::Row;
use domain::{UnixNanos, Window};
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Slices returned, by service, operation and time.
const MAX_SLICES: usize = 50_000;

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

/// How time is cut into slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slicing {
    /// What is looked at: only these stretches of time.
    pub windows: Vec<Window>,
    /// Where a slice begins; others lie whole widths before and after it.
    pub origin: UnixNanos,
    /// Width of a slice, at least 1.
    pub width_seconds: u32,
}

impl Slicing {
    /// One stretch, cut at whole multiples of the width.
    pub fn even(span: Window, width_seconds: u32) -> Self {
        Self { windows: vec![span], origin: UnixNanos::default(), width_seconds }
    }
}

impl Store {
    /// Slices of some operations, oldest first.
    pub async fn operation_slices(
        &self,
        operations: &[(String, String)],
        slicing: &Slicing,
    ) -> Result<Vec<OperationSlice>, Error> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let pairs: Vec<String> = operations
            .iter()
            .map(|(service, name)| format!("({}, {})", sql::quote(service), sql::quote(name)))
            .collect();
        let which = format!("(ServiceName, SpanName) IN ({})", pairs.join(", "));
        Ok(self.client().query(&query("SpanName", &which, slicing)).fetch_all().await?)
    }

    /// Slices of all requests that some services receive, oldest first.
    pub async fn request_slices(
        &self,
        services: &[String],
        slicing: &Slicing,
    ) -> Result<Vec<OperationSlice>, Error> {
        Ok(self.client().query(&requests_query(services, slicing)).fetch_all().await?)
    }
}

/// The SQL of [`Store::request_slices`].
pub fn requests_query(services: &[String], slicing: &Slicing) -> String {
    let names = sql::quote_list(services.iter().map(String::as_str));
    // Systems that name no kinds: whatever has no parent in its own service would do, but roots are cheap to tell.
    let which =
        format!("ServiceName IN {names} AND (SpanKind IN ('Server', 'Consumer') OR ParentSpanId = '')");
    query("''", &which, slicing)
}

fn query(name: &str, which: &str, slicing: &Slicing) -> String {
    let width = i64::from(slicing.width_seconds.max(1)) * 1_000_000_000;
    // Within a width of the epoch: nothing is as old, so that dividing always rounds down.
    let origin = slicing.origin.0.rem_euclid(width);
    let windows: Vec<String> =
        slicing.windows.iter().map(|window| format!("({})", sql::within("Timestamp", window))).collect();
    let windows = if windows.is_empty() { "0".to_owned() } else { windows.join(" OR ") };
    format!(
        "SELECT toString(ServiceName) AS service, toString({name}) AS name, \
           toInt64(intDiv(toUnixTimestamp64Nano(Timestamp) - {origin}, {width}) * {width} + {origin}) AS at, \
           count() AS calls, countIf(StatusCode = 'Error') AS errors, avg(Duration) / 1e6 AS mean_ms, \
           toFloat64(quantileTDigest(0.95)(Duration)) / 1e6 AS p95_ms \
         FROM otel_traces WHERE {which} AND ({windows}) GROUP BY service, name, at ORDER BY service, name, at LIMIT {MAX_SLICES}"
    )
}
