//! What a collector saw, in a form that can be cited, drawn, printed and checked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Change, SpanKind, UnixNanos, Window};

/// `E1`, `E2`...: stable within one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EvidenceId(pub u32);

impl fmt::Display for EvidenceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "E{}", self.0)
    }
}

/// Which collector it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A service level left its baseline.
    ServiceLevel,
    /// Where failing requests end: the deepest failing span.
    ErrorCauses,
    /// Where the added time is spent, by exclusive time.
    LatencyDiff,
    /// Calls that appeared, vanished or changed in number.
    CallStructure,
    /// New, gone or spiking log patterns.
    LogPatterns,
    /// A metric left its baseline.
    MetricShift,
    /// Bad and good requests differ in an attribute, such as the version.
    AttributeSkew,
    /// A deploy, flag or other change.
    Change,
    /// A service or a signal stopped.
    Silence,
    /// Requests arrive at another rate.
    Traffic,
}

impl EvidenceKind {
    /// The label on the card.
    pub const fn title(self) -> &'static str {
        match self {
            Self::ServiceLevel => "Service level",
            Self::ErrorCauses => "Error causes, deepest failing span",
            Self::LatencyDiff => "Latency difference",
            Self::CallStructure => "Calls per request",
            Self::LogPatterns => "Log patterns",
            Self::MetricShift => "Metric shift",
            Self::AttributeSkew => "Attributes",
            Self::Change => "Change",
            Self::Silence => "Silence",
            Self::Traffic => "Traffic",
        }
    }
}

/// How much a piece of evidence weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Could be chance.
    Weak,
    /// Unlikely to be chance.
    Medium,
    /// Would be hard to explain otherwise.
    Strong,
}

/// One number before and during the incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it measures: `Availability`, `Calls per request`.
    pub name: String,
    /// In the baseline, formatted with its unit; empty when there was none.
    pub before: String,
    /// In the incident, formatted with its unit.
    pub now: String,
    /// The value in the baseline, in base units (seconds, ratio, count).
    pub before_value: Option<f64>,
    /// The value in the incident, in base units.
    pub now_value: Option<f64>,
}

/// Evidence: one checked observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its citation.
    pub id: EvidenceId,
    /// The collector.
    pub kind: EvidenceKind,
    /// The service it is about; empty when about none.
    pub service: String,
    /// A sentence with a finding in it.
    pub claim: String,
    /// How much it weighs.
    pub strength: Strength,
    /// Hypotheses it speaks for, as `H1`.
    pub supports: Vec<crate::HypothesisId>,
    /// Hypotheses it speaks against.
    pub contradicts: Vec<crate::HypothesisId>,
    /// Numbers before and now.
    pub figures: Vec<Figure>,
    /// When the thing began, if known.
    pub began: Option<UnixNanos>,
    /// The window looked at.
    pub window: Window,
    /// The SQL that reproduces it, with its parameters filled in; for reading, not for running by code.
    pub query: String,
    /// What to draw.
    pub exhibit: Exhibit,
}

/// What an evidence card shows besides its claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Exhibit {
    /// Nothing but the figures.
    None,
    /// One or more stacked panels over one time axis.
    Panels {
        /// Panels, top first.
        panels: Vec<Panel>,
        /// The stretch to shade.
        incident: Window,
        /// Moments to mark with a dashed line.
        marks: Vec<Mark>,
    },
    /// Where failing requests end.
    ErrorCauses {
        /// Groups, most frequent first.
        causes: Vec<ErrorCause>,
        /// Failing traces in the window.
        failing_traces: u64,
    },
    /// A latency flame graph of the window against the baseline, and one trace.
    Latency {
        /// The entry operation compared.
        operation: String,
        /// Frames in depth-first order; the first is the root.
        frames: Vec<Frame>,
        /// One bad trace.
        sample: Option<Trace>,
    },
    /// Log patterns.
    LogPatterns {
        /// Patterns, most telling first.
        patterns: Vec<LogPattern>,
    },
    /// Attribute values that separate bad requests from good ones.
    Skew {
        /// Bad requests.
        bad: u64,
        /// Good requests.
        good: u64,
        /// Values, most telling first.
        rows: Vec<SkewRow>,
    },
    /// A change.
    Change {
        /// The change.
        change: Change,
    },
    /// A table.
    Table {
        /// Column heads.
        columns: Vec<String>,
        /// Cells, one row each, as many as there are columns.
        rows: Vec<Vec<String>>,
    },
}

/// One chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// What it shows: `Availability, per 30 s`.
    pub title: String,
    /// The unit of the values.
    pub unit: Unit,
    /// Lines.
    pub lines: Vec<Line>,
    /// A horizontal line, such as an objective or a limit.
    pub limit: Option<Limit>,
    /// The usual range: low and high.
    pub band: Option<(f64, f64)>,
}

