//! Log messages counted by service, severity and pattern, baseline against window.
//!
//! Messages that another program stored have no pattern: they are grouped by their text with digits masked, and the
//! templater of `detectors` does the rest.

use clickhouse::Row;
use domain::Window;
use serde::{Deserialize, Serialize};

use super::log_patterns::{join_general, settled};
use super::sql;
use crate::{Error, Store};

/// Groups returned: errors that became more first, then those whose number deviates most.
const MAX_GROUPS: usize = 5_000;
/// Characters of a message looked at.
const MAX_CHARACTERS: usize = 400;
/// Slices that the whole span of baseline and window is cut into, for sparklines.
pub const SLICES: i64 = 40;

/// Messages of one service and pattern.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub struct LogGroup {
    /// Service.
    pub service: String,
    /// Severity number, 0 when not said.
    pub severity: u8,
    /// Logger.
    pub logger: String,
    /// The pattern; 0 when none was stored.
    pub pattern: u64,
    /// The pattern's template; without a pattern empty.
    pub template: String,
    /// Messages in the baseline.
    pub before: u64,
    /// Messages in the window.
    pub now: u64,
    /// First one in the window, Unix nanoseconds; 0 when there is none.
    pub first_seen: i64,
    /// One message.
    pub sample: String,
    /// Distinct messages.
    pub variants: u64,
    /// Slice numbers.
    pub slices: Vec<i64>,
    /// Messages in each of them.
    pub counts: Vec<u64>,
}

/// The groups, and how to read their slices.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LogGroups {
    /// Groups, most frequent first.
    pub groups: Vec<LogGroup>,
    /// Start of slice 0, Unix nanoseconds.
    pub origin: i64,
    /// Length of a slice, nanoseconds.
    pub slice: i64,
    /// Whether there were more groups than are returned.
    #[serde(default)]
    pub cut: bool,
    /// The SQL that gave them.
    pub query: String,
}

impl Store {
    /// Counts log messages in both windows.
    pub async fn log_groups(&self, baseline: Option<Window>, window: Window) -> Result<LogGroups, Error> {
        let earliest = baseline.map_or(window.start, |baseline| baseline.start.min(window.start));
        let latest = baseline.map_or(window.end, |baseline| baseline.end.max(window.end));
        let slice = ((latest.0 - earliest.0) / SLICES).max(1);
        let query = query(baseline.as_ref(), &window, earliest.0, slice);
        let groups = self.client().query(&query).fetch_all::<LogGroup>().await?;
        let cut = groups.len() > MAX_GROUPS;
        Ok(LogGroups { groups, origin: earliest.0, slice, cut, query })
    }
}

fn query(baseline: Option<&Window>, window: &Window, origin: i64, slice: i64) -> String {
    let now = sql::within("Timestamp", window);
    let before = baseline.map_or_else(|| "0".to_owned(), |baseline| sql::within("Timestamp", baseline));
    // What the baseline lets expect in the window, for each message of the baseline.
    let share = baseline.map_or(0.0, |baseline| window.seconds() / baseline.seconds().max(1.0));
    let most = MAX_GROUPS + 1;
    let (settled, join) = (settled("PatternId"), join_general("PatternId"));
    let (masked, deviation) = (sql::masked("head"), sql::deviation("before", "now", share));
    format!(
        "SELECT service, severity, logger, pattern, texts.template AS template, before, now, first_seen, sample, variants, \
           slices, counts \
         FROM (SELECT service, severity, logger, pattern, masked, countIf(is_before) AS before, countIf(is_now) AS now, \
           minIf(ns, is_now) AS first_seen, argMin(head, (NOT is_now, ns, head)) AS sample, uniqExact(head) AS variants, \
           (sumMap([toInt64(intDiv(ns - {origin}, {slice}))], [toUInt64(1)]) AS per_slice).1 AS slices, per_slice.2 AS counts FROM \
         (SELECT ServiceName AS service, toUInt8(SeverityNumber) AS severity, ScopeName AS logger, {settled} AS pattern, \
            substringUTF8(splitByChar('\\n', Body)[1], 1, {MAX_CHARACTERS}) AS head, \
            if(pattern != 0, '', {masked}) AS masked, \
            toUnixTimestamp64Nano(Timestamp) AS ns, {before} AS is_before, {now} AS is_now \
          FROM otel_logs {join} WHERE is_before OR is_now) \
         GROUP BY service, severity, logger, pattern, masked \
         ORDER BY severity >= 17 AND {deviation} > 0 DESC, abs({deviation}) DESC, service, severity, logger, pattern, masked \
         LIMIT {most}) AS grouped \
         LEFT JOIN (SELECT Id, any(Template) AS template FROM log_patterns GROUP BY Id) AS texts ON texts.Id = grouped.pattern \
         ORDER BY before + now DESC, service, severity, logger, pattern, sample"
    )
}
