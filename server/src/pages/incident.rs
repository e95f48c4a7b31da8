//! The page of one incident: the answer first, then what it rests on, in one fixed order.
//!
//! Sections with nothing to say are left out.

use std::collections::BTreeSet;

use domain::text::{duration, plain};
use domain::{
    CheckOutcome, ConfidenceLevel, HypothesisId, Incident, IncidentEvent, IncidentStatus, Report, StepKind,
    Verdict,
};
use investigator::narrate::Asked;
use serde::Serialize;

use super::evidence::{Around, Card, card};
use super::input::{self, CheckProgress, IncidentPage, ProgressState};
use super::journal::{self, Alerts, Audit, TimelineRow};
use super::sections::{self, Chain, Changes, Checks, Hypotheses, Impact};
use super::templates::render;
use super::words::{Citations, Cut, Moment, Shell, State, Words, cut, lag, moment, plural};

const TITLE_LIMIT: usize = 180;
const COMMAND_LIMIT: usize = 400;
const MOST_CARDS: usize = 40;
const MOST_STEPS: usize = 3;
const MOST_SERVICES: usize = 40;

#[derive(Serialize)]
struct View {
    shell: Shell,
    number: u32,
    id: String,
    head: Head,
    progress: Option<Vec<ProgressRow>>,
    answer: Option<Answer>,
    feedback: Feedback,
    impact: Option<Impact>,
    chain: Option<Chain>,
    changes: Option<Changes>,
    cards: Vec<Card>,
    hypotheses: Option<Hypotheses>,
    checks: Option<Checks>,
    pattern: Option<(Cut, Cut, Cut)>,
    similar: Vec<SimilarRow>,
    asked: Option<AskedView>,
    timeline: Vec<TimelineRow>,
    alerts: Option<Alerts>,
    audit: Audit,
    rail: Vec<RailItem>,
}

#[derive(Serialize)]
struct Head {
    title: Cut,
    severity: State,
    status: &'static str,
    can_resolve: bool,
    can_acknowledge: bool,
    started: Moment,
    detected: Moment,
    detected_lag: String,
    resolved: Option<Moment>,
    duration: String,
    owner: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    going_on: Vec<Words>,
    cause: Vec<Words>,
    /// `H1`, or nothing when no cause is named.
    hypothesis: Option<String>,
    level: &'static str,
    bars: usize,
    reasons: Vec<Words>,
    steps: Vec<Step>,
    source: Vec<String>,
}

#[derive(Serialize)]
struct Step {
    tag: &'static str,
    class: &'static str,
    text: Words,
    command: Option<String>,
}

#[derive(Serialize)]
struct SimilarRow {
    number: u32,
    id: String,
    title: Cut,
    started: Moment,
    distance: String,
    shared: Vec<Cut>,
    confirmed: Cut,
    fixed: Cut,
}

#[derive(Serialize)]
struct AskedView {
    question: String,
    answer: Vec<Words>,
    source: String,
    looked: Vec<LookedView>,
}

/// What was looked up for an answer: it has no card among the evidence.
#[derive(Serialize)]
struct LookedView {
    id: u32,
    claim: String,
    figures: Vec<(String, String, String)>,
}

#[derive(Serialize)]
struct Feedback {
    /// What was said last.
    said: Option<String>,
    services: Vec<String>,
}

#[derive(Serialize)]
struct ProgressRow {
    state: State,
    title: &'static str,
    note: String,
}

#[derive(Serialize)]
struct RailItem {
    id: &'static str,
    name: &'static str,
    count: Option<usize>,
}

/// Draws the page of one incident.
pub(super) fn page(page: &IncidentPage) -> String {
    render("incident.html", &view(page))
}

/// Draws the list of checks alone: the whole of it each time, so that a message lost on the way does no harm.
pub(super) fn progress(checks: &[CheckProgress]) -> String {
    #[derive(Serialize)]
    struct Fragment {
        progress: Vec<ProgressRow>,
    }
    render("progress.html", &Fragment { progress: progress_rows(checks) })
}

