//! Alerts: every one that was seen, and what their past looks like by the hour.

use std::collections::BTreeMap;

use clickhouse::Row;
use domain::alert::AlertSource;
use domain::{Alert, Severity, UnixNanos, Window};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::append::write;
use crate::error::Error;

/// Fingerprints that are recalled; the ones that came last.
pub const MAX_RECALLED: usize = 10_000;
/// Instances of alerts that are recalled; the ones that began last.
const MAX_FIRING_RECALLED: usize = 100_000;

/// An alert with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenAlert {
    /// The alert.
    pub alert: Alert,
    /// Whether it was held back.
    pub suppressed: bool,
    /// Number of the open incident of its service; 0 when there was none.
    pub incident: u32,
}

/// An instance of an alert of Alertmanager that began and is not known to have ended.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct FiringAlert {
    /// Which alert.
    pub fingerprint: String,
    /// Which instance of it: the sender's fingerprint, or the host when it gave none.
    pub instance: String,
    /// Nanoseconds since the epoch at which it began.
    pub start: i64,
}

/// Alerts of one fingerprint that were held back around an incident.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct HeldBack {
    /// Which alert.
    pub fingerprint: String,
    /// Its rule.
    pub rule: String,
    /// Its service.
    pub service: String,
    /// What it says, with what varies replaced by `<*>`.
    pub pattern: String,
    /// How many were held back.
    pub alerts: u64,
    /// Nanoseconds since the epoch of the first of them.
    pub first: i64,
    /// The same of the last.
    pub last: i64,
    /// Fingerprints held back around the incident, this and all others; may be more than were asked for.
    pub of: u64,
}

/// The alerts of one fingerprint from one place in one hour.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct AlertHour {
    /// Which alert.
    pub fingerprint: String,
    /// Seconds since the epoch at which the hour begins.
    pub hour: i64,
    /// Where from.
    pub host: String,
    /// Of which version.
    pub version: String,
    /// How many.
    pub alerts: u64,
    /// How many of them were held back.
    pub suppressed: u64,
    /// How many of them came during incidents.
    pub in_incident: u64,
}

#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
struct AlertRow<'a> {
    timestamp: i64,
    fingerprint: [u8; 16],
    source: &'a str,
    rule: &'a str,
    service_name: &'a str,
    severity: &'a str,
    host: &'a str,
    version: &'a str,
    pattern: &'a str,
    body: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    numbers: Vec<(&'a str, &'a str)>,
    foreign_id: &'a str,
    resolved: bool,
    objective: bool,
    suppressed: bool,
    incident: u32,
}

#[derive(Row, Deserialize)]
struct StoredAlert {
    at: i64,
    source: String,
    rule: String,
    service: String,
    severity: String,
    host: String,
    version: String,
    pattern: String,
    body: String,
    labels: Vec<(String, String)>,
    numbers: Vec<(String, String)>,
    foreign_id: String,
    resolved: bool,
    objective: bool,
    suppressed: bool,
    incident: u32,
}

const COLUMNS: &str = "toUnixTimestamp64Nano(Timestamp) AS at, toString(Source) AS source, toString(Rule) AS rule, \
    toString(ServiceName) AS service, toString(Severity) AS severity, toString(Host) AS host, toString(Version) AS version, \
    Pattern AS pattern, Body AS body, CAST(Labels, 'Array(Tuple(String, String))') AS labels, \
    CAST(Numbers, 'Array(Tuple(String, String))') AS numbers, ForeignId AS foreign_id, \
    Resolved AS resolved, Objective AS objective, Suppressed AS suppressed, Incident AS incident";

impl Store {
    /// Stores alerts. When this returns, they are stored.
    pub async fn alerts_append(&self, seen: &[SeenAlert]) -> Result<(), Error> {
        let fingerprints: Vec<String> = seen.iter().map(|seen| seen.alert.fingerprint()).collect();
        let rows: Vec<AlertRow<'_>> = seen
            .iter()
            .zip(&fingerprints)
            .map(|(seen, fingerprint)| AlertRow::new(seen, fingerprint))
            .collect();
        write::<AlertRow<'_>>(&self.writer(), "alerts", rows.into_iter()).await
    }

