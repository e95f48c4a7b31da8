//! Who called a service before it fell silent, and whether they still do.
//!
//! A service that answers nothing leaves no end of a call to pair, so its callers are known by what they did before: the
//! spans that were parents of its requests tell by which operation, to which peer, they call it.

use clickhouse::Row;
use domain::Window;
use serde::Deserialize;

use super::sql;
use crate::{Error, Store};

/// Requests of the service that are looked at to learn its callers.
const SAMPLE: usize = 2_000;
/// Callers returned at most.
const MAX_CALLERS: usize = 100;

/// Calls of one caller.
#[derive(Clone, Debug, PartialEq, Row, Deserialize)]
pub struct Caller {
    /// Who calls.
    pub service: String,
    /// Calls before. Where these are many more than the service received, its callers call others by the same name, and
    /// cannot be told from callers of those.
    pub calls_before: u64,
    /// Calls now.
    pub calls: u64,
    /// Ones of these that failed.
    pub failed: u64,
}

impl Store {
    /// Calls made in `now` by the operations that called `service` in `before`, the busiest caller first.
    pub async fn callers(&self, service: &str, before: Window, now: Window) -> Result<Vec<Caller>, Error> {
        let spans = sql::within("Timestamp", &before);
        let peer = sql::quote(service);
        let query = format!(
            "WITH parents AS (SELECT TraceId, ParentSpanId FROM otel_traces \
               WHERE ServiceName = {peer} AND SpanKind IN ('Server', 'Consumer') AND ParentSpanId != '' AND {spans} \
               ORDER BY Timestamp DESC LIMIT {SAMPLE}) \
             SELECT toString(ServiceName) AS service, sumIf(Requests, {old}) AS calls_before, \
               sumIf(Requests, {new}) AS calls, sumIf(Errors, {new}) AS failed FROM span_minutes \
             WHERE ({old} OR {new}) AND (ServiceName, SpanName, Peer) IN \
               (SELECT ServiceName, SpanName, {minute_peer} FROM otel_traces \
                WHERE {spans} AND SpanKind IN ('Client', 'Producer') AND ServiceName != {peer} \
                  AND TraceId IN (SELECT TraceId FROM parents) \
                  AND (TraceId, SpanId) IN (SELECT TraceId, ParentSpanId FROM parents)) \
             GROUP BY service ORDER BY calls DESC, service LIMIT {MAX_CALLERS}",
            old = sql::within_minutes("Minute", &before),
            new = sql::within_minutes("Minute", &now),
            minute_peer = sql::MINUTE_PEER,
        );
        Ok(self.client().query(&query).fetch_all().await?)
    }
}
