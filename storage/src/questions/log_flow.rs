//! Which log statement follows which, within one span: the path that the code took.
//!
//! A statement is known by its place in the code where the record names one (`code.*` attributes, or `Class#12` and
//! `file.go:12` at the start of its body), else by its text with all that varies masked.

use clickhouse::Row;
use domain::Window;
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Steps returned: those whose share among the steps from the same statement deviates most.
const MAX_STEPS: usize = 8_000;
/// Statements of one span looked at; later ones are left out.
const MAX_PER_SPAN: usize = 200;
/// Characters at the start of a body where a place in the code is looked for.
const HEAD: usize = 200;

/// Standard errors between the shares of a step in both windows (two-proportion test); 0 where one has none to compare with.
const TWO_PROPORTIONS: &str = "ifNotFinite(abs(now / all_now - before / all_before) / \
    sqrt((before + now) / (all_before + all_now) * (1 - (before + now) / (all_before + all_now)) * (1 / all_before + 1 / all_now)), 0)";

/// A step from one statement to the next.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub struct LogStep {
    /// Service.
    pub service: String,
    /// The statement before.
    pub from: String,
    /// The statement after; empty at the end of a span.
    pub to: String,
    /// Highest severity number of the statement after.
    pub severity: u8,
    /// Times in the baseline.
    pub before: u64,
    /// Times in the window.
    pub now: u64,
    /// Steps from the statement before, to whichever, in the baseline.
    pub all_before: u64,
    /// And in the window.
    pub all_now: u64,
}

/// The steps of both windows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LogFlow {
    /// Steps after a first statement, most telling first.
    pub steps: Vec<LogStep>,
    /// Whether there were more steps than are returned.
    #[serde(default)]
    pub cut: bool,
    /// The SQL that gave them.
    pub query: String,
}

impl Store {
    /// Counts steps between statements of the same span in both windows. How spans begin is a matter of what is asked, not
    /// of the code: the step to their first statement is not among them.
    pub async fn log_flow(&self, baseline: Window, window: Window) -> Result<LogFlow, Error> {
        let query = query(&baseline, &window);
        let steps = self.client().query(&query).fetch_all::<LogStep>().await?;
        let cut = steps.len() > MAX_STEPS;
        Ok(LogFlow { steps, cut, query })
    }
}

/// The statement of a record.
fn statement() -> String {
    format!(
        "multiIf(LogAttributes['code.line.number'] != '', concat(LogAttributes['code.file.path'], ':', LogAttributes['code.line.number']), \
           LogAttributes['code.lineno'] != '', concat(LogAttributes['code.filepath'], ':', LogAttributes['code.lineno']), \
           (extract(substring(Body, 1, {HEAD}), '([A-Za-z_$][A-Za-z0-9_$./-]*(#|[.](java|kt|scala|go|py|rb|rs|js|ts|cs|php|c|cc|cpp):)[0-9]+)') AS place) != '', place, \
           replaceRegexpAll(substringUTF8(splitByChar('\\n', Body)[1], 1, 120), '[\"\\'][^\"\\']*[\"\\']|[0-9a-fA-F-]*[0-9][0-9a-fA-F-]*', '<*>'))"
    )
}

fn query(baseline: &Window, window: &Window) -> String {
    let (before, now) = (sql::within("Timestamp", baseline), sql::within("Timestamp", window));
    format!(
        "SELECT service, `from`, `to`, severity, before, now, all_before, all_now FROM \
         (SELECT service, step.1 AS `from`, step.2 AS `to`, max(step.3) AS severity, countIf(NOT is_now) AS before, countIf(is_now) AS now, \
            sum(before) OVER (PARTITION BY service, `from`) AS all_before, sum(now) OVER (PARTITION BY service, `from`) AS all_now FROM \
         (SELECT ServiceName AS service, {now} AS is_now, \
            arraySort(groupArray({MAX_PER_SPAN})((toUnixTimestamp64Nano(Timestamp), {statement}, toUInt8(SeverityNumber)))) AS records, \
            arrayZip(records.2, arrayPushBack(arrayPopFront(records.2), ''), arrayPushBack(arrayPopFront(records.3), 0)) AS steps \
          FROM otel_logs WHERE (({before}) OR ({now})) AND TraceId != '' GROUP BY service, is_now, TraceId, SpanId) \
         ARRAY JOIN steps AS step GROUP BY service, `from`, `to`) \
         ORDER BY {deviation} DESC, before + now DESC, service, `from`, `to` LIMIT {most}",
        statement = statement(),
        deviation = TWO_PROPORTIONS,
        most = MAX_STEPS + 1
    )
}
