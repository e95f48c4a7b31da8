//! The text that Prometheus reads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;

use crate::edges::SECONDS;
use crate::report::{Point, Value};

/// All points, by name.
pub fn text(points: &[Point]) -> String {
    let mut families: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    for point in points {
        families.entry(point.name).or_default().push(point);
    }
    let mut out = String::new();
    for (name, points) in families {
        let mut series: BTreeMap<String, Value> = BTreeMap::new();
        for point in points {
            match series.entry(labels(point)) {
                Entry::Vacant(place) => drop(place.insert(point.value.clone())),
                Entry::Occupied(mut known) => merge(known.get_mut(), &point.value),
            }
        }
        let kind = match series.values().next() {
            Some(Value::Counter(_)) => "counter",
            Some(Value::Histogram(_)) => "histogram",
            Some(Value::Gauge(_)) | None => "gauge",
        };
        // OpenTelemetry's names have dots.
        let name = &name.replace('.', "_");
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for (labels, value) in &series {
            match value {
                Value::Counter(value) | Value::Gauge(value) => line(&mut out, name, labels, None, *value),
                Value::Histogram(histogram) => {
                    let mut below = 0;
                    for (bucket, count) in histogram.buckets.iter().enumerate() {
                        below += count;
                        let bound = SECONDS.get(bucket).map_or("+Inf".to_owned(), f64::to_string);
                        line(&mut out, &format!("{name}_bucket"), labels, Some(&bound), below as f64);
                    }
                    line(&mut out, &format!("{name}_sum"), labels, None, histogram.sum);
                    line(&mut out, &format!("{name}_count"), labels, None, below as f64);
                }
            }
        }
    }
    out
}

/// Labels are fewer than what tells services apart: two that differ in their version only are one series, never the same one twice.
/// Counts add up; of gauges the larger stands, for shares and states have no sum.
fn merge(known: &mut Value, other: &Value) {
    match (known, other) {
        (Value::Counter(known), Value::Counter(other)) => *known += other,
        (Value::Gauge(known), Value::Gauge(other)) => *known = known.max(*other),
        (Value::Histogram(known), Value::Histogram(other)) => known.merge(other),
        // One name is one kind: the list is made by `report`.
        _ => {}
    }
}

fn labels(point: &Point) -> String {
    let service = point.service.as_ref().map(|it| ("service", it.name.as_str()));
    let own = point.labels.iter().map(|(key, value)| (*key, value.as_str()));
    let kept = ["k8s.namespace.name", "k8s.pod.name", "container.id"];
    let attributes = point
        .service
        .iter()
        .flat_map(|it| &it.attributes)
        .filter(|(key, _)| kept.contains(key))
        .map(|(key, value)| (*key, value.as_str()));
    let mut text = String::new();
    for (key, value) in service.into_iter().chain(attributes).chain(own) {
        if !text.is_empty() {
            text.push(',');
        }
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{}=\"{escaped}\"", key.replace('.', "_"));
    }
    text
}

fn line(out: &mut String, name: &str, labels: &str, bound: Option<&str>, value: f64) {
    let bound = bound.map(|it| format!("le=\"{it}\""));
    let all: Vec<&str> =
        [labels, bound.as_deref().unwrap_or("")].into_iter().filter(|it| !it.is_empty()).collect();
    let _ = match all.as_slice() {
        [] => writeln!(out, "{name} {value}"),
        _ => writeln!(out, "{name}{{{}}} {value}", all.join(",")),
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::edges::Histogram;
    use crate::identity::Service;

    #[test]
    fn what_prometheus_reads() {
        let service = Some(Arc::new(Service { name: "a\"b".into(), attributes: Vec::new() }));
        let mut histogram = Histogram::default();
        histogram.add(Duration::from_secs(60));
        let labels = vec![("destination", "db".to_owned())];
        let text = text(&[
            Point {
                service: service.clone(),
                name: "opened_total",
                unit: "1",
                labels: labels.clone(),
                value: Value::Counter(2.0),
            },
            Point {
                service,
                name: "wait_seconds",
                unit: "s",
                labels,
                value: Value::Histogram(Box::new(histogram)),
            },
            Point {
                service: None,
                name: "memory_bytes",
                unit: "By",
                labels: Vec::new(),
                value: Value::Gauge(1.5),
            },
        ]);
        let short: Vec<&str> =
            text.lines().filter(|line| !line.contains("le=\"0") && !line.contains("le=\"1")).collect();
        insta::assert_snapshot!(short.join("\n"), @r#"
        # TYPE memory_bytes gauge
        memory_bytes 1.5
        # TYPE opened_total counter
        opened_total{service="a\"b",destination="db"} 2
        # TYPE wait_seconds histogram
        wait_seconds_bucket{service="a\"b",destination="db",le="2.5"} 0
        wait_seconds_bucket{service="a\"b",destination="db",le="5"} 0
        wait_seconds_bucket{service="a\"b",destination="db",le="30"} 0
        wait_seconds_bucket{service="a\"b",destination="db",le="+Inf"} 1
        wait_seconds_sum{service="a\"b",destination="db"} 60
        wait_seconds_count{service="a\"b",destination="db"} 1
        "#);
    }

    #[test]
    fn services_that_differ_in_what_is_not_shown_are_one_series() {
        let version = |version: &str| {
            let attributes = vec![("service.version", version.to_owned())];
            Some(Arc::new(Service { name: "cart".into(), attributes }))
        };
        let point = |service, name, value| Point { service, name, unit: "1", labels: Vec::new(), value };
        let mut histogram = Histogram::default();
        histogram.add(Duration::from_secs(60));
        let both = |name, value: Value| ["1", "2"].map(|it| point(version(it), name, value.clone()));
        let points = [
            both("opened_total", Value::Counter(2.0)),
            both("listens", Value::Gauge(1.0)),
            both("wait_seconds", Value::Histogram(Box::new(histogram))),
        ];
        let text = text(&points.concat());
        let mut names: Vec<&str> = text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{text}");
        for line in [
            "opened_total{service=\"cart\"} 4",
            "listens{service=\"cart\"} 1",
            "wait_seconds_sum{service=\"cart\"} 120",
            "wait_seconds_count{service=\"cart\"} 2",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
