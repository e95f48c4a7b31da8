//! What stored metrics tell: resources beyond a limit, instances unlike their peers, series that changed. One question to
//! the store a look; the last hour of every series.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use detectors::anomaly::discoveries::{self, Standing};
use detectors::inspections::names::joined;
use detectors::inspections::{self, Limits, Observed};
use detectors::peers;
use domain::alert::MAX_ALERT_NAME;
use domain::text::{number, percent, plain};
use domain::{Detail, Finding, Observation, SeenIn, Severity, UnixNanos, Window};
use rayon::prelude::*;
use storage::Store;
use storage::questions::metric_values::SeriesValues;

/// What is looked at: long enough to tell a leak, short enough to be the present.
pub const LOOK_BACK: Duration = Duration::from_secs(3600);
/// How often instances are compared.
const BEAT: Duration = Duration::from_secs(60);
/// Changed series, and instances, that are told of each service.
const MOST_OF_A_SERVICE: usize = 5;
/// Labels that name one instance among its peers, beside `instance`; words joined by `_`.
const OF_AN_INSTANCE: [&str; 14] = [
    "instance",
    "service_instance_id",
    "pod",
    "pod_name",
    "pod_uid",
    "k8s_pod_name",
    "k8s_pod_uid",
    "k8s_pod_ip",
    "k8s_node_name",
    "node",
    "host",
    "host_name",
    "container_id",
    "process_pid",
];

/// Everything that the metrics of the last hour tell. Observations are notices: they open no incident, and join one that
/// their service is part of.
pub async fn findings(store: &Store, limits: &Limits, now: UnixNanos) -> anyhow::Result<Vec<Finding>> {
    let window = Window::new(now.minus(LOOK_BACK), now);
    let series = store.metric_values(window).await.context("cannot ask for metric values")?;
    let limits = limits.clone();
    // Seconds of arithmetic for tens of thousands of series: not on a thread that serves pages.
    tokio::task::spawn_blocking(move || look(series, &limits, window))
        .await
        .context("a look at metrics failed")
}

fn look(series: Vec<SeriesValues>, limits: &Limits, window: Window) -> Vec<Finding> {
    let (inspected, others): (Vec<SeriesValues>, Vec<SeriesValues>) =
        series.into_iter().partition(|series| inspections::reads(&series.name));
    let mut all: Vec<Observed> = inspected.into_iter().map(observed).collect();
    let inspected = all.len();
    all.extend(others.into_iter().map(observed));
    let (mut findings, (peers, changed)) = rayon::join(
        || beyond_limits(&all[..inspected], limits, window),
        || rayon::join(|| unlike_peers(&all, window), || changed(&all, window)),
    );
    findings.extend(peers.into_iter().chain(changed));
    findings
}

fn observed(series: SeriesValues) -> Observed {
    let SeriesValues { id, name, labels, kind, unit, points } = series;
    Observed { id, name, labels, kind, unit, points }
}

/// The machine that a series is of, or the instance where no label says: the first of the labels that is there.
fn host(series: &Observed) -> Vec<String> {
    const OF_A_MACHINE: [&str; 6] = ["k8s_node_name", "node", "nodename", "host_name", "host", "hostname"];
    let machine = OF_A_MACHINE
        .iter()
        .find_map(|name| series.labels.iter().find(|(key, value)| joined(key) == *name && !value.is_empty()));
    let host = machine.map_or_else(|| label(series, "instance"), |(_, value)| value);
    if host.is_empty() { Vec::new() } else { vec![plain(host, MAX_ALERT_NAME)] }
}

fn label<'a>(series: &'a Observed, name: &str) -> &'a str {
    series.labels.get(name).map_or("", String::as_str)
}

/// A finding about `service`, or where no label says, about the instance.
fn notice(
    (service, instance): (&str, &str),
    subject: String,
    started: UnixNanos,
    window: Window,
    observation: Observation,
) -> Finding {
    let owner = [service, instance, "unnamed host"].into_iter().find(|name| !name.is_empty());
    Finding {
        service: owner.unwrap_or_default().to_owned(),
        subject,
        severity: Severity::Notice,
        started,
        window,
        detail: Detail::Observation(observation),
    }
}

