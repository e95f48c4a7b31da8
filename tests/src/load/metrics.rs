//! Metric requests: one sample of each of many series.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point::Value,
};
use prost::Message;

use super::{SERVICES, resource, text};

/// Metrics of each service; the rest of the series count is instances of them.
const METRICS: [&str; 8] = [
    "process.cpu.utilization",
    "process.memory.usage",
    "db.client.connections.usage",
    "http.server.active_requests",
    "jvm.gc.duration",
    "queue.depth",
    "cache.hit_ratio",
    "thread.count",
];

/// A request with one sample at `at_ns` of each of `series` series.
pub fn metric_request(series: u32, at_ns: u64) -> Bytes {
    let kinds = (SERVICES.len() * METRICS.len()) as u32;
    let resource_metrics = SERVICES
        .iter()
        .enumerate()
        .map(|(service_index, service)| {
            let metrics = METRICS
                .iter()
                .enumerate()
                .map(|(metric_index, name)| {
                    let kind = (service_index * METRICS.len() + metric_index) as u32;
                    let instances = (0..series).filter(|index| index % kinds == kind);
                    let data_points = instances.map(|index| point(index, at_ns)).collect();
                    Metric {
                        name: (*name).to_owned(),
                        unit: "1".to_owned(),
                        data: Some(Data::Gauge(Gauge { data_points })),
                        ..Metric::default()
                    }
                })
                .collect();
            ResourceMetrics {
                resource: Some(resource(service)),
                scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
                ..ResourceMetrics::default()
            }
        })
        .collect();
    Bytes::from(ExportMetricsServiceRequest { resource_metrics }.encode_to_vec())
}

fn point(index: u32, at_ns: u64) -> NumberDataPoint {
    let wobble =
        (at_ns / 1_000_000_000).wrapping_mul(2_654_435_761).wrapping_add(u64::from(index) * 97) % 1_000;
    NumberDataPoint {
        attributes: vec![text("shard", &format!("shard-{index}"))],
        time_unix_nano: at_ns,
        value: Some(Value::AsDouble(f64::from(index % 50) + wobble as f64 / 1_000.0)),
        ..NumberDataPoint::default()
    }
}
