//! What a metric speaks of, and which way is worse: by the words of its name, its unit, its labels, and whether it counts.
//!
//! General words only, no exporter's names. Resources come before time: processor *time* is no latency. What counts
//! (a running total, seen as a rate) is never a level of something bounded nor a share; it grows with load, so it is
//! traffic unless it counts failures, stalls or a resource's work.

use domain::{Attributes, MetricKind};

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Failures.
    Errors,
    /// Successes: the fewer the worse.
    Success,
    /// How long things take.
    Latency,
    /// How much is asked.
    Traffic,
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Something bounded runs full: pools, queues, threads.
    Saturation,
    /// Bytes on the wire, retransmits, round trips.
    Network,
    /// Disks.
    Disk,
    /// None of these.
    Other,
}

impl Topic {
    /// Whether callers feel it.
    pub fn is_symptom(self) -> bool {
        matches!(self, Self::Errors | Self::Success | Self::Latency)
    }

    /// Whether it is of something bounded.
    pub fn is_bounded(self) -> bool {
        matches!(self, Self::Cpu | Self::Memory | Self::Disk | Self::Saturation)
    }
}

/// Which way is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worse {
    /// The more the worse.
    Up,
    /// The fewer the worse.
    Down,
    /// Neither by itself.
    Either,
}

/// What a metric means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What it speaks of.
    pub topic: Topic,
    /// Which way is worse.
    pub worse: Worse,
}

/// Instants, ages of processes, and labels made metrics: they change without meaning harm.
const ABOUT: &[&str] = &["uptime", "boot", "timestamp", "info", "expiry", "interval", "ttl"];
/// What is set, not measured.
const LIMITS: &[&str] = &["max", "limit", "limits", "quota", "capacity", "maximum"];
const USED: &[&str] = &["lag", "usage", "used", "utilization", "utilisation", "util", "percent", "pct"];
const FAILURES: &[&str] = &[
    "error",
    "errors",
    "err",
    "errs",
    "fail",
    "fails",
    "failed",
    "failure",
    "failures",
    "fault",
    "faults",
    "exception",
    "exceptions",
    "5xx",
    "reject",
    "rejects",
    "rejected",
    "rejections",
    "timeouts",
    "panic",
    "panics",
    "crash",
    "crashes",
    "crashed",
    "restarts",
    "unavailable",
    "unhealthy",
    "overflow",
    "dropped",
    "drops",
    "drop",
    "refused",
    "aborted",
    "deadlocks",
    "oom",
];
const SUCCESSES: &[&str] =
    &["success", "successes", "successful", "availability", "healthy", "hit", "hits", "up"];
const THROTTLES: &[&str] = &["throttle", "throttles", "throttled", "throttling"];
const CPU: &[&str] = &["cpu", "load1", "load5", "load15"];
const DISK: &[&str] = &["disk", "filesystem", "iops", "fs", "blks", "storage"];
const MEMORY: &[&str] = &["memory", "mem", "memstats", "heap", "nonheap", "rss", "swap", "gc"];
/// Levels that run full.
const FILLS: &[&str] = &[
    "pool",
    "queue",
    "queues",
    "queued",
    "pending",
    "waiting",
    "waiters",
    "saturation",
    "connections",
    "conns",
    "connection",
    "cx",
    "threads",
    "goroutines",
    "inflight",
    "active",
    "backlog",
    "lag",
    "fds",
    "descriptors",
    "backends",
    "locks",
    "concurrent",
    "concurrency",
    "busy",
    "visible",
    "unacked",
    "unacknowledged",
    "oldest",
    "depth",
    "slots",
    "workers",
    "sockets",
];
/// Totals of waiting.
const STALLS: &[&str] =
    &["waiting", "wait", "waits", "waited", "stall", "stalled", "blocked", "pressure", "saturation"];
const SLOWNESS: &[&str] = &["latency", "latencies", "duration", "durations", "elapsed", "rt", "delay"];
const TIMES: &[&str] = &[
    "time",
    "wait",
    "response",
    "p50",
    "p75",
    "p90",
    "p95",
    "p99",
    "seconds",
    "ms",
    "millis",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "second",
];
const WIRE: &[&str] = &["network", "net", "tcp", "udp"];
const NETWORK: &[&str] = &[
    "retransmit",
    "retransmits",
    "retrans",
    "receive",
    "transmit",
    "packet",
    "packets",
    "rtt",
    "dns",
    "rx",
    "tx",
    "bandwidth",
];
const REQUESTS: &[&str] = &[
    "request",
    "requests",
    "rq",
    "rps",
    "qps",
    "ops",
    "workload",
    "throughput",
    "calls",
    "queries",
    "questions",
    "commands",
    "operations",
    "transactions",
    "xact",
    "invocations",
    "messages",
    "published",
    "consumed",
    "delivered",
    "processed",
    "accepted",
    "handled",
];
/// Left over of something bounded.
const LEFT: &[&str] =
    &["free", "available", "avail", "idle", "remaining", "freeable", "balance", "headroom", "unused"];

