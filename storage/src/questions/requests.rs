//! Requests of every endpoint over time, as detectors and pages look at them: from aggregates in order of time, never
//! from spans.

use std::collections::BTreeMap;
use std::time::Duration;

use clickhouse::Row;
use domain::{UnixNanos, Window};
use serde::Deserialize;

use super::sli::{Latency, SliMinute};
use super::sql;
use crate::{Error, Store};

/// Rows returned at most; of a wider question the latest are kept.
const MAX_ROWS: usize = 2_000_000;
/// Endpoints of one service returned at most, by the length of its steps: a sender that puts ids into the names of its spans
/// must not hide other services, nor fill the memory of whoever asks.
const MAX_ENDPOINTS: u64 = 200;
/// Endpoints returned that wait, at most.
const MAX_WAITS: usize = 2_000;
/// Rows of histograms returned at most, the busiest endpoints first.
const MAX_HISTOGRAMS: usize = 200_000;
/// The bucket of one second.
const SECOND_BUCKET: i16 = 79;
/// Share of requests beyond a second that makes an endpoint worth learning about.
const SLOW_SHARE: f64 = 0.05;

/// From which duration on the requests of an endpoint are waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Service.
    pub service: String,
    /// Endpoint.
    pub endpoint: String,
    /// First bucket (`floor(4 log2(microseconds))`) that does not count; `i16::MIN` when none does.
    pub from_bucket: i16,
}

/// How finely to look, and what counts.
#[derive(Clone, Debug)]
pub struct RequestQuestion<'a> {
    /// When.
    pub window: Window,
    /// Length of a step: whole minutes. From an hour on, and when all services are asked for, whole hours.
    pub step: Duration,
    /// One service, or all.
    pub service: Option<&'a str>,
    /// Whether endpoints are told apart; else a service is one line with no name of an endpoint.
    pub by_endpoint: bool,
    /// Latency thresholds in milliseconds.
    pub thresholds_ms: &'a [f64],
    /// What stays out of latency.
    pub waits: &'a [Wait],
}

/// What one endpoint received within a step.
#[derive(Clone, Debug, PartialEq, Row, Deserialize)]
pub struct RequestStep {
    /// Service.
    pub service: String,
    /// Endpoint.
    pub endpoint: String,
    /// Start of the step, Unix seconds.
    pub at: u32,
    /// Requests.
    pub requests: u64,
    /// Failed ones.
    pub errors: u64,
    /// Ones whose latency counts.
    pub timed: u64,
    /// Ones of these slower than each threshold, in the order asked; the bucket that holds it is split evenly.
    pub slow: Vec<f64>,
}

#[derive(Row, Deserialize)]
struct HistogramRow {
    service: String,
    endpoint: String,
    at: u32,
    requests: u64,
    errors: u64,
    buckets: Vec<(i16, u64)>,
}

/// Latency histograms of an endpoint by the hour.
pub type HourHistograms = Vec<Vec<(i16, u64)>>;

impl Store {
    /// Requests in steps, in order of service, endpoint and time. Where a service has more endpoints than a detector can
    /// care for, some are left out.
    pub async fn request_steps(&self, question: &RequestQuestion<'_>) -> Result<Vec<RequestStep>, Error> {
        let (table, time) = table(question);
        let slow: Vec<String> = question
            .thresholds_ms
            .iter()
            .map(|threshold| {
                let place = 4.0 * (threshold * 1000.0).max(1.0).log2();
                format!("sumIf(Requests * least(greatest(Bucket + 1 - {place:.9}, 0), 1), counts)")
            })
            .collect();
        let query = format!(
            "SELECT toString(ServiceName) AS service, {} AS endpoint, {} AS at, \
               sum(Requests) AS requests, sum(Errors) AS errors, sumIf(Requests, counts) AS timed, \
               [{}] AS slow \
             FROM (SELECT *, {} AS counts FROM {table} WHERE {}) \
             GROUP BY service, endpoint, at ORDER BY service, endpoint, at LIMIT {} BY service LIMIT {MAX_ROWS}",
            endpoint(question),
            step_start(time, question.step),
            if slow.is_empty() { "toFloat64(0)".to_owned() } else { slow.join(", ") },
            counts(question.waits),
            sql::within_minutes(time, &question.window),
            MAX_ENDPOINTS * steps(question),
        );
        Ok(self.client().query(&query).fetch_all().await?)
    }

