//! The overview: which services fare badly, what is open, what changed, how fresh the data is.

use domain::text::plain;
use domain::{Change, UnixNanos, Window};
use serde::Serialize;

use super::findings::{FindingRow, findings};
use super::input::{HealthPage, Range, ServiceRow, ServiceStatus};
use super::open::{OpenIncident, RangeLink, open, ranges};
use super::sections::change_title;
use super::services::{Row, row, worst_first};
use super::svg::strip::{Tick, strip};
use super::templates::{Svg, render};
use super::words::{Head, Shell, State, Table, ago, count, cut, plural, short_time};

const MOST_SERVICES: usize = 200;
const MOST_INCIDENTS: usize = 10;
const MOST_CHANGES: usize = 24;
/// A signal silent for longer than this is stale.
const STALE_SECONDS: f64 = 300.0;
/// The strip looks at least this far back, so that a deploy shortly before the range is seen.
const STRIP_SECONDS: u64 = 7200;

#[derive(Serialize)]
struct View {
    shell: Shell,
    title: String,
    sub: String,
    ranges: Vec<RangeLink>,
    refresh: String,
    incidents: Vec<OpenIncident>,
    more_incidents: usize,
    findings: Vec<FindingRow>,
    more_findings: usize,
    services: Vec<Row>,
    more_services: usize,
    span: String,
    strip: Option<Strip>,
    fresh: Vec<Fresh>,
    fresh_state: State,
    dropped: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Strip {
    svg: Svg,
    span: &'static str,
    table: Table,
}

#[derive(Serialize)]
struct Fresh {
    signal: String,
    age: Option<String>,
    rows: String,
    stale: bool,
}

/// Draws the overview.
pub(super) fn page(page: &HealthPage) -> String {
    let services = worst_first(&page.services);
    let (findings, more_findings) = findings(&page.findings, page);
    let start = page.now.minus(std::time::Duration::from_secs(page.range.seconds()));
    let fresh: Vec<Fresh> = page.freshness.iter().map(|signal| fresh(signal, page.now)).collect();
    let view = View {
        shell: Shell::new("Health", "health", &page.top),
        title: title(&services),
        sub: sub(page, &services),
        ranges: ranges(page.range, ""),
        refresh: format!("{}/?range={}", page.top.base_path, page.range.as_str()),
        incidents: page
            .incidents
            .iter()
            .take(MOST_INCIDENTS)
            .map(|incident| open(incident, &page.services, page.now))
            .collect(),
        more_incidents: page.incidents.len().saturating_sub(MOST_INCIDENTS),
        services: services
            .iter()
            .take(MOST_SERVICES)
            .map(|service| row(service, &page.incidents, page.now, &page.top.base_path))
            .collect(),
        findings,
        more_findings,
        more_services: services.len().saturating_sub(MOST_SERVICES),
        span: format!(
            "{} to {} UTC, worst first",
            short_time(start, page.now),
            short_time(page.now, page.now)
        ),
        strip: changes(page),
        fresh_state: match fresh.iter().filter(|signal| signal.age.is_some()).all(|signal| signal.stale) {
            true if fresh.iter().all(|signal| signal.age.is_none()) => {
                State::new("st-none st-quiet", "i-none", "No data yet")
            }
            true => State::new("st-warn", "i-warn", "Stale"),
            false => State::new("st-ok st-quiet", "i-ok", "Fresh"),
        },
        fresh,
        dropped: page
            .dropped
            .iter()
            .filter(|(_, rows)| *rows > 0)
            .map(|(why, rows)| (plain(why, 80), count(*rows)))
            .collect(),
    };
    render("health.html", &view)
}

/// The finding of the page: `1 of 8 services is failing, 1 is slow`.
fn title(services: &[&ServiceRow]) -> String {
    let all = services.len();
    let with = |status| services.iter().filter(|service| service.status == status).count();
    let (failing, slow) =
        (with(ServiceStatus::Failing) + with(ServiceStatus::Silent), with(ServiceStatus::Slow));
    let be = |count: usize| if count == 1 { "is" } else { "are" };
    let of = |count: usize, word: &str| {
        let noun = if all == 1 { "service" } else { "services" };
        format!("{count} of {all} {noun} {} {word}", be(count))
    };
    match (all, failing, slow) {
        (0, _, _) => "No service has sent anything yet".into(),
        (1, 0, 0) => "The one service meets its objectives".into(),
        (_, 0, 0) => format!("All {all} services meet their objectives"),
        (_, 0, slow) => of(slow, "slow"),
        (_, failing, 0) => of(failing, "failing"),
        (_, failing, slow) => format!("{}, {slow} {} slow", of(failing, "failing"), be(slow)),
    }
}

fn sub(page: &HealthPage, services: &[&ServiceRow]) -> String {
    let because: Vec<String> = page
        .incidents
        .iter()
        .take(3)
        .filter(|incident| !incident.root_service.is_empty() && incident.root_service != incident.service)
        .map(|incident| {
            format!(
                "{} is failing because of {}.",
                plain(&incident.service, 60),
                plain(&incident.root_service, 60)
            )
        })
        .collect();
    let quiet = services.iter().filter(|service| service.status == ServiceStatus::NoTraffic).count();
    let mut parts = because;
    if services.is_empty() {
        parts.push(
            "Send OpenTelemetry to port 4317 (gRPC) or 4318 (HTTP); services appear here by themselves."
                .into(),
        );
    } else if quiet > 0 {
        parts.push(format!("{} had no traffic.", plural(quiet, "service", "services")));
    }
    parts.join(" ")
}

fn changes(page: &HealthPage) -> Option<Strip> {
    let back = page.range.seconds().max(STRIP_SECONDS);
    let span = Window::new(page.now.minus(std::time::Duration::from_secs(back)), page.now);
    let mut shown: Vec<&Change> = page.changes.iter().filter(|change| span.contains(change.at)).collect();
    if shown.is_empty() {
        return None;
    }
    shown.sort_by_key(|change| change.at);
    let shown = &shown[shown.len().saturating_sub(MOST_CHANGES)..];
    let blamed = |change: &Change| page.incidents.iter().any(|i| i.root_service == change.service);
    let name = |change: &Change| match (change.service.as_str(), change.version.as_str()) {
        ("", _) => plain(&change.reference, 24),
        (service, "") => format!("{} {}", plain(service, 20), change.kind.as_str().replace('_', " ")),
        (service, version) => format!("{} {}", plain(service, 20), plain(version, 14)),
    };
    let ticks: Vec<Tick> =
        shown.iter().map(|change| Tick { at: change.at, name: name(change), hot: blamed(change) }).collect();
    let incidents: Vec<Window> =
        page.incidents.iter().map(|incident| Window::new(incident.started, page.now)).collect();
    let said: Vec<String> =
        ticks.iter().map(|tick| format!("{} at {}", tick.name, tick.at.clock_time())).collect();
    let label = format!("Changes from {} to now: {}.", short_time(span.start, page.now), said.join(", "));
    let head = |name: &str| Head { name: name.to_owned(), num: false };
    let table_row = |change: &&Change| {
        vec![
            cut(&short_time(change.at, page.now), 20),
            cut(&change_title(change), 120),
            cut(&change.detail, 160),
        ]
    };
    Some(Strip {
        svg: Svg(strip(&ticks, &incidents, span, &label)),
        span: match page.range {
            Range::Hour => "last 2 hours",
            Range::SixHours => "last 6 hours",
            Range::Day => "last 24 hours",
            Range::Week => "last 7 days",
        },
        table: Table {
            heads: vec![head("Time, UTC"), head("Change"), head("Detail")],
            rows: shown.iter().map(table_row).collect(),
            note: String::new(),
        },
    })
}

fn fresh(signal: &super::input::SignalFreshness, now: UnixNanos) -> Fresh {
    let age = signal.newest.map(|newest| now.seconds_since(newest));
    Fresh {
        signal: plain(&signal.signal, 40),
        age: signal.newest.map(|newest| ago(newest, now)),
        rows: count(signal.rows),
        stale: age.is_none_or(|age| age > STALE_SECONDS),
    }
}
