//! Findings as rows: what detectors see now, for the overview.

use domain::text::duration;
use domain::{Detail, Finding, SeenIn, Sli};
use serde::Serialize;

use super::input::HealthPage;
use super::services::spark_of;
use super::svg::spark::spark;
use super::templates::Svg;
use super::words::{Cut, State, cut, service_href};

/// Findings that the overview shows.
pub const MOST_FINDINGS: usize = 8;

#[derive(Serialize)]
pub(super) struct FindingRow {
    state: State,
    kind: Cut,
    sentence: Cut,
    service: Cut,
    href: String,
    lasts: String,
    spark: Option<(Svg, &'static str)>,
    /// The number of the open incident that it belongs to.
    incident: Option<u32>,
}

/// The worst findings as rows, and how many more there are.
pub(super) fn findings(findings: &[Finding], page: &HealthPage) -> (Vec<FindingRow>, usize) {
    let row = |finding: &Finding| FindingRow {
        state: State::of(finding.severity),
        kind: cut(finding.kind(), 40),
        sentence: cut(&finding.sentence(), 360),
        service: cut(&finding.service, 48),
        href: service_href(&page.top.base_path, &finding.service),
        spark: drawn(finding, page),
        lasts: duration(page.now.seconds_since(finding.started).max(0.0)),
        incident: page
            .incidents
            .iter()
            .find(|incident| incident.findings.iter().any(|known| known.is_about_the_same(finding)))
            .map(|incident| incident.id.0),
    };
    let rows = findings.iter().take(MOST_FINDINGS).map(row).collect();
    (rows, findings.len().saturating_sub(MOST_FINDINGS))
}

/// What the service as a whole does meanwhile, with the name of what is drawn.
fn drawn(finding: &Finding, page: &HealthPage) -> Option<(Svg, &'static str)> {
    let service = page.services.iter().find(|service| service.name == finding.service);
    let hot = Some(finding.started);
    match &finding.detail {
        Detail::Objective(missed) if missed.sli == Sli::Availability => {
            Some((spark_of(service?, hot, |point| point.error_ratio)?, "failed share"))
        }
        Detail::Objective(missed) if missed.sli == Sli::Latency => {
            Some((spark_of(service?, hot, |point| point.p95_seconds)?, "latency p95"))
        }
        Detail::Silence(_) => {
            Some((spark_of(service?, hot, |point| Some(point.requests_per_second))?, "requests per s"))
        }
        Detail::Observation(observation) => {
            let line = page.charts.get(&finding.fingerprint())?.lines.first()?;
            let values: Vec<f64> = line.points.iter().map(|(_, value)| *value).collect();
            let hot = line.points.iter().position(|(at, _)| *at >= finding.started);
            let name = match observation.seen_in {
                SeenIn::LogPattern(_) => "messages",
                _ => "value",
            };
            Some((spark(&values, hot).map(Svg)?, name))
        }
        Detail::Objective(_) => None,
    }
}
