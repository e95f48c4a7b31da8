//! Metric series that left their baseline, and what they speak of.

use detectors::shift::{Level, score};
use domain::SeriesId;
use storage::questions::metrics::{MetricLevels, SeriesLevels};

/// What a metric measures, by the words in its name and its unit. One table, general words only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Failures.
    Errors,
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

/// Words, most specific topics first; the first topic with a word in the name wins.
const WORDS: [(Topic, &[&str]); 8] = [
    (
        Topic::Errors,
        &[
            "error",
            "errors",
            "fail",
            "failed",
            "failure",
            "failures",
            "success",
            "availability",
            "fault",
            "exception",
            "5xx",
            "reject",
            "rejected",
        ],
    ),
    (
        Topic::Saturation,
        &[
            "pool",
            "queue",
            "pending",
            "waiting",
            "saturation",
            "throttle",
            "throttled",
            "throttling",
            "connections",
            "threads",
            "inflight",
            "active",
            "backlog",
            "lag",
        ],
    ),
    (Topic::Latency, &["latency", "duration", "time", "rt", "p50", "p90", "p95", "p99", "response"]),
    (Topic::Cpu, &["cpu", "load"]),
    (Topic::Memory, &["memory", "mem", "heap", "rss", "gc"]),
    (Topic::Disk, &["disk", "filesystem", "iops", "fs"]),
    (
        Topic::Network,
        &[
            "network",
            "net",
            "tcp",
            "retransmit",
            "retransmits",
            "receive",
            "transmit",
            "packet",
            "packets",
            "rtt",
            "dns",
        ],
    ),
    (
        Topic::Traffic,
        &["request", "requests", "rps", "qps", "ops", "workload", "throughput", "count", "calls", "total"],
    ),
];

/// A baseline of this many values is trusted half.
const FEW_VALUES: f64 = 5.0;

/// A series that moved.
#[derive(Clone, Debug)]
pub struct MetricMove {
    /// Identity.
    pub id: SeriesId,
    /// Metric name.
    pub name: String,
    /// Service it belongs to; the callee on a call edge.
    pub service: String,
    /// Instance, or empty.
    pub instance: String,
    /// What it speaks of.
    pub topic: Topic,
    /// Unit as sent.
    pub unit: String,
    /// Whether its values are rates of a counter.
    pub is_rate: bool,
    /// Signed robust score.
    pub score: f64,
    /// What it counts as a signal.
    pub weight: f64,
    /// Baseline.
    pub before: Level,
    /// Window.
    pub now: Level,
}

/// Series whose score reaches `threshold`, strongest first.
pub fn moves(levels: &MetricLevels, threshold: f64) -> Vec<MetricMove> {
    let mut moved: Vec<MetricMove> =
        levels.series.iter().filter_map(judged).filter(|metric| metric.score.abs() >= threshold).collect();
    moved.sort_by(|left, right| {
        (right.weight * right.score.abs().min(50.0))
            .total_cmp(&(left.weight * left.score.abs().min(50.0)))
            .then_with(|| (&left.service, &left.name, left.id).cmp(&(&right.service, &right.name, right.id)))
    });
    moved
}

fn judged(series: &SeriesLevels) -> Option<MetricMove> {
    let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
    let service = [label("service"), label("destination"), label("source")]
        .into_iter()
        .find(|name| !name.is_empty())?;
    let [before, now] = [series.before, series.now].map(level);
    let topic = topic(&series.name);
    // Histogram buckets move together with their count; the rest of a histogram says the same.
    if series.labels.contains_key("le") || series.name.ends_with("_bucket") {
        return None;
    }
    Some(MetricMove {
        id: series.id,
        name: series.name.clone(),
        service,
        instance: label("instance"),
        topic,
        unit: series.unit.clone(),
        is_rate: series.kind != domain::MetricKind::Gauge,
        score: score(before, now),
        weight: weight(topic) * before.count / (before.count + FEW_VALUES),
        before,
        now,
    })
}

fn level([count, median, mad, min, max]: [f64; 5]) -> Level {
    Level { count, median, mad, min, max }
}

/// Symptoms count most, resources next; traffic alone hurts nobody.
fn weight(topic: Topic) -> f64 {
    match topic {
        Topic::Errors | Topic::Latency => 1.0,
        Topic::Saturation | Topic::Cpu => 0.8,
        Topic::Memory | Topic::Disk | Topic::Network => 0.5,
        Topic::Traffic | Topic::Other => 0.2,
    }
}

/// The topic of a metric by the words of its name: split at anything that is no letter or digit, and where case rises.
pub fn topic(name: &str) -> Topic {
    let words = words(name);
    let found = WORDS.iter().find(|(_, known)| words.iter().any(|word| known.contains(&word.as_str())));
    found.map_or(Topic::Other, |(topic, _)| *topic)
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous_lower = false;
    for character in name.chars().take(200) {
        if !character.is_alphanumeric() || (character.is_uppercase() && previous_lower) {
            words.push(String::new());
        }
        if character.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        previous_lower = character.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_style_find_their_topic() {
        let check = |name: &str, expected: Topic| assert_eq!(topic(name), expected, "{name}");
        check("CpuUsageRate(%)", Topic::Cpu);
        check("http.server.request.duration_sum", Topic::Latency);
        check("node_network_receive_bytes_total", Topic::Network);
        check("db.client.connections.pending_requests", Topic::Saturation);
        check("PodSuccessRate(%)", Topic::Errors);
        check("jvm_memory_used_bytes", Topic::Memory);
        check("process_runtime_uptime", Topic::Other);
        check("", Topic::Other);
    }
}
