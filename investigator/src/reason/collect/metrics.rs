//! Metrics that left their baseline, for the services most under suspicion.

use std::collections::BTreeSet;

use domain::evidence::{Line, LineRole, Panel, Unit};
use domain::text::{bytes, number};
use domain::{Exhibit, Figure, Strength};

use super::{Analysis, Draft, Outcome, short};
use crate::reason::metrics::{MetricMove, Topic};

/// Services shown.
const MAX_SERVICES: usize = 3;
/// Charts per service.
const MAX_PANELS: usize = 4;

/// One piece of evidence per service whose metrics moved.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    if analysis.seen.metrics.series.is_empty() {
        return Outcome::Blind("no series with values in both windows".to_owned());
    }
    let suspected = analysis.suspects.iter().map(|suspect| suspect.place.as_str());
    let services: Vec<&str> = suspected
        .filter(|service| analysis.metrics.iter().any(|metric| metric.service == *service && telling(metric)))
        .take(MAX_SERVICES)
        .collect();
    if services.is_empty() {
        return Outcome::Nothing(format!(
            "none of {} series left its baseline",
            analysis.seen.metrics.series.len()
        ));
    }
    Outcome::Found(services.into_iter().map(|service| draft(analysis, service)).collect())
}

/// Whether a move speaks for harm in its place: not one that is no more than load, that eased, or that its machine shares
/// with whatever else runs there.
pub fn telling(metric: &MetricMove) -> bool {
    !matches!(metric.topic, Topic::Other | Topic::Traffic) && !metric.improved() && !metric.of_machine
}

fn draft(analysis: &Analysis<'_>, service: &str) -> Draft {
    let mut mine: Vec<&MetricMove> =
        analysis.metrics.iter().filter(|metric| metric.service == service && telling(metric)).collect();
    // A share says how full it is, which the amount beside it does not.
    mine.sort_by(|left, right| right.filled.total_cmp(&left.filled));
    // Four percentiles of one latency say less than a latency, a processor and a pool: of each topic its strongest first.
    let mut topics: BTreeSet<Topic> = BTreeSet::new();
    let repeated: Vec<bool> = mine.iter().map(|metric| !topics.insert(metric.topic)).collect();
    let mut ordered = mine.iter().zip(repeated).collect::<Vec<_>>();
    ordered.sort_by_key(|(_, repeated)| *repeated);
    // Two series that would read the same tell nothing twice.
    let mut told = BTreeSet::new();
    ordered.retain(|(metric, _)| {
        let values = (written(metric, metric.before.median), written(metric, metric.reached));
        told.insert((&metric.name, &metric.instance, &metric.source, values))
    });
    mine = ordered.into_iter().map(|(metric, _)| *metric).take(MAX_PANELS).collect();
    let first = mine[0];
    let direction = if first.score > 0.0 { "rose" } else { "fell" };
    let strength = if first.score.abs() >= 10.0 { Strength::Strong } else { Strength::Medium };
    Draft {
        service: service.to_owned(),
        claim: format!(
            "{} of {} {direction} from {} to {}.",
            short(&first.name),
            short(&label(first)),
            written(first, first.before.median),
            written(first, first.reached)
        ),
        strength,
        figures: mine.iter().map(|metric| shown(metric, &mine)).collect(),
        began: None,
        query: analysis.seen.metrics.query.clone(),
        exhibit: Exhibit::Panels {
            panels: mine.iter().filter_map(|metric| panel(analysis, metric)).collect(),
            incident: analysis.question.window,
            marks: Vec::new(),
        },
    }
}

/// Whose it is; of a call edge, also who measured it.
fn label(metric: &MetricMove) -> String {
    match (metric.instance.as_str(), metric.source.as_str()) {
        ("", "") => metric.service.clone(),
        ("", source) => format!("{} as {source} sees it", metric.service),
        (instance, _) => instance.to_owned(),
    }
}

/// A metric beside the others shown: where one has its name, with what tells them apart.
fn shown(metric: &MetricMove, all: &[&MetricMove]) -> Figure {
    let others = || all.iter().filter(|other| other.id != metric.id && other.name == metric.name);
    let name = if others().any(|other| other.instance != metric.instance) && !metric.instance.is_empty() {
        format!("{} of {}", short(&metric.name), short(&metric.instance))
    } else if others().any(|other| other.source != metric.source) && !metric.source.is_empty() {
        format!("{} from {}", short(&metric.name), short(&metric.source))
    } else {
        short(&metric.name)
    };
    Figure {
        name,
        before: written(metric, metric.before.median),
        now: written(metric, metric.reached),
        before_value: Some(metric.before.median),
        now_value: Some(metric.reached),
    }
}

/// A value of a metric, with its unit.
pub fn written(metric: &MetricMove, value: f64) -> String {
    match metric.unit.as_str() {
        "By" | "bytes" => bytes(value),
        "s" if !metric.is_rate => domain::text::seconds(value),
        "ms" if !metric.is_rate => domain::text::seconds(value / 1000.0),
        _ if metric.is_rate => format!("{}/s", number(value)),
        _ => number(value),
    }
}

fn panel(analysis: &Analysis<'_>, metric: &MetricMove) -> Option<Panel> {
    let points = analysis.seen.points.get(&metric.id)?.clone();
    let unit = match (metric.is_rate, metric.unit.as_str()) {
        (true, _) => Unit::PerSecond,
        (false, "By" | "bytes") => Unit::Bytes,
        (false, "s") => Unit::Seconds,
        _ => Unit::Number,
    };
    Some(Panel {
        title: format!("{}, {}", short(&metric.name), short(&label(metric))),
        unit,
        lines: vec![Line { name: label(metric), role: LineRole::Subject, points }],
        limit: None,
        band: Some((metric.before.min, metric.before.max)),
    })
}
