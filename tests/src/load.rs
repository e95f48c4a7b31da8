//! Telemetry made in bulk, and a sender that can outrun the server.
//!
//! Requests are encoded once as templates; sending one costs a copy and a few patched bytes, so that a measurement of the
//! server is not a measurement of the sender.

mod logs;
mod metrics;
mod patch;
mod sender;
mod spans;

pub use logs::log_request;
pub use metrics::metric_request;
pub use sender::{Channel, Outcome, Signal, connect, send};
pub use spans::{Behaviour, SpanTemplate};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// The services of the synthetic system, in call order.
pub const SERVICES: [&str; 5] = ["gateway", "checkout", "catalog", "cart", "payment"];

/// Nanoseconds since the epoch, now.
pub fn now_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// A resource of eight attributes, as an SDK in a cluster sends it.
pub fn resource(service: &str) -> Resource {
    let attributes = vec![
        text("service.name", service),
        text("service.version", "2.41.0"),
        text("service.namespace", "shop"),
        text("service.instance.id", &format!("{service}-6d5f7c9b8-x2x9k")),
        text("deployment.environment.name", "production"),
        text("host.name", "node-3"),
        text("k8s.pod.name", &format!("{service}-6d5f7c9b8-x2x9k")),
        text("telemetry.sdk.language", "rust"),
    ];
    Resource { attributes, ..Resource::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
