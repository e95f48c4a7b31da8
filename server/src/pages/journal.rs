//! Sections of the incident page that come from its journal: timeline, alerts, notes and audit.

use domain::text::{number, percent, plain};
use domain::{
    Incident, IncidentEvent, Mechanism, NarratedBy, Report, TimelineEntry, TimelineKind, UnixNanos,
};
use serde::Serialize;

use super::words::{Citations, Cite, Cut, State, Words, cut, lag, plural};
use crate::noise::HeldBack;

const MOST_ENTRIES: usize = 60;
/// Alerts shown of each kind: heard, and held back.
pub const MOST_ALERTS: usize = 30;
const MOST_NOTES: usize = 40;

/// An entry of the timeline.
#[derive(Serialize)]
pub(super) struct TimelineRow {
    class: &'static str,
    time: String,
    lag: String,
    text: Words,
    /// Whether this is the start, which stands out.
    strong: bool,
}

/// What the report saw and what people and Inquest did, on one axis. When there is too much, the oldest stays.
pub(super) fn timeline(incident: &Incident, report: Option<&Report>) -> Vec<TimelineRow> {
    let mut entries: Vec<TimelineEntry> = incident.events.iter().filter_map(entry).collect();
    if let Some(report) = report {
        entries.extend(report.diagnosis.timeline.iter().cloned());
    }
    entries.sort_by_key(|entry| entry.at);
    let started = report.and_then(|report| report.diagnosis.started).unwrap_or(incident.started);
    let words = |entry: &TimelineEntry| match report {
        Some(report) => Citations(&report.diagnosis).sentence(&entry.text),
        None => Words { text: plain(&entry.text.text, 400), cites: Vec::<Cite>::new(), end: "" },
    };
    let row = |entry: &TimelineEntry| TimelineRow {
        class: match entry.kind {
            TimelineKind::Change => "change",
            TimelineKind::Hurt => "hurt",
            TimelineKind::Human => "human",
            TimelineKind::Shift | TimelineKind::Machine => "",
        },
        time: entry.at.clock_time(),
        lag: lag(entry.at, started),
        text: words(entry),
        strong: entry.kind == TimelineKind::Hurt,
    };
    entries.iter().take(MOST_ENTRIES).map(row).collect()
}

fn entry((at, event): &(UnixNanos, IncidentEvent)) -> Option<TimelineEntry> {
    let by = |actor: &str| if actor.is_empty() { String::new() } else { format!(" by {}", plain(actor, 60)) };
    let (kind, text) = match event {
        IncidentEvent::Opened { .. } => (TimelineKind::Machine, "Incident opened".to_owned()),
        IncidentEvent::Updated { .. } => return None,
        IncidentEvent::Investigated { run, confidence, root_service, elapsed_ms, .. } => {
            let outcome = match root_service.as_str() {
                "" => "no cause named".to_owned(),
                service => format!("{}, {} confidence", plain(service, 60), confidence.word().to_lowercase()),
            };
            (TimelineKind::Machine, format!("Run {run} ended after {}: {outcome}", elapsed(*elapsed_ms)))
        }
        IncidentEvent::Acknowledged { actor } => (TimelineKind::Human, format!("Acknowledged{}", by(actor))),
        IncidentEvent::Resolved { actor, reason } => {
            let kind = if actor == "inquest" { TimelineKind::Machine } else { TimelineKind::Human };
            let why = if reason.is_empty() { String::new() } else { format!(": {}", plain(reason, 200)) };
            (kind, format!("Resolved{}{why}", by(actor)))
        }
        IncidentEvent::Feedback { actor, verdict, .. } => {
            (TimelineKind::Human, format!("Answer judged “{}”{}", verdict_words(verdict), by(actor)))
        }
        IncidentEvent::Fixed { actor, text } => {
            (TimelineKind::Human, format!("Fixed{}: {}", by(actor), plain(text, 200)))
        }
    };
    Some(TimelineEntry { at: *at, kind, text: domain::Sentence::new(text, []) })
}

fn elapsed(elapsed_ms: u64) -> String {
    domain::text::seconds(elapsed_ms as f64 / 1e3)
}

/// A verdict in the words of the form.
pub(super) fn verdict_words(verdict: &str) -> String {
    match verdict {
        "right" => "Right".into(),
        "not-quite" => "Not quite".into(),
        "wrong" => "Wrong".into(),
        other => plain(other, 20),
    }
}

/// Alerts that belong to the incident.
#[derive(Serialize)]
pub(super) struct Alerts {
    rows: Vec<AlertRow>,
    omitted: usize,
    held_back: Vec<HeldBackRow>,
    held_back_omitted: usize,
}

impl Alerts {
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.omitted + self.held_back.len() + self.held_back_omitted
    }
}

/// Alerts of one kind that nobody heard.
#[derive(Serialize)]
struct HeldBackRow {
    fingerprint: String,
    name: Cut,
    pattern: Cut,
    times: String,
    since: String,
    last: String,
    why: String,
    back: String,
}

#[derive(Serialize)]
struct AlertRow {
    name: Cut,
    state: State,
    since: String,
    good: String,
    burn: String,
    role: &'static str,
}

