//! Something else on the same machine that takes what a place then lacks.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::SeriesId;

use super::analysis::Analysis;
use super::metrics::{MetricMove, Topic, words};

/// How telemetry names a machine, without case and punctuation.
const HOST_LABELS: [&str; 12] = [
    "host",
    "hostid",
    "hostname",
    "k8snodename",
    "kubernetesiohostname",
    "kubernetesnode",
    "kubernetesnodename",
    "machine",
    "node",
    "nodename",
    "vm",
    "vmname",
];
/// Where nobody says which machine they are on, they must begin within this of each other.
const SAME_TIME: Duration = Duration::from_secs(120);

/// A neighbour, and what ties it to the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour<'a> {
    /// What takes the machine.
    pub name: &'a str,
    /// The machine that both say they are on; `None` where nobody says, and only the time ties them.
    pub host: Option<&'a str>,
}

/// What is no part of the place's calls, shares its machine, and took more of it when the place was throttled.
pub fn neighbour<'a>(analysis: &'a Analysis<'_>, place: &str) -> Option<Neighbour<'a>> {
    let throttled = analysis.metrics.iter().any(|metric| {
        metric.service == place
            && metric.score > 0.0
            && words(&metric.name).iter().any(|word| word.starts_with("throttl") || word == "steal")
    });
    if !throttled {
        return None;
    }
    let ours: BTreeSet<&str> =
        analysis.edges.iter().flat_map(|(caller, callee)| [caller.as_str(), callee.as_str()]).collect();
    let own = analysis.onset_of(place)?;
    let here = hosts(analysis, place);
    let takes = |metric: &&MetricMove| {
        matches!(metric.topic, Topic::Cpu | Topic::Memory | Topic::Disk)
            && metric.score > 0.0
            && metric.service != place
            && !ours.contains(metric.service.as_str())
    };
    analysis.metrics.iter().filter(takes).find_map(|metric| {
        let name = metric.service.as_str();
        // A machine that is measured under its own name.
        if here.contains(name) {
            return Some(Neighbour { name, host: Some(name) });
        }
        let there = host(analysis, metric.id).map_or_else(|| hosts(analysis, name), |host| [host].into());
        if here.is_empty() || there.is_empty() {
            let at_once = metric
                .began
                .is_some_and(|began| began <= own.plus(SAME_TIME) && began >= own.minus(SAME_TIME));
            return at_once.then_some(Neighbour { name, host: None });
        }
        let shared = here.intersection(&there).next()?;
        let in_time = metric.began.is_none_or(|began| began <= own.plus(SAME_TIME));
        in_time.then_some(Neighbour { name, host: Some(shared) })
    })
}

/// Machines that a service's series name.
fn hosts<'a>(analysis: &'a Analysis<'_>, service: &str) -> BTreeSet<&'a str> {
    let mine = analysis.metrics.iter().filter(|metric| metric.service == service).map(|metric| metric.id);
    let moved: BTreeSet<&str> = mine.filter_map(|id| host(analysis, id)).collect();
    if !moved.is_empty() {
        return moved;
    }
    let series = analysis.seen.metrics.series.iter();
    let named = series.filter(|series| series.labels.get("service").is_some_and(|name| name == service));
    named.filter_map(|series| host(analysis, series.id)).collect()
}

/// The machine that a series names.
fn host<'a>(analysis: &'a Analysis<'_>, id: SeriesId) -> Option<&'a str> {
    let series = analysis.seen.metrics.series.iter().find(|series| series.id == id)?;
    let plain = |label: &str| -> String {
        label.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let named = series.labels.iter().find(|(label, _)| HOST_LABELS.contains(&plain(label).as_str()));
    named.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::fixture::{HARM, World, at, load};

    fn throttled(labels: &[(&str, &str)]) -> World {
        World::new().requests("shop", load(100, 0, 40.0), load(100, 0, 400.0)).labelled(
            labels,
            "container_cpu_cfs_throttled_seconds",
            "",
            0.1,
            9.0,
        )
    }

    #[track_caller]
    fn check(world: &World, expected: Option<Neighbour<'_>>) {
        let analysis = Analysis::new(&world.0);
        assert_eq!(neighbour(&analysis, "shop"), expected);
    }

    #[test]
    fn a_neighbour_shares_a_machine_or_at_least_the_minute() {
        let batch = |world: World, labels: &[(&str, &str)]| world.labelled(labels, "cpu_usage", "", 1.0, 8.0);
        let on = |host| Some(Neighbour { name: "batch", host });
        let here = throttled(&[("service", "shop"), ("k8s.node.name", "n1")]);
        check(&batch(here.clone(), &[("service", "batch"), ("node", "n1")]), on(Some("n1")));
        check(&batch(here.clone(), &[("service", "batch"), ("node", "n2")]), None);
        // The machine itself is measured.
        let machine = here.labelled(&[("service", "n1")], "cpu_usage", "", 1.0, 8.0);
        check(&machine, Some(Neighbour { name: "n1", host: Some("n1") }));
        // Nobody says where anything runs.
        let mut unknown = batch(throttled(&[("service", "shop")]), &[("service", "batch")]);
        check(&unknown, on(None));
        unknown.0.metrics.series[1].left_at = at(HARM - 300).0;
        check(&unknown, None);
        // Nothing is throttled.
        let idle = World::new().requests("shop", load(100, 0, 40.0), load(100, 0, 400.0));
        check(&batch(idle, &[("service", "batch"), ("node", "n1")]), None);
    }
}
