//! When incidents are looked into: as soon as one opens, and again while it is open and more has been seen.
//!
//! Deliberately absent: how (`investigator`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use detectors::objective::ObjectiveTable;
use domain::{
    CheckOutcome, Clock, EvidenceKind, Incident, IncidentEvent, IncidentId, Report, UnixNanos, Verdict,
    Window,
};
use investigator::{Knowledge, Progress, Question};
use storage::Store;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::Investigation;
use crate::incidents::Incidents;
use crate::lifecycle::Stage;
use crate::memory::Memory;
use crate::metrics::IncidentMetrics;
use crate::pages::input::{CheckProgress, ProgressState};
use crate::telling::Telling;

/// When an open incident is looked into, counted from its detection.
pub const RUNS_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(30), Duration::from_secs(90), Duration::from_secs(300)];

/// A window shorter than this holds too little to compare.
const SHORTEST_WINDOW: Duration = Duration::from_secs(20);

/// A question without a start looks this far back.
pub const DEFAULT_SINCE: Duration = Duration::from_secs(3600);

/// The checks of an investigation, in the order in which they are shown.
const CHECKS: [EvidenceKind; 7] = [
    EvidenceKind::ServiceLevel,
    EvidenceKind::ErrorCauses,
    EvidenceKind::LatencyDiff,
    EvidenceKind::LogPatterns,
    EvidenceKind::MetricShift,
    EvidenceKind::Change,
    EvidenceKind::Silence,
];

/// Looks into incidents. Cheap to clone.
#[derive(Clone)]
pub struct Investigations {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    incidents: Incidents,
    telling: Telling,
    memory: Memory,
    knowledge: Arc<Knowledge>,
    objectives: Arc<ObjectiveTable>,
    settings: Investigation,
    clock: Arc<dyn Clock>,
    metrics: IncidentMetrics,
    permits: Semaphore,
    stage: Stage,
}

impl Investigations {
    /// Investigations of the incidents of `store`, as tasks of `stage`.
    #[expect(clippy::too_many_arguments, reason = "the parts that it puts together, each of its own type")]
    pub fn new(
        store: Store,
        incidents: Incidents,
        telling: Telling,
        memory: Memory,
        knowledge: Arc<Knowledge>,
        objectives: Arc<ObjectiveTable>,
        settings: Investigation,
        clock: Arc<dyn Clock>,
        metrics: IncidentMetrics,
        stage: Stage,
    ) -> Self {
        let permits = Semaphore::new(settings.concurrency.get());
        let shared = Shared {
            store,
            incidents,
            telling,
            memory,
            knowledge,
            objectives,
            settings,
            clock,
            metrics,
            permits,
            stage,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes up what the last run of the program left open.
    pub fn resume(&self) {
        for incident in self.shared.incidents.open() {
            self.follow(incident.id);
        }
    }

    /// Looks into an incident now and then, until it is over or has been looked into often enough.
    pub fn follow(&self, id: IncidentId) {
        let this = self.clone();
        let stop = self.shared.stage.token();
        self.shared.stage.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = this.follow_to_the_end(id) => {}
            }
        });
    }

    async fn follow_to_the_end(&self, id: IncidentId) {
        let Some(incident) = self.shared.incidents.get(id) else { return };
        let age = Duration::from_secs_f64(self.shared.clock.now().seconds_since(incident.detected).max(0.0));
        let began = Instant::now();
        for after in due(age, incident.runs) {
            tokio::time::sleep_until(began + after.saturating_sub(age)).await;
            match self.shared.incidents.get(id) {
                Some(incident) if incident.is_open() => self.look_into(&incident).await,
                _ => return,
            }
        }
    }

    /// One investigation of an incident, noted with what came of it.
    async fn look_into(&self, incident: &Incident) {
        let Shared { incidents, metrics, .. } = &*self.shared;
        let id = incident.id;
        incidents.update_progress(id, |checks| *checks = waiting());
        let outcome = self.investigate_and_note(incident).await;
        incidents.clear_progress(id);
        match outcome {
            Ok(()) => metrics.investigations.inc(),
            Err(error) => {
                tracing::error!(incident = %id, error = format!("{error:#}"), "an investigation failed");
                metrics.failed_investigations.inc()
            }
        };
    }

    async fn investigate_and_note(&self, incident: &Incident) -> anyhow::Result<()> {
        let Shared { store, incidents, clock, .. } = &*self.shared;
        let question = self.question_of(incident, clock.now());
        let began = Instant::now();
        let progress = |step: Progress| {
            incidents.update_progress(incident.id, |checks| tick(checks, step));
        };
        let report = self.answer(&question, progress).await?;
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let run = incident.runs + 1;
        let json = serde_json::to_string(&report).context("the report does not serialise")?;
        store.report_put(incident.id.0, run, clock.now(), &json).await.context("cannot store the report")?;
        let event = IncidentEvent::Investigated {
            run,
            summary: summary(&report),
            confidence: report.diagnosis.confidence.level,
            root_service: report.diagnosis.cause().map(|cause| cause.service.clone()).unwrap_or_default(),
            elapsed_ms,
        };
        incidents.append(incident.id, event).await?;
        incidents.clear_progress(incident.id);
        self.shared
            .memory
            .remember(incident.id, &report.diagnosis)
            .await
            .context("cannot remember the incident")?;
        self.tell(incident.id, run, report);
        Ok(())
    }

    /// Has the model phrase a report that is already shown from templates, beside the runs to come: a slow model delays none
    /// of them.
    fn tell(&self, id: IncidentId, run: u32, report: Report) {
        if !self.shared.telling.has_model() {
            return;
        }
        let this = self.clone();
        let stop = self.shared.stage.token();
        self.shared.stage.spawn(async move {
            let told = tokio::select! {
                () = stop.cancelled() => return,
                told = this.retell(id, run, report) => told,
            };
            if let Err(error) = told {
                tracing::error!(incident = %id, run, error = format!("{error:#}"), "a report could not be told");
            }
        });
    }

    /// The telling takes the place of its own run's report only: the latest run is what is shown, however late an earlier
    /// one is told.
    async fn retell(&self, id: IncidentId, run: u32, report: Report) -> anyhow::Result<()> {
        let Shared { store, incidents, telling, clock, .. } = &*self.shared;
        let Some(report) = telling.retell(report.diagnosis, &id.to_string()).await? else { return Ok(()) };
        let json = serde_json::to_string(&report).context("the report does not serialise")?;
        store.report_put(id.0, run, clock.now(), &json).await.context("cannot store the report")?;
        if incidents.get(id).is_some_and(|incident| incident.runs == run) {
            incidents.announce(id);
        }
        Ok(())
    }

    /// Answers a question, as soon as one of the places is free and within the time allowed.
    pub async fn answer(
        &self,
        question: &Question,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> anyhow::Result<Report> {
        let Shared { store, settings, permits, metrics, knowledge, .. } = &*self.shared;
        let _place = permits.acquire().await.context("the program is stopping")?;
        let began = Instant::now();
        let answer = investigator::diagnose(store, question, progress);
        let diagnosis = tokio::time::timeout(settings.timeout.0, answer)
            .await
            .with_context(|| format!("the investigation took longer than {}", settings.timeout))??;
        let report = investigator::narrate::narrate_with(diagnosis, knowledge)?;
        metrics.investigation_seconds.observe(began.elapsed().as_secs_f64());
        Ok(report)
    }

    /// What is asked about an incident: from its start until now, or until it was over.
    fn question_of(&self, incident: &Incident, now: UnixNanos) -> Question {
        let end = incident.resolved.unwrap_or(now);
        let earliest = end.minus(self.shared.settings.longest_window.0);
        let start = incident.started.max(earliest).min(end.minus(SHORTEST_WINDOW));
        Question {
            started: Some(incident.started),
            ..self.question(&incident.service, Window::new(start, end))
        }
    }

    /// A question about any service and time.
    pub fn question(&self, service: &str, window: Window) -> Question {
        let objectives = self.shared.objectives.of(service).into();
        Question { objectives, ..Question::new(Some(service.to_owned()), window) }
    }
}

