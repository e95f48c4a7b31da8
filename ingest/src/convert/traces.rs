//! Spans.

use std::sync::Arc;

use domain::telemetry::{SpanEvent, SpanLink};
use domain::{Span, SpanKind, StatusCode, UnixNanos};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{self, span, status};

use super::resource::Resource;
use super::{Converter, hex_id};
use crate::limits::MAX_EVENTS_PER_SPAN;
use crate::tally::{Correction, Reason};

impl Converter<'_> {
    /// Appends the spans of a request to `rows`.
    pub(crate) fn traces(&mut self, request: ExportTraceServiceRequest, rows: &mut Vec<Span>) {
        for group in request.resource_spans {
            let resource = self.resource(group.resource);
            for group in group.scope_spans {
                let scope = group.scope.unwrap_or_default();
                let (scope_name, scope_version) = (self.name(scope.name), self.name(scope.version));
                rows.reserve(group.spans.len());
                for span in group.spans {
                    match self.span(span, &resource, &scope_name, &scope_version) {
                        Ok(row) => rows.push(row),
                        Err(reason) => self.tally.reject(reason, 1),
                    }
                }
            }
        }
    }

    fn span(
        &mut self,
        span: v1::Span,
        resource: &Resource,
        scope_name: &str,
        scope_version: &str,
    ) -> Result<Span, Reason> {
        let trace_id = hex_id::<16>(&span.trace_id).ok_or(Reason::InvalidId)?;
        let span_id = hex_id::<8>(&span.span_id).ok_or(Reason::InvalidId)?;
        let parent_span_id = parent(&span.parent_span_id)?;
        let start = self.instant(span.start_time_unix_nano).ok_or(Reason::Future)?;
        let duration_ns = self.duration(&span)?;
        self.repeated.row(resource.bytes + scope_name.len() + scope_version.len())?;
        let status = span.status.unwrap_or_default();
        self.tally.accepted += 1;
        Ok(Span {
            start,
            trace_id,
            span_id,
            parent_span_id,
            trace_state: self.name(span.trace_state),
            name: self.name(span.name),
            kind: kind(span.kind),
            service: resource.service.clone(),
            resource: Arc::clone(&resource.attributes),
            scope_name: scope_name.into(),
            scope_version: scope_version.into(),
            attributes: self.attributes(span.attributes),
            duration_ns,
            status: status_code(status.code),
            status_message: self.text(status.message),
            events: self.events(span.events, start),
            links: self.links(span.links),
        })
    }

    /// From start to end. A span without a start has no length; one without an end, or ending too early, has none
    /// either, and is counted.
    fn duration(&mut self, span: &v1::Span) -> Result<u64, Reason> {
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        if start == 0 {
            return Ok(0);
        }
        if end < start {
            self.tally.correct(Correction::NegativeDuration);
            return Ok(0);
        }
        self.instant(end).map(|_| end - start).ok_or(Reason::Future)
    }

    /// Events, those without a time at the start of the span.
    fn events(&mut self, mut events: Vec<span::Event>, start: UnixNanos) -> Vec<SpanEvent> {
        self.keep_first(&mut events);
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            let at = if event.time_unix_nano == 0 { Some(start) } else { self.instant(event.time_unix_nano) };
            let Some(at) = at else {
                self.tally.truncated += 1;
                continue;
            };
            let name = self.name(event.name);
            rows.push(SpanEvent { at, name, attributes: self.attributes(event.attributes) });
        }
        rows
    }

    fn links(&mut self, mut links: Vec<span::Link>) -> Vec<SpanLink> {
        self.keep_first(&mut links);
        let mut rows = Vec::with_capacity(links.len());
        for link in links {
            let (Some(trace_id), Some(span_id)) = (hex_id::<16>(&link.trace_id), hex_id::<8>(&link.span_id))
            else {
                self.tally.correct(Correction::InvalidId);
                continue;
            };
            let trace_state = self.name(link.trace_state);
            rows.push(SpanLink {
                trace_id,
                span_id,
                trace_state,
                attributes: self.attributes(link.attributes),
            });
        }
        rows
    }

    fn keep_first<T>(&mut self, parts: &mut Vec<T>) {
        self.tally.truncated += parts.len().saturating_sub(MAX_EVENTS_PER_SPAN) as u64;
        parts.truncate(MAX_EVENTS_PER_SPAN);
    }
}

/// Roots are sent without a parent, or with one of zeros.
fn parent(bytes: &[u8]) -> Result<String, Reason> {
    match hex_id::<8>(bytes) {
        Some(id) => Ok(id),
        None if bytes.iter().all(|byte| *byte == 0) => Ok(String::new()),
        None => Err(Reason::InvalidId),
    }
}

fn kind(number: i32) -> SpanKind {
    match span::SpanKind::try_from(number).unwrap_or(span::SpanKind::Unspecified) {
        span::SpanKind::Unspecified => SpanKind::Unspecified,
        span::SpanKind::Internal => SpanKind::Internal,
        span::SpanKind::Server => SpanKind::Server,
        span::SpanKind::Client => SpanKind::Client,
        span::SpanKind::Producer => SpanKind::Producer,
        span::SpanKind::Consumer => SpanKind::Consumer,
    }
}

fn status_code(number: i32) -> StatusCode {
    match status::StatusCode::try_from(number).unwrap_or(status::StatusCode::Unset) {
        status::StatusCode::Unset => StatusCode::Unset,
        status::StatusCode::Ok => StatusCode::Ok,
        status::StatusCode::Error => StatusCode::Error,
    }
}
