//! Which bounded resource of a place runs out, and how that is said.

use super::analysis::Analysis;
use super::collect::metrics::{telling, written};
use super::metrics::{MetricMove, Topic, words};

/// A value this small beside what it became is told as almost none.
const ALMOST_NONE: f64 = 0.01;
/// Words of requests that are being worked on, which pile up wherever a callee is slow.
const UNDER_WAY: [&str; 8] =
    ["active", "concurrent", "flight", "inflight", "ongoing", "outstanding", "pending", "progress"];
const REQUESTS: [&str; 5] = ["calls", "request", "requests", "rpc", "rpcs"];
/// Words of what holds a bounded number of them.
const BOUNDED: [&str; 8] =
    ["connection", "connections", "pool", "queue", "slot", "thread", "threads", "worker"];
/// Words of an amount of time.
const TIME: [&str; 7] = ["duration", "latency", "milliseconds", "ms", "seconds", "time", "wait"];

/// The metric that shows best which resource of a place fills up: first what is known to be full, then what is counted,
/// then what is waited for.
pub fn exhausted<'a>(analysis: &'a Analysis<'_>, place: &str) -> Option<&'a MetricMove> {
    let mine = analysis.metrics.iter().filter(|metric| metric.service == place && fills(metric));
    // The first of equals is the one that moved most.
    mine.enumerate()
        .min_by(|(left_at, left), (right_at, right)| {
            right
                .filled
                .total_cmp(&left.filled)
                .then(is_time(left).cmp(&is_time(right)))
                .then(left_at.cmp(right_at))
        })
        .map(|(_, metric)| metric)
}

/// Whether a metric tells that something bounded of its place fills up, of which there is evidence to show.
pub fn fills(metric: &MetricMove) -> bool {
    let bounded = matches!(metric.topic, Topic::Cpu | Topic::Memory | Topic::Saturation | Topic::Disk);
    metric.score > 0.0 && bounded && telling(metric) && !is_under_way(&metric.name)
}

/// Whether a metric counts requests under way: victims of what is slow have them too.
fn is_under_way(name: &str) -> bool {
    let words = words(name);
    let says = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    says(&UNDER_WAY) && says(&REQUESTS) && !says(&BOUNDED)
}

fn is_time(metric: &MetricMove) -> bool {
    matches!(metric.unit.as_str(), "s" | "ms" | "us" | "ns")
        || words(&metric.name).iter().any(|word| TIME.contains(&word.as_str()))
}

/// `db_pool_used went from 3 to 50`.
pub fn movement(metric: &MetricMove) -> String {
    let (before, now) = (metric.before.median, metric.reached);
    let from = if before == 0.0 {
        "none".to_owned()
    } else if before.abs() < ALMOST_NONE * now.abs() && before.abs() < ALMOST_NONE {
        "almost none".to_owned()
    } else {
        written(metric, before)
    };
    format!("{} went from {from} to {}", super::collect::short(&metric.name), written(metric, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::fixture::{World, load};

    #[track_caller]
    fn check(metrics: &[(&str, &str, f64, f64)], expected: Option<&str>) {
        let mut world = World::new().requests("shop", load(100, 0, 40.0), load(100, 0, 400.0));
        for (name, unit, before, now) in metrics {
            world = world.labelled(&[("service", "shop")], name, unit, *before, *now);
        }
        let analysis = Analysis::new(&world.0);
        assert_eq!(exhausted(&analysis, "shop").map(movement).as_deref(), expected);
    }

    #[test]
    fn what_is_full_is_told_first_and_no_symptom_is() {
        let time = ("db.client.connections.wait_sum", "s", 0.0019, 57.6);
        let used = ("db.client.connections.usage", "{connection}", 3.0, 50.0);
        let full = ("db_pool_utilization_ratio", "1", 0.2, 1.0);
        check(&[time], Some("db.client.connections.wait_sum went from almost none to 57.6 s"));
        check(&[time, used], Some("db.client.connections.usage went from 3 to 50"));
        check(&[time, used, full], Some("db_pool_utilization_ratio went from 0.20 to 1"));
        check(&[("http.server.request.duration", "s", 0.04, 0.9)], None);
        check(&[("memory_usage_bytes", "By", 4e9, 1e9)], None);
    }

    #[test]
    fn requests_under_way_are_the_victims() {
        check(&[("http.server.active_requests", "{request}", 3.0, 90.0)], None);
        check(
            &[("thread_pool_active_requests", "{request}", 3.0, 90.0)],
            Some("thread_pool_active_requests went from 3 to 90"),
        );
        check(&[("db.client.connections.pending_requests", "{request}", 0.0, 0.4)], None);
        check(
            &[("db.client.connections.pending_requests", "{request}", 0.0, 40.0)],
            Some("db.client.connections.pending_requests went from none to 40"),
        );
    }
}
