//! Pieces that stand at the top of several pages: open incidents, and the choice of a range.

use domain::text::plain;
use domain::{ConfidenceLevel, Incident, UnixNanos};
use serde::Serialize;

use super::input::{Range, ServiceRow};
use super::services::spark_of;
use super::templates::Svg;
use super::words::{Cut, State, cut};

#[derive(Serialize)]
pub(super) struct RangeLink {
    value: String,
    name: &'static str,
    current: bool,
}

#[derive(Serialize)]
pub(super) struct OpenIncident {
    number: u32,
    title: Cut,
    state: State,
    cause: String,
    duration: String,
    status: &'static str,
    spark: Option<Svg>,
}

/// Links to every range; `more` is what else stands in the query.
pub(super) fn ranges(current: Range, more: &str) -> Vec<RangeLink> {
    Range::ALL.into_iter().map(|range| range_link(range, current, more)).collect()
}

fn range_link(range: Range, current: Range, more: &str) -> RangeLink {
    let name = match range {
        Range::Hour => "1 h",
        Range::SixHours => "6 h",
        Range::Day => "24 h",
        Range::Week => "7 d",
    };
    RangeLink { value: format!("{}{more}", range.as_str()), name, current: range == current }
}

/// An open incident with the share of errors of its service.
pub(super) fn open(incident: &Incident, services: &[ServiceRow], now: UnixNanos) -> OpenIncident {
    let service = services.iter().find(|service| service.name == incident.service);
    let errors = service.and_then(|service| spark_of(service, Some(incident.started), |p| p.error_ratio));
    let cause = match (incident.summary.as_str(), incident.confidence) {
        ("", _) => "Being investigated.".to_owned(),
        (summary, None | Some(ConfidenceLevel::Inconclusive)) => plain(summary, 240),
        (summary, Some(level)) => {
            format!("Cause, {} confidence: {}", level.word().to_lowercase(), plain(summary, 240))
        }
    };
    OpenIncident {
        number: incident.id.0,
        title: cut(&incident.title, 140),
        state: State::of(incident.severity),
        cause,
        duration: domain::text::duration(now.seconds_since(incident.started).max(0.0)),
        status: match incident.status {
            domain::IncidentStatus::Acknowledged => "acknowledged",
            _ => "open",
        },
        spark: errors,
    }
}
