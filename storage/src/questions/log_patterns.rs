//! How often each service wrote each log pattern over the last week: what a detector compares.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use clickhouse::Row;
use detectors::log_pattern::{MAX_SILENT, MIN_SPIKE, PatternHistory, ServiceLogs, WINDOW, windows_of_use};
use detectors::log_template::PatternId;
use domain::{UnixNanos, Window};
use serde::Deserialize;

use super::sql;
use crate::{Error, Store};

/// Patterns returned, those written last first.
const MAX_PATTERNS: usize = 100_000;

/// `PatternId`, replaced by the pattern that was learned to stand for it: `id` is the column.
pub(super) fn settled(id: &str) -> String {
    format!("if(general.General = 0, {id}, general.General)")
}

/// The join that [`settled`] needs.
pub(super) fn join_general(id: &str) -> String {
    format!("LEFT JOIN (SELECT Id, General FROM log_patterns FINAL) AS general ON general.Id = {id}")
}

#[derive(Row, Deserialize)]
struct ServiceRow {
    service: String,
    since: u32,
    /// Whole minutes; 0 when no version is told.
    deployed: u32,
}

#[derive(Row, Deserialize)]
struct LifeRow {
    service: String,
    pattern: u64,
    template: String,
    severity: u8,
    first: u32,
    last: u32,
}

#[derive(Row, Deserialize)]
struct CountsRow {
    service: String,
    pattern: u64,
    windows: Vec<u32>,
    counts: Vec<u64>,
}

impl Store {
    /// The patterns of every service, by service. Windows are counted back from `now`. The pattern of messages that were
    /// stored before it was learned to stand for theirs counts them too.
    pub async fn log_patterns(&self, now: UnixNanos) -> Result<Vec<ServiceLogs>, Error> {
        let seconds = now.seconds().max(0);
        let client = self.client();
        let (services, totals, lives, counts) = futures::try_join!(
            client.query(&services_query(seconds)).fetch_all::<ServiceRow>(),
            client.query(&totals_query(seconds)).fetch_all::<CountsRow>(),
            client.query(&lives_query(seconds)).fetch_all::<LifeRow>(),
            client.query(&counts_query(seconds)).fetch_all::<CountsRow>(),
        )?;
        let mut windows: BTreeMap<(String, u64), BTreeMap<u32, u64>> =
            counts.into_iter().map(CountsRow::by_window).collect();
        let mut totals: BTreeMap<(String, u64), BTreeMap<u32, u64>> =
            totals.into_iter().map(CountsRow::by_window).collect();
        let mut logs: BTreeMap<String, ServiceLogs> = services
            .into_iter()
            .map(|row| {
                let logs = ServiceLogs {
                    service: row.service.clone(),
                    since: UnixNanos::from_seconds(row.since.into()),
                    deployed: (row.deployed > 0).then(|| UnixNanos::from_seconds(row.deployed.into())),
                    patterns: Vec::new(),
                    windows: totals.remove(&(row.service.clone(), 0)).unwrap_or_default(),
                };
                (row.service, logs)
            })
            .collect();
        for row in lives {
            let windows = windows.remove(&(row.service.clone(), row.pattern)).unwrap_or_default();
            if let Some(logs) = logs.get_mut(&row.service) {
                logs.patterns.push(PatternHistory {
                    pattern: PatternId(row.pattern),
                    template: row.template,
                    severity: row.severity,
                    first_seen: UnixNanos::from_seconds(row.first.into()),
                    last_seen: UnixNanos::from_seconds(row.last.into()),
                    windows,
                });
            }
        }
        Ok(logs.into_values().collect())
    }
}

impl CountsRow {
    fn by_window(self) -> ((String, u64), BTreeMap<u32, u64>) {
        ((self.service, self.pattern), self.windows.into_iter().zip(self.counts).collect())
    }
}

impl Store {
    /// How many messages of a pattern a service wrote, by step of time that has any. `step` is whole minutes.
    pub async fn log_pattern_counts(
        &self,
        service: &str,
        pattern: PatternId,
        window: Window,
        step: Duration,
    ) -> Result<Vec<(UnixNanos, u64)>, Error> {
        let query = format!(
            "SELECT toUInt32(toUnixTimestamp(toStartOfInterval(Minute, INTERVAL {} SECOND))) AS at, sum(Messages) AS messages \
             FROM log_pattern_minutes WHERE ServiceName = {} AND Minute >= toDateTime({}) AND Minute < toDateTime({}) \
               AND PatternId IN (SELECT Id FROM log_patterns FINAL WHERE Id = {} OR General = {}) \
             GROUP BY at ORDER BY at",
            step.as_secs().max(60),
            sql::quote(service),
            window.start.seconds().max(0),
            window.end.seconds().max(0),
            pattern.0,
            pattern.0,
        );
        let rows = self.client().query(&query).fetch_all::<(u32, u64)>().await?;
        Ok(rows.into_iter().map(|(at, messages)| (UnixNanos::from_seconds(at.into()), messages)).collect())
    }
}

