//! OTLP messages out of what the agent knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use domain::UnixNanos;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::edges::SECONDS;
use crate::identity::Service;
use crate::report::{Point, Value};
use crate::spans::attribute;

/// Under which name the agent's own measurements are filed.
pub const AGENT: &str = "inquest-agent";

/// What all telemetry of this agent has in common.
#[derive(Clone, Debug)]
pub struct Host {
    /// `host.name`.
    pub name: String,
}

impl Host {
    /// The resource of a service on this host; of the agent itself for none.
    pub fn resource(&self, service: Option<&Service>) -> Resource {
        let text = |value: &str| any_value::Value::StringValue(value.to_owned());
        let mut attributes = vec![
            attribute("service.name", text(service.map_or(AGENT, |it| &it.name))),
            attribute("host.name", text(&self.name)),
            attribute("telemetry.sdk.name", text(AGENT)),
        ];
        for (key, value) in service.into_iter().flat_map(|it| &it.attributes) {
            attributes.push(attribute(key, text(value)));
        }
        Resource { attributes, ..Resource::default() }
    }

    /// Measurements by service.
    pub fn metrics(&self, points: &[Point], since: UnixNanos, now: UnixNanos) -> ExportMetricsServiceRequest {
        let mut services: BTreeMap<Option<Arc<Service>>, BTreeMap<&'static str, Metric>> = BTreeMap::new();
        let times = (since.0.max(0).unsigned_abs(), now.0.max(0).unsigned_abs());
        for point in points {
            let metrics = services.entry(point.service.clone()).or_default();
            let metric = metrics.entry(point.name).or_insert_with(|| Metric {
                name: point.name.to_owned(),
                unit: point.unit.to_owned(),
                data: Some(empty(&point.value)),
                ..Metric::default()
            });
            push(metric, point, times);
        }
        let resource_metrics = services
            .into_iter()
            .map(|(service, metrics)| ResourceMetrics {
                resource: Some(self.resource(service.as_deref())),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics: metrics.into_values().collect(),
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            })
            .collect();
        ExportMetricsServiceRequest { resource_metrics }
    }
}

/// Spans of an export request that is being filled.
#[derive(Debug, Default)]
pub struct Spans {
    services: BTreeMap<Arc<Service>, Vec<Bytes>>,
    bytes: usize,
}

impl Spans {
    /// Adds one. It is encoded now: to encode a whole request at once would hold the processor for a millisecond.
    pub fn push(&mut self, service: &Arc<Service>, span: &Span) {
        let encoded = Bytes::from(span.encode_to_vec());
        self.bytes += encoded.len();
        self.services.entry(Arc::clone(service)).or_default().push(encoded);
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The request, by service; leaves nothing behind.
    pub fn request(&mut self, host: &Host) -> Bytes {
        self.bytes = 0;
        let resource_spans = std::mem::take(&mut self.services)
            .into_iter()
            .map(|(service, spans)| EncodedResourceSpans {
                resource: Some(host.resource(Some(&service))),
                scope_spans: vec![EncodedScopeSpans { scope: Some(scope()), spans }],
            })
            .collect();
        Bytes::from(EncodedTraces { resource_spans }.encode_to_vec())
    }
}

/// An `ExportTraceServiceRequest` whose spans are encoded already: on the wire it is the same.
#[derive(Clone, PartialEq, prost::Message)]
struct EncodedTraces {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<EncodedResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EncodedResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<EncodedScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EncodedScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    spans: Vec<Bytes>,
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: AGENT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    }
}

fn empty(value: &Value) -> Data {
    let cumulative = AggregationTemporality::Cumulative as i32;
    match value {
        Value::Counter(_) => {
            Data::Sum(Sum { aggregation_temporality: cumulative, is_monotonic: true, ..Sum::default() })
        }
        Value::Gauge(_) => Data::Gauge(Gauge::default()),
        Value::Histogram(_) => {
            Data::Histogram(Histogram { aggregation_temporality: cumulative, ..Histogram::default() })
        }
    }
}

fn push(metric: &mut Metric, point: &Point, (since, now): (u64, u64)) {
    let attributes: Vec<KeyValue> = point
        .labels
        .iter()
        .map(|(key, value)| attribute(key, any_value::Value::StringValue(value.clone())))
        .collect();
    let number = |value: f64, attributes| NumberDataPoint {
        attributes,
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    match (&mut metric.data, &point.value) {
        (Some(Data::Sum(sum)), Value::Counter(value)) => sum.data_points.push(number(*value, attributes)),
        (Some(Data::Gauge(gauge)), Value::Gauge(value)) => gauge.data_points.push(number(*value, attributes)),
        (Some(Data::Histogram(data)), Value::Histogram(histogram)) => {
            data.data_points.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano: since,
                time_unix_nano: now,
                count: histogram.count(),
                sum: Some(histogram.sum),
                bucket_counts: histogram.buckets.to_vec(),
                explicit_bounds: SECONDS.to_vec(),
                ..HistogramDataPoint::default()
            })
        }
        // One name is one kind: the list is made by `report`.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;

    #[test]
    fn spans_that_were_encoded_one_by_one_are_an_ordinary_request() {
        let host = Host { name: "node-1".to_owned() };
        let [web, api] =
            ["web", "api"].map(|name| Arc::new(Service { name: name.to_owned(), attributes: Vec::new() }));
        let span = |name: &str| Span { name: name.to_owned(), span_id: vec![7; 8], ..Span::default() };
        let mut spans = Spans::default();
        for (service, name) in [(&web, "GET /"), (&api, "GET /items"), (&web, "GET /cart")] {
            spans.push(service, &span(name));
        }
        assert!(spans.bytes() > 0);
        let request = ExportTraceServiceRequest::decode(spans.request(&host)).expect("a request");
        let got: Vec<_> = request
            .resource_spans
            .iter()
            .map(|it| (it.resource.clone(), it.scope_spans[0].scope.clone(), it.scope_spans[0].spans.clone()))
            .collect();
        let expected =
            [(&api, vec!["GET /items"]), (&web, vec!["GET /", "GET /cart"])].map(|(service, names)| {
                (Some(host.resource(Some(service))), Some(scope()), names.into_iter().map(span).collect())
            });
        assert_eq!(got, expected);
        assert_eq!(spans.bytes(), 0);
        assert!(spans.request(&host).is_empty());
    }
}
