//! Every row of the table fires on what it is for, and is silent on what is well.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::{Attributes, MetricKind, UnixNanos};

use super::measure::Source;
use super::*;

const STEP: Duration = Duration::from_secs(30);

fn window() -> Window {
    let end = UnixNanos::from_seconds(1_795_003_600);
    Window::new(end.minus(Duration::from_secs(3600)), end)
}

/// An hour of a series, a value every half minute.
fn series(name: &str, kind: MetricKind, labels: &[(&str, &str)], value: impl Fn(usize) -> f64) -> Observed {
    let mut attributes: Attributes =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    attributes.insert("service".into(), "cart".into());
    attributes.insert("instance".into(), "cart-1".into());
    let points = (0..120).map(|place| (window().start.plus(STEP * place as u32), value(place))).collect();
    let id = domain::Series { name: name.into(), labels: attributes.clone(), ..Default::default() }.id();
    Observed { id, name: name.into(), labels: attributes, kind, unit: String::new(), points }
}

fn of(source: &Source, kind: MetricKind, value: impl Fn(usize) -> f64) -> Observed {
    let label: Vec<(&str, &str)> = source.label.iter().map(|(name, values)| (*name, values[0])).collect();
    series(source.name, kind, &label, value)
}

/// Series that make an inspection read `value`, one set per alternative.
fn reading(inspection: &Inspection, value: f64) -> Vec<Vec<Observed>> {
    use MetricKind::{Counter, Gauge};
    let single = |sources: &[Source], kind, make: &dyn Fn(usize) -> f64| -> Vec<Vec<Observed>> {
        sources.iter().map(|source| vec![of(source, kind, make)]).collect()
    };
    let pairs = |pairs: &[(Source, Source)], kind, share: f64| -> Vec<Vec<Observed>> {
        let pair = |(top, bottom): &(Source, Source)| {
            let part_of = |values: &[&str]| top.label.is_some_and(|(_, part)| values.contains(&part[0]));
            if top.name == bottom.name && bottom.label.is_none_or(|(_, values)| part_of(values)) {
                // A part of a whole: the rest of it is a series of its own.
                let (label, part) = top.label.unwrap();
                let rest = bottom
                    .label
                    .and_then(|(_, values)| values.iter().find(|v| !part.contains(v)))
                    .unwrap_or(&"other");
                return vec![
                    of(top, kind, |_| share),
                    series(top.name, kind, &[(label, rest)], |_| 1.0 - share),
                ];
            }
            vec![of(top, kind, |_| 7.0 * share), of(bottom, kind, |_| 7.0)]
        };
        pairs.iter().map(pair).collect()
    };
    let hours = 1.0;
    match inspection.measure {
        Measure::Level(sources) | Measure::Least(sources) => single(sources, Gauge, &|_| value),
        Measure::Rest(sources) => single(sources, Gauge, &|_| 1.0 - value),
        Measure::Increase(sources) => single(sources, Counter, &|_| value * hours / 3600.0),
        Measure::Growth(sources) => {
            single(sources, Gauge, &|place| 1000.0 * (1.0 + value * (place as f64 - 59.5) / 120.0))
        }
        Measure::Until(sources) => single(sources, Gauge, &|_| window().end.seconds() as f64 + value),
        Measure::Ratio(sources) => pairs(sources, Gauge, value),
        Measure::RestRatio(sources) => pairs(sources, Gauge, 1.0 - value),
        Measure::Mean(sources) => pairs(sources, Counter, value),
    }
}

fn found(series: &[Observed]) -> Vec<&'static str> {
    inspect(series, window(), &Limits::new()).iter().map(|finding| finding.inspection).collect()
}

