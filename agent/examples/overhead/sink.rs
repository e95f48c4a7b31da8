//! Takes telemetry and keeps none, so that no server is measured with the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as traces;
use tonic::{Request, Response, Status};

/// Where it listens, and what came.
pub struct Sink {
    pub url: String,
    spans: Arc<AtomicU64>,
    logs: Arc<AtomicU64>,
}

struct Traces(Arc<AtomicU64>);
struct Metrics;
struct Logs(Arc<AtomicU64>);

impl Sink {
    /// Spans so far.
    pub fn spans(&self) -> u64 {
        self.spans.load(Ordering::Relaxed)
    }

    /// Log records so far.
    pub fn logs(&self) -> u64 {
        self.logs.load(Ordering::Relaxed)
    }
}

pub async fn start() -> Result<Sink> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let spans = Arc::new(AtomicU64::new(0));
    let logs = Arc::new(AtomicU64::new(0));
    let server = tonic::transport::Server::builder()
        .add_service(traces::trace_service_server::TraceServiceServer::new(Traces(Arc::clone(&spans))))
        .add_service(logs::logs_service_server::LogsServiceServer::new(Logs(Arc::clone(&logs))))
        .add_service(metrics::metrics_service_server::MetricsServiceServer::new(Metrics));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    Ok(Sink { url, spans, logs })
}

#[tonic::async_trait]
impl traces::trace_service_server::TraceService for Traces {
    async fn export(
        &self,
        request: Request<traces::ExportTraceServiceRequest>,
    ) -> Result<Response<traces::ExportTraceServiceResponse>, Status> {
        let scopes = request.get_ref().resource_spans.iter().flat_map(|it| &it.scope_spans);
        let spans: usize = scopes.map(|it| it.spans.len()).sum();
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
        Ok(Response::new(traces::ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl metrics::metrics_service_server::MetricsService for Metrics {
    async fn export(
        &self,
        _: Request<metrics::ExportMetricsServiceRequest>,
    ) -> Result<Response<metrics::ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(metrics::ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl logs::logs_service_server::LogsService for Logs {
    async fn export(
        &self,
        request: Request<logs::ExportLogsServiceRequest>,
    ) -> Result<Response<logs::ExportLogsServiceResponse>, Status> {
        let scopes = request.get_ref().resource_logs.iter().flat_map(|it| &it.scope_logs);
        let records: usize = scopes.map(|it| it.log_records.len()).sum();
        self.0.fetch_add(records as u64, Ordering::Relaxed);
        Ok(Response::new(logs::ExportLogsServiceResponse::default()))
    }
}
