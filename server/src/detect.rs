//! The schedule that opens, updates and resolves incidents from what detectors find.
//!
//! A round asks the store for what changed, lets every detector look, and compares the findings with the open incidents.
//! Deliberately absent: the arithmetic (`detectors`) and the grouping (`incidents::grouping`).

mod join;
mod levels;
mod log_patterns;
mod objectives;
mod observations;
mod onset;
mod outlook;
mod over;
mod series;
mod silence;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use detectors::BurnRule;
use detectors::inspections::Limits;
use detectors::objective::ObjectiveTable;
use domain::{Clock, Finding, IncidentEvent, IncidentId, UnixNanos, Window};
use storage::Store;
use storage::questions::requests::Wait;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, SliRule};
use crate::incidents::Incidents;
use crate::incidents::grouping::{CallGraph, nearest_to_users_first, place, same_cause};
use crate::metrics::IncidentMetrics;
use crate::noise::Noise;
pub use levels::custom_series;
use levels::{Lens, Levels};
use objectives::Terms;
use observations::Observations;
pub use outlook::{Outlook, Outlooks};
use over::{over, says_something_new};
use silence::Silences;

/// How far back calls are looked at, to tell which services depend on each other.
const CALLS_LOOK_BACK: Duration = Duration::from_secs(900);

/// Who closes an incident that is over.
const ACTOR: &str = "inquest";

/// What every detector looks at, and with which settings.
#[derive(Clone)]
pub struct Look {
    /// Where telemetry is.
    pub store: Store,
    /// Objectives of services and endpoints.
    pub objectives: Arc<ObjectiveTable>,
    /// Indicators made of metrics.
    pub custom: Arc<[SliRule]>,
    /// Burn rates that fire.
    pub rules: Arc<[BurnRule]>,
    /// Limits of inspections that differ from the defaults.
    pub limits: Arc<Limits>,
    /// How long objectives must be met before that is believed.
    pub recent: Duration,
}

impl Look {
    /// Takes the settings apart.
    pub fn new(store: Store, objectives: Arc<ObjectiveTable>, config: &Config) -> Self {
        Self {
            store,
            objectives,
            custom: config.sli.clone().into(),
            rules: config.detection.burn.iter().map(crate::config::Burn::rule).collect(),
            limits: Arc::new(config.inspections.limits()),
            recent: config.detection.resolve_after.0,
        }
    }

    /// Everything that detectors find at `now`, which may be long past.
    pub async fn all(&self, now: UnixNanos) -> anyhow::Result<Vec<Finding>> {
        let mut findings = self.harm(&mut Memory::default(), now).await?;
        findings.extend(observations::at(self, now).await?);
        Ok(findings)
    }

    /// Who is hurt at `now`: objectives that are missed, services that fell silent.
    async fn harm(&self, memory: &mut Memory, now: UnixNanos) -> anyhow::Result<Vec<Finding>> {
        let Memory { levels, waits, silences } = memory;
        if levels.is_stale(now) {
            *waits = waits::known(&self.store, now).await.context("cannot ask what waits")?;
        }
        let lens = Lens { table: &self.objectives, custom: &self.custom, waits };
        levels.refresh(&self.store, lens, now).await.context("cannot ask for service levels")?;

        let mut findings = objectives::missed(levels, self.terms(), now);
        let silent = silences.findings(&self.store, levels, now).await;
        findings.extend(silent.context("cannot ask who calls a silent service")?);
        Ok(findings)
    }

    fn terms(&self) -> Terms<'_> {
        Terms { table: &self.objectives, custom: &self.custom, rules: &self.rules, recent: self.recent }
    }
}

/// Looks for incidents.
pub struct Detector {
    /// What is looked at.
    pub look: Look,
    /// Where incidents are noted.
    pub incidents: Incidents,
    /// What holds findings back that are noise.
    pub noise: Noise,
    /// How often to look.
    pub every: Duration,
    /// The present instant.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: IncidentMetrics,
    /// Where what is found is shown.
    pub outlook: watch::Sender<Arc<Outlook>>,
}

/// What a look keeps for the next one. All of it can be asked of the store again.
#[derive(Debug, Default)]
pub struct Memory {
    levels: Levels,
    waits: Vec<Wait>,
    silences: Silences,
}

impl Detector {
    /// Looks until `stop`. `opened` hears of each incident that it opens.
    pub async fn run(self, stop: CancellationToken, opened: impl Fn(IncidentId)) {
        let observations = Observations::default();
        tokio::join!(observations.keep(&self, stop.clone()), self.rounds(&observations, stop, opened));
    }

