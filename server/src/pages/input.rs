//! What each page is made from: plain data that the server gathers before a page is drawn.
//!
//! Deliberately absent: how it is gathered. Every page also carries `now`, and what its [`Top`] shows.

use std::collections::BTreeMap;

use domain::evidence::{Panel, Trace};
use domain::{Change, CheckOutcome, EvidenceKind, Finding, Incident, IncidentId, Report, UnixNanos};
use investigator::narrate::Asked;
use storage::questions::service_graph::ServiceEdge;

use crate::noise::HeldBack;

/// The bar at the top of every page.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// What stands before every link: empty, or `/inquest` behind a proxy that adds it.
    pub base_path: String,
    /// Incidents open now.
    pub open_incidents: usize,
    /// Alerts that look like noise and wait for a decision.
    pub waiting: usize,
}

/// The page of one incident.
#[derive(Clone, Debug)]
pub struct IncidentPage {
    /// The incident.
    pub incident: Incident,
    /// Its latest report; `None` until the first investigation has ended.
    pub report: Option<Report>,
    /// The checks of the investigation that is running now; empty when none is.
    pub progress: Vec<CheckProgress>,
    /// The present instant.
    pub now: UnixNanos,
    /// The flame frame picked with `?frame=`.
    pub frame: Option<u32>,
    /// Its top bar.
    pub top: Top,
    /// What is known beside the telemetry of this incident.
    pub beside: Beside,
}

/// What is known beside the telemetry of an incident.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The failure pattern that next steps come from: its title, how it does harm, and what else there is to say.
    pub pattern: Option<(String, String, String)>,
    /// Past incidents like this one, nearest first.
    pub similar: Vec<Similar>,
    /// A question that was just asked, and its answer.
    pub asked: Option<Asked>,
    /// Alerts that were held back around it, the most frequent first, and how many kinds there are in all.
    pub held_back: (Vec<HeldBack>, u64),
}

/// A past incident that is like another.
#[derive(Clone, Debug, PartialEq)]
pub struct Similar {
    /// Which.
    pub id: IncidentId,
    /// Its title.
    pub title: String,
    /// When it began.
    pub started: UnixNanos,
    /// Cosine distance: 0 is alike.
    pub distance: f64,
    /// What both have, heaviest first.
    pub shared: Vec<String>,
    /// What people said it was.
    pub confirmed: String,
    /// What fixed it.
    pub fixed: String,
}

/// Who phrases answers, and a text tried for secrets.
#[derive(Clone, Debug)]
pub struct RedactionPage {
    /// Who phrases answers: names and values.
    pub narrator: Vec<(String, String)>,
    /// Failure patterns known.
    pub patterns: usize,
    /// A text that was tried for secrets.
    pub tried: Option<Tried>,
    /// Its top bar.
    pub top: Top,
}

/// A text, and what would leave of it.
#[derive(Clone, Debug)]
pub struct Tried {
    /// As given.
    pub text: String,
    /// As it would leave.
    pub masked: String,
    /// What was masked, by kind.
    pub counts: BTreeMap<String, u32>,
}

/// One check of a running investigation.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckProgress {
    /// The collector.
    pub kind: EvidenceKind,
    /// Where it stands.
    pub state: ProgressState,
    /// The claim it led to, or why it could not look; may be empty.
    pub note: String,
}

/// Where a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressState {
    /// Not begun.
    Waiting,
    /// Looking.
    Running,
    /// Ended.
    Done(CheckOutcome),
}

/// The overview of all services.
#[derive(Clone, Debug)]
pub struct HealthPage {
    /// The present instant.
    pub now: UnixNanos,
    /// How far back the page looks.
    pub range: Range,
    /// Services in any order; the page puts the worst first.
    pub services: Vec<ServiceRow>,
    /// What detectors see now, worst first.
    pub findings: Vec<Finding>,
    /// What to draw of observations among the first of them, by fingerprint.
    pub charts: BTreeMap<String, Panel>,
    /// Incidents open now.
    pub incidents: Vec<Incident>,
    /// Changes to mark on the strip, in any order.
    pub changes: Vec<Change>,
    /// How fresh each signal is.
    pub freshness: Vec<SignalFreshness>,
    /// What ingest refused or dropped since the program started, with the reason.
    pub dropped: Vec<(String, u64)>,
    /// Its top bar.
    pub top: Top,
}

/// How far back a page looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// One hour.
    #[default]
    Hour,
    /// Six hours.
    SixHours,
    /// One day.
    Day,
    /// One week.
    Week,
}

impl Range {
    /// All of them, shortest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::SixHours, Self::Day, Self::Week];

    /// Reads `?range=`; anything unknown is one hour.
    pub fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|range| range.as_str() == text).unwrap_or_default()
    }

    /// The value in the address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::SixHours => "6h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// Length in seconds.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Hour => 3600,
            Self::SixHours => 6 * 3600,
            Self::Day => 24 * 3600,
            Self::Week => 7 * 24 * 3600,
        }
    }
}

