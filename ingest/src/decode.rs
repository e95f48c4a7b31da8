//! From the bytes of a request to rows, in one pure step: no clock, no network, no channel.

use domain::{Batch, UnixNanos, text};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::convert::Converter;
use crate::limits::Limits;
use crate::normalise::normalise;
use crate::refusal::Refusal;
use crate::tally::{Signal, Tally};
use crate::weigh::{self, Shape};

/// How an OTLP request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// One JSON object.
    Json,
    /// One JSON object per line, as the OpenTelemetry Collector's file exporter writes them.
    JsonLines,
}

/// The rows of one request, and what became of its items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// What to store.
    pub batch: Batch,
    /// Counts.
    pub tally: Tally,
}

/// Decodes the uncompressed body of an OTLP request that was received at `now`.
///
/// Items that cannot be stored are counted in the tally; only a body that cannot be read is refused, and then whole.
pub fn decode(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    limits: &Limits,
    now: UnixNanos,
) -> Result<Decoded, Refusal> {
    let mut converter = Converter::new(limits, now);
    let mut batch = Batch::default();
    match signal {
        Signal::Traces => {
            each(encoding, body, &weigh::TRACES, limits, |request: ExportTraceServiceRequest| {
                converter.traces(request, &mut batch.spans);
            })?;
        }
        Signal::Logs => {
            each(encoding, body, &weigh::LOGS, limits, |request: ExportLogsServiceRequest| {
                converter.logs(request, &mut batch.logs);
            })?;
        }
        Signal::Metrics => {
            each(encoding, body, &weigh::METRICS, limits, |request: ExportMetricsServiceRequest| {
                converter.metrics(request, &mut batch.samples);
            })?;
        }
    }
    Ok(Decoded { batch, tally: converter.tally })
}

/// Reads each request of a body, after a look at what it would unfold to.
fn each<R: Message + Default + DeserializeOwned>(
    encoding: Encoding,
    body: &[u8],
    shape: &'static Shape,
    limits: &Limits,
    mut take: impl FnMut(R),
) -> Result<(), Refusal> {
    let limit = limits.max_elements;
    let fits = match encoding {
        Encoding::Protobuf => weigh::protobuf(body, shape, limit),
        Encoding::Json | Encoding::JsonLines => weigh::json(body, limit),
    };
    if !fits {
        return Err(Refusal::TooManyElements { limit });
    }
    match encoding {
        Encoding::Protobuf => take(R::decode(body).map_err(|error| malformed(error, ""))?),
        Encoding::Json => take(json(body).map_err(|error| malformed(error, ""))?),
        Encoding::JsonLines => {
            for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
                if !line.trim_ascii().is_empty() {
                    take(json(line).map_err(|error| malformed(error, &format!("line {}: ", index + 1)))?);
                }
            }
        }
    }
    Ok(())
}

fn json<R: DeserializeOwned>(body: &[u8]) -> Result<R, Box<dyn std::error::Error>> {
    let mut value: Value = serde_json::from_slice(body)?;
    normalise(&mut value)?;
    Ok(serde_json::from_value(value)?)
}

/// What is wrong, for the sender. Decoders quote their input and name the whole path to it, so the words are made plain
/// and cut; in the middle, as some decoders begin with the cause and others end with it.
fn malformed(error: impl std::fmt::Display, place: &str) -> Refusal {
    const HEAD_CHARS: usize = 200;
    const TAIL_CHARS: usize = 100;
    let words = text::plain(&format!("{place}{error}"), usize::MAX);
    let count = words.chars().count();
    if count <= HEAD_CHARS + TAIL_CHARS {
        return Refusal::Malformed(words);
    }
    let tail: String = words.chars().skip(count - TAIL_CHARS).collect();
    Refusal::Malformed(format!("{}{tail}", text::plain(&words, HEAD_CHARS)))
}
