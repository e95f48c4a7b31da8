//! How often each service wrote each log pattern over the last week: what a detector compares.

use std::collections::BTreeMap;

use clickhouse::Row;
use detectors::log_pattern::{HISTORY_WINDOWS, PatternHistory, ServiceLogs, WINDOW};
use detectors::log_template::PatternId;
use domain::UnixNanos;
use serde::Deserialize;

use crate::{Error, Store};

/// Patterns returned, those with the most messages first.
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
struct PatternRow {
    service: String,
    pattern: u64,
    template: String,
    severity: u8,
    first: u32,
    last: u32,
    windows: Vec<u32>,
    counts: Vec<u64>,
}

#[derive(Row, Deserialize)]
struct SinceRow {
    service: String,
    since: u32,
    /// Whole minutes; 0 when no version is told.
    deployed: u32,
}

impl Store {
    /// The patterns of every service, by service. Windows are counted back from `now`. The pattern of messages that were
    /// stored before it was learned to stand for theirs counts them too.
    pub async fn log_patterns(&self, now: UnixNanos) -> Result<Vec<ServiceLogs>, Error> {
        let since = self.client().query(&since_query(now)).fetch_all::<SinceRow>();
        let patterns = self.client().query(&patterns_query(now)).fetch_all::<PatternRow>();
        let (since, patterns) = futures::try_join!(since, patterns)?;
        let mut services: BTreeMap<String, ServiceLogs> = since
            .into_iter()
            .map(|row| {
                let logs = ServiceLogs {
                    service: row.service.clone(),
                    since: UnixNanos::from_seconds(row.since.into()),
                    deployed: (row.deployed > 0).then(|| UnixNanos::from_seconds(row.deployed.into())),
                    patterns: Vec::new(),
                };
                (row.service, logs)
            })
            .collect();
        for row in patterns {
            if let Some(logs) = services.get_mut(&row.service) {
                logs.patterns.push(history(row));
            }
        }
        Ok(services.into_values().collect())
    }
}

fn history(row: PatternRow) -> PatternHistory {
    PatternHistory {
        pattern: PatternId(row.pattern),
        template: row.template,
        severity: row.severity,
        first_seen: UnixNanos::from_seconds(row.first.into()),
        last_seen: UnixNanos::from_seconds(row.last.into()),
        windows: row.windows.into_iter().zip(row.counts).collect(),
    }
}

fn since_query(now: UnixNanos) -> String {
    let now = now.seconds().max(0);
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

fn patterns_query(now: UnixNanos) -> String {
    let now = now.seconds().max(0);
    let window = WINDOW.as_secs();
    let from = now - (u64::from(HISTORY_WINDOWS) * window) as i64;
    let (settled, join) = (settled("PatternId"), join_general("PatternId"));
    format!(
        "SELECT written.service AS service, written.pattern AS pattern, texts.template AS template, severity, \
           toUInt32(lives.first) AS first, toUInt32(lives.last) AS last, windows, counts FROM \
           (SELECT service, pattern, max(highest) AS severity, (sumMap([window], [written]) AS summed).1 AS windows, \
              summed.2 AS counts, sum(written) AS total FROM \
              (SELECT toString(ServiceName) AS service, {settled} AS pattern, Severity AS highest, Messages AS written, \
                 toUInt32(intDiv({now} - 1 - toUnixTimestamp(Minute), {window})) AS window \
               FROM log_pattern_minutes {join} \
               WHERE Minute >= toDateTime({from}) AND Minute < toDateTime({now})) \
            GROUP BY service, pattern ORDER BY total DESC, service, pattern LIMIT {MAX_PATTERNS}) AS written \
         LEFT JOIN \
           (SELECT toString(ServiceName) AS service, {settled} AS pattern, min(First) AS first, max(Last) AS last \
            FROM log_pattern_lives {join} GROUP BY service, pattern) AS lives \
         ON lives.service = written.service AND lives.pattern = written.pattern \
         LEFT JOIN (SELECT Id, any(Template) AS template FROM log_patterns GROUP BY Id) AS texts \
         ON texts.Id = written.pattern ORDER BY service, pattern"
    )
}
