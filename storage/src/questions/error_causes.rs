//! Where failing requests end: spans that failed with no failed child, grouped by place and message, baseline against window.

use clickhouse::Row;
use domain::Window;
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Groups returned: those that became more by most.
const MAX_GROUPS: usize = 1_000;

/// Failures that begin in one operation with messages that differ in numbers only.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Exception message, status message or HTTP status of one of them; at most 300 characters.
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

#[derive(Row, Deserialize)]
struct GroupRow {
    service: String,
    name: String,
    kind: String,
    peer: String,
    exception: String,
    message: String,
    traces_before: u64,
    traces_now: u64,
    spans_before: u64,
    spans_now: u64,
    sample_before: String,
    sample_now: String,
    first_before: i64,
    first_now: i64,
}

impl GroupRow {
    /// What is of the baseline, and what is of the window.
    fn split(self) -> [ErrorGroup; 2] {
        let group = |traces: u64, spans: u64, sample_trace: String, first_seen: i64| ErrorGroup {
            service: self.service.clone(),
            name: self.name.clone(),
            kind: self.kind.clone(),
            peer: self.peer.clone(),
            exception: self.exception.clone(),
            message: self.message.clone(),
            traces,
            spans,
            sample_trace,
            first_seen,
        };
        [
            group(self.traces_before, self.spans_before, self.sample_before, self.first_before),
            group(self.traces_now, self.spans_now, self.sample_now, self.first_now),
        ]
    }
}

impl Store {
    /// Groups the deepest failing spans that begin inside the baseline and inside the window.
    pub async fn error_causes(
        &self,
        baseline: Window,
        window: Window,
    ) -> Result<(ErrorCauses, ErrorCauses), Error> {
        let query = query(&baseline, &window);
        let (before, now) = (sql::within("Timestamp", &baseline), sql::within("Timestamp", &window));
        let totals = format!(
            "SELECT uniqExactIf(cityHash64(TraceId), {before}), uniqExactIf(cityHash64(TraceId), {now}) \
             FROM otel_traces WHERE (({before}) OR ({now})) AND StatusCode = 'Error'"
        );
        let (rows, totals) =
            tokio::try_join!(async { self.client().query(&query).fetch_all::<GroupRow>().await }, async {
                self.client().query(&totals).fetch_one::<(u64, u64)>().await
            },)?;
        let cut = rows.len() > MAX_GROUPS;
        let causes = |failing_traces: u64| ErrorCauses {
            groups: Vec::new(),
            failing_traces,
            cut,
            query: query.clone(),
        };
        let mut causes = [causes(totals.0), causes(totals.1)];
        for row in rows {
            for (causes, group) in causes.iter_mut().zip(row.split()) {
                causes.groups.extend(Some(group).filter(|group| group.spans > 0));
            }
        }
        for causes in &mut causes {
            // The rows come in order of their other columns.
            causes.groups.sort_by_key(|group| std::cmp::Reverse(group.traces));
        }
        let [before, now] = causes;
        Ok((before, now))
    }
}

/// Ids are compared by their 64-bit hashes: of a million failing spans two are alike once in thirty million questions.
fn query(baseline: &Window, window: &Window) -> String {
    let (before, now) = (sql::within("Timestamp", baseline), sql::within("Timestamp", window));
    let failing = format!("(({before}) OR ({now})) AND StatusCode = 'Error'");
    let share = window.seconds() / baseline.seconds().max(1.0);
    let part = |part: &str| {
        let is_in = format!("is_{part}");
        format!(
            "uniqExactIf(cityHash64(TraceId), {is_in}) AS traces_{part}, countIf({is_in}) AS spans_{part}, \
              minIf(TraceId, {is_in}) AS sample_{part}, toUnixTimestamp64Nano(minIf(Timestamp, {is_in})) AS first_{part}"
        )
    };
    format!(
        "SELECT service, name, kind, peer, exception, message, traces_before, traces_now, spans_before, spans_now, \
           sample_before, sample_now, first_before, first_now FROM \
         (SELECT service, name, kind, peer, exception, {masked} AS masked, argMin(text, (NOT is_now, Timestamp, text)) AS message, \
           {part_before}, {part_now} FROM \
         (SELECT ServiceName AS service, SpanName AS name, SpanKind AS kind, {peer} AS peer, \
           Events.Attributes[indexOf(Events.Name, 'exception')] AS thrown, \
           substring(if(thrown['exception.type'] != '', thrown['exception.type'], SpanAttributes['error.type']), 1, 200) AS exception, \
           substring(arrayFirst(x -> x != '', [thrown['exception.message'], StatusMessage, \
             if(SpanAttributes['http.response.status_code'] != '', concat('HTTP ', SpanAttributes['http.response.status_code']), ''), \
             if(SpanAttributes['http.status_code'] != '', concat('HTTP ', SpanAttributes['http.status_code']), '')]), 1, 300) AS text, \
           TraceId, Timestamp, {before} AS is_before, {now} AS is_now \
          FROM otel_traces WHERE {failing} \
            AND cityHash64(TraceId, SpanId) NOT IN (SELECT cityHash64(TraceId, ParentSpanId) FROM otel_traces WHERE {failing})) \
         GROUP BY service, name, kind, peer, exception, masked \
         ORDER BY {deviation} DESC, traces_now DESC, service, name, kind, peer, exception, masked LIMIT {most}) \
         ORDER BY service, name, message, kind, peer, exception",
        masked = sql::masked("text"),
        part_before = part("before"),
        part_now = part("now"),
        peer = sql::PEER,
        deviation = sql::deviation("traces_before", "traces_now", share),
        most = MAX_GROUPS + 1
    )
}