fn beyond_limits(series: &[Observed], limits: &Limits, window: Window) -> Vec<Finding> {
    let found = inspections::inspect(series, window, limits);
    found.into_iter().map(|found| beyond_limit(found, series)).collect()
}

fn beyond_limit(found: inspections::Finding, series: &[Observed]) -> Finding {
    let first = found.series.first().and_then(|id| series.iter().find(|one| one.id == *id));
    let hosts = first.map_or_else(Vec::new, host);
    let subject = [found.instance.as_str(), &found.detail];
    let subject: Vec<&str> = subject.into_iter().filter(|part| !part.is_empty()).collect();
    let subject = subject.join(" ");
    let observation = Observation {
        detector: found.inspection.replace('_', " "),
        sentence: found.sentence,
        numbers: vec![
            ("Measured".into(), found.unit.show(found.value)),
            ("Limit".into(), found.unit.show(found.limit)),
        ],
        seen_in: SeenIn::Series(found.series),
        hosts,
    };
    let window = found.window;
    // When the limit was crossed is known once it was seen not to be: see `observations`.
    notice((&found.service, &found.instance), subject, window.end, window, observation)
}

/// Instances that began within the hour to differ from those beside them. One that always differs does so by design.
fn unlike_peers(series: &[Observed], window: Window) -> Vec<Finding> {
    type Group<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>);
    let mut groups: BTreeMap<Group<'_>, Vec<&Observed>> = BTreeMap::new();
    for one in series.iter().filter(|one| !label(one, "instance").is_empty()) {
        let others = one.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let others = others.filter(|(key, _)| !OF_AN_INSTANCE.contains(&joined(key).as_str())).collect();
        groups.entry((label(one, "service"), &one.name, others)).or_default().push(one);
    }
    let mut findings = Vec::new();
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for ((service, name, _), members) in groups.iter().filter(|(_, members)| members.len() >= peers::FEWEST) {
        let points: Vec<_> = members.iter().map(|member| member.points.as_slice()).collect();
        for outlier in peers::outliers(&points, window, BEAT) {
            let told = told.entry(service).or_default();
            if outlier.since <= window.start.plus(BEAT) || *told >= MOST_OF_A_SERVICE {
                continue;
            }
            *told += 1;
            let (odd, instance) = (members[outlier.member], label(members[outlier.member], "instance"));
            let rest = members.iter().map(|member| member.id).filter(|id| *id != odd.id);
            let observation = Observation {
                detector: "unlike its peers".into(),
                sentence: format!("{}: {}", plain(name, 100), outlier.sentence(instance, members.len())),
                numbers: vec![
                    ("Here".into(), number(outlier.value)),
                    ("Peers".into(), number(outlier.peers)),
                    ("Instances".into(), members.len().to_string()),
                ],
                seen_in: SeenIn::Series(std::iter::once(odd.id).chain(rest).collect()),
                hosts: host(odd),
            };
            let subject = format!("{name} {instance}");
            findings.push(notice((service, instance), subject, outlier.since, window, observation));
        }
    }
    findings
}

/// Series that changed within the last minutes and have not gone back, as many as are unlikely to be chance.
fn changed(series: &[Observed], window: Window) -> Vec<Finding> {
    let found: Vec<(&Observed, Standing)> = series
        .par_iter()
        .filter_map(|one| Some((one, discoveries::standing(&one.points, window.end)?)))
        .collect();
    let chances: Vec<f64> = found.iter().map(|(_, standing)| standing.chance).collect();
    let Some(bar) = discoveries::bar(&chances, series.len()) else { return Vec::new() };
    let mut told: Vec<_> = found.into_iter().filter(|(_, standing)| standing.chance <= bar).collect();
    told.sort_by(|(left, a), (right, b)| {
        (a.chance.total_cmp(&b.chance)).then_with(|| (&left.name, left.id).cmp(&(&right.name, right.id)))
    });
    let mut by_service: BTreeMap<&str, usize> = BTreeMap::new();
    told.retain(|(one, _)| {
        let told = by_service.entry(label(one, "service")).or_default();
        *told += 1;
        *told <= MOST_OF_A_SERVICE
    });
    told.into_iter().map(|(one, standing)| change(one, &standing, window)).collect()
}

