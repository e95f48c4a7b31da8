//! The page of one service: how it fares, how fast its budgets burn, what was found and what it looks like.

use domain::evidence::{Limit, Line, LineRole, Mark, Panel, Unit};
use domain::text::{number, percent, plain, seconds};
use domain::{UnixNanos, Window};
use serde::Serialize;
use storage::questions::service_graph::ServiceEdge;

use super::exhibits::points_table;
use super::input::{EndpointRow, ObjectiveBurn, ServiceFinding, ServicePage, ServicePoint, ServiceStatus};
use super::open::{OpenIncident, RangeLink, open, ranges};
use super::services::{Row, hot_since, row};
use super::svg::chart::{self, Chart, chart};
use super::templates::{Svg, render};
use super::words::{Cut, Moment, Shell, State, Table, ago, cut, moment, service_href, short_time};

const MOST_ENDPOINTS: usize = 100;
const MOST_EDGES: usize = 50;
const MOST_VERSIONS: usize = 20;
const MOST_FINDINGS: usize = 30;
const MOST_INCIDENTS: usize = 10;
/// A burn from here on is marked: the budget does not last.
const HOT_BURN: f64 = 1.0;
/// A share of failed calls from here on is marked.
const HOT_SHARE: f64 = 0.01;

#[derive(Serialize)]
struct View {
    shell: Shell,
    name: Cut,
    title: String,
    sub: String,
    figures: Vec<(&'static str, String, String)>,
    ranges: Vec<RangeLink>,
    refresh: String,
    incidents: Vec<OpenIncident>,
    findings: Vec<Card>,
    more_findings: usize,
    objectives: Vec<Objective>,
    traffic: Option<Drawn>,
    endpoints: Vec<Endpoint>,
    more_endpoints: usize,
    edges: Vec<Edge>,
    more_edges: usize,
    versions: Vec<Version>,
    more_versions: usize,
    span: String,
}

/// A finding with its sentence, its numbers and its chart.
#[derive(Serialize)]
struct Card {
    id: String,
    state: State,
    kind: Cut,
    sentence: Cut,
    since: Moment,
    numbers: Vec<(Cut, Cut)>,
    incident: Option<u32>,
    drawn: Option<Drawn>,
}

/// A chart with its points as a table.
#[derive(Serialize)]
struct Drawn {
    svg: Svg,
    table: Table,
}

#[derive(Serialize)]
struct Objective {
    name: Cut,
    objective: String,
    good: String,
    burns: Vec<Figure>,
    requests: String,
}

#[derive(Serialize)]
struct Figure {
    text: String,
    hot: bool,
}

#[derive(Serialize)]
struct Endpoint {
    name: Cut,
    row: Row,
    waits: bool,
}

/// Calls between this service and another.
#[derive(Serialize)]
struct Edge {
    name: Cut,
    href: String,
    /// Whether the other one asks.
    calls_us: bool,
    calls: String,
    errors: Figure,
    between: String,
}

#[derive(Serialize)]
struct Version {
    name: Cut,
    seen: Moment,
    ago: String,
}

/// Draws the page.
pub(super) fn page(page: &ServicePage) -> String {
    let start = page.now.minus(std::time::Duration::from_secs(page.range.seconds()));
    let own = service_href(&page.top.base_path, &page.service.name);
    let by_query = own.contains('?');
    let own_query = own.split_once('?').map(|(_, query)| format!("&{query}")).unwrap_or_default();
    let mut endpoints: Vec<&EndpointRow> = page.endpoints.iter().collect();
    endpoints.sort_by(|a, b| {
        let rate = |one: &EndpointRow| one.row.requests_per_second;
        (a.row.status.cmp(&b.row.status)).then(rate(b).total_cmp(&rate(a))).then(a.endpoint.cmp(&b.endpoint))
    });
    let view = View {
        shell: Shell::new(plain(&page.service.name, 80), "services", &page.top),
        name: cut(&page.service.name, 80),
        title: title(page),
        sub: page.findings.first().map_or_else(String::new, |worst| plain(&worst.finding.title(), 240)),
        figures: figures(page),
        ranges: ranges(page.range, &own_query),
        refresh: format!("{own}{}range={}", if by_query { '&' } else { '?' }, page.range.as_str()),
        incidents: page
            .incidents
            .iter()
            .take(MOST_INCIDENTS)
            .map(|incident| open(incident, std::slice::from_ref(&page.service), page.now))
            .collect(),
        findings: page.findings.iter().take(MOST_FINDINGS).map(|finding| card(finding, page)).collect(),
        more_findings: page.findings.len().saturating_sub(MOST_FINDINGS),
        objectives: page.objectives.iter().map(objective).collect(),
        traffic: traffic(page),
        endpoints: endpoints.iter().take(MOST_ENDPOINTS).map(|one| endpoint(one, page)).collect(),
        more_endpoints: endpoints.len().saturating_sub(MOST_ENDPOINTS),
        edges: page.edges.iter().take(MOST_EDGES).map(|one| edge(one, page)).collect(),
        more_edges: page.edges.len().saturating_sub(MOST_EDGES),
        versions: page.versions.iter().take(MOST_VERSIONS).map(|one| version(one, page.now)).collect(),
        more_versions: page.versions.len().saturating_sub(MOST_VERSIONS),
        span: format!("{} to {} UTC", short_time(start, page.now), short_time(page.now, page.now)),
    };
    render("service.html", &view)
}

/// The finding of the page, as a sentence: the name stands before it.
fn title(page: &ServicePage) -> String {
    let name = plain(&page.service.name, 80);
    match page.service.status {
        ServiceStatus::Failing => format!("{name} is failing"),
        ServiceStatus::Silent => format!("{name} is called and receives nothing"),
        ServiceStatus::Slow => format!("{name} is slow"),
        ServiceStatus::Healthy => format!("{name} meets its objectives"),
        ServiceStatus::NoTraffic => format!("{name} has no traffic"),
    }
}

/// How it fares lately: name, value, note.
fn figures(page: &ServicePage) -> Vec<(&'static str, String, String)> {
    let service = &page.service;
    let none = || "–".to_owned();
    let left = service.budget_left.map_or_else(none, percent);
    vec![
        ("Requests per s", number(service.requests_per_second), "over the last 5 min".into()),
        ("Errors", service.error_ratio.map_or_else(none, percent), "over the last 5 min".into()),
        ("Latency p95", service.p95_seconds.map_or_else(none, seconds), "over the last 5 min".into()),
        ("Budget left", left, format!("of the range, {}", range_words(page))),
    ]
}

fn range_words(page: &ServicePage) -> &'static str {
    use super::input::Range;
    match page.range {
        Range::Hour => "1 h",
        Range::SixHours => "6 h",
        Range::Day => "24 h",
        Range::Week => "7 d",
    }
}

