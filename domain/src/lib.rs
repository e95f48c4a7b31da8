//! The words every other crate shares: ids, time, telemetry rows, findings, evidence, hypotheses, incidents, reports.
//!
//! Deliberately absent: I/O, clocks, randomness, async, SQL. Everything here is plain data that serialises.

pub mod alert;
pub mod batch;
pub mod change;
pub mod diagnosis;
pub mod evidence;
pub mod finding;
pub mod incident;
pub mod report;
pub mod telemetry;
pub mod text;
pub mod time;

pub use alert::{Alert, AlertSource};
pub use batch::Batch;
pub use change::{Change, ChangeKind};
pub use diagnosis::{
    ChainLink, Check, CheckOutcome, Confidence, ConfidenceLevel, ConsideredChange, Diagnosis, Hypothesis,
    HypothesisId, HypothesisStatus, Impact, ImpactedEndpoint, Mechanism, ObjectiveStatus, Prediction,
    TimelineEntry, TimelineKind, Verdict,
};
pub use evidence::{Evidence, EvidenceId, EvidenceKind, Exhibit, Figure, Strength};
pub use finding::{Detail, Finding, ObjectiveMissed, Observation, SeenIn, Severity, Silence, Sli};
pub use incident::{Incident, IncidentEvent, IncidentId, IncidentStatus};
pub use report::{Answer, NarratedBy, Report, Sentence, Step, StepKind, Used};
pub use telemetry::{
    Attributes, LogRecord, MetricKind, ProfileSample, Sample, Series, SeriesId, Span, SpanKind, StatusCode,
};
pub use time::{Clock, UnixNanos, Window};