#[test]
fn rows_hold_together() {
    let mut names = BTreeSet::new();
    for inspection in table() {
        assert!(names.insert(inspection.name), "{} is there twice", inspection.name);
        assert!(!inspection.reason.is_empty() && !inspection.title.is_empty(), "{}", inspection.name);
        for name in inspection.measure.names() {
            assert_eq!(names::plain(name), name, "{} reads a name that is not plain", inspection.name);
            assert!(reads(name), "{name}");
        }
    }
    assert!(names.len() >= 46, "{}", names.len());
    assert!(!reads("http.server.request.duration_sum"));
}

#[test]
fn every_row_fires_beyond_its_limit_and_not_before() {
    for inspection in table() {
        let limit = inspection.limit.value();
        let (bad, good) = match inspection.limit {
            // Of shares, stay below 1; a limit of 0 is crossed by 5.
            Limit::Above(limit) if limit > 0.5 && limit < 1.0 => (limit + 0.04, limit - 0.04),
            Limit::Above(limit) => ((limit * 1.5).max(if limit == 0.0 { 5.0 } else { 0.0 }), limit * 0.5),
            Limit::Below(limit) => (limit * 0.5, limit * 1.0),
        };
        for series in reading(inspection, bad) {
            let findings = inspect(&series, window(), &Limits::new());
            let finding = findings.iter().find(|finding| finding.inspection == inspection.name);
            let finding = finding.unwrap_or_else(|| panic!("{}: {}", inspection.name, series[0].name));
            assert_eq!((finding.service.as_str(), finding.instance.as_str()), ("cart", "cart-1"));
            assert_eq!(finding.limit, limit);
            assert!(
                (finding.value - bad).abs() < 0.02 * bad.abs().max(1e-9),
                "{}: {}",
                inspection.name,
                finding.value
            );
        }
        for series in reading(inspection, good) {
            assert!(!found(&series).contains(&inspection.name), "{}", inspection.name);
        }
    }
}

/// Levels were the largest of a subject's series and of its first metric only: what was well hid what was not.
#[test]
fn one_that_is_well_does_not_hide_one_that_is_not() {
    let gauge = |name: &str, labels: &[(&str, &str)], value: f64| {
        series(name, MetricKind::Gauge, labels, move |_| value)
    };
    let threads = |sql: f64, io: f64| {
        found(&[
            gauge("mysql_slave_status_slave_sql_running", &[], sql),
            gauge("mysql_slave_status_slave_io_running", &[], io),
        ])
    };
    assert_eq!(threads(1.0, 1.0), [""; 0]);
    assert_eq!(threads(1.0, 0.0), ["replication_running"]);
    assert_eq!(threads(0.0, 1.0), ["replication_running"]);
    let databases = [("addr", "a", 1.0), ("addr", "b", 0.0), ("alias", "c", 1.0), ("alias", "d", 0.0)];
    let databases = databases.map(|(label, name, up)| gauge("redis_up", &[(label, name)], up));
    let findings = inspect(&databases, window(), &Limits::new());
    let details: Vec<&str> = findings.iter().map(|finding| finding.detail.as_str()).collect();
    assert_eq!(details, ["", "b"], "by its address where it has one");
    assert_eq!(findings[0].series.len(), 2);
    let probes = [("1", 1.0), ("2", 0.0)].map(|(path, up)| gauge("probe_success", &[("path", path)], up));
    assert_eq!(found(&probes), ["reachability"]);
    let certificates = [("1", 9e6), ("2", 60.0)]
        .map(|(name, left)| gauge("httpcheck.tls.cert_remaining", &[("http.tls.name", name)], left));
    assert_eq!(found(&certificates), ["certificate_remaining"]);
}

#[test]
fn lower_limits_are_for_the_least_level() {
    for inspection in table().filter(|inspection| matches!(inspection.limit, Limit::Below(_))) {
        assert!(!matches!(inspection.measure, Measure::Level(_)), "{}", inspection.name);
    }
}

