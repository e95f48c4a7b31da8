//! Measurements, as they are both shipped and shown: one list, made anew each time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::edges::{Counts, Edge, Edges, Histogram, OTHER};
use crate::host::{Kind, Sample};
use crate::identity::{self, Identities, Service};
use crate::l7::{Outcome, Role};
use crate::observe::{Listeners, Processes};

/// Ports told apart for each service; further ones are counted. One that takes a port for each session would otherwise be a series for each.
const MOST_PORTS: usize = 32;

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
pub fn services(edges: &Edges, processes: &mut Processes) -> Vec<Point> {
    let mut points = Vec::new();
    for edge in edges.all() {
        connections(edge, &mut points);
        requests(edge, &mut points);
    }
    let talking: HashSet<&Arc<Service>> = edges.all().iter().map(|edge| &edge.service).collect();
    for (service, lives) in processes.lives() {
        if !talking.contains(service) && !lives.are_of_note(service) {
            continue;
        }
        let mut add = |name, labels, value: u64| {
            let value = Value::Counter(value as f64);
            points.push(Point { service: Some(Arc::clone(service)), name, unit: "1", labels, value });
        };
        let exit = |outcome: &str, how| vec![("outcome", outcome.to_owned()), how];
        add("process_exits_total", exit("ok", ("code", "0".to_owned())), lives.ended);
        for (failure, failed) in &mut lives.failures {
            // 137 and SIGKILL say more than that it failed. A count that is first seen has not grown: each begins with 0.
            let count = if std::mem::replace(&mut failed.told, true) { failed.count } else { 0 };
            add("process_exits_total", exit("failed", failure.label()), count);
        }
        add("process_starts_total", Vec::new(), lives.started);
        add("container_oom_kills_total", Vec::new(), lives.out_of_memory);
    }
    points
}

/// Which ports each service listens on, each once, however many addresses and network namespaces it is bound in: 1 for each of the
/// lowest [`MOST_PORTS`], and how many more there are.
pub fn listening(listeners: &Listeners, processes: &mut Processes) -> Vec<Point> {
    let mut ports: BTreeMap<Arc<Service>, BTreeSet<u16>> = BTreeMap::new();
    for (port, pid) in listeners.all() {
        if let Some(process) = processes.known(pid) {
            ports.entry(Arc::clone(&process.service)).or_default().insert(port);
        }
    }
    let mut points = Vec::new();
    for (service, ports) in ports {
        let mut add = |port: String, value: usize| {
            points.push(Point {
                service: Some(Arc::clone(&service)),
                name: "container_net_tcp_listen_info",
                unit: "1",
                labels: vec![("port", port)],
                value: Value::Gauge(value as f64),
            });
        };
        ports.iter().take(MOST_PORTS).for_each(|port| add(port.to_string(), 1));
        if ports.len() > MOST_PORTS {
            add(OTHER.to_owned(), ports.len() - MOST_PORTS);
        }
    }
    points
}

