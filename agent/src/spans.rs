//! Spans in the words of OpenTelemetry's semantic conventions.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind, status::StatusCode};

use crate::l7::{Outcome, Protocol, Request, Role};
use crate::traces::Placed;

/// Where telemetry itself is sent to; to report on that would never end.
const TELEMETRY: [&str; 4] = ["/opentelemetry.proto.collector.", "/v1/traces", "/v1/metrics", "/v1/logs"];
/// Where spans are among it.
const SPANS: [&str; 2] = ["/opentelemetry.proto.collector.trace.", "/v1/traces"];

/// Whether a request carries OpenTelemetry data.
pub fn is_telemetry(request: &Request) -> bool {
    goes_to(request, &TELEMETRY)
}

/// Whether it carries spans: who sends some reports its requests itself.
pub fn carries_spans(request: &Request) -> bool {
    goes_to(request, &SPANS)
}

/// What is sent is posted; others have pages of these names (`GET /v1/metrics` is Nomad's).
fn goes_to(request: &Request, places: &[&str]) -> bool {
    let posted = match request.protocol {
        Protocol::Http1 | Protocol::Http2 => request.operation == "POST",
        Protocol::Grpc => true,
        _ => false,
    };
    posted && places.iter().any(|start| request.target.starts_with(start))
}

/// A span of one of 2^`shed_bits` connections that were captured.
pub fn span(placed: &Placed, shed_bits: u32) -> Span {
    let request = &placed.exchange.request;
    let started = request.started.0.max(0).unsigned_abs();
    let ended = request.started.plus(request.duration).0.max(0).unsigned_abs();
    let failed = request.outcome != Outcome::Ok;
    Span {
        trace_id: placed.trace_id.to_be_bytes().to_vec(),
        span_id: placed.span_id.to_be_bytes().to_vec(),
        parent_span_id: if placed.parent == 0 { Vec::new() } else { placed.parent.to_be_bytes().to_vec() },
        trace_state: trace_state(shed_bits),
        name: name(request),
        kind: match request.role {
            Role::Client => SpanKind::Client,
            Role::Server => SpanKind::Server,
        } as i32,
        start_time_unix_nano: started,
        end_time_unix_nano: ended,
        attributes: attributes(placed),
        status: Some(Status {
            code: if failed { StatusCode::Error } else { StatusCode::Unset } as i32,
            message: if failed { message(request) } else { String::new() },
        }),
        ..Span::default()
    }
}

/// The share that was kept, as the W3C `tracestate` of OpenTelemetry says it: 2^-bits of all has the threshold 1 - 2^-bits.
fn trace_state(shed_bits: u32) -> String {
    if shed_bits == 0 {
        return String::new();
    }
    let threshold = (1_u64 << 56) - (1 << (56 - shed_bits.min(55)));
    format!("ot=th:{}", format!("{threshold:014x}").trim_end_matches('0'))
}

/// What an operator would call it: of small variety, for it is a key of statistics.
fn name(request: &Request) -> String {
    let Request { operation, target, .. } = request;
    match request.protocol {
        Protocol::Grpc => target.trim_start_matches('/').to_owned(),
        Protocol::Postgres | Protocol::Mysql => match table(target) {
            Some(table) => format!("{operation} {table}"),
            None => operation.clone(),
        },
        _ if target.is_empty() => operation.clone(),
        _ => format!("{operation} {target}"),
    }
}

/// The first table that a statement names.
fn table(statement: &str) -> Option<&str> {
    let mut words = statement.split_whitespace();
    words.find(|word| ["FROM", "INTO", "UPDATE", "JOIN"].iter().any(|key| word.eq_ignore_ascii_case(key)))?;
    let word = words.next()?.split(['(', ',', ';', ')']).next()?;
    (!word.is_empty()).then_some(word)
}

fn message(request: &Request) -> String {
    match (request.error.is_empty(), request.outcome) {
        (false, _) => request.error.clone(),
        (true, Outcome::Unanswered) => "no answer".to_owned(),
        // Conventions leave the message empty where the status tells all.
        (true, _) => String::new(),
    }
}