#[test]
fn names_and_units_of_any_style() {
    let gauge = |name: &str, unit: &str, value: f64| {
        let series = series(name, MetricKind::Gauge, &[("system.device", "sda1")], |_| value);
        found(&[Observed { unit: unit.into(), ..series }])
    };
    assert_eq!(gauge("system.filesystem.utilization", "1", 0.9), ["disk_space_utilization"]);
    assert_eq!(gauge("system_filesystem_utilization_ratio", "", 0.9), ["disk_space_utilization"]);
    assert_eq!(gauge("system.filesystem.utilization", "%", 90.0), ["disk_space_utilization"]);
    assert_eq!(gauge("system.filesystem.utilization", "%", 70.0), [""; 0]);
    assert_eq!(gauge("nodejs_eventloop_lag_seconds", "", 0.3), ["event_loop"]);
    assert_eq!(gauge("nodejs.eventloop.delay.p99", "ms", 300.0), ["event_loop"]);
}

#[test]
fn series_of_other_subjects_do_not_mix() {
    let disk = |name: &str, mount: &str, value: f64| {
        series(name, MetricKind::Gauge, &[("mountpoint", mount)], move |_| value)
    };
    let all = [
        disk("node_filesystem_avail_bytes", "/", 50.0),
        disk("node_filesystem_size_bytes", "/", 100.0),
        disk("node_filesystem_avail_bytes", "/data", 10.0),
        disk("node_filesystem_size_bytes", "/data", 1000.0),
        // Nothing to compare it with.
        disk("node_filesystem_avail_bytes", "/lost", 0.0),
        disk("node_filesystem_size_bytes", "/empty", 0.0),
    ];
    let findings = inspect(&all, window(), &Limits::new());
    let details: Vec<&str> = findings.iter().map(|finding| finding.detail.as_str()).collect();
    assert_eq!(details, ["/data"]);
    assert_eq!(
        findings[0].sentence,
        "cart, cart-1, /data: disk space in use is 99%, above the limit of 80% (leaves time to act before writes fail)."
    );
}

#[test]
fn limits_can_be_changed_and_turned_off() {
    let full = [
        series("redis_memory_used_bytes", MetricKind::Gauge, &[], |_| 85.0),
        series("redis_memory_max_bytes", MetricKind::Gauge, &[], |_| 100.0),
    ];
    let check = |limits: Limits, expected: usize| {
        assert_eq!(inspect(&full, window(), &limits).len(), expected, "{limits:?}")
    };
    check(Limits::new(), 0);
    check([("redis_memory".to_owned(), Some(0.8))].into(), 1);
    check([("redis_memory".to_owned(), None)].into(), 0);
    check([("no such row".to_owned(), Some(0.0))].into(), 0);
}

#[test]
fn one_spike_is_no_level_and_one_kill_is_a_kill() {
    let cpu = |value: fn(usize) -> f64| {
        found(&[series("k8s.container.cpu_limit_utilization", MetricKind::Gauge, &[], value)])
    };
    assert_eq!(cpu(|place| if place == 115 { 1.0 } else { 0.3 }), [""; 0]);
    assert_eq!(cpu(|place| if place >= 105 { 1.0 } else { 0.3 }), ["cpu_container"]);
    // A counter that rose by one, as a rate per second.
    let kill = series("container_oom_events_total", MetricKind::Counter, &[], |place| {
        if place == 40 { 1.0 / 30.0 } else { 0.0 }
    });
    assert_eq!(found(&[kill]), ["memory_oom"]);
}

#[test]
fn damage_finds_nothing() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let all: Vec<Observed> = table()
            .flat_map(|inspection| reading(inspection, 1.0).into_iter().flatten())
            .map(|series| Observed {
                points: series.points.iter().map(|(at, _)| (*at, value)).collect(),
                ..series
            })
            .collect();
        assert_eq!(inspect(&all, window(), &Limits::new()), []);
    }
    assert_eq!(inspect(&[], window(), &Limits::new()), []);
}
