//! One OTLP request to the server.
//!
//! Requests travel as the bytes that they are kept in, so that what comes back from the disk need not be decoded.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, ClientTlsConfig};
use tonic::{Code, Status};

use super::Signal;

/// How long the server may take to answer. Longer than Inquest takes to give up storing something (30 s): what is sent again while it is
/// still being stored is stored twice.
const ANSWER: Duration = Duration::from_secs(40);
const CONNECT: Duration = Duration::from_secs(5);

/// Where telemetry goes.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `http://` or `https://`, host and port.
    pub url: String,
    /// Sent with each request.
    pub headers: BTreeMap<String, String>,
}

/// Why the server did not take something.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is away or busy: later may be better.
    #[error("the server is not ready: {0}")]
    Later(String),
    /// It will never take this.
    #[error("the server refuses: {0}")]
    Never(String),
}

/// Sends to one server.
#[derive(Clone, Debug)]
pub struct Sender {
    channel: Channel,
    headers: MetadataMap,
}

impl Sender {
    /// Does not connect yet: a server that is away is no error.
    pub fn new(endpoint: &Endpoint) -> Result<Self> {
        let url = endpoint.url.clone();
        let mut channel = Channel::from_shared(url)
            .context("not an address of a server")?
            .timeout(ANSWER)
            .connect_timeout(CONNECT);
        if endpoint.url.starts_with("https") {
            channel = channel.tls_config(ClientTlsConfig::new().with_webpki_roots())?;
        }
        let mut headers = MetadataMap::new();
        for (key, value) in &endpoint.headers {
            let key: AsciiMetadataKey =
                key.parse().with_context(|| format!("{key:?} is not the name of a header"))?;
            let value: AsciiMetadataValue =
                value.parse().with_context(|| format!("the value of the header {key}"))?;
            headers.insert(key, value);
        }
        Ok(Self { channel: channel.connect_lazy(), headers })
    }

    /// Sends an encoded export request.
    pub async fn send(&self, signal: Signal, body: Bytes) -> Result<(), Refused> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Refused::Later(chain(&error)))?;
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.headers.clone();
        match client.unary(request, PathAndQuery::from_static(signal.method()), Raw).await {
            Ok(_) => Ok(()),
            Err(status) => Err(judge(&status)),
        }
    }
}

/// By OTLP's own list of codes that may be tried again. That something is exhausted passes only where the server says when: otherwise the
/// request is too large for it, and would stand in the way of all others for ever.
fn judge(status: &Status) -> Refused {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::ResourceExhausted if !says_when(status) => Refused::Never(text),
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        // A proxy in between, or a server in its start.
        | Code::Unknown
        | Code::Internal => Refused::Later(text),
        _ => Refused::Never(text),
    }
}

/// Whether there is a `google.rpc.RetryInfo` among the details, which travel with the names of their types.
fn says_when(status: &Status) -> bool {
    memchr::memmem::find(status.details(), b"google.rpc.RetryInfo").is_some()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// Bytes as they are.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Status, later: bool) {
        let refused = judge(&status);
        assert_eq!(matches!(refused, Refused::Later(_)), later, "{refused}");
    }

    #[test]
    fn what_is_exhausted_passes_only_where_the_server_says_when() {
        check(Status::unavailable("in its start"), true);
        check(Status::invalid_argument("not OTLP"), false);
        check(Status::resource_exhausted("too large"), false);
        let details = Bytes::from_static(
            b"\x1a\x2e\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01",
        );
        check(Status::with_details(Code::ResourceExhausted, "busy", details), true);
    }
}