    /// Requests in steps with their latency histogram, waits left out of it, in order of service, endpoint and time.
    pub async fn request_levels(&self, question: &RequestQuestion<'_>) -> Result<Vec<SliMinute>, Error> {
        let (table, time) = table(question);
        let query = format!(
            "SELECT service, endpoint, at, sum(requests) AS requests, sum(errors) AS errors, \
               arraySort(groupArrayIf((bucket, timed), timed > 0)) AS buckets FROM \
               (SELECT toString(ServiceName) AS service, {} AS endpoint, {} AS at, Bucket AS bucket, \
                  toUInt64(sum(Requests)) AS requests, toUInt64(sum(Errors)) AS errors, toUInt64(sumIf(Requests, counts)) AS timed \
                FROM (SELECT *, {} AS counts FROM {table} WHERE {}) \
                GROUP BY service, endpoint, at, bucket) \
             GROUP BY service, endpoint, at ORDER BY service, endpoint, at LIMIT {} BY service LIMIT {MAX_HISTOGRAMS}",
            endpoint(question),
            step_start(time, question.step),
            counts(question.waits),
            sql::within_minutes(time, &question.window),
            MAX_ENDPOINTS * steps(question),
        );
        let rows = self.client().query(&query).fetch_all::<HistogramRow>().await?;
        let level = |row: HistogramRow| SliMinute {
            service: row.service,
            endpoint: row.endpoint,
            minute: UnixNanos::from_seconds(i64::from(row.at)),
            requests: row.requests,
            errors: row.errors,
            latency: Latency(row.buckets.into_iter().collect()),
        };
        Ok(rows.into_iter().map(level).collect())
    }

    /// Endpoints that said before `at` that they wait.
    pub async fn declared_waits(&self, at: UnixNanos) -> Result<Vec<(String, String)>, Error> {
        let query = format!(
            "SELECT toString(ServiceName) AS service, toString(Endpoint) AS endpoint FROM wait_endpoints \
             GROUP BY service, endpoint HAVING min(Seen) <= {} ORDER BY service, endpoint LIMIT {MAX_WAITS}",
            sql::instant(at)
        );
        Ok(self.client().query(&query).fetch_all().await?)
    }

    /// Latency histograms by the hour of every endpoint that often takes more than a second.
    pub async fn slow_histograms(
        &self,
        window: Window,
    ) -> Result<BTreeMap<(String, String), HourHistograms>, Error> {
        let inside = sql::within_minutes("Hour", &window);
        let query = format!(
            "SELECT service, endpoint, at, sum(timed) AS requests, toUInt64(0) AS errors, \
               arraySort(groupArray((bucket, timed))) AS buckets FROM \
               (SELECT toString(ServiceName) AS service, toString(Endpoint) AS endpoint, toUnixTimestamp(Hour) AS at, \
                  Bucket AS bucket, toUInt64(sum(Requests)) AS timed \
                FROM request_hours WHERE {inside} AND Timed AND (ServiceName, Endpoint) IN \
                  (SELECT ServiceName, Endpoint FROM request_hours WHERE {inside} AND Timed GROUP BY ServiceName, Endpoint \
                   HAVING sumIf(Requests, Bucket >= {SECOND_BUCKET}) >= {SLOW_SHARE} * sum(Requests) \
                   ORDER BY sum(Requests) DESC LIMIT {MAX_WAITS}) \
                GROUP BY service, endpoint, at, bucket) \
             GROUP BY service, endpoint, at ORDER BY service, endpoint, at LIMIT {MAX_HISTOGRAMS}",
        );
        let mut endpoints: BTreeMap<(String, String), HourHistograms> = BTreeMap::new();
        for row in self.client().query(&query).fetch_all::<HistogramRow>().await? {
            endpoints.entry((row.service, row.endpoint)).or_default().push(row.buckets);
        }
        Ok(endpoints)
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Where to look. One service is read from the table that has services together, all of them from those that have times
/// together.
fn table(question: &RequestQuestion<'_>) -> (String, &'static str) {
    match question.service {
        Some(service) => {
            let requests = format!(
                "(SELECT Minute, ServiceName, SpanName AS Endpoint, SpanKind = 'Server' AS Timed, Bucket, Requests, Errors \
                 FROM span_minutes WHERE ServiceName = {} AND SpanKind IN ('Server', 'Consumer'))",
                sql::quote(service)
            );
            (requests, "Minute")
        }
        None if question.step < HOUR => ("request_minutes".into(), "Minute"),
        None => ("request_hours".into(), "Hour"),
    }
}

/// The start of the step that holds `time`, Unix seconds; steps begin at multiples of their length.
fn step_start(time: &str, step: Duration) -> String {
    let seconds = (step.as_secs() / 60).max(1) * 60;
    format!("toUInt32(intDiv(toUnixTimestamp({time}), {seconds}) * {seconds})")
}

fn endpoint(question: &RequestQuestion<'_>) -> &'static str {
    if question.by_endpoint { "toString(Endpoint)" } else { "''" }
}

/// Steps that the window touches.
fn steps(question: &RequestQuestion<'_>) -> u64 {
    question.window.duration().as_secs() / question.step.as_secs().max(60) + 2
}

/// Whether the latency of a row's requests counts.
fn counts(waits: &[Wait]) -> String {
    if waits.is_empty() {
        return "Timed = 1".to_owned();
    }
    let key =
        |wait: &Wait| format!("cityHash64({}, {})", sql::quote(&wait.service), sql::quote(&wait.endpoint));
    let keys: Vec<String> = waits.iter().take(MAX_WAITS).map(key).collect();
    let buckets: Vec<String> =
        waits.iter().take(MAX_WAITS).map(|wait| wait.from_bucket.to_string()).collect();
    format!(
        "Timed = 1 AND Bucket < transform(cityHash64(toString(ServiceName), toString(Endpoint)), [{}], [{}], 32767)",
        keys.join(", "),
        buckets.join(", ")
    )
}
