//! What the agent says of itself: what it lost, what it could not read, what it costs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock;
use crate::export::Shipped;
use crate::kernel::Lost;
use crate::logs;
use crate::observe::Troubles;
use crate::report::{Point, Value};

/// The state of the agent at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    /// Of the kernel side.
    pub lost: Lost,
    /// Of this side.
    pub troubles: Troubles,
    /// One of 2^bits connections is captured.
    pub shed_bits: u32,
    /// Connections known, spans that wait.
    pub sizes: (usize, usize),
    /// Files watched for TLS.
    pub tls_files: usize,
    /// Of log files.
    pub files: logs::Counts,
    /// Of the journal.
    pub journal: logs::Counts,
}

impl Health {
    /// As measurements, with how sending goes and what this process uses.
    pub fn points(&self, shipped: &Shipped) -> Vec<Point> {
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let counter = |name, labels: &[(&'static str, &str)], value: f64| {
            point(name, "1", labels, Value::Counter(value))
        };
        let gauge = |name, unit, value: f64| point(name, unit, &[], Value::Gauge(value));
        let mut points = vec![
            counter("inquest_agent_events_total", &[], self.troubles.events as f64),
            counter(
                "inquest_agent_events_lost_total",
                &[("reason", "buffer_full")],
                self.lost.ring_full as f64,
            ),
            counter(
                "inquest_agent_events_lost_total",
                &[("reason", "memory_not_resident")],
                self.lost.unreadable as f64,
            ),
            counter("inquest_agent_events_lost_total", &[("reason", "shed")], self.lost.shed as f64),
            counter(
                "inquest_agent_events_lost_total",
                &[("reason", "malformed")],
                self.troubles.malformed as f64,
            ),
            counter(
                "inquest_agent_events_lost_total",
                &[("reason", "profile_samples")],
                self.lost.samples as f64,
            ),
            counter(
                "inquest_agent_events_lost_total",
                &[("reason", "profile_stacks")],
                self.lost.stacks as f64,
            ),
            counter(
                "inquest_agent_parse_failures_total",
                &[("kind", "desynchronised")],
                self.troubles.desynchronised as f64,
            ),
            counter(
                "inquest_agent_parse_failures_total",
                &[("kind", "unmatched")],
                self.troubles.unmatched as f64,
            ),
            counter("inquest_agent_connections_forgotten_total", &[], self.troubles.evicted as f64),
            counter("inquest_agent_parcels_total", &[("outcome", "sent")], load(&shipped.sent)),
            counter("inquest_agent_parcels_total", &[("outcome", "refused")], load(&shipped.refused)),
            counter("inquest_agent_parcels_total", &[("outcome", "lost")], load(&shipped.lost)),
            counter("inquest_agent_parcels_total", &[("outcome", "dropped")], load(&shipped.dropped)),
            gauge("inquest_agent_spool_bytes", "By", load(&shipped.waiting_bytes)),
            gauge("inquest_agent_captured_ratio", "1", 1.0 / f64::from(1_u32 << self.shed_bits.min(31))),
            gauge("inquest_agent_connections", "1", self.sizes.0 as f64),
            gauge("inquest_agent_spans_held", "1", self.sizes.1 as f64),
            gauge("inquest_agent_tls_files", "1", self.tls_files as f64),
            counter("inquest_agent_cpu_seconds_total", &[], clock::processor_time().as_secs_f64()),
            gauge("inquest_agent_memory_bytes", "By", resident_bytes() as f64),
        ];
        points.extend(self.logs());
        points
    }

    fn logs(&self) -> Vec<Point> {
        let counter =
            |name, source, value: u64| point(name, "1", &[("source", source)], Value::Counter(value as f64));
        let files = |state, value: u64| {
            point("inquest_agent_log_files", "1", &[("state", state)], Value::Gauge(value as f64))
        };
        let mut points = Vec::new();
        for (source, counts) in [("files", self.files), ("journal", self.journal)] {
            points.extend([
                counter("inquest_agent_log_events_total", source, counts.sent),
                counter("inquest_agent_log_events_cut_total", source, counts.cut),
                counter("inquest_agent_log_failures_total", source, counts.failures),
            ]);
        }
        points.extend([
            counter("inquest_agent_log_events_lost_total", "journal", self.journal.lost),
            counter("inquest_agent_log_truncations_total", "files", self.files.truncated),
            files("followed", self.files.files),
            files("refused", self.files.refused),
            files("unreadable", self.files.unreadable),
        ]);
        points
    }
}

fn point(name: &'static str, unit: &'static str, labels: &[(&'static str, &str)], value: Value) -> Point {
    let labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Point { service: None, name, unit, labels, value }
}

/// Memory of this process that is resident.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Gives memory that is free back to the system. The allocator of glibc keeps it, for each thread apart: what reading the types of the
/// kernel took at the start, or the symbols of a large program since, would stay for good.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no safe wrapper of this call")]
    // SAFETY: it takes how much to leave at the top of the heap, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Decides how much to capture, by what the agent costs.
#[derive(Clone, Copy, Debug)]
pub struct Governor {
    cores: f64,
    bits: u32,
    calm: u32,
    /// Smoothed use, as a share of what is allowed.
    load: f64,
}

/// One of 64 connections at least is always captured.
const MOST_BITS: u32 = 6;
/// Weight of the last second in the smoothed use: now and then a second is dear, as when functions of a program are looked up.
const SMOOTHING: f64 = 0.3;
/// Seconds of calm before more is captured again.
const CALM_SECONDS: u32 = 10;

impl Governor {
    /// At most `cores` of the processors are to be used.
    pub fn new(cores: f64) -> Self {
        Self { cores, bits: 0, calm: 0, load: 0.0 }
    }

    /// After a second in which `used` was used and `lost` events found the buffer full: how much to capture from now on. Each bit halves
    /// it, so that more is captured again only when twice as much would still be well within bounds. To leave out whole connections is
    /// better than to lose events, which tears conversations apart.
    pub fn decide(&mut self, used: Duration, passed: Duration, lost: u64) -> u32 {
        let load = used.as_secs_f64() / passed.as_secs_f64().max(1e-3) / self.cores;
        self.load += (load - self.load) * SMOOTHING;
        if self.load > 1.0 || lost > 0 {
            self.bits = (self.bits + 1).min(MOST_BITS);
            // What is expected of it; otherwise seconds before the change would bring about the next.
            self.load /= 2.0;
            self.calm = 0;
        } else if self.load < 0.4 {
            self.calm += 1;
            if self.calm >= CALM_SECONDS && self.bits > 0 {
                self.bits -= 1;
                self.load *= 2.0;
                self.calm = 0;
            }
        } else {
            self.calm = 0;
        }
        self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_lost_is_told_with_its_reason() {
        let lost = Lost { ring_full: 1, unreadable: 2, shed: 3, samples: 4, stacks: 5 };
        let health = Health { lost, ..Health::default() };
        let points = health.points(&Shipped::default());
        let told: Vec<(&str, &Value)> = points
            .iter()
            .filter(|point| point.name == "inquest_agent_events_lost_total")
            .map(|point| (point.labels[0].1.as_str(), &point.value))
            .collect();
        let expected = [
            ("buffer_full", &Value::Counter(1.0)),
            ("memory_not_resident", &Value::Counter(2.0)),
            ("shed", &Value::Counter(3.0)),
            ("malformed", &Value::Counter(0.0)),
            ("profile_samples", &Value::Counter(4.0)),
            ("profile_stacks", &Value::Counter(5.0)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_missing_of_logs_is_told() {
        let files = logs::Counts {
            sent: 1,
            cut: 2,
            lost: 0,
            truncated: 3,
            failures: 4,
            files: 5,
            refused: 6,
            unreadable: 7,
        };
        let journal = logs::Counts { lost: 8, ..logs::Counts::default() };
        let points = Health { files, journal, ..Health::default() }.points(&Shipped::default());
        let told: Vec<(&str, &str, &Value)> = points
            .iter()
            .filter_map(|point| Some((point.name.strip_prefix("inquest_agent_log_")?, point)))
            .map(|(name, point)| (name, point.labels[0].1.as_str(), &point.value))
            .collect();
        let expected = [
            ("events_total", "files", &Value::Counter(1.0)),
            ("events_cut_total", "files", &Value::Counter(2.0)),
            ("failures_total", "files", &Value::Counter(4.0)),
            ("events_total", "journal", &Value::Counter(0.0)),
            ("events_cut_total", "journal", &Value::Counter(0.0)),
            ("failures_total", "journal", &Value::Counter(0.0)),
            ("events_lost_total", "journal", &Value::Counter(8.0)),
            ("truncations_total", "files", &Value::Counter(3.0)),
            ("files", "followed", &Value::Gauge(5.0)),
            ("files", "refused", &Value::Gauge(6.0)),
            ("files", "unreadable", &Value::Gauge(7.0)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn load_sheds_and_calm_restores() {
        let mut governor = Governor::new(0.2);
        let mut second = |millis| governor.decide(Duration::from_millis(millis), Duration::from_secs(1), 0);
        // One dear second is none of its business; to go on like this is.
        assert_eq!([second(100), second(500), second(100), second(100)], [0, 0, 0, 0]);
        assert_eq!([second(300), second(300), second(300), second(300)], [0, 1, 1, 2]);
        assert_eq!([second(150), second(150)], [2, 2]);
        let after: Vec<u32> = (0..30).map(|_| second(10)).collect();
        assert_eq!((after[9], after[10], after[29]), (2, 1, 0));
        assert_eq!((0..20).map(|_| second(900)).last(), Some(MOST_BITS));
        let mut governor = Governor::new(0.2);
        assert_eq!(governor.decide(Duration::ZERO, Duration::from_secs(1), 1), 1);
    }
}