    async fn rounds(&self, beside: &Observations, stop: CancellationToken, opened: impl Fn(IncidentId)) {
        let mut memory = Memory::default();
        let mut ticks = tokio::time::interval(self.every.max(Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let began = Instant::now();
            match self.round(&mut memory, beside.findings(), &opened).await {
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
    async fn round(
        &self,
        memory: &mut Memory,
        notices: Vec<Finding>,
        opened: &impl Fn(IncidentId),
    ) -> anyhow::Result<()> {
        let now = self.clock.now();
        let mut findings = self.look.harm(memory, now).await?;
        let calls = match findings.iter().any(Finding::opens_incident) || self.incidents.open_count() > 1 {
            true => self.calls(now).await?,
            false => CallGraph::default(),
        };
        nearest_to_users_first(&mut findings, &calls);
        let held_back = self.held_back(&findings).await;
        for (finding, held_back) in findings.iter().zip(held_back) {
            if finding.opens_incident() && !held_back {
                self.note(finding, &calls, now, opened).await?;
            }
        }
        for (id, finding) in join::notices(&notices, &self.incidents.open()) {
            self.incidents.append(id, IncidentEvent::Updated { finding: finding.clone() }).await?;
        }
        self.join().await?;
        self.resolve(&memory.levels, &findings, now).await?;
        findings.extend(notices);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let outlook = Outlook { at: Some(now), findings, waits: memory.waits.clone() };
        self.outlook.send_replace(Arc::new(outlook));
        Ok(())
    }

    /// Which of the findings are held back as noise; none, when that cannot be told.
    async fn held_back(&self, findings: &[Finding]) -> Vec<bool> {
        self.noise.accept_findings(findings).await.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "findings could not be taken as alerts");
            vec![false; findings.len()]
        })
    }

    async fn calls(&self, now: UnixNanos) -> anyhow::Result<CallGraph> {
        let window = Window::new(now.minus(CALLS_LOOK_BACK), now.plus(Duration::from_secs(60)));
        let edges = self.look.store.service_graph(window).await.context("cannot ask who calls whom")?;
        Ok(CallGraph::new(edges.into_iter().map(|edge| (edge.caller, edge.callee))))
    }

    async fn note(
        &self,
        finding: &Finding,
        calls: &CallGraph,
        now: UnixNanos,
        opened: &impl Fn(IncidentId),
    ) -> anyhow::Result<()> {
        let open = self.incidents.open();
        match place(finding, &open.iter().collect::<Vec<_>>(), calls) {
            None => {
                tracing::info!(service = finding.service, kind = finding.kind(), "opening an incident");
                let finding = onset::refine(&self.look.store, finding.clone(), now).await;
                let id = self.incidents.open_new(finding.context("cannot ask when it began")?).await?;
                opened(id);
            }
            Some(id) => {
                let incident = open.iter().find(|incident| incident.id == id);
                if incident.is_some_and(|incident| says_something_new(incident, finding, now)) {
                    self.incidents.append(id, IncidentEvent::Updated { finding: finding.clone() }).await?;
                }
            }
        }
        Ok(())
    }

    /// Incidents that turned out to have one cause become one: the older takes over what the younger is about.
    async fn join(&self) -> anyhow::Result<()> {
        let open = self.incidents.open();
        for (older, younger) in same_cause(&open.iter().collect::<Vec<_>>()) {
            for finding in &younger.findings {
                if !older.findings.iter().any(|known| known.is_about_the_same(finding)) {
                    let event = IncidentEvent::Updated { finding: finding.clone() };
                    self.incidents.append(older.id, event).await?;
                }
            }
            let reason = format!("joined {}, which has the same cause: {}", older.id, older.root_service);
            let event = IncidentEvent::Resolved { actor: ACTOR.into(), reason };
            self.incidents.append(younger.id, event).await?;
        }
        Ok(())
    }

    async fn resolve(&self, levels: &Levels, findings: &[Finding], now: UnixNanos) -> anyhow::Result<()> {
        for incident in self.incidents.open() {
            if let Some(reason) = over(&incident, findings, levels, self.look.terms(), now) {
                let event = IncidentEvent::Resolved { actor: ACTOR.into(), reason };
                self.incidents.append(incident.id, event).await?;
            }
        }
        Ok(())
    }
}
