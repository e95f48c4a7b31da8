//! Log entries on their way: filed under the service that wrote them, and told to their follower when they are safe.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use tokio::sync::mpsc;

use crate::export::otlp::{AGENT, Host};
use crate::export::{Parcel, Shipper, Signal};
use crate::identity::{Identities, Service};
use crate::logs::{Entry, Shipment};
use crate::spans::attribute;

/// Ships what followers hand over, until all of them have ended.
pub async fn ship(
    mut shipments: mpsc::Receiver<Shipment>,
    mut identities: Identities,
    host: Host,
    shipper: Shipper,
) {
    while let Some(Shipment { entries, done }) = shipments.recv().await {
        let request = request(entries, &mut identities, &host);
        let parcel = Parcel { signal: Signal::Logs, body: Bytes::from(request.encode_to_vec()) };
        // With the server or in the spool: either way it is not read again.
        let arrived = shipper.deliver(parcel).await;
        let _ = done.send(arrived);
    }
}

fn request(entries: Vec<Entry>, identities: &mut Identities, host: &Host) -> ExportLogsServiceRequest {
    let mut groups: Vec<(Service, Vec<LogRecord>)> = Vec::new();
    for entry in entries {
        let service = service(&entry, identities);
        let record = record(entry);
        // Entries come in runs of one source.
        match groups.iter_mut().find(|(known, _)| *known == service) {
            Some((_, records)) => records.push(record),
            None => groups.push((service, vec![record])),
        }
    }
    let resource_logs = groups
        .into_iter()
        .map(|(service, log_records)| ResourceLogs {
            resource: Some(host.resource(Some(&service))),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: AGENT.to_owned(),
                    ..InstrumentationScope::default()
                }),
                log_records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        })
        .collect();
    ExportLogsServiceRequest { resource_logs }
}

/// The service of the process or the container that wrote it; otherwise what the place tells.
fn service(entry: &Entry, identities: &mut Identities) -> Service {
    if let Some((_, service)) = entry.source.pid.and_then(|pid| identities.of(pid)) {
        return (*service).clone();
    }
    if let Some(id) = &entry.source.container_id
        && let Some(service) = identities.of_container(id)
    {
        return (*service).clone();
    }
    if let (Some(uid), Some(container)) = (&entry.source.pod_uid, &entry.source.container)
        && let Some(service) = identities.of_pod_container(uid, container)
    {
        return (*service).clone();
    }
    let pod = entry.source.pod.clone();
    let attributes = [
        ("k8s.pod.name", pod.clone()),
        ("k8s.pod.uid", entry.source.pod_uid.clone()),
        ("k8s.namespace.name", entry.source.namespace.clone()),
        ("k8s.container.name", entry.source.container.clone()),
        ("container.id", entry.source.container_id.clone()),
    ];
    let name = pod.map(|pod| crate::identity::of_pod(&pod)).or_else(|| entry.source.service_hint());
    Service {
        name: name.unwrap_or_else(|| "unknown".to_owned()),
        attributes: attributes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
    }
}

fn record(entry: Entry) -> LogRecord {
    let nanos = entry.time.0.max(0).unsigned_abs();
    let text = |value: String| Value::StringValue(value);
    let mut attributes = vec![attribute("log.record.uid", text(entry.uid))];
    if let Some(path) = entry.source.path {
        attributes.push(attribute("log.file.path", text(path)));
    }
    if entry.source.stderr {
        attributes.push(attribute("log.iostream", text("stderr".to_owned())));
    }
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number: i32::from(entry.severity.unwrap_or(0)),
        body: Some(AnyValue { value: Some(text(entry.body)) }),
        attributes,
        ..LogRecord::default()
    }
}
