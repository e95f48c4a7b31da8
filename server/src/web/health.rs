//! What the overview shows, gathered from aggregates: no span is read.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::response::Response;
use domain::evidence::Panel;
use domain::{Finding, UnixNanos};
use prometheus_client::registry::Registry;
use serde::Deserialize;

use super::error::Error;
use super::{App, fleet, observed};
use crate::metrics;
use crate::pages::{self, HealthPage, Range, SignalFreshness};

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
    let (services, changes, health) = tokio::try_join!(
        fleet::services(&app, now, range),
        app.store.changes(fleet::window(now, range)),
        app.store.health(),
    )?;
    let findings = app.outlooks.borrow().findings.clone();
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
        services,
        charts: charts(&app, &findings, now, range).await?,
        findings,
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
        top: app.top().await,
    };
    Ok(super::page(pages::render_health(&page)))
}

/// Charts of the observations that the overview shows, by fingerprint.
async fn charts(
    app: &App,
    findings: &[Finding],
    now: UnixNanos,
    range: Range,
) -> Result<BTreeMap<String, Panel>, storage::Error> {
    let mut charts = BTreeMap::new();
    for finding in findings.iter().take(pages::MOST_FINDINGS) {
        if let Some(panel) = observed::panel(app, finding, now, range).await? {
            charts.insert(finding.fingerprint(), panel);
        }
    }
    Ok(charts)
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
