//! Log requests: a handful of messages with variable parts.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;

use super::{Behaviour, SERVICES, resource, text};

const INFO: i32 = 9;
const ERROR: i32 = 17;

/// A request of `records` log records spread over `spread_ns` from `start_ns` on.
pub fn log_request(records: u32, behaviour: Behaviour, number: u64, start_ns: u64, spread_ns: u64) -> Bytes {
    let mut by_service: Vec<Vec<LogRecord>> = SERVICES.iter().map(|_| Vec::new()).collect();
    for index in 0..records {
        let service = index as usize % SERVICES.len();
        let at = start_ns + spread_ns * u64::from(index) / u64::from(records.max(1));
        let mixed =
            (number * u64::from(records) + u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let fails = behaviour == Behaviour::PaymentFails && SERVICES[service] == "payment" && index % 3 == 0;
        let (severity, body) = if fails {
            (ERROR, format!("charge {mixed} declined: upstream gateway timed out after 3000 ms"))
        } else {
            (INFO, info(mixed))
        };
        by_service[service].push(LogRecord {
            time_unix_nano: at,
            observed_time_unix_nano: at,
            severity_number: severity,
            severity_text: if fails { "ERROR" } else { "INFO" }.to_owned(),
            body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
            attributes: vec![text("thread.name", &format!("worker-{}", mixed % 16)), text("tenant", "north")],
            ..LogRecord::default()
        });
    }
    let request = ExportLogsServiceRequest {
        resource_logs: SERVICES
            .iter()
            .zip(by_service)
            .map(|(service, log_records)| ResourceLogs {
                resource: Some(resource(service)),
                scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            })
            .collect(),
    };
    Bytes::from(request.encode_to_vec())
}

fn info(mixed: u64) -> String {
    match mixed % 6 {
        0 => format!("request {mixed} answered in {} ms", mixed % 90),
        1 => format!("cart {} loaded with {} items", mixed % 9_000, mixed % 12),
        2 => format!("price list refreshed: {} products", mixed % 3_000),
        3 => format!("session {mixed:x} renewed for user-{}", mixed % 20_000),
        4 => format!("connection pool: {} of 32 in use", mixed % 32),
        _ => format!("order {mixed} accepted, total {}.{:02}", mixed % 400, mixed % 100),
    }
}
