//! Measurements, as they are both shipped and shown: one list, made anew each time.

use std::sync::Arc;

use crate::edges::{Counts, Edge, Edges, Histogram};
use crate::host::{Kind, Sample};
use crate::identity::{Identities, Service};
use crate::l7::{Outcome, Role};
use crate::observe::Processes;

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Grows from the start of the agent.
    Counter(f64),
    /// Stands for itself.
    Gauge(f64),
    /// Durations in seconds since the start of the agent.
    Histogram(Box<Histogram>),
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Of which service; of the agent or the host where none.
    pub service: Option<Arc<Service>>,
    /// Its name, as Prometheus writes names.
    pub name: &'static str,
    /// Its unit, by UCUM.
    pub unit: &'static str,
    /// Labels in order.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: Value,
}

/// What is known of services: connections, requests, lives. The names are those that exporters of containers use, so that what reads
/// them reads these.
pub fn services(edges: &Edges, processes: &Processes) -> Vec<Point> {
    let mut points = Vec::new();
    for edge in edges.all() {
        connections(edge, &mut points);
        requests(edge, &mut points);
    }
    for (service, lives) in processes.lives() {
        // Whoever only starts and ends, as every command does, is not a service: it would be one series for each program of the host.
        let talks = edges.all().iter().any(|edge| edge.service == *service);
        if !talks && lives.out_of_memory == 0 {
            continue;
        }
        let mut add = |name, labels: &[(&'static str, &str)], value: u64| {
            points.push(Point {
                service: Some(Arc::clone(service)),
                name,
                unit: "1",
                labels: labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
                value: Value::Counter(value as f64),
            });
        };
        add("process_exits_total", &[("outcome", "ok")], lives.ended);
        add("process_exits_total", &[("outcome", "failed")], lives.failed);
        add("process_starts_total", &[], lives.started);
        add("container_oom_kills_total", &[], lives.out_of_memory);
    }
    points
}

/// The host, and its control groups by the service that runs in each.
pub fn machine(samples: Vec<Sample>, identities: &mut Identities) -> Vec<Point> {
    samples
        .into_iter()
        .map(|sample| Point {
            service: sample.cgroup.as_deref().map(|path| identities.of_group(path)),
            name: sample.name,
            unit: sample.unit,
            labels: sample.attributes,
            value: match sample.kind {
                Kind::Counter => Value::Counter(sample.value),
                Kind::Gauge => Value::Gauge(sample.value),
            },
        })
        .collect()
}

fn connections(edge: &Edge, points: &mut Vec<Point>) {
    let Counts { opened, failed, closed, sent, received, retransmits, resets, .. } = edge.counts;
    let server = edge.role == Some(Role::Server);
    let labels = labels(edge);
    let mut add = |name, unit, value| {
        points.push(Point {
            service: Some(Arc::clone(&edge.service)),
            name,
            unit,
            labels: labels.clone(),
            value,
        });
    };
    let (up, sent_name, received_name) = if server {
        (
            "container_net_tcp_accepted_connects_total",
            "container_net_tcp_inbound_bytes_sent_total",
            "container_net_tcp_inbound_bytes_received_total",
        )
    } else {
        (
            "container_net_tcp_successful_connects_total",
            "container_net_tcp_bytes_sent_total",
            "container_net_tcp_bytes_received_total",
        )
    };
    if opened + failed + closed + retransmits + resets > 0 {
        add(up, "1", Value::Counter(opened as f64));
        add("container_net_tcp_closed_connects_total", "1", Value::Counter(closed as f64));
        add("container_net_tcp_retransmits_total", "1", Value::Counter(retransmits as f64));
        add("container_net_tcp_resets_total", "1", Value::Counter(resets as f64));
        add(sent_name, "By", Value::Counter(sent as f64));
        add(received_name, "By", Value::Counter(received as f64));
        if !server {
            add("container_net_tcp_failed_connects_total", "1", Value::Counter(failed as f64));
            add(
                "container_net_tcp_connection_time_seconds",
                "s",
                Value::Histogram(Box::new(edge.counts.handshake.clone())),
            );
        }
        if edge.counts.round_trip.count() > 0 {
            add(
                "container_net_round_trip_seconds",
                "s",
                Value::Histogram(Box::new(edge.counts.round_trip.clone())),
            );
        }
    }
}

fn requests(edge: &Edge, points: &mut Vec<Point>) {
    for ((protocol, outcome), durations) in &edge.counts.requests {
        let mut labels = labels(edge);
        labels.push(("protocol", protocol.name().to_owned()));
        let outcome = match outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Unanswered => "unanswered",
        };
        labels.push(("outcome", outcome.to_owned()));
        let name = if edge.role == Some(Role::Server) {
            "inquest_inbound_request_duration_seconds"
        } else {
            "inquest_request_duration_seconds"
        };
        points.push(Point {
            service: Some(Arc::clone(&edge.service)),
            name,
            unit: "s",
            labels,
            value: Value::Histogram(Box::new(durations.clone())),
        });
    }
}

fn labels(edge: &Edge) -> Vec<(&'static str, String)> {
    if edge.peer.is_empty() { Vec::new() } else { vec![("destination", edge.peer.to_string())] }
}