/// How values are written and axes cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A plain number.
    #[default]
    Number,
    /// A share, 0 to 1, written in percent.
    Ratio,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Events per second.
    PerSecond,
}

/// A line of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What it is; shown when a panel has several.
    pub name: String,
    /// Whether it is the incident's side (drawn vermilion within the incident) or a healthy peer (grey).
    pub role: LineRole,
    /// Points in time order; a gap is a missing point.
    pub points: Vec<(UnixNanos, f64)>,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineRole {
    /// The thing that changed.
    Subject,
    /// Something to compare it with.
    Peer,
}

/// A horizontal line with its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// `objective 99.9%`, `limit 20`.
    pub name: String,
    /// Where.
    pub value: f64,
}

/// A moment to mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: UnixNanos,
    /// `catalog 1.4.1 deployed 14:02:10`.
    pub name: String,
}

/// A group of failing requests that end in the same place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorCause {
    /// Service of the deepest failing span.
    pub service: String,
    /// Its name.
    pub span_name: String,
    /// Its role.
    pub kind: SpanKind,
    /// Peer called by it, or empty.
    pub peer: String,
    /// Error text: exception message, status message or HTTP status, with its variable parts masked.
    pub message: String,
    /// Exception type, or empty.
    pub exception: String,
    /// Traces in the baseline, scaled to the length of the window.
    pub before: f64,
    /// Traces in the window.
    pub now: u64,
    /// Share of all failing traces, 0 to 1.
    pub share: f64,
    /// One of them.
    pub sample_trace: String,
    /// The first one in the window.
    pub first_seen: UnixNanos,
}

/// A frame of a latency flame graph: all calls that share a path of (service, operation) from the entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// 0 for the entry.
    pub depth: u32,
    /// Index of the frame above in the list; the root points at itself.
    pub parent: u32,
    /// Service.
    pub service: String,
    /// Operation.
    pub name: String,
    /// Statement or route behind it, literals masked; or empty.
    pub detail: String,
    /// Mean inclusive milliseconds per entry request, in the window.
    pub now_ms: f64,
    /// The same in the baseline.
    pub before_ms: f64,
    /// Mean exclusive milliseconds per entry request (time not covered by children), in the window.
    pub self_now_ms: f64,
    /// The same in the baseline.
    pub self_before_ms: f64,
    /// Calls per entry request in the window.
    pub calls_now: f64,
    /// The same in the baseline.
    pub calls_before: f64,
    /// Share of calls that failed in the window, 0 to 1.
    pub errors_now: f64,
}

/// One trace, for a waterfall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Its id.
    pub trace_id: String,
    /// Its first instant.
    pub start: UnixNanos,
    /// From its first to its last instant, in nanoseconds.
    pub duration_ns: u64,
    /// Spans in depth-first order; runs of equal siblings are folded.
    pub spans: Vec<TraceSpan>,
    /// Spans that were left out to keep the size bounded.
    pub omitted: u64,
}

/// A row of a waterfall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceSpan {
    /// 0 for the root.
    pub depth: u32,
    /// Service.
    pub service: String,
    /// Operation.
    pub name: String,
    /// Role.
    pub kind: SpanKind,
    /// Offsets from the trace's start and lengths, nanoseconds: one, or several when equal siblings are folded.
    pub runs: Vec<(i64, u64)>,
    /// Whether any of them failed.
    pub failed: bool,
    /// Its status message, or empty.
    pub message: String,
    /// Its span id (the first, when folded).
    pub span_id: String,
}

/// How a log pattern moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatternMove {
    /// Never seen in the baseline.
    New,
    /// Far more often than in the baseline.
    Spiking,
    /// Frequent in the baseline, absent or rare now.
    Gone,
}

/// A log pattern in one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPattern {
    /// Service.
    pub service: String,
    /// The message with `<*>` where it varies.
    pub template: String,
    /// Severity number, 1 to 24; 0 when not said.
    pub severity: u8,
    /// Logger, or empty.
    pub logger: String,
    /// How it moved.
    pub movement: PatternMove,
    /// Messages in the baseline, scaled to the length of the window.
    pub before: f64,
    /// Messages in the window.
    pub now: u64,
    /// The first one in the window.
    pub first_seen: UnixNanos,
    /// One of them, cut to a bounded size: data, never trusted.
    pub sample: String,
    /// Messages per equal slice of baseline and window, oldest first.
    pub counts: Vec<(UnixNanos, f64)>,
}

/// An attribute value, and how often bad and good requests have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkewRow {
    /// `service.version = 1.4.1`.
    pub name: String,
    /// Share of bad requests with it, 0 to 1.
    pub bad: f64,
    /// Share of good requests with it, 0 to 1.
    pub good: f64,
}