/// What a series means. `failing` tells that its labels say that what it counts failed.
pub fn meaning(name: &str, labels: &Attributes, kind: MetricKind, unit: &str, failing: bool) -> Meaning {
    let topic = topic(name, kind, unit, failing);
    let state = ["state", "mode", "cpu_mode", "cpu.mode", "system.memory.state", "type"];
    let left = words(name).iter().any(|word| LEFT.contains(&word.as_str()))
        || state.iter().filter_map(|key| labels.get(*key)).any(|value| LEFT.contains(&value.as_str()));
    let worse = match topic {
        Topic::Success => Worse::Down,
        Topic::Traffic | Topic::Other => Worse::Either,
        Topic::Network if !counts_losses(name) => Worse::Either,
        topic if topic.is_bounded() && left => Worse::Down,
        _ => Worse::Up,
    };
    Meaning { topic, worse }
}

fn counts_losses(name: &str) -> bool {
    words(name)
        .iter()
        .any(|word| FAILURES.contains(&word.as_str()) || word.starts_with("retrans") || word == "rtt")
}

/// The first rule that holds.
fn topic(name: &str, kind: MetricKind, unit: &str, failing: bool) -> Topic {
    let words = words(name);
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    let both = |left: &str, right: &str| has(&[left]) && has(&[right]);
    let last = words.last().map_or("", String::as_str);
    let counts = kind != MetricKind::Gauge;
    let in_seconds = matches!(unit, "s" | "ms" | "us" | "ns");
    let is_time = has(SLOWNESS) || has(TIMES) || in_seconds;
    let is_limit = !counts && has(LIMITS) && !has(USED) && !is_time;
    let resource = if has(&["gc"]) {
        Some(Topic::Memory)
    } else if has(CPU) || both("load", "average") {
        Some(Topic::Cpu)
    } else if has(DISK) {
        Some(Topic::Disk)
    } else if has(MEMORY) {
        Some(Topic::Memory)
    } else {
        None
    };
    let is_up = has(SUCCESSES) && !both("un", "healthy") && (!has(&["up"]) || last == "up")
        || has(&["ready"]) && !has(&["messages"])
        || both("replicas", "available");
    match resource {
        _ if has(ABOUT) || both("start", "time") || both("last", "time") || last == "created" => Topic::Other,
        _ if failing => Topic::Errors,
        _ if has(WIRE) && !has(&["requests", "request"]) && counts_losses(name) => Topic::Network,
        _ if has(FAILURES) || both("un", "healthy") || counts && has(&["timeout"]) => Topic::Errors,
        _ if is_up => {
            if counts {
                Topic::Traffic
            } else {
                Topic::Success
            }
        }
        _ if has(THROTTLES) => Topic::Saturation,
        Some(_) if is_limit => Topic::Other,
        Some(topic) => topic,
        None if is_limit && has(FILLS) => Topic::Other,
        None if has(STALLS) && (counts || has(FILLS)) => Topic::Saturation,
        None if !counts && (has(FILLS) || both("messages", "ready") || both("in", "flight")) => {
            Topic::Saturation
        }
        None if !counts && has(SLOWNESS) => Topic::Latency,
        None if has(&["age", "timeout"]) => Topic::Other,
        None if !counts && is_time && !has(&["per"]) => Topic::Latency,
        None if has(WIRE) => Topic::Network,
        None if has(REQUESTS) => Topic::Traffic,
        None if has(NETWORK)
            || has(&["bytes"]) && has(&["in", "out", "sent", "received", "read", "written"]) =>
        {
            Topic::Network
        }
        None if counts || has(&["count", "total"]) => Topic::Traffic,
        None => Topic::Other,
    }
}

