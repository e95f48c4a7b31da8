//! The OpenTelemetry side of one service instance: its own providers, resource, tracer and logger.
//!
//! Nothing here touches the SDK's global providers, for six services share this process. The span in whose context code
//! runs is still the thread's current one, as the SDK keeps it, so log records find their trace by themselves.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::time::now;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, SdkTracer, SdkTracerProvider};

use crate::metrics::ServerMetrics;

const SCOPE: &str = "shop";
const SCHEDULE: Duration = Duration::from_secs(1);
const METRIC_INTERVAL: Duration = Duration::from_secs(5);
/// Room for several seconds of the busiest fault.
const QUEUE_LIMIT: usize = 16_384;
/// A batch of this many spans stays well below the 4 MiB that receivers usually accept.
const BATCH_LIMIT: usize = 1_024;
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// How long a stopping instance may take to hand over what it still holds.
const FLUSH_LIMIT: Duration = Duration::from_millis(1_800);

/// Who a service instance is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub service: &'static str,
    pub version: &'static str,
    pub instance: String,
}

impl Identity {
    fn resource(&self) -> Resource {
        Resource::builder()
            .with_service_name(self.service)
            .with_attributes([
                KeyValue::new("service.version", self.version),
                KeyValue::new("service.instance.id", self.instance.clone()),
                KeyValue::new("service.namespace", "shop"),
                // The older of the two names is still the more common in the field.
                KeyValue::new("deployment.environment", "demo"),
                KeyValue::new("deployment.environment.name", "demo"),
            ])
            .build()
    }
}

/// Providers and handles of one service instance.
pub(crate) struct Telemetry {
    pub identity: Identity,
    pub server: ServerMetrics,
    meter: Meter,
    tracer: SdkTracer,
    logger: SdkLogger,
    traces: SdkTracerProvider,
    logs: SdkLoggerProvider,
    metrics: SdkMeterProvider,
}

impl Telemetry {
    /// Connects lazily: an endpoint that is not there costs the telemetry, never the shop.
    pub fn start(identity: Identity, endpoint: &str) -> anyhow::Result<Self> {
        let resource = identity.resource();
        let traces = tracer_provider(&resource, endpoint).context("failed to set up traces")?;
        let logs = logger_provider(&resource, endpoint).context("failed to set up logs")?;
        let metrics = meter_provider(&resource, endpoint).context("failed to set up metrics")?;
        let meter = metrics.meter(SCOPE);
        Ok(Self {
            identity,
            server: ServerMetrics::new(&meter),
            meter,
            tracer: traces.tracer(SCOPE),
            logger: logs.logger(SCOPE),
            traces,
            logs,
            metrics,
        })
    }

    /// Keeps everything to itself: nothing is sent, and no trace context travels.
    pub fn silent(identity: Identity) -> Self {
        let traces = SdkTracerProvider::builder().with_sampler(trace::Sampler::AlwaysOff).build();
        let logs = SdkLoggerProvider::builder().build();
        let metrics = SdkMeterProvider::builder().build();
        let meter = metrics.meter(SCOPE);
        Self {
            identity,
            server: ServerMetrics::new(&meter),
            meter,
            tracer: traces.tracer(SCOPE),
            logger: logs.logger(SCOPE),
            traces,
            logs,
            metrics,
        }
    }

    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Starts a span below `parent` and returns the context in which it is current.
    pub fn span(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        parent: &Context,
    ) -> Context {
        let builder = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        parent.with_span(self.tracer.build_with_context(builder, parent))
    }

    /// Writes a log record in the current context.
    pub fn log(
        &self,
        severity: Severity,
        body: impl Into<AnyValue>,
        attributes: Vec<(&'static str, AnyValue)>,
    ) {
        let mut record = self.logger.create_log_record();
        record.set_timestamp(now());
        record.set_severity_number(severity);
        record.set_severity_text(severity.name());
        record.set_body(body.into());
        record.add_attributes(attributes);
        self.logger.emit(record);
    }

    /// Hands over what is still held, within [`FLUSH_LIMIT`].
    ///
    /// The SDK's shutdown blocks, and may block for longer than asked when the endpoint is gone; it therefore runs on
    /// threads of its own, which are left behind when time is up.
    pub async fn shutdown(&self) {
        let (traces, logs, metrics) = (self.traces.clone(), self.logs.clone(), self.metrics.clone());
        let (done, finished) = mpsc::channel();
        let steps: [Box<dyn FnOnce() + Send>; 3] = [
            Box::new(move || drop(traces.shutdown_with_timeout(FLUSH_LIMIT))),
            Box::new(move || drop(logs.shutdown_with_timeout(FLUSH_LIMIT))),
            Box::new(move || drop(metrics.shutdown_with_timeout(FLUSH_LIMIT))),
        ];
        for step in steps {
            let done = done.clone();
            thread::spawn(move || {
                step();
                // Nobody listens any more when time was up.
                let _ = done.send(());
            });
        }
        drop(done);
        let deadline = tokio::time::Instant::now() + FLUSH_LIMIT;
        while tokio::time::Instant::now() < deadline {
            match finished.try_recv() {
                Err(mpsc::TryRecvError::Disconnected) => return,
                Ok(()) => {}
                Err(mpsc::TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// Marks the span of `context` as failed, in the way the conventions ask for.
pub(crate) fn fail(context: &Context, kind: &'static str, message: &str) {
    let span = context.span();
    span.add_event(
        "exception",
        vec![KeyValue::new("exception.type", kind), KeyValue::new("exception.message", message.to_owned())],
    );
    span.set_attribute(KeyValue::new("error.type", kind));
    span.set_status(Status::error(message.to_owned()));
}

fn tracer_provider(resource: &Resource, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter =
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_LIMIT).build()?;
    let config = trace::BatchConfigBuilder::default()
        .with_scheduled_delay(SCHEDULE)
        .with_max_queue_size(QUEUE_LIMIT)
        .with_max_export_batch_size(BATCH_LIMIT)
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    Ok(SdkTracerProvider::builder().with_resource(resource.clone()).with_span_processor(processor).build())
}

fn logger_provider(resource: &Resource, endpoint: &str) -> anyhow::Result<SdkLoggerProvider> {
    let exporter =
        LogExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_LIMIT).build()?;
    let config = logs::BatchConfigBuilder::default()
        .with_scheduled_delay(SCHEDULE)
        .with_max_queue_size(QUEUE_LIMIT)
        .with_max_export_batch_size(BATCH_LIMIT)
        .build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
    Ok(SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(processor).build())
}

fn meter_provider(resource: &Resource, endpoint: &str) -> anyhow::Result<SdkMeterProvider> {
    let exporter =
        MetricExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_LIMIT).build()?;
    let reader = PeriodicReader::builder(exporter).with_interval(METRIC_INTERVAL).build();
    Ok(SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(reader).build())
}
