//! One trace, span by span.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Spans returned at most.
const MAX_SPANS: usize = 2_000;

/// A span of a trace.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub struct TraceRow {
    /// Start, Unix nanoseconds.
    pub start: i64,
    /// Length, nanoseconds.
    pub duration_ns: u64,
    /// Id.
    pub span_id: String,
    /// Parent's id, or empty.
    pub parent: String,
    /// Service.
    pub service: String,
    /// Name.
    pub name: String,
    /// Kind as stored.
    pub kind: String,
    /// Status as stored.
    pub status: String,
    /// Status message.
    pub message: String,
}

impl Store {
    /// The spans of a trace in order of start; empty when there is none.
    pub async fn trace(&self, trace_id: &str) -> Result<Vec<TraceRow>, Error> {
        let query = format!(
            "SELECT toUnixTimestamp64Nano(Timestamp) AS start, toUInt64(Duration) AS duration_ns, SpanId AS span_id, ParentSpanId AS parent, \
               toString(ServiceName) AS service, toString(SpanName) AS name, toString(SpanKind) AS kind, \
               toString(StatusCode) AS status, substring(StatusMessage, 1, 300) AS message \
             FROM otel_traces WHERE TraceId = {} ORDER BY start, span_id LIMIT {MAX_SPANS}",
            sql::quote(trace_id)
        );
        Ok(self.client().query(&query).fetch_all().await?)
    }

    /// The trace through one operation whose span is nearest to `duration_ms`: what a typical bad request looks like.
    pub async fn typical_trace(
        &self,
        service: &str,
        name: &str,
        window: domain::Window,
        duration_ms: f64,
    ) -> Result<Option<String>, Error> {
        let query = format!(
            "SELECT TraceId FROM otel_traces WHERE ServiceName = {} AND SpanName = {} AND {} \
             ORDER BY abs(Duration / 1e6 - {duration_ms}), TraceId LIMIT 1",
            sql::quote(service),
            sql::quote(name),
            sql::within("Timestamp", &window)
        );
        Ok(self.client().query(&query).fetch_optional::<String>().await?)
    }
}
