//! Telemetry rows as every crate sees them, after the wire formats have been left behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::UnixNanos;

/// Attributes or labels, ordered so that equal sets serialise equally.
pub type Attributes = BTreeMap<String, String>;

/// The role of a span in a call, named as the OpenTelemetry Collector's ClickHouse exporter stores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified,
    /// Work inside one process.
    Internal,
    /// Answers a remote call.
    Server,
    /// Makes a remote call.
    Client,
    /// Sends a message.
    Producer,
    /// Handles a message.
    Consumer,
}

impl SpanKind {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "Unspecified",
            Self::Internal => "Internal",
            Self::Server => "Server",
            Self::Client => "Client",
            Self::Producer => "Producer",
            Self::Consumer => "Consumer",
        }
    }

    /// Reads a stored name in any case, with or without the `SPAN_KIND_` prefix; unknown text is `Unspecified`.
    pub fn parse(text: &str) -> Self {
        let name = text.trim().to_ascii_lowercase();
        match name.strip_prefix("span_kind_").unwrap_or(&name) {
            "internal" => Self::Internal,
            "server" => Self::Server,
            "client" => Self::Client,
            "producer" => Self::Producer,
            "consumer" => Self::Consumer,
            _ => Self::Unspecified,
        }
    }
}

/// Whether a span failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StatusCode {
    /// Not said.
    #[default]
    Unset,
    /// Said to have succeeded.
    Ok,
    /// Failed.
    Error,
}

impl StatusCode {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "Unset",
            Self::Ok => "Ok",
            Self::Error => "Error",
        }
    }

    /// Reads a stored name in any case, with or without the `STATUS_CODE_` prefix; unknown text is `Unset`.
    pub fn parse(text: &str) -> Self {
        let name = text.trim().to_ascii_lowercase();
        match name.strip_prefix("status_code_").unwrap_or(&name) {
            "ok" => Self::Ok,
            "error" => Self::Error,
            _ => Self::Unset,
        }
    }
}

/// One finished span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// When it began.
    pub start: UnixNanos,
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// 16 lower-case hex digits.
    pub span_id: String,
    /// 16 lower-case hex digits, or empty for a root.
    pub parent_span_id: String,
    /// W3C trace state, usually empty.
    pub trace_state: String,
    /// Operation name.
    pub name: String,
    /// Role in the call.
    pub kind: SpanKind,
    /// `service.name` of the resource.
    pub service: String,
    /// Attributes of the process, pod and host, shared by all rows of one sender.
    pub resource: Arc<Attributes>,
    /// Instrumentation scope name.
    pub scope_name: String,
    /// Instrumentation scope version.
    pub scope_version: String,
    /// Attributes of the operation.
    pub attributes: Attributes,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// Outcome.
    pub status: StatusCode,
    /// Text beside the outcome.
    pub status_message: String,
    /// Things that happened within the span, exceptions among them.
    pub events: Vec<SpanEvent>,
    /// Other spans this one points at.
    pub links: Vec<SpanLink>,
}

/// Something that happened within a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// When.
    pub at: UnixNanos,
    /// What, such as `exception`.
    pub name: String,
    /// Details, such as `exception.type`.
    pub attributes: Attributes,
}

/// A pointer from one span to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanLink {
    /// The other trace.
    pub trace_id: String,
    /// The other span.
    pub span_id: String,
    /// W3C trace state.
    pub trace_state: String,
    /// Details.
    pub attributes: Attributes,
}

/// One log record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When it was written; when it was observed, if the sender did not say.
    pub at: UnixNanos,
    /// Trace in whose context it was written, or empty.
    pub trace_id: String,
    /// Span in whose context it was written, or empty.
    pub span_id: String,
    /// Severity as the sender names it.
    pub severity_text: String,
    /// OpenTelemetry severity number, 1 to 24, or 0 when not said.
    pub severity_number: u8,
    /// `service.name` of the resource.
    pub service: String,
    /// The message. Structured bodies are JSON text.
    pub body: String,
    /// Attributes of the process, pod and host, shared by all rows of one sender.
    pub resource: Arc<Attributes>,
    /// Instrumentation scope name, usually the logger.
    pub scope_name: String,
    /// Attributes of the record.
    pub attributes: Attributes,
    /// Event name, usually empty.
    pub event_name: String,
}

/// How the values of a series are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// A level at an instant.
    #[default]
    Gauge,
    /// A running total that only grows, but for resets.
    Counter,
    /// An amount since the previous sample.
    Delta,
}

impl MetricKind {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Delta => "delta",
        }
    }

    /// Reads a stored name; unknown text is a gauge.
    pub fn parse(text: &str) -> Self {
        match text {
            "counter" => Self::Counter,
            "delta" => Self::Delta,
            _ => Self::Gauge,
        }
    }
}

/// Identity of a series: a hash of its name and labels, equal on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub u64);

/// A metric series: what is measured, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Metric name as sent. Parts of histograms carry `_bucket` (label `le`), `_sum`, `_count`; of summaries the label
    /// `quantile`.
    pub name: String,
    /// Labels. `service` holds the service, `instance` the instance, `source` and `destination` a call edge.
    pub labels: Attributes,
    /// How to read the values.
    pub kind: MetricKind,
    /// UCUM unit as sent, such as `By`, `s`, `1`.
    pub unit: String,
}

impl Series {
    /// FNV-1a over name and sorted labels, with separators that cannot occur in UTF-8 text.
    ///
    /// Source: Fowler, Noll, Vo; 64-bit offset basis and prime. A collision would merge two series; at a million series
    /// the chance of any is about 3e-8.
    pub fn id(&self) -> SeriesId {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bytes: &[u8], separator: u8| {
            for byte in bytes.iter().chain([&separator]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        eat(self.name.as_bytes(), 0xff);
        for (key, value) in &self.labels {
            eat(key.as_bytes(), 0xfe);
            eat(value.as_bytes(), 0xfd);
        }
        SeriesId(hash)
    }
}

/// One value of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The series, whole: a batch repeats it, storage keeps it once.
    pub series: Arc<Series>,
    /// When.
    pub at: UnixNanos,
    /// Value; NaN is refused on the way in.
    pub value: f64,
}

/// One stack of a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfileSample {
    /// When the profile was taken.
    pub at: UnixNanos,
    /// Service profiled.
    pub service: String,
    /// What `value` counts, such as `cpu:nanoseconds`.
    pub kind: String,
    /// Function names, root first.
    pub stack: Vec<String>,
    /// Amount.
    pub value: i64,
    /// Attributes of the process, pod and host, shared by all rows of one sender.
    pub resource: Arc<Attributes>,
}
