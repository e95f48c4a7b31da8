//! OTLP over gRPC: the `Export` methods of the trace, log and metric services.
//!
//! The transport is tonic's; the one message of a call is unframed here rather than by the generated services, because
//! those answer a malformed message with INTERNAL where OTLP wants INVALID_ARGUMENT, unpack and decode on the
//! asynchronous threads however large it is, and refuse a body for want of room only once all of it is in memory.
//! Deliberately absent: streaming, and other methods than `Export`; OTLP has none.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::body::{gunzip, read};
use crate::budget::Reservation;
use crate::decode::Encoding;
use crate::http::content_type;
use crate::intake::{Body, Ingest};
use crate::limits::MAX_GRPC_STREAMS;
use crate::profiles;
use crate::refusal::Refusal;
use crate::reply;
use crate::tally::{Partial, Signal};

/// Idle connections are asked for a sign of life this often, so that those of vanished senders go away.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// One flag and the length, before the message.
const PREFIX_BYTES: usize = 5;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip");

/// The listener failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to serve OTLP over gRPC")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves OTLP on a listener, port 4317 as a rule, until `shutdown`; requests under way are finished.
pub async fn serve_grpc(
    ingest: Arc<Ingest>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    Server::builder()
        .max_concurrent_streams(MAX_GRPC_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_routes(routes(&ingest))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown.cancelled_owned(),
        )
        .await?;
    Ok(())
}

/// The three methods; tonic's own routes answer all others with UNIMPLEMENTED.
fn routes(ingest: &Arc<Ingest>) -> Routes {
    let route = |signal| {
        let ingest = Arc::clone(ingest);
        post(move |request: Request| export(Arc::clone(&ingest), signal, request))
    };
    let mut routes = Routes::default();
    let methods = Router::new()
        .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", route(Signal::Traces))
        .route("/opentelemetry.proto.collector.logs.v1.LogsService/Export", route(Signal::Logs))
        .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", route(Signal::Metrics));
    let profiles = {
        let ingest = Arc::clone(ingest);
        post(move |request: Request| export_profiles(Arc::clone(&ingest), request))
    };
    let methods = methods.route(profiles::METHOD, profiles);
    let router = std::mem::take(routes.axum_router_mut()).merge(methods);
    *routes.axum_router_mut() = router;
    routes.prepare()
}

async fn export(ingest: Arc<Ingest>, signal: Signal, request: Request) -> Response {
    if !content_type(request.headers()).starts_with("application/grpc") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let outcome = receive(&ingest, signal, request).await;
    ingest.metrics.answered_export("grpc", &outcome);
    match outcome {
        Ok(partial) => taken(&reply::protobuf_reply(signal, partial.as_ref())),
        Err(refusal) => refused(&refusal),
    }
}

async fn export_profiles(ingest: Arc<Ingest>, request: Request) -> Response {
    if !content_type(request.headers()).starts_with("application/grpc") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let outcome = receive_profiles(&ingest, request).await;
    ingest.metrics.answered("profiles", outcome.as_ref().map_or_else(Refusal::outcome, |_| "ok"));
    match outcome {
        Ok(rejected) => taken(&prost::Message::encode_to_vec(&profiles::Taken { rejected })),
        Err(refusal) => refused(&refusal),
    }
}

async fn receive_profiles(ingest: &Ingest, request: Request) -> Result<u64, Refusal> {
    let (body, reservation) = message(ingest, request, profiles::MAX_BODY_BYTES).await?;
    let bytes = if body.gzip {
        gunzip(&body.bytes, profiles::MAX_BODY_BYTES, &reservation)?
    } else {
        body.bytes.to_vec()
    };
    let (batch, rejected) = profiles::decode(&bytes, &ingest.limits, ingest.now())?;
    ingest.store(batch, reservation).await?;
    Ok(rejected)
}

async fn receive(ingest: &Ingest, signal: Signal, request: Request) -> Result<Option<Partial>, Refusal> {
    let (body, reservation) = message(ingest, request, ingest.limits.max_body_bytes).await?;
    ingest.export(signal, body, reservation).await
}

/// The message of a call, and the room that it takes.
async fn message(
    ingest: &Ingest,
    request: Request,
    max_bytes: usize,
) -> Result<(Body, Arc<Reservation>), Refusal> {
    let packed_as_gzip = accepts(request.headers())?;
    let reservation = Arc::new(ingest.reserve());
    let limits = &ingest.limits;
    let limit = max_bytes + PREFIX_BYTES;
    let framed = read(request.into_body(), limit, limits, &reservation).await?;
    let (packed, bytes) = unframe(framed)?;
    if packed && !packed_as_gzip {
        return Err(Refusal::Malformed("compressed message without grpc-encoding".into()));
    }
    Ok((Body { bytes, encoding: Encoding::Protobuf, gzip: packed }, reservation))
}

/// Whether messages may be gzip; an error for any other compression.
fn accepts(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(found) => {
            Err(Refusal::ContentEncoding { found: domain::text::plain(&String::from_utf8_lossy(found), 60) })
        }
    }
}

/// The one message of a body, and whether it is compressed.
fn unframe(mut body: Bytes) -> Result<(bool, Bytes), Refusal> {
    let malformed = |what: &str| Refusal::Malformed(format!("grpc frame: {what}"));
    if body.len() < PREFIX_BYTES {
        return Err(malformed("no message"));
    }
    let flag = body.get_u8();
    let length = body.get_u32();
    match flag {
        0 | 1 if u32::try_from(body.len()) == Ok(length) => Ok((flag == 1, body)),
        0 | 1 => Err(malformed("not exactly one message of the length it says")),
        _ => Err(malformed("unknown flag")),
    }
}

fn taken(message: &[u8]) -> Response {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    // An answer is a few hundred bytes.
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    let trailers = HeaderMap::from_iter([(tonic::Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let headers =
        [(header::CONTENT_TYPE, GRPC), (header::HeaderName::from_static(ACCEPT_ENCODING), ACCEPTED)];
    (headers, HttpBody::new(body)).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let mut response = reply::status(refusal).into_http();
    if matches!(refusal, Refusal::ContentEncoding { .. }) {
        response.headers_mut().insert(ACCEPT_ENCODING, ACCEPTED);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &'static [u8], expected: Option<(bool, &[u8])>) {
        let message = unframe(Bytes::from_static(body)).ok();
        assert_eq!(message.as_ref().map(|(packed, bytes)| (*packed, &bytes[..])), expected, "{body:?}");
    }

    #[test]
    fn a_call_carries_exactly_one_message() {
        check(&[0, 0, 0, 0, 2, 7, 8], Some((false, &[7, 8])));
        check(&[1, 0, 0, 0, 0], Some((true, &[])));
        check(&[], None);
        check(&[0, 0, 0, 0, 2, 7], None);
        check(&[0, 0, 0, 0, 1, 7, 8], None);
        check(&[2, 0, 0, 0, 0], None);
        check(&[0, 255, 255, 255, 255], None);
    }
}