/// The looks to take at an incident of this age. Those that were missed, because the program was not running, are made
/// up for by one if there was none yet.
fn due(age: Duration, runs: u32) -> &'static [Duration] {
    let missed = RUNS_AFTER.iter().take_while(|after| **after < age).count();
    let made_up_for = usize::from(runs == 0 && missed > 0);
    &RUNS_AFTER[missed - made_up_for..]
}

/// The cause in one sentence, or that there is none to name.
fn summary(report: &Report) -> String {
    let cause = report.answer.cause.first().map(|sentence| sentence.text.as_str());
    match (report.diagnosis.verdict, report.diagnosis.cause()) {
        (Verdict::Inconclusive, _) | (_, None) => {
            cause.unwrap_or("the evidence does not single out a cause").to_owned()
        }
        (_, Some(hypothesis)) => hypothesis.statement.text.clone(),
    }
}

fn waiting() -> Vec<CheckProgress> {
    let check = |kind| CheckProgress { kind, state: ProgressState::Running, note: String::new() };
    CHECKS.map(check).into()
}

fn tick(checks: &mut [CheckProgress], step: Progress) {
    if let Some(check) = checks.iter_mut().find(|check| check.kind == step.check) {
        // Whether what was seen means anything is known only when all of it is weighed.
        check.state = ProgressState::Done(CheckOutcome::Found);
        check.note = step.note;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_were_missed_are_made_up_for_by_one() {
        let check = |age_ms, runs, expected: &[u64]| {
            let due: Vec<u64> =
                due(Duration::from_millis(age_ms), runs).iter().map(Duration::as_secs).collect();
            assert_eq!(due, expected, "{age_ms} {runs}");
        };
        check(0, 0, &[0, 30, 90, 300]);
        check(2, 0, &[0, 30, 90, 300]);
        check(40_000, 2, &[90, 300]);
        check(40_000, 0, &[30, 90, 300]);
        check(3_600_000, 0, &[300]);
        check(3_600_000, 3, &[]);
    }

    #[test]
    fn checks_tick_and_unknown_ones_are_ignored() {
        let mut checks = waiting();
        tick(&mut checks, Progress { check: EvidenceKind::LogPatterns, note: "12 message groups".into() });
        tick(&mut checks, Progress { check: EvidenceKind::Traffic, note: "?".into() });
        let done: Vec<_> = checks.iter().filter(|check| check.state != ProgressState::Running).collect();
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].note, "12 message groups");
    }
}
