//! How often each service wrote each log pattern over the last week: what a detector compares.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use clickhouse::Row;
use detectors::log_pattern::{
    DAY, LIKE_OF_DAYS, MAX_SILENT, MIN_PRESENCE, MIN_SILENT, MIN_SPIKE, MIN_SPIKE_RATIO, NEIGHBOURS,
    PatternHistory, ServiceLogs, WINDOW, windows_of_use,
};
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
struct LatestRow {
    service: String,
    pattern: u64,
    messages: u64,
}

#[derive(Row, Deserialize)]
struct HostsRow {
    service: String,
    pattern: u64,
    hosts: Vec<String>,
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
        let (services, totals, lives, latest, counts) = futures::try_join!(
            client.query(&services_query(seconds)).fetch_all::<ServiceRow>(),
            client.query(&totals_query(seconds)).fetch_all::<CountsRow>(),
            client.query(&lives_query(seconds)).fetch_all::<LifeRow>(),
            client.query(&latest_query(seconds)).fetch_all::<LatestRow>(),
            client.query(&counts_query(seconds)).fetch_all::<CountsRow>(),
        )?;
        let latest: BTreeMap<(String, u64), u64> =
            latest.into_iter().map(|row| ((row.service, row.pattern), row.messages)).collect();
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
            let key = (row.service.clone(), row.pattern);
            if let Some(logs) = logs.get_mut(&row.service) {
                logs.patterns.push(PatternHistory {
                    pattern: PatternId(row.pattern),
                    template: row.template,
                    severity: row.severity,
                    first_seen: UnixNanos::from_seconds(row.first.into()),
                    last_seen: UnixNanos::from_seconds(row.last.into()),
                    latest: latest.get(&key).copied().unwrap_or(0),
                    windows: windows.remove(&key).unwrap_or_default(),
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

/// Hosts returned of one pattern, in order of their names.
const MAX_HOSTS: usize = 64;
/// Pairs of service and pattern asked for.
const MAX_ASKED: usize = 1_000;

impl Store {
    /// The machines that patterns of services were written on within a window, by resource attributes: the node, or the host.
    /// Asks for the first [`MAX_ASKED`] pairs; at most [`MAX_HOSTS`] of each are told.
    pub async fn log_pattern_hosts(
        &self,
        written: &[(String, PatternId)],
        window: Window,
    ) -> Result<BTreeMap<(String, PatternId), Vec<String>>, Error> {
        if written.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asked: Vec<String> = written
            .iter()
            .take(MAX_ASKED)
            .map(|(service, pattern)| format!("({}, {})", sql::quote(service), pattern.0))
            .collect();
        let services: Vec<String> =
            written.iter().take(MAX_ASKED).map(|(service, _)| sql::quote(service)).collect();
        let (settled, join) = (settled("PatternId"), join_general("PatternId"));
        let query = format!(
            "SELECT service, pattern, arraySlice(arraySort(groupUniqArray(1024)(host)), 1, {MAX_HOSTS}) AS hosts FROM \
               (SELECT toString(ServiceName) AS service, {settled} AS pattern, \
                  if(ResourceAttributes['k8s.node.name'] != '', ResourceAttributes['k8s.node.name'], \
                     ResourceAttributes['host.name']) AS host \
                FROM otel_logs {join} \
                WHERE ServiceName IN ({}) AND TimestampTime >= toDateTime({}) AND TimestampTime < toDateTime({})) \
             WHERE host != '' AND (service, pattern) IN ({}) GROUP BY service, pattern",
            services.join(", "),
            window.start.seconds().max(0),
            window.end.seconds().max(0),
            asked.join(", "),
        );
        let rows = self.client().query(&query).fetch_all::<HostsRow>().await?;
        Ok(rows.into_iter().map(|row| ((row.service, PatternId(row.pattern)), row.hosts)).collect())
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

fn latest_query(now: i64) -> String {
    let (settled, join, latest) = (settled("PatternId"), join_general("PatternId"), within(&(0..=0), now));
    format!(
        "SELECT toString(ServiceName) AS service, {settled} AS pattern, sum(Messages) AS messages FROM log_pattern_minutes {join} \
         WHERE {latest} GROUP BY service, pattern"
    )
}

/// Messages by window of the patterns that may have moved, for all windows of use. Most have not, and are put aside by one pass that keeps a few sums of each.
fn counts_query(now: i64) -> String {
    let (settled, join, window) = (settled("PatternId"), join_general("PatternId"), window_of("Minute", now));
    let of_use: Vec<String> =
        windows_of_use().map(|windows| format!("({})", within(&windows, now))).collect();
    let of_use = of_use.join(" OR ");
    let back = |windows: u32| (now - i64::from(windows) * WINDOW.as_secs() as i64).max(0);
    // `may_have_moved`, in SQL. A row is a minute: there are no fewer of them than windows.
    let moved = format!(
        "SELECT service, pattern FROM \
           (SELECT ServiceName AS service, {settled} AS pattern, sum(latest) AS latest, sum(days) AS days, sum(day) AS day, \
              max(last) AS last, sum(minutes) AS minutes FROM \
              (SELECT ServiceName, PatternId, sumIf(Messages, window = 0) AS latest, \
                 sumIf(Messages, window >= {} AND (window + {NEIGHBOURS}) % {DAY} <= {}) AS days, \
                 sumIf(Messages, window >= {} AND window < {DAY}) AS day, max(Minute) AS last, count() AS minutes \
               FROM (SELECT ServiceName, PatternId, Minute, Messages, {window} AS window FROM log_pattern_minutes WHERE {of_use}) \
               GROUP BY ServiceName, PatternId) AS sums {join} GROUP BY service, pattern) AS patterns \
         INNER JOIN (SELECT ServiceName, min(First) AS since FROM log_pattern_lives GROUP BY ServiceName) AS lives \
         ON lives.ServiceName = patterns.service \
         WHERE (latest >= {MIN_SPIKE} AND latest >= {MIN_SPIKE_RATIO} * least(days / {LIKE_OF_DAYS}, day / {DAY})) OR \
           (last < toDateTime({}) AND last >= toDateTime({}) AND \
            minutes >= {MIN_PRESENCE} * least(({now} - toUnixTimestamp(since)) / {}, {DAY}))",
        DAY - NEIGHBOURS,
        2 * NEIGHBOURS,
        2 * NEIGHBOURS,
        back(MIN_SILENT),
        back(MAX_SILENT + 1),
        WINDOW.as_secs()
    );
    format!(
        "SELECT service, pattern, groupArray(window) AS windows, groupArray(messages) AS counts FROM \
           (SELECT toString(ServiceName) AS service, {settled} AS pattern, {window} AS window, sum(Messages) AS messages \
            FROM log_pattern_minutes {join} \
            WHERE ({of_use}) AND (ServiceName, PatternId) IN \
              (SELECT ServiceName, PatternId FROM log_pattern_lives {join} WHERE (ServiceName, {settled}) IN ({moved})) \
            GROUP BY service, pattern, window) GROUP BY service, pattern"
    )
}
