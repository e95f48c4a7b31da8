//! Sections of the incident page that tell a report: impact, causal chain, changes, hypotheses, checks.

use domain::text::{number, percent, plain, seconds};
use domain::{
    ChainLink, Change, ChangeKind, CheckOutcome, ConsideredChange, Hypothesis, HypothesisId,
    HypothesisStatus, ImpactedEndpoint, ObjectiveStatus, Prediction, Report,
};
use serde::Serialize;

use super::incident::outcome_state;
use super::words::{Citations, Cite, Cut, State, Words, count, cut, distance, plural};

const MOST_OBJECTIVES: usize = 10;
const MOST_ENDPOINTS: usize = 20;
const MOST_LINKS: usize = 7;
const MOST_CHANGES: usize = 20;
const MOST_PREDICTIONS: usize = 8;
const MOST_GAPS: usize = 20;
/// Hypotheses that the page lists besides the answer.
pub(super) const MOST_HYPOTHESES: usize = 12;
/// A change that explains this much stays a suspect, even when another is blamed.
const POSSIBLE_SCORE: f64 = 0.4;

/// What users felt.
#[derive(Serialize)]
pub(super) struct Impact {
    figures: Vec<Figure>,
    objectives: Vec<Objective>,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    value: String,
    note: Cut,
}

#[derive(Serialize)]
struct Objective {
    name: Cut,
    good: String,
    missed: bool,
    burn_5m: String,
    hot_5m: bool,
    burn_1h: String,
    hot_1h: bool,
    limit: String,
}

#[derive(Serialize)]
struct Endpoint {
    name: Cut,
    requests: String,
    failed: String,
    share: String,
    hot: bool,
    before: String,
    now: String,
}

/// The impact section; nothing when no request and no objective is known.
pub(super) fn impact(impact: &domain::Impact) -> Option<Impact> {
    if impact.requests == 0 && impact.objectives.is_empty() && impact.endpoints.is_empty() {
        return None;
    }
    let share = |part: u64| percent(part as f64 / impact.requests.max(1) as f64);
    let of = |part: u64| cut(&format!("{} of {}", share(part), count(impact.requests)), 60);
    let mut figures = Vec::new();
    if impact.requests > 0 {
        figures.push(Figure {
            name: "Requests failed",
            value: count(impact.failed),
            note: of(impact.failed),
        });
        figures.push(Figure { name: "Requests too slow", value: count(impact.slow), note: of(impact.slow) });
    }
    let worst = impact
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.failed > 0)
        .max_by(|a, b| failed_share(a).total_cmp(&failed_share(b)));
    if let Some(worst) = worst {
        figures.push(Figure {
            name: "Worst endpoint",
            value: percent(failed_share(worst)),
            note: cut(&format!("of {}, {} failed", plain(&worst.name, 60), count(worst.failed)), 100),
        });
    }
    if let Some(burning) = impact.objectives.iter().max_by(|a, b| a.burn_5m.total_cmp(&b.burn_5m)) {
        figures.push(Figure {
            name: "Fastest burn, 5 min",
            value: times(burning.burn_5m),
            note: cut(&format!("pages above {}", times(burning.burn_limit)), 60),
        });
    }
    Some(Impact {
        figures,
        objectives: impact.objectives.iter().take(MOST_OBJECTIVES).map(objective).collect(),
        endpoints: impact.endpoints.iter().take(MOST_ENDPOINTS).map(endpoint).collect(),
    })
}

fn times(rate: f64) -> String {
    format!("{} ×", number(rate))
}

fn failed_share(endpoint: &ImpactedEndpoint) -> f64 {
    endpoint.failed as f64 / endpoint.requests.max(1) as f64
}

fn objective(status: &ObjectiveStatus) -> Objective {
    Objective {
        name: cut(&status.name, 120),
        good: percent(status.good_ratio),
        missed: status.missed,
        burn_5m: times(status.burn_5m),
        hot_5m: status.burn_5m > status.burn_limit,
        burn_1h: times(status.burn_1h),
        hot_1h: status.burn_1h > status.burn_limit,
        limit: times(status.burn_limit),
    }
}

fn endpoint(endpoint: &ImpactedEndpoint) -> Endpoint {
    let latency = |value: Option<f64>| value.map_or("–".into(), seconds);
    Endpoint {
        name: cut(&endpoint.name, 100),
        requests: count(endpoint.requests),
        failed: count(endpoint.failed),
        share: percent(failed_share(endpoint)),
        hot: failed_share(endpoint) >= 0.01,
        before: latency(endpoint.p95_before),
        now: latency(endpoint.p95_now),
    }
}