fn attributes(placed: &Placed) -> Vec<KeyValue> {
    let exchange = &placed.exchange;
    let request = &exchange.request;
    let mut list = Vec::with_capacity(8);
    let mut text = |key: &str, value: &str| {
        if !value.is_empty() {
            list.push(attribute(key, Value::StringValue(value.to_owned())));
        }
    };
    let protocol = request.protocol;
    match protocol {
        Protocol::Http1 | Protocol::Http2 => {
            text("http.request.method", &request.operation);
            text("http.route", &request.target);
            text("network.protocol.version", if protocol == Protocol::Http1 { "1.1" } else { "2" });
        }
        Protocol::Grpc => {
            text("rpc.system", "grpc");
            if let Some((service, method)) = request.target.trim_start_matches('/').split_once('/') {
                text("rpc.service", service);
                text("rpc.method", method);
            }
            text("rpc.grpc.status_code", &request.status);
        }
        Protocol::Postgres | Protocol::Mysql | Protocol::Redis | Protocol::Mongodb | Protocol::Memcached => {
            text("db.system.name", protocol.name());
            text("db.operation.name", &request.operation);
            text("db.query.text", &request.target);
            text("db.response.status_code", &request.status);
        }
        Protocol::Kafka | Protocol::Amqp | Protocol::Nats => {
            text("messaging.system", protocol.name());
            text("messaging.operation.name", &request.operation);
            text("messaging.destination.name", &request.target);
        }
        Protocol::Dns => {
            text("dns.question.name", &request.target);
            text("network.protocol.name", protocol.name());
        }
    }
    if request.outcome != Outcome::Ok {
        let kind = match (request.outcome, request.status.is_empty()) {
            (Outcome::Unanswered, _) => "unanswered",
            (_, false) => &request.status,
            (_, true) => "_OTHER",
        };
        text("error.type", kind);
    }
    let host = request.host.rsplit_once(':').map_or(request.host.as_str(), |(host, _)| host);
    if request.role == Role::Client {
        if let Some(service) = &exchange.peer.service {
            text("peer.service", &service.name);
        }
        let address = exchange.peer.address.map(|it| it.ip().to_string()).unwrap_or_default();
        text("server.address", if host.is_empty() { &address } else { host });
        text("network.peer.address", &address);
    } else if let Some(address) = exchange.peer.address {
        text("client.address", &address.ip().to_string());
    }
    if let (Role::Client, Some(address)) = (request.role, exchange.peer.address) {
        list.push(attribute("server.port", Value::IntValue(i64::from(address.port()))));
    }
    if matches!(protocol, Protocol::Http1 | Protocol::Http2)
        && let Ok(status) = request.status.parse()
    {
        list.push(attribute("http.response.status_code", Value::IntValue(status)));
    }
    list
}

/// One attribute.
pub fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_spans_reports_its_requests_itself() {
        let check = |protocol, operation: &str, target: &str| {
            let request = Request {
                protocol,
                role: Role::Client,
                operation: operation.into(),
                target: target.into(),
                host: String::new(),
                status: String::new(),
                outcome: Outcome::Ok,
                error: String::new(),
                started: domain::UnixNanos(0),
                duration: std::time::Duration::ZERO,
                waits: false,
                trace: None,
            };
            (is_telemetry(&request), carries_spans(&request))
        };
        assert_eq!(check(Protocol::Http1, "POST", "/v1/traces"), (true, true));
        assert_eq!(check(Protocol::Http1, "POST", "/v1/logs"), (true, false));
        assert_eq!(check(Protocol::Http1, "GET", "/v1/metrics"), (false, false));
        let of_spans = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert_eq!(check(Protocol::Grpc, "POST", of_spans), (true, true));
        assert_eq!(check(Protocol::Redis, "POST", "/v1/traces"), (false, false));
    }

    #[test]
    fn tables_of_statements() {
        assert_eq!(table("SELECT id FROM orders WHERE id = ?"), Some("orders"));
        assert_eq!(table("INSERT INTO stock(item) VALUES (?)"), Some("stock"));
        assert_eq!(table("BEGIN"), None);
        assert_eq!(table("SELECT FROM"), None);
    }

    #[test]
    fn shares_as_thresholds() {
        assert_eq!(trace_state(0), "");
        assert_eq!(trace_state(1), "ot=th:8");
        assert_eq!(trace_state(2), "ot=th:c");
    }
}