fn change(series: &Observed, standing: &Standing, window: Window) -> Finding {
    let (service, instance) = (label(series, "service"), label(series, "instance"));
    let others = series.labels.iter().filter(|(key, _)| *key != "service");
    let others: Vec<String> = others.map(|(_, value)| plain(value, 60)).take(4).collect();
    let subject = match others.is_empty() {
        true => plain(&series.name, 100),
        false => format!("{} of {}", plain(&series.name, 100), others.join(", ")),
    };
    let episode = &standing.episode;
    let observation = Observation {
        detector: "change".into(),
        sentence: format!("{subject}: {}", episode.sentence()),
        numbers: vec![
            ("Before".into(), number(episode.before)),
            ("After".into(), number(episode.after)),
            ("Chance of as much".into(), format!("under {}", percent(standing.chance.max(1e-6)))),
        ],
        seen_in: SeenIn::Series(vec![series.id]),
        hosts: host(series),
    };
    notice((service, instance), subject, episode.since, window, observation)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::{Batch, MetricKind, Sample, Series};

    use super::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_003_600);

    type Value = fn(f64) -> f64;

    /// What is told of an hour of `samples` every 15 s, from the step's number.
    async fn told(series: &[(&str, &str, MetricKind, Value)]) -> Vec<String> {
        let mut samples = Vec::new();
        for (name, instance, kind, value) in series {
            let labels = [("service", "cart"), ("instance", *instance)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()));
            let series = Arc::new(Series {
                name: (*name).into(),
                labels: labels.into(),
                kind: *kind,
                unit: String::new(),
            });
            for step in 0..240_u32 {
                let at = NOW.minus(Duration::from_secs(15) * (240 - step));
                samples.push(Sample { series: Arc::clone(&series), at, value: value(f64::from(step)) });
            }
        }
        let store = Store::scratch().await.unwrap();
        store.append(&Batch { samples, ..Batch::default() }).await.unwrap();
        let findings = findings(&store, &Limits::new(), NOW).await.unwrap();
        store.close().await.unwrap();
        assert!(findings.iter().all(|finding| !finding.opens_incident() && finding.service == "cart"));
        findings.iter().map(Finding::sentence).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn resources_beyond_their_limits() {
        let told = told(&[
            ("container_cpu_cfs_throttled_periods_total", "cart-1", MetricKind::Counter, |step| step * 60.0),
            ("container_cpu_cfs_periods_total", "cart-1", MetricKind::Counter, |step| step * 150.0),
            ("process.memory.usage", "cart-1", MetricKind::Gauge, |step| 1e9 * (1.0 + step / 240.0)),
        ]);
        assert_eq!(
            told.await,
            [
                "cart, cart-1: the share of scheduling periods in which the container was throttled is 40%, above the limit of \
             25% (a request that meets a throttled period waits up to a tenth of a second).",
                "cart, cart-1: the growth of memory is 66.5% an hour, above the limit of 10% an hour (ten percent an hour double \
             in a working day).",
            ]
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_instance_and_one_series_that_changed() {
        fn waver(step: f64) -> f64 {
            20.0 + (step * 7.0) % 5.0 + (step * 3.0) % 7.0 / 10.0
        }
        let odd: Value = |step| waver(step) + if step >= 100.0 { 60.0 } else { 0.0 };
        let late: Value = |step| waver(step) + if step >= 225.0 { 400.0 } else { 0.0 };
        let told = told(&[
            ("queue_wait", "cart-1", MetricKind::Gauge, waver as Value),
            ("queue_wait", "cart-2", MetricKind::Gauge, odd),
            ("queue_wait", "cart-3", MetricKind::Gauge, waver),
            ("open_sockets", "cart-1", MetricKind::Gauge, late),
        ])
        .await;
        insta::assert_debug_snapshot!(told);
    }
}