fn view(page: &IncidentPage) -> View {
    let incident = &page.incident;
    let report = page.report.as_ref();
    let listed = report.map_or(Vec::new(), listed);
    let cards: Vec<Card> = report.map_or(Vec::new(), |report| {
        let around = Around {
            diagnosis: &report.diagnosis,
            listed: &listed,
            frame: page.frame,
            ongoing: incident.is_open(),
            base: &page.top.base_path,
        };
        report.diagnosis.evidence.iter().take(MOST_CARDS).map(|evidence| card(evidence, &around)).collect()
    });
    let running = !page.progress.is_empty() || (report.is_none() && incident.is_open());
    let mut view = View {
        shell: Shell::new(format!("{} {}", incident.id, plain(&incident.title, 100)), "incidents", &page.top),
        number: incident.id.0,
        id: incident.id.to_string(),
        head: head(page),
        progress: running.then(|| progress_rows(&page.progress)),
        answer: report.map(answer),
        feedback: feedback(incident, report),
        impact: report.and_then(|report| sections::impact(&report.diagnosis.impact)),
        chain: report.and_then(sections::chain),
        changes: report.map(sections::changes),
        cards,
        hypotheses: report.and_then(|report| sections::hypotheses(report, &listed)),
        checks: report.and_then(sections::checks),
        pattern: page
            .beside
            .pattern
            .as_ref()
            .map(|(title, mechanism, text)| (cut(title, 120), cut(mechanism, 300), cut(text, 1200))),
        similar: page.beside.similar.iter().map(similar).collect(),
        asked: report.and_then(|report| Some(asked(page.beside.asked.as_ref()?, report))),
        timeline: journal::timeline(incident, report),
        alerts: journal::alerts(incident, &page.beside.held_back),
        audit: journal::audit(incident, report),
        rail: Vec::new(),
    };
    view.rail = rail(&view);
    view
}

/// Hypotheses that the page lists below the answer: all but the cause, up to a bound.
fn listed(report: &Report) -> Vec<HypothesisId> {
    let cause = report.diagnosis.cause().map(|cause| cause.id);
    let ids = report.diagnosis.hypotheses.iter().map(|hypothesis| hypothesis.id);
    ids.filter(|id| Some(*id) != cause).take(sections::MOST_HYPOTHESES).collect()
}

fn head(page: &IncidentPage) -> Head {
    let incident = &page.incident;
    let end = incident.resolved.unwrap_or(page.now);
    let owner = incident.events.iter().rev().find_map(|(_, event)| match event {
        IncidentEvent::Acknowledged { actor } => Some(plain(actor, 60)),
        _ => None,
    });
    Head {
        title: cut(&incident.title, TITLE_LIMIT),
        severity: State::of(incident.severity),
        status: match incident.status {
            IncidentStatus::Open => "Open",
            IncidentStatus::Acknowledged => "Acknowledged",
            IncidentStatus::Resolved => "Resolved",
        },
        can_resolve: incident.is_open(),
        can_acknowledge: incident.status == IncidentStatus::Open,
        started: moment(incident.started),
        detected: moment(incident.detected),
        detected_lag: lag(incident.detected, incident.started),
        resolved: incident.resolved.map(moment),
        duration: duration(end.seconds_since(incident.started).max(0.0)),
        owner: owner.filter(|owner| !owner.is_empty()),
    }
}

fn answer(report: &Report) -> Answer {
    let diagnosis = &report.diagnosis;
    let citations = Citations(diagnosis);
    let step = |step: &domain::Step| Step {
        tag: match step.kind {
            StepKind::Verify => "Verify",
            StepKind::Mitigate => "Mitigate",
            StepKind::Fix => "Fix",
        },
        class: match step.kind {
            StepKind::Verify => "t-verify",
            StepKind::Mitigate => "t-mitigate",
            StepKind::Fix => "t-fix",
        },
        text: citations.sentence(&step.text),
        command: (!step.command.is_empty()).then(|| plain(&step.command, COMMAND_LIMIT)),
    };
    Answer {
        going_on: citations.sentences(&report.answer.going_on),
        cause: citations.sentences(&report.answer.cause),
        hypothesis: diagnosis.cause().map(|cause| cause.id.to_string()),
        level: match (diagnosis.verdict, diagnosis.confidence.level) {
            (Verdict::Inconclusive, _) | (_, ConfidenceLevel::Inconclusive) => "Inconclusive.",
            (_, ConfidenceLevel::Low) => "Low confidence.",
            (_, ConfidenceLevel::Medium) => "Medium confidence.",
            (_, ConfidenceLevel::High) => "High confidence.",
        },
        bars: match diagnosis.confidence.level {
            ConfidenceLevel::Inconclusive => 0,
            ConfidenceLevel::Low => 1,
            ConfidenceLevel::Medium => 2,
            ConfidenceLevel::High => 3,
        },
        reasons: citations.sentences(&diagnosis.confidence.reasons),
        steps: report.answer.next_steps.iter().take(MOST_STEPS).map(step).collect(),
        source: source(report),
    }
}

fn similar(similar: &input::Similar) -> SimilarRow {
    SimilarRow {
        number: similar.id.0,
        id: similar.id.to_string(),
        title: cut(&similar.title, TITLE_LIMIT),
        started: moment(similar.started),
        distance: format!("{:.2}", similar.distance),
        shared: similar.shared.iter().map(|feature| cut(feature, 60)).collect(),
        confirmed: cut(&similar.confirmed, 300),
        fixed: cut(&similar.fixed, 300),
    }
}