/// The causal chain.
#[derive(Serialize)]
pub(super) struct Chain {
    links: Vec<Link>,
    columns: usize,
    omitted: usize,
}

#[derive(Serialize)]
struct Link {
    class: &'static str,
    role: String,
    component: Cut,
    text: Words,
    at: Option<String>,
    edge: String,
}

/// The causal chain; nothing when no cause is named. The last card, which is what users felt, is always kept.
pub(super) fn chain(report: &Report) -> Option<Chain> {
    let links = &report.diagnosis.chain;
    let citations = Citations(&report.diagnosis);
    let (last, before) = links.split_last()?;
    let shown: Vec<&ChainLink> = before.iter().take(MOST_LINKS - 1).chain([last]).collect();
    let view = |link: &&ChainLink| Link {
        class: match link.role.as_str() {
            "Root cause" => "is-root",
            "Critical failure" | "Impact" => "is-hit",
            _ => "",
        },
        role: plain(&link.role, 40),
        component: cut(&link.component, 60),
        text: citations.sentence(&link.text),
        at: link.began.map(domain::UnixNanos::clock_time),
        edge: plain(&link.edge, 40),
    };
    Some(Chain {
        columns: if shown.len() > 5 { 4 } else { shown.len() },
        omitted: links.len() - shown.len(),
        links: shown.iter().map(view).collect(),
    })
}

/// What changed.
#[derive(Serialize)]
pub(super) struct Changes {
    rows: Vec<ChangeRow>,
    span: Option<String>,
    omitted: usize,
}

impl Changes {
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.omitted
    }
}

#[derive(Serialize)]
struct ChangeRow {
    time: String,
    distance: Option<String>,
    title: Cut,
    detail: Cut,
    reason: Words,
    state: State,
    score: String,
}

/// Changes looked at, best explanation first. None seen is worth saying, too.
pub(super) fn changes(report: &Report) -> Changes {
    let diagnosis = &report.diagnosis;
    let times = || diagnosis.changes.iter().map(|considered| considered.change.at);
    let span = times().min().zip(times().max());
    Changes {
        rows: diagnosis.changes.iter().take(MOST_CHANGES).map(|change| change_row(report, change)).collect(),
        span: span.map(|(first, last)| format!("{} to {}", first.clock_time(), last.clock_time())),
        omitted: diagnosis.changes.len().saturating_sub(MOST_CHANGES),
    }
}

fn change_row(report: &Report, considered: &ConsideredChange) -> ChangeRow {
    let started = report.diagnosis.started;
    let change = &considered.change;
    let came_after = started.is_some_and(|started| change.at > started);
    let state = if considered.blamed {
        State::new("st-crit", "i-crit", "Likely cause")
    } else if came_after {
        State::new("st-none", "i-none", "Came after")
    } else if considered.score >= POSSIBLE_SCORE {
        State::new("st-warn", "i-q", "Possible")
    } else {
        State::new("st-none", "i-x", "Unlikely")
    };
    ChangeRow {
        time: change.at.clock_time(),
        distance: started.map(|started| distance(change.at, started)),
        title: cut(&change_title(change), 160),
        detail: cut(&change.detail, 200),
        reason: Citations(&report.diagnosis).sentence(&considered.reason),
        state,
        score: format!("{:.2}", considered.score),
    }
}

/// `Deploy catalog 1.4.0 → 1.4.1`.
pub(super) fn change_title(change: &Change) -> String {
    let what = match change.kind {
        ChangeKind::Deploy => "Deploy",
        ChangeKind::Rollback => "Rollback",
        ChangeKind::CanaryStep => "Canary step",
        ChangeKind::Config => "Config",
        ChangeKind::Flag => "Flag",
        ChangeKind::Scale => "Scale",
        ChangeKind::Migration => "Migration",
        ChangeKind::Commit => "Commit",
        ChangeKind::Other => "Change",
    };
    let mut title = what.to_owned();
    let flag = if change.kind == ChangeKind::Flag { change.reference.as_str() } else { "" };
    for part in [change.service.as_str(), flag].into_iter().filter(|part| !part.is_empty()) {
        title.push(' ');
        title.push_str(&plain(part, 60));
    }
    match (change.previous.as_str(), change.version.as_str()) {
        (_, "") => {}
        ("", version) => title.push_str(&format!(" {}", plain(version, 40))),
        (previous, version) => {
            title.push_str(&format!(" {} → {}", plain(previous, 40), plain(version, 40)));
        }
    }
    title
}

