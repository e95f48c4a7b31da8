//! The schedule that opens, updates and resolves incidents from service levels.
//!
//! A round asks the store for the minutes that changed, evaluates every service's objectives, and compares the findings
//! with the open incidents. Deliberately absent: the arithmetic (`detectors::burn_rate`) and the grouping
//! (`incidents::grouping`).

pub mod inspections;
mod levels;
mod onset;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use detectors::burn_rate;
use detectors::objective::ObjectiveTable;
use domain::{Clock, Finding, Incident, IncidentEvent, IncidentId, Severity, Sli, UnixNanos, Window};
use storage::Store;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config::Detection;
use crate::incidents::Incidents;
use crate::incidents::grouping::{CallGraph, nearest_to_users_first, place};
use crate::metrics::IncidentMetrics;
pub use levels::{LOOK_BACK, Levels};

/// How far back calls are looked at, to tell which services depend on each other.
const CALLS_LOOK_BACK: Duration = Duration::from_secs(900);

/// A finding that says nothing new is noted again after this long, so that the page is not older than that.
const RENOTE_AFTER: Duration = Duration::from_secs(120);

/// Who closes an incident that is over.
const ACTOR: &str = "inquest";

/// A service without requests cannot meet its objectives: silence has to last this many times longer than health.
const SILENCE_FACTOR: u32 = 6;

/// Looks for incidents.
pub struct Detector {
    /// Where telemetry is.
    pub store: Store,
    /// Where incidents are noted.
    pub incidents: Incidents,
    /// Objectives of services.
    pub objectives: Arc<ObjectiveTable>,
    /// When to look, and when an incident is over.
    pub settings: Detection,
    /// The present instant.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: IncidentMetrics,
}

impl Detector {
    /// Looks until `stop`. `opened` hears of each incident that it opens.
    pub async fn run(self, stop: CancellationToken, opened: impl Fn(IncidentId)) {
        let mut levels = Levels::default();
        let mut ticks = tokio::time::interval(self.settings.every.0.max(Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let began = Instant::now();
            match self.round(&mut levels, &opened).await {
                Ok(()) => self.metrics.evaluations.inc(),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "objectives could not be evaluated");
                    self.metrics.failed_evaluations.inc()
                }
            };
            self.metrics.evaluation_seconds.observe(began.elapsed().as_secs_f64());
        }
    }

    /// One look at everything.
    async fn round(&self, levels: &mut Levels, opened: &impl Fn(IncidentId)) -> anyhow::Result<()> {
        let now = self.clock.now();
        levels.refresh(&self.store, now).await.context("cannot ask for service levels")?;
        let mut findings = evaluate(levels, &self.objectives, self.settings.resolve_after.0, now);
        if !findings.is_empty() {
            let calls = self.calls(now).await?;
            nearest_to_users_first(&mut findings, &calls);
            for finding in findings {
                self.note(finding, &calls, now, opened).await?;
            }
        }
        self.resolve(levels, now).await
    }

    async fn calls(&self, now: UnixNanos) -> anyhow::Result<CallGraph> {
        let window = Window::new(now.minus(CALLS_LOOK_BACK), now.plus(Duration::from_secs(60)));
        let edges = self.store.service_graph(window).await.context("cannot ask who calls whom")?;
        Ok(CallGraph::new(edges.into_iter().map(|edge| (edge.caller, edge.callee))))
    }

    async fn note(
        &self,
        finding: Finding,
        calls: &CallGraph,
        now: UnixNanos,
        opened: &impl Fn(IncidentId),
    ) -> anyhow::Result<()> {
        let open = self.incidents.open();
        match place(&finding, &open.iter().collect::<Vec<_>>(), calls) {
            None => {
                tracing::info!(service = finding.service, sli = finding.sli.as_str(), "opening an incident");
                let finding =
                    onset::refine(&self.store, finding, now).await.context("cannot ask when it began")?;
                let id = self.incidents.open_new(finding).await?;
                opened(id);
            }
            Some(id) => {
                let incident = open.iter().find(|incident| incident.id == id);
                if incident.is_some_and(|incident| says_something_new(incident, &finding, now)) {
                    self.incidents.append(id, IncidentEvent::Updated { finding }).await?;
                }
            }
        }
        Ok(())
    }

    async fn resolve(&self, levels: &Levels, now: UnixNanos) -> anyhow::Result<()> {
        for incident in self.incidents.open() {
            if let Some(reason) =
                over(&incident, levels, &self.objectives, self.settings.resolve_after.0, now)
            {
                let event = IncidentEvent::Resolved { actor: ACTOR.into(), reason };
                self.incidents.append(incident.id, event).await?;
            }
        }
        Ok(())
    }
}

/// The objectives that are being missed now. A long window still remembers harm that has ended; such findings are left
/// out, or an incident would be opened again as soon as it is resolved.
pub fn evaluate(levels: &Levels, table: &ObjectiveTable, recent: Duration, now: UnixNanos) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, points) in levels.points(table) {
        let objectives = table.of(service);
        let missed = burn_rate::evaluate(service, &points, &objectives, now);
        findings.extend(missed.into_iter().filter(|finding| {
            burn_rate::burn(&points, finding.sli, finding.objective, now, recent).rate > 1.0
        }));
    }
    findings
}

