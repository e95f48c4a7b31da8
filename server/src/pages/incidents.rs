//! The list of incidents, open ones first, filtered by status and by words.

use domain::text::{duration, plain};
use domain::{Incident, IncidentStatus, UnixNanos};
use serde::Serialize;

use super::input::{IncidentFilter, IncidentsPage};
use super::templates::render;
use super::words::{Cut, Moment, Shell, State, cut, encode, moment};

const MOST_ROWS: usize = 200;

#[derive(Serialize)]
struct View {
    shell: Shell,
    title: String,
    filters: Vec<FilterLink>,
    filter: &'static str,
    rows: Vec<Row>,
    omitted: usize,
    /// A trace with this id may exist: the search looks like one.
    trace: Option<String>,
}

#[derive(Serialize)]
struct FilterLink {
    href: String,
    name: &'static str,
    current: bool,
}

#[derive(Serialize)]
struct Row {
    number: u32,
    id: String,
    title: Cut,
    cause: String,
    severity: State,
    status: &'static str,
    started: Moment,
    duration: String,
    confidence: &'static str,
}

/// Draws the list.
pub(super) fn page(page: &IncidentsPage) -> String {
    let query = plain(page.query.trim(), 200);
    let wanted = query.to_lowercase();
    let mut incidents: Vec<&Incident> = page
        .incidents
        .iter()
        .filter(|incident| match page.filter {
            IncidentFilter::All => true,
            IncidentFilter::Open => incident.is_open(),
            IncidentFilter::Resolved => !incident.is_open(),
        })
        .filter(|incident| matches(incident, &wanted))
        .collect();
    incidents.sort_by_key(|incident| (!incident.is_open(), std::cmp::Reverse(incident.started)));
    let open = page.incidents.iter().filter(|incident| incident.is_open()).count();
    let trace = query.len() == 32 && query.bytes().all(|byte| byte.is_ascii_hexdigit());
    let view = View {
        title: match (open, page.incidents.len()) {
            (0, 0) => "No incidents so far".to_owned(),
            (0, _) => "No incident is open".to_owned(),
            (1, _) => "1 incident is open".to_owned(),
            (open, _) => format!("{open} incidents are open"),
        },
        filters: IncidentFilter::ALL.into_iter().map(|filter| link(filter, page.filter, &query)).collect(),
        filter: page.filter.as_str(),
        rows: incidents.iter().take(MOST_ROWS).map(|incident| row(incident, page.now)).collect(),
        omitted: incidents.len().saturating_sub(MOST_ROWS),
        trace: trace.then(|| wanted.clone()),
        shell: Shell { query, ..Shell::new("Incidents", "incidents", &page.top) },
    };
    render("incidents.html", &view)
}

/// Whether every word of the query is somewhere in the incident.
fn matches(incident: &Incident, query: &str) -> bool {
    let text = format!(
        "{} {} {} {} {}",
        incident.id, incident.title, incident.summary, incident.service, incident.root_service
    )
    .to_lowercase();
    query.split_whitespace().all(|word| text.contains(word))
}

fn link(filter: IncidentFilter, current: IncidentFilter, query: &str) -> FilterLink {
    let name = match filter {
        IncidentFilter::All => "All",
        IncidentFilter::Open => "Open",
        IncidentFilter::Resolved => "Resolved",
    };
    let query = if query.is_empty() { String::new() } else { format!("&q={}", encode(query)) };
    FilterLink { href: format!("?status={}{query}", filter.as_str()), name, current: filter == current }
}

fn row(incident: &Incident, now: UnixNanos) -> Row {
    let end = incident.resolved.unwrap_or(now);
    Row {
        number: incident.id.0,
        id: incident.id.to_string(),
        title: cut(&incident.title, 140),
        cause: if incident.summary.is_empty() {
            "Not investigated yet".into()
        } else {
            plain(&incident.summary, 240)
        },
        severity: State::of(incident.severity),
        status: match incident.status {
            IncidentStatus::Open => "Open",
            IncidentStatus::Acknowledged => "Acknowledged",
            IncidentStatus::Resolved => "Resolved",
        },
        started: moment(incident.started),
        duration: duration(end.seconds_since(incident.started).max(0.0)),
        confidence: incident.confidence.map_or("–", domain::ConfidenceLevel::word),
    }
}
