//! What the overview shows, gathered from aggregates: no span is read.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use detectors::objective::{ObjectiveTable, Objectives};
use detectors::{SliPoint, burn_rate};
use domain::{Sli, UnixNanos, Window};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use storage::questions::sli::{Latency, SliMinute};
use storage::questions::versions::SeenVersion;

use super::App;
use super::error::Error;
use crate::metrics;
use crate::pages::{self, HealthPage, Range, ServicePoint, ServiceRow, ServiceStatus, SignalFreshness};

/// Steps that a range is cut into.
const STEPS: u64 = 60;

/// What "lately" means.
const LATELY: Duration = Duration::from_secs(300);

/// Senders whose clock runs ahead are seen all the same.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What the overview is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HealthQuery {
    range: String,
}

/// `GET /`.
pub async fn show(State(app): State<App>, Query(query): Query<HealthQuery>) -> Result<Response, Error> {
    let now = app.clock.now();
    let range = Range::parse(&query.range);
    let window = Window::new(now.minus(Duration::from_secs(range.seconds())), now.plus(CLOCK_SKEW));
    let (minutes, changes, versions, health) = tokio::try_join!(
        app.store.sli_minutes(window),
        app.store.changes(window),
        app.store.versions(),
        app.store.health(),
    )?;
    let freshness = [
        ("Traces", health.traces),
        ("Logs", health.logs),
        ("Metrics", health.metrics),
        ("Profiles", health.profiles),
        ("Changes", health.changes),
    ];
    let page = HealthPage {
        now,
        range,
        services: services(minutes, &versions, &app.objectives, now, range),
        incidents: app.incidents.open(),
        changes,
        freshness: freshness
            .map(|(signal, health)| SignalFreshness {
                signal: signal.into(),
                newest: health.newest,
                rows: health.rows,
            })
            .into(),
        dropped: dropped(&app.registry),
        base_path: app.base_path.to_string(),
    };
    Ok(super::page(pages::render_health(&page)))
}

/// One row per service that received requests.
fn services(
    minutes: Vec<SliMinute>,
    versions: &[SeenVersion],
    table: &ObjectiveTable,
    now: UnixNanos,
    range: Range,
) -> Vec<ServiceRow> {
    let mut by_service: BTreeMap<String, Vec<SliMinute>> = BTreeMap::new();
    for minute in minutes {
        by_service.entry(minute.service.clone()).or_default().push(minute);
    }
    by_service
        .into_iter()
        .map(|(name, minutes)| {
            let objectives = table.of(&name);
            // Versions come oldest first. One that a service began its life with was never deployed over another.
            let seen: Vec<&SeenVersion> = versions.iter().filter(|seen| seen.service == name).collect();
            let last_deploy = seen.last().map(|latest| (latest.version.clone(), latest.first_seen));
            ServiceRow { last_deploy, ..row(name, &minutes, &objectives, now, range) }
        })
        .collect()
}

fn row(
    name: String,
    minutes: &[SliMinute],
    objectives: &Objectives,
    now: UnixNanos,
    range: Range,
) -> ServiceRow {
    let points: Vec<SliPoint> = minutes.iter().map(|minute| point(minute, objectives)).collect();
    let lately = total(minutes.iter().filter(|minute| minute.minute >= now.minus(LATELY)));
    let first = minutes.first().map_or(now, |minute| minute.minute);
    let seconds = now.seconds_since(first).clamp(1.0, LATELY.as_secs_f64());
    ServiceRow {
        name,
        status: status(&points, objectives, lately.requests, now),
        requests_per_second: lately.requests as f64 / seconds,
        error_ratio: lately.error_ratio(),
        p95_seconds: lately.latency.quantile(0.95),
        series: series(minutes, now, range),
        budget_left: budget_left(&points, objectives, now, range),
        last_deploy: None,
    }
}

fn point(minute: &SliMinute, objectives: &Objectives) -> SliPoint {
    SliPoint {
        minute: minute.minute,
        requests: minute.requests as f64,
        errors: minute.errors as f64,
        slow: minute.latency.slower_than(objectives.latency_ms),
    }
}

/// A handful of bad requests does not change the colour: the burn has to be above 1 beyond chance.
fn status(points: &[SliPoint], objectives: &Objectives, lately: u64, now: UnixNanos) -> ServiceStatus {
    let missed = |sli, objective| burn_rate::burn(points, sli, objective, now, LATELY).rate_at_least > 1.0;
    if lately == 0 {
        ServiceStatus::NoTraffic
    } else if missed(Sli::Availability, objectives.availability) {
        ServiceStatus::Failing
    } else if missed(Sli::Latency, objectives.latency_ratio) {
        ServiceStatus::Slow
    } else {
        ServiceStatus::Healthy
    }
}