/// A window that holds nothing: charts of a service that fares well shade nothing.
const NOTHING: Window = Window { start: UnixNanos(i64::MAX), end: UnixNanos(i64::MAX) };

fn card(found: &ServiceFinding, page: &ServicePage) -> Card {
    let finding = &found.finding;
    let shade = Window::new(finding.started, page.now);
    let sentence = finding.sentence();
    Card {
        id: format!("f{}", finding.fingerprint()),
        state: State::of(finding.severity),
        kind: cut(finding.kind(), 40),
        since: moment(finding.started),
        numbers: finding.numbers().iter().map(|(name, value)| (cut(name, 40), cut(value, 40))).collect(),
        incident: found.incident,
        drawn: drawn(&found.panels, shade, &[], &sentence),
        sentence: cut(&sentence, 400),
    }
}

fn drawn(panels: &[Panel], incident: Window, marks: &[Mark], said: &str) -> Option<Drawn> {
    let span = chart::span(panels, incident)?;
    let label = format!(
        "{} Chart from {} to {} UTC.",
        plain(said, 400),
        short_time(span.start, span.start),
        short_time(span.end, span.start)
    );
    let chart = Chart { panels, incident, marks, label: &label, small: false, ongoing: true };
    Some(Drawn { svg: Svg(self::chart(&chart)?), table: points_table(panels) })
}

fn objective(burn: &ObjectiveBurn) -> Objective {
    let figure = |burn: &Option<f64>| match burn {
        Some(rate) => Figure { text: format!("{} ×", number(*rate)), hot: *rate > HOT_BURN },
        None => Figure { text: "–".into(), hot: false },
    };
    Objective {
        name: cut(&burn.name, 100),
        objective: percent(burn.objective),
        good: burn.good_ratio.map_or("–".into(), percent),
        burns: burn.burns.iter().map(figure).collect(),
        requests: number(burn.requests.round()),
    }
}

/// Requests, errors and latency over one axis, with the deploys of the range.
fn traffic(page: &ServicePage) -> Option<Drawn> {
    let series = &page.service.series;
    let line = |name: &str, role: LineRole, value: &dyn Fn(&ServicePoint) -> Option<f64>| Line {
        name: name.into(),
        role,
        points: series.iter().filter_map(|point| Some((point.at, value(point)?))).collect(),
    };
    let panel = |title: &str, unit: Unit, lines: Vec<Line>, limit: Option<Limit>| Panel {
        title: title.into(),
        unit,
        lines,
        limit,
        band: None,
    };
    let subject = LineRole::Subject;
    let panels = [
        panel(
            "Requests per s",
            Unit::Number,
            vec![line("requests", subject, &|point| Some(point.requests_per_second))],
            None,
        ),
        panel("Errors", Unit::Ratio, vec![line("failed", subject, &|point| point.error_ratio)], None),
        panel(
            "Latency p95 over p50",
            Unit::Seconds,
            vec![
                line("p50", LineRole::Peer, &|point| point.p50_seconds),
                line("p95", subject, &|point| point.p95_seconds),
            ],
            None,
        ),
    ];
    if series.iter().all(|point| point.error_ratio.is_none()) {
        return None;
    }
    let hurt = hot_since(&page.service.name, &page.incidents);
    let shade = hurt.map_or(NOTHING, |since| Window::new(since, page.now));
    let marks: Vec<Mark> = page
        .changes
        .iter()
        .filter(|change| !change.version.is_empty())
        .map(|change| Mark { at: change.at, name: plain(&change.version, 24) })
        .collect();
    let said = format!("Requests, errors and latency of {}.", plain(&page.service.name, 80));
    drawn(&panels, shade, &marks, &said)
}

fn endpoint(one: &EndpointRow, page: &ServicePage) -> Endpoint {
    let row = row(&one.row, &[], page.now, &page.top.base_path);
    Endpoint { name: cut(&one.endpoint, 60), row, waits: one.waits }
}

fn edge(one: &ServiceEdge, page: &ServicePage) -> Edge {
    let calls_us = one.callee == page.service.name;
    let other = if calls_us { &one.caller } else { &one.callee };
    let failed = one.errors as f64 / one.calls.max(1) as f64;
    Edge {
        name: cut(other, 48),
        href: service_href(&page.top.base_path, other),
        calls_us,
        calls: number(one.calls as f64),
        errors: Figure { text: percent(failed), hot: failed >= HOT_SHARE },
        between: seconds(one.gap_ms / 1e3),
    }
}

fn version((name, seen): &(String, UnixNanos), now: UnixNanos) -> Version {
    Version { name: cut(name, 60), seen: moment(*seen), ago: ago(*seen, now) }
}
