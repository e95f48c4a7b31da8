//! What the reasoning concluded, and everything that led to it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Change, Evidence, EvidenceId, EvidenceKind, Sentence, Sli, UnixNanos, Window};

/// `H1`, `H2`...: stable within one report, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HypothesisId(pub u32);

impl fmt::Display for HypothesisId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "H{}", self.0)
    }
}

/// How a component does harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// One call per item where there was one call, typically to a database.
    RepeatedCalls,
    /// Requests wait for a lock in a database.
    LockContention,
    /// A statement takes longer.
    SlowQuery,
    /// A call to something outside, or without telemetry of its own, is slow.
    SlowDependency,
    /// A call to something outside, or without telemetry of its own, fails.
    FailingDependency,
    /// The code fails where it did not.
    NewErrors,
    /// The code takes longer by itself.
    SlowCode,
    /// The code takes another path: calls vanish, appear or return early.
    ChangedBehaviour,
    /// More requests than it can serve.
    TrafficSurge,
    /// CPU, memory, disk, threads or connections run out.
    Saturation,
    /// Something else on the same machine takes what it needs.
    NoisyNeighbour,
    /// A record, message or request that cannot be processed comes again and again.
    BadInput,
    /// The network between two components is slow or lossy.
    Network,
    /// It stopped answering, or stopped altogether.
    Down,
    /// It deviates, in a way that fits none of these.
    Unknown,
}

impl Mechanism {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::RepeatedCalls,
        Self::LockContention,
        Self::SlowQuery,
        Self::SlowDependency,
        Self::FailingDependency,
        Self::NewErrors,
        Self::SlowCode,
        Self::ChangedBehaviour,
        Self::TrafficSurge,
        Self::Saturation,
        Self::NoisyNeighbour,
        Self::BadInput,
        Self::Network,
        Self::Down,
        Self::Unknown,
    ];

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.as_str() == text)
    }

    /// As people read it: `repeated calls`.
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }

    /// The name used by the API and the eval harness.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RepeatedCalls => "repeated_calls",
            Self::LockContention => "lock_contention",
            Self::SlowQuery => "slow_query",
            Self::SlowDependency => "slow_dependency",
            Self::FailingDependency => "failing_dependency",
            Self::NewErrors => "new_errors",
            Self::SlowCode => "slow_code",
            Self::ChangedBehaviour => "changed_behaviour",
            Self::TrafficSurge => "traffic_surge",
            Self::Saturation => "saturation",
            Self::NoisyNeighbour => "noisy_neighbour",
            Self::BadInput => "bad_input",
            Self::Network => "network",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a hypothesis stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HypothesisStatus {
    /// The evidence fits.
    Supported,
    /// A test speaks against it.
    RuledOut,
    /// It could not be tested.
    NotEnoughData,
}

/// What a hypothesis predicts, and what was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// What should be seen if it were true, and what was.
    pub text: Sentence,
    /// Whether it was seen; `None` when it could not be looked at.
    pub held: Option<bool>,
}

/// A possible cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// Its name in this report.
    pub id: HypothesisId,
    /// The service (or peer without telemetry) blamed.
    pub service: String,
    /// Its instance, when only one is to blame; or empty.
    pub instance: String,
    /// How it does harm.
    pub mechanism: Mechanism,
    /// Reference of the change to blame.
    pub change: Option<String>,
    /// 0 to 1; comparable within one report.
    pub score: f64,
    /// Where it stands.
    pub status: HypothesisStatus,
    /// The cause in one sentence.
    pub statement: Sentence,
    /// Its tests.
    pub predictions: Vec<Prediction>,
    /// Evidence for it.
    pub supports: Vec<EvidenceId>,
    /// Evidence against it.
    pub contradicts: Vec<EvidenceId>,
    /// When its first deviation began.
    pub began: Option<UnixNanos>,
}

/// The outcome of an investigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// H1 is the cause, and a change brought it.
    Cause,
    /// H1 is the cause, and no change is to blame.
    NoChange,
    /// The evidence does not single out a cause.
    Inconclusive,
}

/// Confidence in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfidenceLevel {
    /// No cause is named.
    Inconclusive,
    /// Better than a guess.
    Low,
    /// Probably right.
    Medium,
    /// Act on it.
    High,
}

impl ConfidenceLevel {
    /// The word on the page.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inconclusive => "Inconclusive",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        }
    }
}

/// How sure the verdict is, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// In words.
    pub level: ConfidenceLevel,
    /// 0 to 1.
    pub score: f64,
    /// Why not more, why not less.
    pub reasons: Vec<Sentence>,
}