/// The share of the range's budget that is left, of the objective that has less.
fn budget_left(points: &[SliPoint], objectives: &Objectives, now: UnixNanos, range: Range) -> Option<f64> {
    let length = Duration::from_secs(range.seconds());
    let burns = [(Sli::Availability, objectives.availability), (Sli::Latency, objectives.latency_ratio)]
        .map(|(sli, objective)| burn_rate::burn(points, sli, objective, now, length));
    (burns[0].requests > 0.0).then(|| (1.0 - burns[0].rate.max(burns[1].rate)).clamp(0.0, 1.0))
}

/// The range in equal steps, oldest first, empty ones included.
fn series(minutes: &[SliMinute], now: UnixNanos, range: Range) -> Vec<ServicePoint> {
    let width = Duration::from_secs(range.seconds() / STEPS);
    let mut steps: BTreeMap<UnixNanos, Total> = BTreeMap::new();
    for minute in minutes {
        steps.entry(minute.minute.floor(width)).or_default().add(minute);
    }
    let last = now.floor(width);
    (0..STEPS as u32)
        .rev()
        .map(|back| {
            let at = last.minus(width * back);
            let step = steps.remove(&at).unwrap_or_default();
            // The present step has only come so far.
            let seconds = now.seconds_since(at).clamp(1.0, width.as_secs_f64());
            ServicePoint {
                at,
                requests_per_second: step.requests as f64 / seconds,
                error_ratio: step.error_ratio(),
                p95_seconds: step.latency.quantile(0.95),
            }
        })
        .collect()
}

#[derive(Default)]
struct Total {
    requests: u64,
    errors: u64,
    latency: Latency,
}

impl Total {
    fn add(&mut self, minute: &SliMinute) {
        self.requests += minute.requests;
        self.errors += minute.errors;
        self.latency.merge(&minute.latency);
    }

    fn error_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }
}

fn total<'a>(minutes: impl Iterator<Item = &'a SliMinute>) -> Total {
    let mut total = Total::default();
    minutes.for_each(|minute| total.add(minute));
    total
}

/// What ingest refused, by signal and reason, read off our own metrics: they are the one place that counts it.
fn dropped(registry: &Registry) -> Vec<(String, u64)> {
    let text = metrics::encode(registry).unwrap_or_default();
    let line = |line: &str| {
        let (labels, value) = line.strip_prefix("inquest_ingest_rejected_total{")?.split_once("} ")?;
        let count: u64 = value.trim().parse().ok().filter(|count| *count > 0)?;
        let names: Vec<&str> = labels.split('"').skip(1).step_by(2).collect();
        Some((names.join(": ").replace('_', " "), count))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_030);

    fn minute(ago: u32, requests: u64, errors: u64) -> SliMinute {
        SliMinute {
            service: "cart".into(),
            endpoint: String::new(),
            minute: NOW.minus(Duration::from_secs(60) * ago).floor(Duration::from_secs(60)),
            requests,
            errors,
            latency: Latency([(40, requests)].into()),
        }
    }

    fn check(minutes: Vec<SliMinute>, status: ServiceStatus, error_ratio: Option<f64>) {
        let rows = services(minutes, &[], &ObjectiveTable::default(), NOW, Range::Hour);
        assert_eq!((rows[0].status, rows[0].error_ratio), (status, error_ratio));
        assert_eq!(rows[0].series.len(), STEPS as usize);
    }

    #[test]
    fn rows_say_how_services_fare() {
        check((0..10).rev().map(|ago| minute(ago, 100, 0)).collect(), ServiceStatus::Healthy, Some(0.0));
        check((0..10).rev().map(|ago| minute(ago, 100, 10)).collect(), ServiceStatus::Failing, Some(0.1));
        check(vec![minute(1, 10, 1)], ServiceStatus::Healthy, Some(0.1));
        check(vec![minute(50, 10, 1)], ServiceStatus::NoTraffic, None);
    }

    #[test]
    fn the_series_has_every_step_and_the_present_one_is_not_low() {
        let rows = services(
            vec![minute(2, 120, 0), minute(0, 60, 0)],
            &[],
            &ObjectiveTable::default(),
            NOW,
            Range::Hour,
        );
        let rates: Vec<f64> = rows[0].series.iter().map(|point| point.requests_per_second).collect();
        assert_eq!(rates[57..], [2.0, 0.0, 2.0]);
    }
}
