//! Findings as rows: what detectors see now, for the overview.

use domain::Finding;
use domain::text::duration;
use serde::Serialize;

use super::input::HealthPage;
use super::words::{Cut, State, cut, service_href};

const MOST_FINDINGS: usize = 12;

#[derive(Serialize)]
pub(super) struct FindingRow {
    state: State,
    kind: Cut,
    sentence: Cut,
    service: Cut,
    href: String,
    lasts: String,
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
        href: service_href(&page.base_path, &finding.service),
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