/// Whether a finding tells what the incident does not know: another service or objective, a worse severity, or where
/// things stand after a while.
fn says_something_new(incident: &Incident, finding: &Finding, now: UnixNanos) -> bool {
    let same = |known: &&Finding| known.service == finding.service && known.sli == finding.sli;
    let Some(known) = incident.findings.iter().find(same) else { return true };
    let worse = known.severity == Severity::Warning && finding.severity == Severity::Critical;
    let noted = incident.events.iter().rev().find_map(|(at, event)| match event {
        IncidentEvent::Opened { finding } | IncidentEvent::Updated { finding } if same(&finding) => Some(*at),
        _ => None,
    });
    let moved = (known.good_ratio - finding.good_ratio).abs() > 0.1 * (1.0 - known.good_ratio);
    worse || (moved && noted.is_none_or(|at| at.plus(RENOTE_AFTER) <= now))
}

/// Why the incident is over, if it is: all objectives that it is about have been met for as long as `recent`.
fn over(
    incident: &Incident,
    levels: &Levels,
    table: &ObjectiveTable,
    recent: Duration,
    now: UnixNanos,
) -> Option<String> {
    if incident.detected.plus(recent) > now {
        return None;
    }
    let mut silent = true;
    for (service, points) in levels.points(table) {
        for finding in incident.findings.iter().filter(|finding| finding.service == service) {
            let objectives = table.of(service);
            let objective = match finding.sli {
                Sli::Availability => objectives.availability,
                Sli::Latency => objectives.latency_ratio,
            };
            let burn = burn_rate::burn(&points, finding.sli, objective, now, recent);
            if burn.rate > 1.0 {
                return None;
            }
            let long = burn_rate::burn(&points, finding.sli, objective, now, recent * SILENCE_FACTOR);
            if burn.requests == 0.0 && long.requests > 0.0 {
                return None;
            }
            silent &= burn.requests == 0.0;
        }
    }
    let minutes = recent.as_secs().div_ceil(60);
    Some(match silent {
        false => format!("objectives met for {minutes} minutes"),
        true => format!("no requests for {} minutes", minutes * u64::from(SILENCE_FACTOR)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::grouping::tests::finding;
    use storage::questions::sli::{Latency, SliMinute};

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);
    const RECENT: Duration = Duration::from_secs(300);

    /// `checkout` with 600 requests a minute; errors per minute by how many minutes ago.
    fn levels(errors: impl Fn(u32) -> u64) -> Levels {
        let minutes = (0..60).map(|ago| SliMinute {
            service: "checkout".into(),
            endpoint: String::new(),
            minute: NOW.minus(Duration::from_secs(60) * ago).floor(Duration::from_secs(60)),
            requests: 600,
            errors: errors(ago),
            latency: Latency([(40, 600)].into()),
        });
        Levels::of(minutes.collect(), NOW)
    }

    fn incident() -> Incident {
        let opened = IncidentEvent::Opened { finding: finding("checkout") };
        Incident::fold(IncidentId(1), &[(NOW.minus(Duration::from_secs(3600)), opened)]).unwrap()
    }

    #[test]
    fn harm_is_found_while_it_lasts() {
        let table = ObjectiveTable::default();
        let check = |levels: Levels, expected: usize| {
            assert_eq!(evaluate(&levels, &table, RECENT, NOW).len(), expected);
        };
        check(levels(|_| 0), 0);
        check(levels(|ago| if ago < 3 { 300 } else { 0 }), 1);
        check(levels(|ago| if ago > 8 { 300 } else { 0 }), 0);
    }

    #[test]
    fn an_incident_is_over_when_objectives_are_met_again() {
        let table = ObjectiveTable::default();
        let check = |levels: Levels, expected: Option<&str>| {
            assert_eq!(over(&incident(), &levels, &table, RECENT, NOW).as_deref(), expected);
        };
        check(levels(|_| 300), None);
        check(levels(|ago| if ago > 8 { 300 } else { 0 }), Some("objectives met for 5 minutes"));
        check(Levels::default(), Some("no requests for 30 minutes"));
    }

    #[test]
    fn the_journal_is_not_flooded() {
        let incident = incident();
        let known = finding("checkout");
        assert!(!says_something_new(&incident, &known, NOW));
        assert!(says_something_new(&incident, &Finding { good_ratio: 0.3, ..known.clone() }, NOW));
        let soon = incident.detected.plus(Duration::from_secs(10));
        assert!(!says_something_new(&incident, &Finding { good_ratio: 0.3, ..known.clone() }, soon));
        assert!(says_something_new(&incident, &finding("payment"), soon));
        assert!(says_something_new(&incident, &Finding { sli: Sli::Latency, ..known }, soon));
    }
}
