//! Log records.

use std::sync::Arc;

use domain::LogRecord;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1;

use super::resource::Resource;
use super::{Converter, hex_id};
use crate::tally::{Correction, Reason};

/// `FATAL4`.
const MAX_SEVERITY: i32 = 24;

impl Converter<'_> {
    /// Appends the log records of a request to `rows`.
    pub(crate) fn logs(&mut self, request: ExportLogsServiceRequest, rows: &mut Vec<LogRecord>) {
        for group in request.resource_logs {
            let resource = self.resource(group.resource);
            for group in group.scope_logs {
                let scope_name = self.name(group.scope.unwrap_or_default().name);
                rows.reserve(group.log_records.len());
                for record in group.log_records {
                    match self.log_record(record, &resource, &scope_name) {
                        Ok(row) => rows.push(row),
                        Err(reason) => self.tally.reject(reason, 1),
                    }
                }
            }
        }
    }

    fn log_record(
        &mut self,
        record: v1::LogRecord,
        resource: &Resource,
        scope_name: &str,
    ) -> Result<LogRecord, Reason> {
        let time = match record.time_unix_nano {
            0 => record.observed_time_unix_nano,
            time => time,
        };
        let at = self.instant(time).ok_or(Reason::Future)?;
        self.repeated.row(resource.bytes + scope_name.len())?;
        self.tally.accepted += 1;
        Ok(LogRecord {
            at,
            trace_id: self.context_id::<16>(&record.trace_id),
            span_id: self.context_id::<8>(&record.span_id),
            severity_text: self.name(record.severity_text),
            severity_number: self.severity(record.severity_number),
            service: resource.service.clone(),
            body: self.value(record.body),
            resource: Arc::clone(&resource.attributes),
            scope_name: scope_name.into(),
            attributes: self.attributes(record.attributes),
            event_name: self.name(record.event_name),
        })
    }

    /// An id, or nothing: a record is worth keeping though its context is not.
    fn context_id<const N: usize>(&mut self, bytes: &[u8]) -> String {
        hex_id::<N>(bytes).unwrap_or_else(|| {
            if bytes.iter().any(|byte| *byte != 0) {
                self.tally.correct(Correction::InvalidId);
            }
            String::new()
        })
    }

    fn severity(&mut self, number: i32) -> u8 {
        let clamped = number.clamp(0, MAX_SEVERITY);
        if clamped != number {
            self.tally.correct(Correction::Severity);
        }
        clamped as u8
    }
}