/// The host, and its control groups by the service that runs in each; instances of one unit stay apart.
pub fn machine(samples: Vec<Sample>, identities: &mut Identities) -> Vec<Point> {
    let mut points = Vec::with_capacity(samples.len());
    for sample in samples {
        let mut labels = sample.attributes;
        if let Some(instance) = sample.cgroup.as_deref().and_then(|path| identity::place(path).instance) {
            labels.push(("systemd.unit", instance));
        }
        points.push(Point {
            service: sample.cgroup.as_deref().map(|path| identities.of_group(path)),
            name: sample.name,
            unit: sample.unit,
            labels,
            value: match sample.kind {
                Kind::Counter => Value::Counter(sample.value),
                Kind::Gauge => Value::Gauge(sample.value),
            },
        });
    }
    points
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
    if opened + failed + closed + retransmits + resets + sent + received > 0 {
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

#[cfg(test)]
mod tests {
    use agent_events::{EVENT_BYTES, kind};

    use super::*;
    use crate::identity::tests::pretend;
    use crate::kernel::Event;
    use crate::observe::Observer;

    #[test]
    fn each_container_and_unit_is_measured_once() {
        let root = tempfile::tempdir().expect("a folder");
        let id = "3f4b7c1d9e8a".repeat(6)[..64].to_owned();
        let groups = [
            format!("machine.slice/libpod-{id}.scope"),
            format!("machine.slice/libpod-{id}.scope/container"),
            "system.slice/nginx.service".to_owned(),
            "system.slice/system-postgresql.slice/postgresql@14-main.service".to_owned(),
            "system.slice/system-postgresql.slice/postgresql@15-main.service".to_owned(),
            "user.slice/user-1.slice/user@1.service".to_owned(),
            "user.slice/user-1.slice/user@1.service/init.scope".to_owned(),
            "user.slice/user-1.slice/user@1.service/app.slice/dbus.service".to_owned(),
            "user.slice/user-2.slice/user@2.service/app.slice/dbus.service".to_owned(),
        ];
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("written");
        };
        write("sys/fs/cgroup/cgroup.controllers", "memory");
        for (number, group) in groups.iter().enumerate() {
            write(&format!("sys/fs/cgroup/{group}/memory.current"), &number.to_string());
        }
        let mut identities = Identities::new(root.path().into(), Vec::new());
        let mut host = crate::host::Host::new(root.path());
        let points = machine(host.sample(domain::UnixNanos(0), identity::is_whole), &mut identities);
        let points: Vec<_> = points.iter().filter(|it| it.name == "container_memory_usage_bytes").collect();
        let names: BTreeSet<_> =
            points.iter().map(|it| (it.service.as_ref().expect("a service"), &it.labels)).collect();
        assert_eq!(names.len(), points.len(), "each under a name of its own: {points:?}");
        let mut values: Vec<f64> = Vec::new();
        for point in &points {
            let Value::Gauge(value) = point.value else { panic!("a gauge: {point:?}") };
            values.push(value);
        }
        values.sort_by(f64::total_cmp);
        // Neither what podman nor what systemd makes within.
        assert_eq!(values, [0.0, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0]);
    }

    #[test]
    fn ports_are_deduplicated_and_bounded() {
        let mut processes = Processes::new(Identities::new("/".into(), Vec::new()));
        let mut listeners = Listeners::default();
        let own = std::process::id();
        for (netns, address) in [(1, "0.0.0.0:80"), (1, "[::1]:80"), (2, "127.0.0.1:80"), (1, "10.0.0.1:443")]
        {
            listeners.open(netns, address.parse().expect("an address"), own);
        }
        let ports = |points: &[Point]| -> Vec<(String, f64)> {
            let value = |point: &Point| match point.value {
                Value::Gauge(value) => value,
                _ => panic!("a gauge: {point:?}"),
            };
            points.iter().map(|point| (point.labels[0].1.clone(), value(point))).collect()
        };
        let points = listening(&listeners, &mut processes);
        assert_eq!(ports(&points), [("80".to_owned(), 1.0), ("443".to_owned(), 1.0)]);
        // Whose process is gone is nobody's.
        listeners.open(1, ([0, 0, 0, 0], 81).into(), u32::MAX);
        assert_eq!(listening(&listeners, &mut processes).len(), 2);
        for port in 1000..1100 {
            listeners.open(1, ([0, 0, 0, 0], port).into(), own);
        }
        let points = listening(&listeners, &mut processes);
        assert_eq!(points.len(), MOST_PORTS + 1);
        assert_eq!(ports(&points).last(), Some(&(OTHER.to_owned(), (102 - MOST_PORTS) as f64)));
    }

    #[test]
    fn a_service_that_only_fails_is_told_with_its_code() {
        let root = tempfile::tempdir().expect("a folder");
        let mut observer = Observer::new(Identities::new(root.path().into(), Vec::new()), 50, 1);
        for (pid, unit, status) in [(100, "worker", 137 << 8), (101, "worker", 9), (102, "quiet", 0)] {
            let group = format!("0::/system.slice/{unit}.service\n");
            pretend(root.path(), pid, "/bin/program", &[("status", "PPid:\t1\n"), ("cgroup", &group)]);
            let mut event = Event::parse(&[0; EVENT_BYTES]).expect("an event");
            (event.kind, event.pid, event.tid) = (kind::EXEC, pid, pid);
            observer.event(&event);
            (event.kind, event.extra[0]) = (kind::EXIT, status);
            observer.event(&event);
        }
        let word = |point: &Point| {
            let service = &point.service.as_ref().expect("a service").name;
            let labels: Vec<&str> = point.labels.iter().map(|(_, value)| value.as_str()).collect();
            format!("{service} {} {} {:?}", point.name, labels.join(" "), point.value)
        };
        // Whoever reads a counter for the first time sees no growth.
        for failed in ["0.0", "1.0"] {
            let points = services(&observer.edges, &mut observer.processes);
            let expected = [
                "worker process_exits_total ok 0 Counter(0.0)".to_owned(),
                format!("worker process_exits_total failed 137 Counter({failed})"),
                format!("worker process_exits_total failed SIGKILL Counter({failed})"),
                "worker process_starts_total  Counter(2.0)".to_owned(),
                "worker container_oom_kills_total  Counter(0.0)".to_owned(),
            ];
            assert_eq!(points.iter().map(word).collect::<Vec<_>>(), expected);
        }
    }
}