/// Hypotheses besides the answer.
#[derive(Serialize)]
pub(super) struct Hypotheses {
    note: String,
    rows: Vec<HypothesisRow>,
    omitted: usize,
}

impl Hypotheses {
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.omitted
    }
}

#[derive(Serialize)]
struct HypothesisRow {
    number: u32,
    statement: Words,
    predictions: Vec<Tested>,
    state: State,
    score: String,
    supports: Vec<Cite>,
    contradicts: Vec<Cite>,
}

#[derive(Serialize)]
struct Tested {
    word: &'static str,
    text: Words,
}

/// Hypotheses besides the answer; nothing when there is none.
pub(super) fn hypotheses(report: &Report, listed: &[HypothesisId]) -> Option<Hypotheses> {
    if listed.is_empty() {
        return None;
    }
    let diagnosis = &report.diagnosis;
    let cause = diagnosis.cause();
    let rows = diagnosis.hypotheses.iter().filter(|hypothesis| listed.contains(&hypothesis.id));
    Some(Hypotheses {
        note: match cause {
            Some(cause) => format!("{}, the answer above, scores {:.2}", cause.id, cause.score),
            None => "none stands out".to_owned(),
        },
        rows: rows.map(|hypothesis| hypothesis_row(report, hypothesis)).collect(),
        omitted: diagnosis.hypotheses.len() - listed.len() - usize::from(cause.is_some()),
    })
}

fn hypothesis_row(report: &Report, hypothesis: &Hypothesis) -> HypothesisRow {
    let citations = Citations(&report.diagnosis);
    let tested = |prediction: &Prediction| Tested {
        word: match prediction.held {
            Some(true) => "Fits:",
            Some(false) => "Does not fit:",
            None => "Not tested:",
        },
        text: citations.sentence(&prediction.text),
    };
    HypothesisRow {
        number: hypothesis.id.0,
        statement: citations.sentence(&hypothesis.statement),
        predictions: hypothesis.predictions.iter().take(MOST_PREDICTIONS).map(tested).collect(),
        state: match hypothesis.status {
            HypothesisStatus::Supported => State::new("st-info", "i-ok", "Fits"),
            HypothesisStatus::RuledOut => State::new("st-none", "i-x", "Ruled out"),
            HypothesisStatus::NotEnoughData => State::new("st-warn", "i-q", "Not enough data"),
        },
        score: format!("{:.2}", hypothesis.score),
        supports: citations.links(&hypothesis.supports),
        contradicts: citations.links(&hypothesis.contradicts),
    }
}

/// Checks run and what could not be seen.
#[derive(Serialize)]
pub(super) struct Checks {
    note: String,
    rows: Vec<CheckRow>,
    gaps: Vec<String>,
}

impl Checks {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

#[derive(Serialize)]
struct CheckRow {
    state: State,
    title: &'static str,
    note: String,
    cites: Vec<Cite>,
}

/// Checks, whatever came of them, and gaps in the data; nothing when neither is known.
pub(super) fn checks(report: &Report) -> Option<Checks> {
    let diagnosis = &report.diagnosis;
    if diagnosis.checks.is_empty() && diagnosis.gaps.is_empty() {
        return None;
    }
    let outcome = |wanted| diagnosis.checks.iter().filter(|check| check.outcome == wanted).count();
    let note = format!(
        "{} found something, {} nothing, {} could not look",
        outcome(CheckOutcome::Found),
        outcome(CheckOutcome::Nothing),
        outcome(CheckOutcome::CouldNotLook)
    );
    let row = |check: &domain::Check| CheckRow {
        state: outcome_state(check.outcome),
        title: check.kind.title(),
        note: if check.evidence.is_empty() { plain(&check.note, 300) } else { String::new() },
        cites: Citations(diagnosis).links(&check.evidence),
    };
    let mut gaps: Vec<String> = diagnosis.gaps.iter().take(MOST_GAPS).map(|gap| plain(gap, 300)).collect();
    if diagnosis.gaps.len() > MOST_GAPS {
        gaps.push(format!("And {}.", plural(diagnosis.gaps.len() - MOST_GAPS, "other", "others")));
    }
    Some(Checks { note, rows: diagnosis.checks.iter().map(row).collect(), gaps })
}