/// The latest state of each alert, and what was held back; nothing when there is only the alert that opened the incident.
pub(super) fn alerts(incident: &Incident, (held_back, kinds): &(Vec<HeldBack>, u64)) -> Option<Alerts> {
    if incident.findings.len() < 2 && held_back.is_empty() {
        return None;
    }
    let row = |(index, finding): (usize, &domain::Finding)| {
        let missed = finding.objective();
        let what = match (missed, missed.and_then(|missed| missed.threshold_ms)) {
            (Some(missed), Some(threshold)) => format!(
                "latency, {} under {}",
                percent(missed.objective),
                domain::text::seconds(threshold / 1e3)
            ),
            (Some(missed), None) => {
                format!("{}, objective {}", missed.sli.as_str(), percent(missed.objective))
            }
            (None, _) => finding.kind().to_owned(),
        };
        AlertRow {
            name: cut(&format!("{} {what}", plain(&finding.whom(), 80)), 140),
            state: State::of(finding.severity),
            since: finding.started.clock_time(),
            good: missed.map_or("–".into(), |missed| percent(missed.good_ratio)),
            burn: missed.map_or("–".into(), |missed| format!("{} ×", number(missed.burn_short))),
            role: if index == 0 { "Opened the incident" } else { "Joined it" },
        }
    };
    Some(Alerts {
        rows: incident.findings.iter().enumerate().take(MOST_ALERTS).map(row).collect(),
        omitted: incident.findings.len().saturating_sub(MOST_ALERTS),
        held_back: held_back.iter().take(MOST_ALERTS).map(held_back_row).collect(),
        held_back_omitted: usize::try_from(*kinds).unwrap_or(usize::MAX).saturating_sub(MOST_ALERTS),
    })
}

fn held_back_row(one: &HeldBack) -> HeldBackRow {
    let row = &one.row;
    let name =
        if row.service.is_empty() { row.rule.clone() } else { format!("{}: {}", row.service, row.rule) };
    HeldBackRow {
        fingerprint: row.fingerprint.clone(),
        name: cut(&name, 120),
        pattern: cut(&row.pattern, 140),
        times: plural(usize::try_from(row.alerts).unwrap_or(usize::MAX), "time", "times"),
        since: UnixNanos(row.first).clock_time(),
        last: if row.alerts > 1 { UnixNanos(row.last).clock_time() } else { String::new() },
        why: match &one.by {
            Some((actor, approval)) => {
                let note = if approval.note.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", plain(&approval.note, 200))
                };
                format!(
                    "{}{note}, until {}, by {}",
                    approval.reason.words(),
                    approval.expires.date(),
                    plain(actor, 60)
                )
            }
            None => "the decision is too long ago to be at hand".into(),
        },
        back: one.back.as_ref().map_or_else(String::new, |(at, reopening)| {
            format!("Came back at {}: {}", at.clock_time(), reopening.words())
        }),
    }
}

/// What people said, and which runs there were.
#[derive(Serialize)]
pub(super) struct Audit {
    notes: Vec<Note>,
    runs: Vec<Note>,
    omitted: usize,
}

#[derive(Serialize)]
struct Note {
    who: String,
    meta: String,
    text: String,
}

/// Notes and runs, oldest first.
pub(super) fn audit(incident: &Incident, report: Option<&Report>) -> Audit {
    let mut notes = Vec::new();
    let mut runs = Vec::new();
    for (at, event) in &incident.events {
        let time = at.clock_time();
        match event {
            IncidentEvent::Feedback { actor, verdict, service, mechanism, text } => {
                let service = (!service.is_empty()).then(|| format!("in {}", plain(service, 80)));
                let how = mechanism.map(Mechanism::words);
                let really: Vec<String> = service.into_iter().chain(how).collect();
                let really = (!really.is_empty()).then(|| format!(" Really {}.", really.join(", ")));
                let text = format!(
                    "{}.{} {}",
                    verdict_words(verdict),
                    really.unwrap_or_default(),
                    plain(text, 1000)
                );
                notes.push(Note { who: who(actor), meta: time, text });
            }
            IncidentEvent::Fixed { actor, text } => {
                let text = format!("Fixed by: {}", plain(text, 1000));
                notes.push(Note { who: who(actor), meta: time, text });
            }
            IncidentEvent::Resolved { actor, reason } if !reason.is_empty() => {
                let text = format!("Resolved: {}", plain(reason, 1000));
                notes.push(Note { who: who(actor), meta: time, text });
            }
            IncidentEvent::Investigated { run, summary, confidence, elapsed_ms, .. } => {
                runs.push(Note {
                    who: format!("Run {run}"),
                    meta: format!("{time}, {}, {}", elapsed(*elapsed_ms), confidence.word().to_lowercase()),
                    text: plain(summary, 400),
                });
            }
            _ => {}
        }
    }
    if let (Some(report), Some(last)) = (report, runs.last_mut()) {
        last.meta.push_str(&format!(", engine {}, {}", plain(&report.engine, 40), narrator(report)));
    }
    let omitted = notes.len().saturating_sub(MOST_NOTES) + runs.len().saturating_sub(MOST_NOTES);
    notes.drain(..notes.len().saturating_sub(MOST_NOTES));
    runs.drain(..runs.len().saturating_sub(MOST_NOTES));
    Audit { notes, runs, omitted }
}

fn narrator(report: &Report) -> String {
    match &report.narrated {
        NarratedBy::Model { model, prompt, .. } => {
            format!("{}, prompt {}", plain(model, 80), plain(prompt, 40))
        }
        NarratedBy::Template | NarratedBy::TemplateInstead { .. } => "template narrator".to_owned(),
    }
}

fn who(actor: &str) -> String {
    if actor.is_empty() { "somebody".into() } else { plain(actor, 80) }
}
