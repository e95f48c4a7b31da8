//! What the demo tells while it runs: one line per step, with the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::{Clock, EvidenceKind, Incident, IncidentEvent, IncidentId, Report, UnixNanos};

use crate::output;
use crate::pages::{CheckProgress, ProgressState};

/// Tells the story.
pub struct Story {
    clock: Arc<dyn Clock>,
    /// Whether standard output is for the outcome only.
    aside: bool,
    /// When the fault began.
    pub fault_began: Option<UnixNanos>,
    /// Events told, by incident.
    told: BTreeMap<IncidentId, usize>,
    /// Services and objectives told.
    joined: BTreeSet<(IncidentId, String)>,
    checks: BTreeSet<(IncidentId, EvidenceKind)>,
}

impl Story {
    /// A story told on standard output, or aside on standard error.
    pub fn new(clock: Arc<dyn Clock>, aside: bool) -> Self {
        Self {
            clock,
            aside,
            fault_began: None,
            told: BTreeMap::new(),
            joined: BTreeSet::new(),
            checks: BTreeSet::new(),
        }
    }

    /// One step, with the time.
    pub fn step(&self, text: &str) {
        self.plain(&format!("{}  {text}", self.clock.now().clock_time()));
    }

    /// A line that belongs to the step before.
    pub fn more(&self, text: &str) {
        self.plain(&format!("          {text}"));
    }

    fn plain(&self, line: &str) {
        if self.aside { output::note(line) } else { output::line(line) }
    }

    /// Seconds since the fault began, in words.
    fn since_fault(&self, at: UnixNanos) -> String {
        match self.fault_began {
            Some(began) if at >= began => format!(", {:.0} s after the fault", at.seconds_since(began)),
            _ => String::new(),
        }
    }

    /// Tells what happened to an incident since the last time. Numbers of investigations that ended.
    pub fn incident(&mut self, incident: &Incident, url: &str) -> Vec<u32> {
        let told = self.told.insert(incident.id, incident.events.len()).unwrap_or(0);
        let mut runs = Vec::new();
        for (at, event) in incident.events.iter().skip(told) {
            match event {
                IncidentEvent::Opened { finding } => {
                    self.joined.insert((incident.id, finding.fingerprint()));
                    let since = self.since_fault(*at);
                    self.step(&format!("incident  {} opened{since}: {}", incident.id, finding.title()));
                    self.more(&format!("          {url}"));
                }
                IncidentEvent::Updated { finding } => {
                    if self.joined.insert((incident.id, finding.fingerprint())) {
                        self.step(&format!("incident  {} also {}", incident.id, finding.title()));
                    }
                }
                IncidentEvent::Investigated { run, elapsed_ms, .. } => {
                    let since = self.since_fault(*at);
                    self.step(&format!("answer    investigation {run} ended in {elapsed_ms} ms{since}"));
                    runs.push(*run);
                }
                IncidentEvent::Resolved { reason, .. } => {
                    self.step(&format!("incident  {} resolved: {reason}", incident.id));
                }
                IncidentEvent::Acknowledged { .. }
                | IncidentEvent::Feedback { .. }
                | IncidentEvent::Fixed { .. } => {}
            }
        }
        runs
    }

    /// Tells of each check as it ends, the first time.
    pub fn progress(&mut self, id: IncidentId, checks: &[CheckProgress]) {
        for check in checks {
            let done = matches!(check.state, ProgressState::Done(_));
            if done && self.checks.insert((id, check.kind)) {
                self.step(&format!(
                    "checking  {}: {}",
                    check.kind.title(),
                    domain::text::plain(&check.note, 120)
                ));
            }
        }
    }

    /// The answer.
    pub fn answer(&self, report: &Report, url: &str) {
        let sentences = |sentences: &[domain::Sentence]| {
            sentences.iter().map(|sentence| domain::text::plain(&sentence.text, 400)).collect::<Vec<_>>()
        };
        let mut lines = match report.diagnosis.confidence.level {
            domain::ConfidenceLevel::Inconclusive => Vec::new(),
            level => vec![format!("{} confidence", level.word())],
        };
        lines.extend(sentences(&report.answer.going_on));
        lines.extend(sentences(&report.answer.cause));
        lines.extend(
            report
                .answer
                .next_steps
                .iter()
                .map(|step| format!("Next: {}", domain::text::plain(&step.text.text, 300))),
        );
        lines.push(url.to_owned());
        lines.iter().for_each(|line| self.more(line));
    }
}