/// Number of the window that a minute lies in.
fn window_of(minute: &str, now: i64) -> String {
    format!("toUInt32(intDiv({now} - 1 - toUnixTimestamp({minute}), {}))", WINDOW.as_secs())
}

/// That a minute lies in the windows of a range.
fn within(windows: &RangeInclusive<u32>, now: i64) -> String {
    let back = |windows: u32| now - i64::from(windows) * WINDOW.as_secs() as i64;
    format!(
        "Minute >= toDateTime({}) AND Minute < toDateTime({})",
        back(windows.end() + 1).max(0),
        back(*windows.start())
    )
}

fn services_query(now: i64) -> String {
    format!(
        "SELECT lives.service AS service, lives.since AS since, toUInt32(seen.deployed) AS deployed FROM \
           (SELECT toString(ServiceName) AS service, toUInt32(min(First)) AS since FROM log_pattern_lives \
            WHERE First < toDateTime({now}) GROUP BY service) AS lives \
         LEFT JOIN \
           (SELECT service, if(count() > 1, max(at), 0) AS deployed FROM \
              (SELECT toString(ServiceName) AS service, Version, toUnixTimestamp(toDateTime(min(Seen))) AS at \
               FROM first_seen GROUP BY service, Version) WHERE at < {now} GROUP BY service) AS seen \
         ON seen.service = lives.service ORDER BY service"
    )
}

fn totals_query(now: i64) -> String {
    let (window, recent) = (window_of("Minute", now), within(&(0..=2 * MAX_SILENT), now));
    format!(
        "SELECT service, toUInt64(0) AS pattern, groupArray(window) AS windows, groupArray(messages) AS counts FROM \
           (SELECT toString(ServiceName) AS service, {window} AS window, sum(Messages) AS messages FROM log_pattern_minutes \
            WHERE {recent} GROUP BY service, window) GROUP BY service"
    )
}

/// First and last message of every pattern that was written within the week.
fn lives_query(now: i64) -> String {
    let (settled, join) = (settled("PatternId"), join_general("PatternId"));
    format!(
        "SELECT service, pattern, texts.template AS template, texts.severity AS severity, toUInt32(first) AS first, \
           toUInt32(last) AS last FROM \
           (SELECT toString(ServiceName) AS service, {settled} AS pattern, min(First) AS first, max(Last) AS last \
            FROM log_pattern_lives {join} WHERE First < toDateTime({now}) GROUP BY service, pattern \
            HAVING last >= toDateTime({}) ORDER BY last DESC, service, pattern LIMIT {MAX_PATTERNS}) AS lives \
         LEFT JOIN (SELECT Id, any(Template) AS template, max(Severity) AS severity FROM log_patterns GROUP BY Id) AS texts \
         ON texts.Id = lives.pattern ORDER BY service, pattern",
        (now - 7 * 86_400).max(0)
    )
}

/// Messages by window: the latest window of every pattern, and all windows of use of those that may spike or have stopped.
fn counts_query(now: i64) -> String {
    let (settled, join, window) = (settled("PatternId"), join_general("PatternId"), window_of("Minute", now));
    let latest = within(&(0..=0), now);
    let of_use: Vec<String> =
        windows_of_use().map(|windows| format!("({})", within(&windows, now))).collect();
    let silent = now - i64::from(MAX_SILENT + 1) * WINDOW.as_secs() as i64;
    let candidates = format!(
        "SELECT ServiceName, PatternId FROM log_pattern_lives {join} WHERE (toString(ServiceName), {settled}) IN (\
           SELECT toString(ServiceName) AS service, {settled} AS pattern FROM log_pattern_minutes {join} \
           WHERE {latest} GROUP BY service, pattern HAVING sum(Messages) >= {MIN_SPIKE} \
           UNION ALL \
           SELECT toString(ServiceName) AS service, {settled} AS pattern FROM log_pattern_lives {join} \
           GROUP BY service, pattern HAVING max(Last) < toDateTime({}) AND max(Last) >= toDateTime({}))",
        now - WINDOW.as_secs() as i64,
        silent.max(0)
    );
    format!(
        "SELECT service, pattern, groupArray(window) AS windows, groupArray(messages) AS counts FROM \
           (SELECT toString(ServiceName) AS service, {settled} AS pattern, {window} AS window, sum(Messages) AS messages \
            FROM log_pattern_minutes {join} \
            WHERE ({}) AND (({latest}) OR (ServiceName, PatternId) IN ({candidates})) \
            GROUP BY service, pattern, window) GROUP BY service, pattern",
        of_use.join(" OR ")
    )
}
