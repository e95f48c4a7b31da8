//! Answers over HTTP: OTLP's replies and `google.rpc.Status`, in the encoding of the request.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;
use tonic_types::{ErrorDetails, StatusExt};

use crate::decode::Encoding;
use crate::refusal::Refusal;
use crate::tally::{Partial, Signal};

pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const JSON: &str = "application/json";

/// The answer to a request that was taken, or to one that was not.
pub(crate) fn http(
    signal: Signal,
    encoding: Encoding,
    outcome: &Result<Option<Partial>, Refusal>,
) -> Response {
    match (outcome, encoding) {
        (Ok(partial), Encoding::Protobuf) => {
            body(StatusCode::OK, PROTOBUF, protobuf_reply(signal, partial.as_ref()))
        }
        (Ok(partial), _) => body(StatusCode::OK, JSON, json_reply(signal, partial.as_ref()).into_bytes()),
        (Err(refusal), encoding) => refused(refusal, encoding),
    }
}

/// `Export…ServiceResponse`, with `partial_success` unset when everything was taken.
pub(crate) fn protobuf_reply(signal: Signal, partial: Option<&Partial>) -> Vec<u8> {
    let parts = partial.map(|partial| (partial.rejected, partial.message.clone()));
    match signal {
        Signal::Traces => ExportTraceServiceResponse {
            partial_success: parts.map(|(rejected_spans, error_message)| ExportTracePartialSuccess {
                rejected_spans,
                error_message,
            }),
        }
        .encode_to_vec(),
        Signal::Logs => ExportLogsServiceResponse {
            partial_success: parts.map(|(rejected_log_records, error_message)| ExportLogsPartialSuccess {
                rejected_log_records,
                error_message,
            }),
        }
        .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceResponse {
            partial_success: parts.map(|(rejected_data_points, error_message)| ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message,
            }),
        }
        .encode_to_vec(),
    }
}

/// The same in JSON, by hand: the generated types write `null` for what is unset, and numbers for 64-bit integers.
fn json_reply(signal: Signal, partial: Option<&Partial>) -> String {
    let Some(partial) = partial else { return "{}".into() };
    let rejected = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
        Signal::Metrics => "rejectedDataPoints",
    };
    json!({"partialSuccess": {rejected: partial.rejected.to_string(), "errorMessage": partial.message}})
        .to_string()
}

/// An error with its status code, and with a time to come back where coming back helps.
pub(crate) fn refused(refusal: &Refusal, encoding: Encoding) -> Response {
    let mut response = match encoding {
        Encoding::Protobuf => body(status_code(refusal), PROTOBUF, status(refusal).details().to_vec()),
        Encoding::Json | Encoding::JsonLines => {
            body(status_code(refusal), JSON, json_status(refusal).into_bytes())
        }
    };
    let headers = response.headers_mut();
    if let Some(delay) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, delay.as_secs().into());
    }
    if matches!(refusal, Refusal::ContentEncoding { .. }) {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// The error as gRPC carries it; its details are an encoded `google.rpc.Status`.
pub(crate) fn status(refusal: &Refusal) -> tonic::Status {
    let details = match refusal.retry_after() {
        Some(delay) => ErrorDetails::with_retry_info(Some(delay)),
        None => ErrorDetails::new(),
    };
    tonic::Status::with_error_details(refusal.code(), refusal.to_string(), details)
}

fn json_status(refusal: &Refusal) -> String {
    let mut status = json!({"code": refusal.code() as i32, "message": refusal.to_string()});
    if let Some(delay) = refusal.retry_after() {
        status["details"] = json!([{
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", delay.as_secs()),
        }]);
    }
    status.to_string()
}

pub(crate) fn status_code(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        Refusal::TooLarge { .. } | Refusal::TooManyElements { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::ContentType { .. } | Refusal::ContentEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
        Refusal::Busy => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn body(status: StatusCode, content_type: &'static str, bytes: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, content_type)], bytes).into_response()
}