    /// The latest alert of each fingerprint since `since`, those that came last first.
    pub async fn alerts_latest(&self, since: UnixNanos) -> Result<Vec<SeenAlert>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM alerts WHERE Timestamp >= fromUnixTimestamp64Nano(?) AND NOT Resolved
             ORDER BY Timestamp DESC LIMIT 1 BY Fingerprint LIMIT {MAX_RECALLED}"
        );
        let rows = self.client().query(&query).bind(since.0).fetch_all::<StoredAlert>().await?;
        rows.into_iter().map(SeenAlert::try_from).collect()
    }

    /// The instances whose latest word since `since` is that they fire, those that began last first.
    pub async fn alerts_firing(&self, since: UnixNanos) -> Result<Vec<FiringAlert>, Error> {
        let query = format!(
            "SELECT toString(Fingerprint) AS fingerprint, if(ForeignId = '', toString(Host), ForeignId) AS instance,
               toUnixTimestamp64Nano(max(Timestamp)) AS start
             FROM alerts WHERE Timestamp >= fromUnixTimestamp64Nano(?) AND Source = 'alertmanager'
             GROUP BY fingerprint, instance HAVING NOT argMax(Resolved, (Timestamp, Resolved))
             ORDER BY start DESC, fingerprint, instance LIMIT {MAX_FIRING_RECALLED}"
        );
        Ok(self.client().query(&query).bind(since.0).fetch_all().await?)
    }

    /// The alerts of one fingerprint since `since`, latest first.
    pub async fn alerts_of(
        &self,
        fingerprint: &str,
        since: UnixNanos,
        limit: u32,
    ) -> Result<Vec<SeenAlert>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM alerts WHERE Fingerprint = ? AND Timestamp >= fromUnixTimestamp64Nano(?)
             ORDER BY Timestamp DESC LIMIT ?"
        );
        let rows = self
            .client()
            .query(&query)
            .bind(fingerprint)
            .bind(since.0)
            .bind(limit)
            .fetch_all::<StoredAlert>()
            .await?;
        rows.into_iter().map(SeenAlert::try_from).collect()
    }

    /// What was held back around an incident, one row per fingerprint, the most frequent first and at most `limit` of them: what
    /// was stored with it, and what its services said in `window`. The services are needed because most of what belongs to an
    /// incident was held back before it opened; once it is open, its alerts are heard.
    pub async fn alerts_of_incident(
        &self,
        incident: u32,
        services: &[String],
        window: Window,
        limit: u32,
    ) -> Result<Vec<HeldBack>, Error> {
        let rows = self
            .client()
            .query(
                "SELECT toString(Fingerprint) AS fingerprint, toString(any(Rule)) AS rule,
                   toString(any(ServiceName)) AS service, any(Pattern) AS pattern, count() AS alerts,
                   toUnixTimestamp64Nano(min(Timestamp)) AS first, toUnixTimestamp64Nano(max(Timestamp)) AS last,
                   count() OVER () AS of
                 FROM alerts
                 WHERE Suppressed AND NOT Resolved
                   AND Timestamp >= fromUnixTimestamp64Nano(?) AND Timestamp < fromUnixTimestamp64Nano(?)
                   AND (Incident = ? OR has(?, toString(ServiceName)))
                 GROUP BY Fingerprint ORDER BY alerts DESC, fingerprint LIMIT ?",
            )
            .bind(window.start.0)
            .bind(window.end.0)
            .bind(incident)
            .bind(services)
            .bind(limit)
            .fetch_all()
            .await?;
        Ok(rows)
    }

    /// Hourly counts of all alerts since `since`, oldest first.
    pub async fn alert_hours(&self, since: UnixNanos) -> Result<Vec<AlertHour>, Error> {
        let rows = self
            .client()
            .query(
                "SELECT toString(Fingerprint) AS fingerprint, toInt64(toUnixTimestamp(Hour)) AS hour,
                   toString(Host) AS host, toString(Version) AS version,
                   sum(Alerts) AS alerts, sum(Suppressed) AS suppressed, sum(InIncident) AS in_incident
                 FROM alert_hours WHERE Hour >= toDateTime(?)
                 GROUP BY Fingerprint, Hour, Host, Version ORDER BY hour, fingerprint, host, version",
            )
            .bind(since.seconds().max(0))
            .fetch_all()
            .await?;
        Ok(rows)
    }
}

impl<'a> AlertRow<'a> {
    fn new(seen: &'a SeenAlert, fingerprint: &str) -> Self {
        let alert = &seen.alert;
        let mut fixed = [b'0'; 16];
        fixed.copy_from_slice(fingerprint.as_bytes());
        Self {
            timestamp: alert.at.0,
            fingerprint: fixed,
            source: alert.source.as_str(),
            rule: &alert.rule,
            service_name: &alert.service,
            severity: severity(alert.severity),
            host: &alert.host,
            version: &alert.version,
            pattern: &alert.pattern,
            body: &alert.text,
            labels: alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            numbers: alert.numbers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            foreign_id: &alert.foreign_id,
            resolved: alert.resolved,
            objective: alert.objective,
            suppressed: seen.suppressed,
            incident: seen.incident,
        }
    }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

impl TryFrom<StoredAlert> for SeenAlert {
    type Error = Error;

    fn try_from(stored: StoredAlert) -> Result<Self, Error> {
        let damaged = |what: &str, value: &str| Error::Damaged {
            table: "alerts",
            reason: format!("{what} `{}` is unknown", domain::text::plain(value, 40)),
        };
        let all = [Severity::Notice, Severity::Warning, Severity::Critical];
        Ok(Self {
            alert: Alert {
                source: AlertSource::parse(&stored.source)
                    .ok_or_else(|| damaged("source", &stored.source))?,
                severity: all
                    .into_iter()
                    .find(|known| severity(*known) == stored.severity)
                    .ok_or_else(|| damaged("severity", &stored.severity))?,
                rule: stored.rule,
                service: stored.service,
                host: stored.host,
                version: stored.version,
                pattern: stored.pattern,
                text: stored.body,
                numbers: stored.numbers,
                at: UnixNanos(stored.at),
                resolved: stored.resolved,
                objective: stored.objective,
                foreign_id: stored.foreign_id,
                labels: stored.labels.into_iter().collect::<BTreeMap<_, _>>(),
            },
            suppressed: stored.suppressed,
            incident: stored.incident,
        })
    }
}
