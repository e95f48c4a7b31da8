//! Sending encoded OTLP requests over gRPC, without decoding or encoding them again.

use anyhow::{Context, Result};
use bytes::{Buf, BufMut, Bytes};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Status};

pub use tonic::transport::Channel;

/// Which export service a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metric samples.
    Metrics,
}

impl Signal {
    const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, but for this many rejected rows.
    Acknowledged {
        /// From `partial_success`.
        rejected: u64,
    },
    /// Not taken, and it is known not to be stored: send again later.
    Busy,
    /// No answer: it may or may not be stored.
    Unknown(String),
    /// Refused for good.
    Refused(String),
}

/// A connection to `endpoint`, such as `http://127.0.0.1:4317`, made again by itself when it breaks.
pub fn connect(endpoint: &str) -> Result<Channel> {
    let endpoint = Channel::from_shared(endpoint.to_owned()).context("not an endpoint")?;
    Ok(endpoint.connect_timeout(std::time::Duration::from_secs(5)).connect_lazy())
}

/// Sends one encoded request and waits for its answer.
pub async fn send(channel: &Channel, signal: Signal, request: Bytes) -> Outcome {
    let mut client = tonic::client::Grpc::new(channel.clone());
    if let Err(error) = client.ready().await {
        return Outcome::Unknown(error.to_string());
    }
    let path = PathAndQuery::from_static(signal.path());
    match client.unary(tonic::Request::new(request), path, Encoded).await {
        Ok(answer) => Outcome::Acknowledged { rejected: answer.into_inner() },
        Err(status) => outcome(&status),
    }
}

fn outcome(status: &Status) -> Outcome {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        // The server says so itself; a broken connection has no details of the server's and a source of its own.
        Code::ResourceExhausted => Outcome::Busy,
        Code::Unavailable if std::error::Error::source(status).is_none() => Outcome::Busy,
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal => {
            Outcome::Unknown(text)
        }
        _ => Outcome::Refused(text),
    }
}

/// Bytes in, the count of rejected rows out: the answers of all three services have the same shape on the wire.
#[derive(Clone, Copy, Debug, Default)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = u64;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.len());
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = u64;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<u64>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let response = ExportTraceServiceResponse::decode(bytes)
            .map_err(|error| Status::data_loss(format!("undecodable answer: {error}")))?;
        let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(Some(u64::try_from(rejected).unwrap_or(0)))
    }
}