/// One service on the overview.
#[derive(Clone, Debug, Default)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// How it fares now.
    pub status: ServiceStatus,
    /// Requests per second, lately.
    pub requests_per_second: f64,
    /// Share of failed requests, lately; `None` without requests.
    pub error_ratio: Option<f64>,
    /// 95th percentile in seconds, lately.
    pub p95_seconds: Option<f64>,
    /// The range in equal steps, oldest first; one minute each on the shortest range.
    pub series: Vec<ServicePoint>,
    /// Share of the error budget that is left, 0 to 1; `None` without an objective.
    pub budget_left: Option<f64>,
    /// The version serving now and since when.
    pub last_deploy: Option<(String, UnixNanos)>,
}

/// One step of a service's series.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServicePoint {
    /// Start of the step.
    pub at: UnixNanos,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Share of failed requests; `None` without requests.
    pub error_ratio: Option<f64>,
    /// Median in seconds; `None` without requests.
    pub p50_seconds: Option<f64>,
    /// 95th percentile in seconds; `None` without requests.
    pub p95_seconds: Option<f64>,
}

/// How a service fares, worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceStatus {
    /// Its availability objective is missed.
    Failing,
    /// It receives nothing while it is still called.
    Silent,
    /// Its latency objective is missed.
    Slow,
    /// It meets its objectives.
    Healthy,
    /// No requests in the range.
    #[default]
    NoTraffic,
}

/// The list of services.
#[derive(Clone, Debug)]
pub struct ServicesPage {
    /// The present instant.
    pub now: UnixNanos,
    /// How far back the page looks.
    pub range: Range,
    /// Services in any order; the page puts the worst first.
    pub services: Vec<ServiceRow>,
    /// Part of a name to look for; or empty.
    pub query: String,
    /// Incidents open now.
    pub incidents: Vec<Incident>,
    /// Its top bar.
    pub top: Top,
}

/// The page of one service.
#[derive(Clone, Debug)]
pub struct ServicePage {
    /// The present instant.
    pub now: UnixNanos,
    /// How far back the page looks.
    pub range: Range,
    /// The service as on the overview.
    pub service: ServiceRow,
    /// Its objectives and custom SLIs.
    pub objectives: Vec<ObjectiveBurn>,
    /// What detectors see now, worst first.
    pub findings: Vec<ServiceFinding>,
    /// Its endpoints in any order; the page puts the worst first.
    pub endpoints: Vec<EndpointRow>,
    /// Its versions with their first sight, the latest first.
    pub versions: Vec<(String, UnixNanos)>,
    /// Who called it and whom it called lately, busiest first.
    pub edges: Vec<ServiceEdge>,
    /// Changes of the range that concern it.
    pub changes: Vec<Change>,
    /// Open incidents that it takes part in.
    pub incidents: Vec<Incident>,
    /// Its top bar.
    pub top: Top,
}

/// How fast the budget of one objective burns.
#[derive(Clone, Debug)]
pub struct ObjectiveBurn {
    /// What must be good: `requests succeed`, `requests under 500 ms`, or the name of a custom SLI.
    pub name: String,
    /// Share that must be, 0 to 1.
    pub objective: f64,
    /// Burn over 1 h, 6 h and 24 h; `None` without requests.
    pub burns: [Option<f64>; 3],
    /// Share of good requests over 24 h; `None` without requests.
    pub good_ratio: Option<f64>,
    /// Requests that counted over 24 h.
    pub requests: f64,
}

/// A finding and what it looks like.
#[derive(Clone, Debug)]
pub struct ServiceFinding {
    /// The finding.
    pub finding: Finding,
    /// What to draw; may be empty.
    pub panels: Vec<Panel>,
    /// The number of the open incident that it belongs to.
    pub incident: Option<u32>,
}

/// One endpoint of a service.
#[derive(Clone, Debug, Default)]
pub struct EndpointRow {
    /// How it fares, under the name of its service.
    pub row: ServiceRow,
    /// Its name.
    pub endpoint: String,
    /// Whether it waits by design: its requests, or the long ones of them, stay out of latency.
    pub waits: bool,
}

/// How fresh one signal is.
#[derive(Clone, Debug)]
pub struct SignalFreshness {
    /// `Traces`, `Logs`, `Metrics`...
    pub signal: String,
    /// The newest row's time; `None` when there is no row.
    pub newest: Option<UnixNanos>,
    /// Rows stored.
    pub rows: u64,
}

/// The list of incidents.
#[derive(Clone, Debug)]
pub struct IncidentsPage {
    /// Incidents in any order; the page puts open ones first, then the newest.
    pub incidents: Vec<Incident>,
    /// Which of them to show.
    pub filter: IncidentFilter,
    /// Words to look for in id, title, cause and service; or empty.
    pub query: String,
    /// The present instant.
    pub now: UnixNanos,
    /// Its top bar.
    pub top: Top,
}

/// Which incidents to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncidentFilter {
    /// Open, acknowledged and resolved ones.
    #[default]
    All,
    /// Open and acknowledged ones.
    Open,
    /// Resolved ones.
    Resolved,
}

impl IncidentFilter {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::All, Self::Open, Self::Resolved];

    /// Reads `?status=`; anything unknown is all.
    pub fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|filter| filter.as_str() == text).unwrap_or_default()
    }

    /// The value in the address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// One trace.
#[derive(Clone, Debug)]
pub struct TracePage {
    /// The trace.
    pub trace: Trace,
    /// Its top bar.
    pub top: Top,
}