/// One check that was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The collector.
    pub kind: EvidenceKind,
    /// What came of it.
    pub outcome: CheckOutcome,
    /// What was found, or why it could not look.
    pub note: String,
    /// What it found.
    pub evidence: Vec<EvidenceId>,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// It found something.
    Found,
    /// It looked and found nothing.
    Nothing,
    /// It could not look.
    CouldNotLook,
}

/// An objective during the incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveStatus {
    /// `99% of checkout requests succeed`.
    pub name: String,
    /// Which.
    pub sli: Sli,
    /// Objective, 0 to 1.
    pub objective: f64,
    /// Share of good requests in the window, 0 to 1.
    pub good_ratio: f64,
    /// Burn rate over 5 minutes.
    pub burn_5m: f64,
    /// Burn rate over 1 hour.
    pub burn_1h: f64,
    /// The burn rate that pages.
    pub burn_limit: f64,
    /// Whether it is missed in the window.
    pub missed: bool,
}

/// One endpoint during the incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImpactedEndpoint {
    /// Operation.
    pub name: String,
    /// Requests in the window.
    pub requests: u64,
    /// Failed ones.
    pub failed: u64,
    /// 95th percentile in seconds, baseline.
    pub p95_before: Option<f64>,
    /// 95th percentile in seconds, window.
    pub p95_now: Option<f64>,
}

/// What users felt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    /// Requests to the impacted service in the window.
    pub requests: u64,
    /// Failed ones.
    pub failed: u64,
    /// Ones slower than the latency objective's threshold.
    pub slow: u64,
    /// Objectives of the impacted service.
    pub objectives: Vec<ObjectiveStatus>,
    /// Its endpoints, worst first.
    pub endpoints: Vec<ImpactedEndpoint>,
}

/// A card of the causal chain, root cause first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChainLink {
    /// `Root cause`, `Mechanism`, `Critical failure`, `Spread`, `Impact`.
    pub role: String,
    /// The component.
    pub component: String,
    /// What happened there.
    pub text: Sentence,
    /// When it began.
    pub began: Option<UnixNanos>,
    /// What the edge to the next card carries: lag, share of calls; or empty.
    pub edge: String,
}

/// A change, and what became of it as a suspect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsideredChange {
    /// The change.
    pub change: Change,
    /// How well it explains the incident, 0 to 1.
    pub score: f64,
    /// Whether it is blamed.
    pub blamed: bool,
    /// Why, or why not.
    pub reason: Sentence,
}

/// What an entry of the timeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    /// Somebody changed something.
    Change,
    /// Something moved.
    Shift,
    /// Users began to be hurt.
    Hurt,
    /// Inquest did something.
    Machine,
    /// A person did something.
    Human,
}

/// An entry of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: UnixNanos,
    /// What kind.
    pub kind: TimelineKind,
    /// What happened.
    pub text: Sentence,
}

/// The whole outcome of `reason`: data, before any narrator phrases it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The service asked about.
    pub service: String,
    /// `checkout availability 92.1%, objective 99%`.
    pub title: String,
    /// The incident window.
    pub window: Window,
    /// The quiet time it was compared with.
    pub baseline: Option<Window>,
    /// When users began to be hurt.
    pub started: Option<UnixNanos>,
    /// The outcome.
    pub verdict: Verdict,
    /// How sure.
    pub confidence: Confidence,
    /// What users felt.
    pub impact: Impact,
    /// From cause to impact; empty when inconclusive.
    pub chain: Vec<ChainLink>,
    /// Changes looked at, best explanation first.
    pub changes: Vec<ConsideredChange>,
    /// Everything seen.
    pub evidence: Vec<Evidence>,
    /// Possible causes, best first.
    pub hypotheses: Vec<Hypothesis>,
    /// Checks run, whatever came of them.
    pub checks: Vec<Check>,
    /// What could not be seen.
    pub gaps: Vec<String>,
    /// What happened when.
    pub timeline: Vec<TimelineEntry>,
}

impl Diagnosis {
    /// The hypothesis that the verdict names; `None` when inconclusive.
    pub fn cause(&self) -> Option<&Hypothesis> {
        match self.verdict {
            Verdict::Cause | Verdict::NoChange => self.hypotheses.first(),
            Verdict::Inconclusive => None,
        }
    }

    /// The evidence cited as `id`.
    pub fn evidence(&self, id: EvidenceId) -> Option<&Evidence> {
        self.evidence.iter().find(|evidence| evidence.id == id)
    }
}
