//! Where failing requests end: spans that failed with no failed child, grouped by place and message.

use clickhouse::Row;
use domain::Window;
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Groups returned, most frequent first. Messages differ in their variable parts: callers mask and merge.
const MAX_GROUPS: usize = 1_000;

/// Failures that begin in one operation with one message.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub struct ErrorGroup {
    /// Service.
    pub service: String,
    /// Span name.
    pub name: String,
    /// Span kind as stored.
    pub kind: String,
    /// Whom the span calls, if it says so.
    pub peer: String,
    /// Exception type, or empty.
    pub exception: String,
    /// Exception message, status message or HTTP status; at most 300 characters.
    pub message: String,
    /// Distinct traces.
    pub traces: u64,
    /// Spans.
    pub spans: u64,
    /// One of the traces.
    pub sample_trace: String,
    /// First one, Unix nanoseconds.
    pub first_seen: i64,
}

/// The groups of a window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ErrorCauses {
    /// Groups, most frequent first.
    pub groups: Vec<ErrorGroup>,
    /// Distinct traces with a failed span.
    pub failing_traces: u64,
    /// Whether there were more groups than are returned.
    #[serde(default)]
    pub cut: bool,
    /// The SQL that gave the groups.
    pub query: String,
}

impl Store {
    /// Groups the deepest failing spans that begin inside `window`.
    pub async fn error_causes(&self, window: Window) -> Result<ErrorCauses, Error> {
        let query = query(&window);
        let total = format!(
            "SELECT uniqExact(cityHash64(TraceId)) FROM otel_traces WHERE {} AND StatusCode = 'Error'",
            sql::within("Timestamp", &window)
        );
        let (groups, failing_traces) =
            tokio::try_join!(async { self.client().query(&query).fetch_all::<ErrorGroup>().await }, async {
                self.client().query(&total).fetch_one::<u64>().await
            },)?;
        let cut = groups.len() > MAX_GROUPS;
        Ok(ErrorCauses { groups, failing_traces, cut, query })
    }
}

/// Ids are compared by their 64-bit hashes: of a million failing spans two are alike once in thirty million questions.
fn query(window: &Window) -> String {
    let failing = format!("{} AND StatusCode = 'Error'", sql::within("Timestamp", window));
    format!(
        "SELECT service, name, kind, peer, exception, message, uniqExact(cityHash64(TraceId)) AS traces, count() AS spans, \
           min(TraceId) AS sample_trace, toUnixTimestamp64Nano(min(Timestamp)) AS first_seen FROM \
         (SELECT ServiceName AS service, SpanName AS name, SpanKind AS kind, {peer} AS peer, \
           Events.Attributes[indexOf(Events.Name, 'exception')] AS thrown, \
           substring(if(thrown['exception.type'] != '', thrown['exception.type'], SpanAttributes['error.type']), 1, 200) AS exception, \
           substring(arrayFirst(x -> x != '', [thrown['exception.message'], StatusMessage, \
             if(SpanAttributes['http.response.status_code'] != '', concat('HTTP ', SpanAttributes['http.response.status_code']), ''), \
             if(SpanAttributes['http.status_code'] != '', concat('HTTP ', SpanAttributes['http.status_code']), '')]), 1, 300) AS message, \
           TraceId, Timestamp \
          FROM otel_traces WHERE {failing} \
            AND cityHash64(TraceId, SpanId) NOT IN (SELECT cityHash64(TraceId, ParentSpanId) FROM otel_traces WHERE {failing})) \
         GROUP BY service, name, kind, peer, exception, message ORDER BY traces DESC, service, name, message LIMIT {most}",
        peer = sql::PEER,
        most = MAX_GROUPS + 1
    )
}