fn asked(asked: &Asked, report: &Report) -> AskedView {
    let (checked, cited) = asked.citations(report);
    let mut diagnosis = report.diagnosis.clone();
    diagnosis.evidence.extend(asked.looked.iter().cloned());
    let looked = asked.looked.iter().map(|one| LookedView {
        id: one.id.0,
        claim: plain(&one.claim, 600),
        figures: one
            .figures
            .iter()
            .map(|figure| (plain(&figure.name, 60), plain(&figure.before, 40), plain(&figure.now, 40)))
            .collect(),
    });
    AskedView {
        question: asked.question.clone(),
        answer: Citations(&diagnosis).sentences(&asked.sentences),
        looked: looked.collect(),
        source: format!("{}, {checked} of {cited} citations checked", asked.narrated.words()),
    }
}

/// Where the answer comes from: its writer, its citations, its checks, its window.
fn source(report: &Report) -> Vec<String> {
    let diagnosis = &report.diagnosis;
    let window = diagnosis.window;
    let mut parts = vec![
        report.narrated.words(),
        format!("{} of {} citations checked", report.citations_checked, report.citations),
        plural(diagnosis.checks.len(), "check", "checks"),
    ];
    parts.extend(report.used.map(|used| used.words()));
    let against = diagnosis.baseline.map_or(String::new(), |baseline| {
        format!(" against {} to {}", baseline.start.clock_time(), baseline.end.clock_time())
    });
    parts.push(format!("{} to {}{against}", window.start.clock_time(), window.end.clock_time()));
    parts
}

fn feedback(incident: &Incident, report: Option<&Report>) -> Feedback {
    let latest = incident.events.iter().rev().find_map(|(at, event)| match event {
        IncidentEvent::Feedback { actor, verdict, .. } => Some((at, actor, verdict)),
        _ => None,
    });
    let mut services: BTreeSet<String> = BTreeSet::new();
    let mut add = |name: &str| {
        if !name.is_empty() && services.len() < MOST_SERVICES {
            services.insert(plain(name, 80));
        }
    };
    add(&incident.service);
    if let Some(report) = report {
        report.diagnosis.hypotheses.iter().for_each(|hypothesis| add(&hypothesis.service));
        report.diagnosis.evidence.iter().for_each(|evidence| add(&evidence.service));
    }
    Feedback {
        said: latest.map(|(at, actor, verdict)| {
            let by = if actor.is_empty() { String::new() } else { format!(" by {}", plain(actor, 60)) };
            format!("Saved at {}{by}: {}", at.clock_time(), journal::verdict_words(verdict))
        }),
        services: services.into_iter().collect(),
    }
}

fn progress_rows(checks: &[CheckProgress]) -> Vec<ProgressRow> {
    let row = |check: &CheckProgress| ProgressRow {
        state: match check.state {
            ProgressState::Waiting => State::new("st-none st-quiet", "i-dot", "Waiting"),
            ProgressState::Running => State::new("st-info", "i-run", "Looking"),
            ProgressState::Done(outcome) => outcome_state(outcome),
        },
        title: check.kind.title(),
        note: plain(&check.note, 300),
    };
    checks.iter().map(row).collect()
}

/// How the outcome of a check is shown.
pub(super) const fn outcome_state(outcome: CheckOutcome) -> State {
    match outcome {
        CheckOutcome::Found => State::new("st-info", "i-ok", "Found"),
        CheckOutcome::Nothing => State::new("st-none", "i-none", "Nothing found"),
        CheckOutcome::CouldNotLook => State::new("st-warn", "i-warn", "Could not look"),
    }
}

fn rail(view: &View) -> Vec<RailItem> {
    let item = |shown: bool, id, name, count| shown.then_some(RailItem { id, name, count });
    [
        item(true, "answer", "Answer", None),
        item(view.impact.is_some(), "impact", "Impact", None),
        item(view.chain.is_some(), "chain", "Causal chain", None),
        view.changes.as_ref().and_then(|changes| item(true, "changes", "What changed", Some(changes.len()))),
        item(!view.cards.is_empty(), "evidence", "Evidence", Some(view.cards.len())),
        view.hypotheses.as_ref().and_then(|others| item(true, "others", "Hypotheses", Some(others.len()))),
        view.checks.as_ref().and_then(|checks| item(true, "checks", "Checks and gaps", Some(checks.len()))),
        item(!view.timeline.is_empty(), "timeline", "Timeline", None),
        item(!view.similar.is_empty(), "similar", "Similar incidents", Some(view.similar.len())),
        view.alerts.as_ref().and_then(|alerts| item(true, "alerts", "Alerts", Some(alerts.len()))),
        item(true, "audit", "Notes and audit", None),
    ]
    .into_iter()
    .flatten()
    .collect()
}
