//! Services as rows: name, state, and sparklines of what they do. Shared by the overview and the list of services.

use domain::text::{number, percent, plain, seconds};
use domain::{Incident, Sli, UnixNanos};
use serde::Serialize;

use super::input::{ServicePoint, ServiceRow, ServiceStatus, ServicesPage};
use super::open::{RangeLink, ranges};
use super::svg::spark::spark;
use super::svg::width;
use super::templates::{Svg, render};
use super::words::{Cut, Shell, State, ago, cut, encode, plural, service_href, short_time};

const MOST_ROWS: usize = 1000;
/// Budget left below this share is a warning.
const LOW_BUDGET: f64 = 0.25;

#[derive(Serialize)]
struct View {
    shell: Shell,
    title: String,
    span: String,
    ranges: Vec<RangeLink>,
    range: &'static str,
    rows: Vec<Row>,
    omitted: usize,
    query: String,
}

/// Draws the list.
pub(super) fn list(page: &ServicesPage) -> String {
    let query = plain(page.query.trim(), 200);
    let wanted = query.to_lowercase();
    let found: Vec<&ServiceRow> = worst_first(&page.services)
        .into_iter()
        .filter(|service| service.name.to_lowercase().contains(&wanted))
        .collect();
    let start = page.now.minus(std::time::Duration::from_secs(page.range.seconds()));
    let more = if query.is_empty() { String::new() } else { format!("&q={}", encode(&query)) };
    let view = View {
        shell: Shell::new("Services", "services", &page.top),
        title: match page.services.len() {
            0 => "No service has sent anything yet".into(),
            all => plural(all, "service", "services"),
        },
        span: format!(
            "{} to {} UTC, worst first",
            short_time(start, page.now),
            short_time(page.now, page.now)
        ),
        ranges: ranges(page.range, &more),
        range: page.range.as_str(),
        rows: found
            .iter()
            .take(MOST_ROWS)
            .map(|service| row(service, &page.incidents, page.now, &page.top.base_path))
            .collect(),
        omitted: found.len().saturating_sub(MOST_ROWS),
        query,
    };
    render("services.html", &view)
}

/// By state, then by the share of errors, then by name.
pub(super) fn worst_first(services: &[ServiceRow]) -> Vec<&ServiceRow> {
    let mut services: Vec<&ServiceRow> = services.iter().collect();
    services.sort_by(|a, b| {
        let errors = |row: &ServiceRow| row.error_ratio.unwrap_or(0.0);
        a.status.cmp(&b.status).then(errors(b).total_cmp(&errors(a))).then(a.name.cmp(&b.name))
    });
    services
}

#[derive(Serialize)]
pub(super) struct Row {
    pub name: Cut,
    pub href: String,
    pub state: State,
    pub requests: Cell,
    pub errors: Cell,
    pub latency: Cell,
    budget: Option<Budget>,
    deploy: Option<(String, Cut)>,
}

#[derive(Serialize)]
pub(super) struct Cell {
    spark: Option<Svg>,
    value: String,
    hot: bool,
}

#[derive(Serialize)]
pub(super) struct Budget {
    class: &'static str,
    width: String,
    text: String,
}

/// When users of this service began to be hurt, or those of a service that it is blamed for.
pub(super) fn hot_since(name: &str, incidents: &[Incident]) -> Option<UnixNanos> {
    let concerns = |incident: &&Incident| {
        incident.root_service == name || incident.findings.iter().any(|finding| finding.service == name)
    };
    incidents.iter().filter(concerns).map(|incident| incident.started).min()
}

fn misses_latency(name: &str, incidents: &[Incident]) -> bool {
    let mut findings = incidents.iter().flat_map(|incident| &incident.findings);
    findings.any(|finding| finding.service == name && finding.sli() == Some(Sli::Latency))
}

pub(super) fn spark_of(
    service: &ServiceRow,
    hot: Option<UnixNanos>,
    value: impl Fn(&ServicePoint) -> Option<f64>,
) -> Option<Svg> {
    let values: Vec<f64> = service.series.iter().map(|point| value(point).unwrap_or(0.0)).collect();
    let hot = hot.and_then(|hot| service.series.iter().position(|point| point.at >= hot));
    spark(&values, hot).map(Svg)
}

/// The state in a word.
pub(super) const fn state(status: ServiceStatus) -> State {
    match status {
        ServiceStatus::Failing => State::new("st-crit", "i-crit", "Failing"),
        ServiceStatus::Silent => State::new("st-crit", "i-crit", "Silent"),
        ServiceStatus::Slow => State::new("st-warn", "i-warn", "Slow"),
        ServiceStatus::Healthy => State::new("st-ok st-quiet", "i-ok", "Healthy"),
        ServiceStatus::NoTraffic => State::new("st-none st-quiet", "i-none", "No traffic"),
    }
}

/// One service as a row.
pub(super) fn row(service: &ServiceRow, incidents: &[Incident], now: UnixNanos, base: &str) -> Row {
    let failing = service.status == ServiceStatus::Failing;
    let hurt = hot_since(&service.name, incidents).filter(|_| service.status <= ServiceStatus::Slow);
    Row {
        name: if service.name.is_empty() { cut("(no name)", 48) } else { cut(&service.name, 48) },
        href: service_href(base, &service.name),
        state: state(service.status),
        requests: Cell {
            spark: spark_of(service, None, |point| Some(point.requests_per_second)),
            value: number(service.requests_per_second),
            hot: false,
        },
        errors: Cell {
            spark: spark_of(service, hurt, |point| point.error_ratio),
            value: service.error_ratio.map_or("–".into(), percent),
            hot: failing,
        },
        latency: Cell {
            spark: spark_of(service, hurt, |point| point.p95_seconds),
            value: service.p95_seconds.map_or("–".into(), seconds),
            hot: service.status == ServiceStatus::Slow
                || (failing && misses_latency(&service.name, incidents)),
        },
        budget: service.budget_left.map(budget),
        deploy: service.last_deploy.as_ref().map(|(version, at)| (ago(*at, now), cut(version, 20))),
    }
}

fn budget(left: f64) -> Budget {
    let class = match left {
        left if left <= 0.0 => "b-crit",
        left if left < LOW_BUDGET => "b-warn",
        _ => "b-ok",
    };
    Budget { class, width: width(left.clamp(0.0, 1.0)), text: percent(left) }
}
