//! An OTLP receiver in a few lines: it keeps everything it is sent, flattened for questions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span with its resource's service.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub version: String,
    pub instance: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
    pub name: String,
    /// As numbered by the protocol: 1 internal, 2 server, 3 client.
    pub kind: i32,
    pub start_ns: u64,
    pub duration_ms: f64,
    pub failed: bool,
    pub exceptions: Vec<String>,
    pub attributes: BTreeMap<String, String>,
}

/// A log record with its resource's service.
#[derive(Clone, Debug)]
pub struct Log {
    pub service: String,
    pub trace: Vec<u8>,
    pub span: Vec<u8>,
    pub severity: String,
    pub body: String,
}

/// Everything received.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub spans: Vec<Span>,
    pub logs: Vec<Log>,
    /// Largest value by service and metric; of histograms, the count.
    pub metrics: BTreeMap<(String, String), f64>,
}

#[derive(Clone, Default)]
pub struct Receiver(Arc<Mutex<Received>>);

impl Receiver {
    /// Listens on a loopback port; returns the endpoint.
    pub async fn start() -> (Self, String) {
        let receiver = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(receiver.clone()))
            .add_service(LogsServiceServer::new(receiver.clone()))
            .add_service(MetricsServiceServer::new(receiver.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        (receiver, endpoint)
    }

    pub fn received(&self) -> Received {
        self.0.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut received = self.0.lock().unwrap();
        for group in request.into_inner().resource_spans {
            let resource = resource(group.resource);
            let of = |key: &str| resource.get(key).cloned().unwrap_or_default();
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let exception = |event: &opentelemetry_proto::tonic::trace::v1::span::Event| {
                    attributes(event.attributes.clone()).remove("exception.type")
                };
                received.spans.push(Span {
                    service: of("service.name"),
                    version: of("service.version"),
                    instance: of("service.instance.id"),
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    name: span.name,
                    kind: span.kind,
                    start_ns: span.start_time_unix_nano,
                    duration_ms: (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e6,
                    failed: span.status.is_some_and(|status| status.code == 2),
                    exceptions: span.events.iter().filter_map(exception).collect(),
                    attributes: attributes(span.attributes),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let mut received = self.0.lock().unwrap();
        for group in request.into_inner().resource_logs {
            let service = resource(group.resource).remove("service.name").unwrap_or_default();
            for record in group.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                received.logs.push(Log {
                    service: service.clone(),
                    trace: record.trace_id,
                    span: record.span_id,
                    severity: record.severity_text,
                    body: text(record.body),
                });
            }
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut received = self.0.lock().unwrap();
        for group in request.into_inner().resource_metrics {
            let service = resource(group.resource).remove("service.name").unwrap_or_default();
            for metric in group.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let values: Vec<f64> = match metric.data {
                    Some(Data::Gauge(gauge)) => {
                        gauge.data_points.iter().map(|point| number(point.value)).collect()
                    }
                    Some(Data::Sum(sum)) => sum.data_points.iter().map(|point| number(point.value)).collect(),
                    Some(Data::Histogram(histogram)) => {
                        histogram.data_points.iter().map(|point| point.count as f64).collect()
                    }
                    _ => Vec::new(),
                };
                for value in values {
                    let largest =
                        received.metrics.entry((service.clone(), metric.name.clone())).or_insert(value);
                    *largest = largest.max(value);
                }
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        Some(number_data_point::Value::AsDouble(value)) => value,
        None => 0.0,
    }
}

fn resource(resource: Option<Resource>) -> BTreeMap<String, String> {
    attributes(resource.unwrap_or_default().attributes)
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(value)) => value,
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}
