//! Rows as they are written: borrowed from the domain's, so that nothing is copied on the way to the serialiser.

use clickhouse::Row;
use domain::{Attributes, Change, LogRecord, ProfileSample, Sample, Series, Span};
use serde::Serialize;

/// A row of `otel_traces`.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SpanRow<'a> {
    timestamp: i64,
    trace_id: &'a str,
    span_id: &'a str,
    parent_span_id: &'a str,
    trace_state: &'a str,
    span_name: &'a str,
    span_kind: &'a str,
    service_name: &'a str,
    resource_attributes: &'a Attributes,
    scope_name: &'a str,
    scope_version: &'a str,
    span_attributes: &'a Attributes,
    duration: u64,
    status_code: &'a str,
    status_message: &'a str,
    #[serde(rename = "Events.Timestamp")]
    event_timestamps: Vec<i64>,
    #[serde(rename = "Events.Name")]
    event_names: Vec<&'a str>,
    #[serde(rename = "Events.Attributes")]
    event_attributes: Vec<&'a Attributes>,
    #[serde(rename = "Links.TraceId")]
    link_trace_ids: Vec<&'a str>,
    #[serde(rename = "Links.SpanId")]
    link_span_ids: Vec<&'a str>,
    #[serde(rename = "Links.TraceState")]
    link_trace_states: Vec<&'a str>,
    #[serde(rename = "Links.Attributes")]
    link_attributes: Vec<&'a Attributes>,
}

impl<'a> From<&'a Span> for SpanRow<'a> {
    fn from(span: &'a Span) -> Self {
        Self {
            timestamp: span.start.0,
            trace_id: &span.trace_id,
            span_id: &span.span_id,
            parent_span_id: &span.parent_span_id,
            trace_state: &span.trace_state,
            span_name: &span.name,
            span_kind: span.kind.as_str(),
            service_name: &span.service,
            resource_attributes: &span.resource,
            scope_name: &span.scope_name,
            scope_version: &span.scope_version,
            span_attributes: &span.attributes,
            duration: span.duration_ns,
            status_code: span.status.as_str(),
            status_message: &span.status_message,
            event_timestamps: span.events.iter().map(|event| event.at.0).collect(),
            event_names: span.events.iter().map(|event| event.name.as_str()).collect(),
            event_attributes: span.events.iter().map(|event| &event.attributes).collect(),
            link_trace_ids: span.links.iter().map(|link| link.trace_id.as_str()).collect(),
            link_span_ids: span.links.iter().map(|link| link.span_id.as_str()).collect(),
            link_trace_states: span.links.iter().map(|link| link.trace_state.as_str()).collect(),
            link_attributes: span.links.iter().map(|link| &link.attributes).collect(),
        }
    }
}

/// A row of `otel_logs`. The schema addresses, flags and scope attributes of the exporter are not kept.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LogRow<'a> {
    timestamp: i64,
    trace_id: &'a str,
    span_id: &'a str,
    trace_flags: u8,
    severity_text: &'a str,
    severity_number: u8,
    service_name: &'a str,
    body: &'a str,
    resource_schema_url: &'a str,
    resource_attributes: &'a Attributes,
    scope_schema_url: &'a str,
    scope_name: &'a str,
    scope_version: &'a str,
    scope_attributes: &'a Attributes,
    log_attributes: &'a Attributes,
    event_name: &'a str,
    pattern_id: u64,
}

impl<'a> LogRow<'a> {
    /// `pattern` is the one that the message is of.
    pub(crate) fn new(record: &'a LogRecord, pattern: u64) -> Self {
        static NO_ATTRIBUTES: Attributes = Attributes::new();
        Self {
            timestamp: record.at.0,
            trace_id: &record.trace_id,
            span_id: &record.span_id,
            trace_flags: 0,
            severity_text: &record.severity_text,
            severity_number: record.severity_number,
            service_name: &record.service,
            body: &record.body,
            resource_schema_url: "",
            resource_attributes: &record.resource,
            scope_schema_url: "",
            scope_name: &record.scope_name,
            scope_version: "",
            scope_attributes: &NO_ATTRIBUTES,
            log_attributes: &record.attributes,
            event_name: &record.event_name,
            pattern_id: pattern,
        }
    }
}

/// A row of `metric_series`.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SeriesRow<'a> {
    id: u64,
    name: &'a str,
    labels: &'a Attributes,
    kind: &'a str,
    unit: &'a str,
    service_name: &'a str,
}

impl<'a> SeriesRow<'a> {
    /// `id` is the series' own, which takes a while to compute.
    pub(crate) fn new(id: u64, series: &'a Series) -> Self {
        Self {
            id,
            name: &series.name,
            labels: &series.labels,
            kind: series.kind.as_str(),
            unit: &series.unit,
            service_name: series.labels.get("service").map_or("", String::as_str),
        }
    }
}

/// A row of `metric_samples`.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SampleRow {
    series_id: u64,
    timestamp: i64,
    value: f64,
}

impl SampleRow {
    pub(crate) fn new(series_id: u64, sample: &Sample) -> Self {
        Self { series_id, timestamp: sample.at.millis(), value: sample.value }
    }
}

/// A row of `profiles`.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ProfileRow<'a> {
    timestamp: i64,
    service_name: &'a str,
    r#type: &'a str,
    stack: &'a [String],
    value: i64,
    resource_attributes: &'a Attributes,
}

impl<'a> From<&'a ProfileSample> for ProfileRow<'a> {
    fn from(sample: &'a ProfileSample) -> Self {
        Self {
            timestamp: sample.at.0,
            service_name: &sample.service,
            r#type: &sample.kind,
            stack: &sample.stack,
            value: sample.value,
            resource_attributes: &sample.resource,
        }
    }
}

/// A row of `changes`.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ChangeRow<'a> {
    timestamp: i64,
    kind: &'a str,
    service_name: &'a str,
    version: &'a str,
    previous: &'a str,
    reference: &'a str,
    detail: &'a str,
    source: &'a str,
}

impl<'a> From<&'a Change> for ChangeRow<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            timestamp: change.at.0,
            kind: change.kind.as_str(),
            service_name: &change.service,
            version: &change.version,
            previous: &change.previous,
            reference: &change.reference,
            detail: &change.detail,
            source: &change.source,
        }
    }
}

/// A row of `journal`.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct JournalRow<'a> {
    pub(crate) sequence: u64,
    pub(crate) timestamp: i64,
    pub(crate) stream: &'a str,
    pub(crate) key: &'a str,
    pub(crate) body: &'a str,
}

/// A row of `reports`.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReportRow<'a> {
    pub(crate) incident: u32,
    pub(crate) run: u32,
    pub(crate) timestamp: i64,
    pub(crate) body: &'a str,
}