/// The words of a name in lower case: split at anything that is no letter or digit, where case rises, and before the
/// last capital of several.
pub fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous = ' ';
    let mut characters = name.chars().take(200).peekable();
    while let Some(character) = characters.next() {
        let ends_acronym =
            previous.is_uppercase() && characters.peek().is_some_and(|next| next.is_lowercase());
        let begins = character.is_uppercase() && (previous.is_lowercase() || ends_acronym);
        if !character.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if character.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        previous = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::Topic::{Cpu, Disk, Errors, Latency, Memory, Network, Other, Saturation, Success, Traffic};
    use super::Worse::{Down, Either, Up};
    use super::*;

    const GAUGE: MetricKind = MetricKind::Gauge;
    const COUNTER: MetricKind = MetricKind::Counter;

    #[track_caller]
    fn check(kind: MetricKind, names: &[(&str, Topic, Worse)]) {
        for (name, topic, worse) in names {
            let found = meaning(name, &Attributes::new(), kind, "", false);
            assert_eq!((found.topic, found.worse), (*topic, *worse), "{name}");
        }
    }

    #[test]
    fn machines_and_containers() {
        let gauges = [
            ("node_load1", Cpu, Up),
            ("node_memory_MemAvailable_bytes", Memory, Down),
            ("node_memory_MemTotal_bytes", Memory, Up),
            ("node_filesystem_avail_bytes", Disk, Down),
            ("node_boot_time_seconds", Other, Either),
            ("node_filefd_allocated", Other, Either),
            ("container_memory_working_set_bytes", Memory, Up),
            ("container_memory_rss", Memory, Up),
            ("container_spec_memory_limit_bytes", Other, Either),
            ("system.memory.utilization", Memory, Up),
            ("system.cpu.load_average.1m", Cpu, Up),
            ("process_open_fds", Saturation, Up),
            ("process_max_fds", Other, Either),
            ("process_resident_memory_bytes", Memory, Up),
            ("process_start_time_seconds", Other, Either),
            ("CpuUsageRate(%)", Cpu, Up),
            ("CPUUsageRate(%)", Cpu, Up),
        ];
        check(GAUGE, &gauges);
        let counters = [
            ("node_cpu_seconds_total", Cpu, Up),
            ("node_disk_io_time_seconds_total", Disk, Up),
            ("node_network_receive_bytes_total", Network, Either),
            ("node_network_receive_drop_total", Network, Up),
            ("node_netstat_Tcp_RetransSegs", Network, Up),
            ("node_pressure_cpu_waiting_seconds_total", Cpu, Up),
            ("container_cpu_usage_seconds_total", Cpu, Up),
            ("container_cpu_cfs_throttled_seconds_total", Saturation, Up),
            ("container_fs_writes_bytes_total", Disk, Up),
            ("container_oom_events_total", Errors, Up),
            ("process.cpu.time", Cpu, Up),
            ("system.disk.io_time", Disk, Up),
            ("system.network.io", Network, Either),
        ];
        check(COUNTER, &counters);
    }

    #[test]
    fn orchestrators_and_clouds() {
        let gauges = [
            ("kube_deployment_status_replicas_available", Success, Down),
            ("kube_deployment_status_replicas_unavailable", Errors, Up),
            ("kube_pod_status_ready", Success, Down),
            ("kube_pod_info", Other, Either),
            ("up", Success, Down),
            ("CPUUtilization", Cpu, Up),
            ("CPUCreditBalance", Cpu, Down),
            ("FreeableMemory", Memory, Down),
            ("FreeStorageSpace", Disk, Down),
            ("DatabaseConnections", Saturation, Up),
            ("TargetResponseTime", Latency, Up),
            ("HTTPCode_Target_5XX_Count", Errors, Up),
            ("UnHealthyHostCount", Errors, Up),
            ("HealthyHostCount", Success, Down),
            ("ApproximateNumberOfMessagesVisible", Saturation, Up),
            ("ApproximateAgeOfOldestMessage", Saturation, Up),
            ("Throttles", Saturation, Up),
            ("RequestCount", Traffic, Either),
            ("Invocations", Traffic, Either),
            ("ConcurrentExecutions", Saturation, Up),
            ("Duration", Latency, Up),
        ];
        check(GAUGE, &gauges);
        check(COUNTER, &[("kube_pod_container_status_restarts_total", Errors, Up)]);
    }

    #[test]
    fn runtimes_and_proxies() {
        let gauges = [
            ("jvm_memory_used_bytes", Memory, Up),
            ("jvm_memory_max_bytes", Other, Either),
            ("jvm_gc_pause_seconds_mean", Memory, Up),
            ("jvm_threads_live_threads", Saturation, Up),
            ("hikaricp_connections_pending", Saturation, Up),
            ("hikaricp_connections_idle", Saturation, Down),
            ("hikaricp_connections_max", Other, Either),
            ("http_server_requests_seconds_mean", Latency, Up),
            ("http_server_requests_seconds_max", Latency, Up),
            ("go_goroutines", Saturation, Up),
            ("go_memstats_heap_alloc_bytes", Memory, Up),
            ("go_gc_duration_seconds", Memory, Up),
            ("envoy_cluster_upstream_cx_active", Saturation, Up),
            ("envoy_cluster_upstream_rq_time_mean", Latency, Up),
            ("envoy_cluster_membership_healthy", Success, Down),
            ("istio_request_duration_milliseconds_mean", Latency, Up),
            ("nginx_connections_active", Saturation, Up),
            ("http.server.active_requests", Saturation, Up),
            ("http.server.request.duration_mean", Latency, Up),
            ("db.client.connection.pending_requests", Saturation, Up),
            ("PodSuccessRate(%)", Success, Down),
            ("HTTPRequestDuration", Latency, Up),
            ("process_runtime_uptime", Other, Either),
            ("", Other, Either),
        ];
        check(GAUGE, &gauges);
        let counters = [
            ("http_server_requests_seconds_count", Traffic, Either),
            ("http.server.request.duration_count", Traffic, Either),
            ("go_sql_wait_count_total", Saturation, Up),
            ("hikaricp_connections_timeout_total", Errors, Up),
            ("istio_requests_total", Traffic, Either),
            ("envoy_cluster_upstream_rq_total", Traffic, Either),
            ("envoy_cluster_upstream_rq_pending_overflow", Errors, Up),
            ("envoy_cluster_upstream_cx_rx_bytes_total", Network, Either),
            ("nginx_connections_accepted", Traffic, Either),
            ("nginx_http_requests_total", Traffic, Either),
            ("rpc.server.duration_count", Traffic, Either),
        ];
        check(COUNTER, &counters);
    }

    #[test]
    fn databases_and_brokers() {
        let gauges = [
            ("pg_stat_database_numbackends", Other, Either),
            ("pg_stat_activity_max_tx_duration", Latency, Up),
            ("pg_locks_count", Saturation, Up),
            ("pg_settings_max_connections", Other, Either),
            ("pg_replication_lag_seconds", Saturation, Up),
            ("mysql_global_status_threads_running", Saturation, Up),
            ("redis_connected_clients", Other, Either),
            ("redis_memory_used_bytes", Memory, Up),
            ("redis_up", Success, Down),
            ("rabbitmq_queue_messages_ready", Saturation, Up),
            ("rabbitmq_queue_messages_unacked", Saturation, Up),
            ("kafka_consumergroup_lag", Saturation, Up),
            ("records-lag-max", Saturation, Up),
            ("kafka_server_request_queue_size", Saturation, Up),
            ("cache_hit_ratio", Success, Down),
        ];
        check(GAUGE, &gauges);
        let counters = [
            ("pg_stat_database_blks_read", Disk, Up),
            ("pg_stat_database_xact_commit", Traffic, Either),
            ("pg_stat_database_deadlocks", Errors, Up),
            ("mysql_global_status_questions", Traffic, Either),
            ("mysql_global_status_aborted_connects", Errors, Up),
            ("redis_keyspace_hits_total", Traffic, Either),
            ("redis_commands_processed_total", Traffic, Either),
            ("redis_rejected_connections_total", Errors, Up),
            ("redis_net_input_bytes_total", Network, Either),
            ("rabbitmq_channel_messages_published_total", Traffic, Either),
            ("kafka_network_requestmetrics_requests_total", Network, Either),
            ("messaging.client.consumed.messages", Traffic, Either),
        ];
        check(COUNTER, &counters);
    }

    #[test]
    fn labels_turn_a_count_into_failures_and_a_resource_into_what_is_left() {
        let failed = meaning("http_requests_total", &Attributes::new(), COUNTER, "", true);
        assert_eq!((failed.topic, failed.worse), (Errors, Up));
        let idle: Attributes = [("mode".to_owned(), "idle".to_owned())].into();
        assert_eq!(meaning("node_cpu_seconds_total", &idle, COUNTER, "", false).worse, Down);
        let timed = meaning("checkout.step", &Attributes::new(), GAUGE, "ms", false);
        assert_eq!(timed.topic, Latency);
    }
}
