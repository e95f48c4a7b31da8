//! Whether the impacted service left its baseline: availability, latency, traffic.

use domain::evidence::{Limit, Line, LineRole, Mark, Panel, Unit};
use domain::text::{number, percent, seconds};
use domain::{Exhibit, Strength, UnixNanos};
use storage::questions::operations::OperationSlice;

use super::{Analysis, Draft, Outcome, figure};

/// Slices of the baseline that are drawn.
const MAX_DRAWN: usize = 180;

/// Service levels of the impacted service.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    let service = &analysis.impacted;
    let [before, now] = analysis.slices(service);
    let (calls_now, calls_before) = (calls(&now), calls(&before));
    if calls_now == 0.0 {
        return Outcome::Blind(format!("no requests to {} in the window", super::short(service)));
    }
    let good = |slices: &[&OperationSlice]| {
        1.0 - slices.iter().map(|slice| slice.errors as f64).sum::<f64>() / calls(slices).max(1.0)
    };
    let p95 = |slices: &[&OperationSlice]| weighted(slices, |slice| slice.p95_ms) / 1000.0;
    let mut figures = vec![
        figure("Availability", good(&before), good(&now), percent),
        figure("Latency p95", p95(&before), p95(&now), seconds),
    ];
    if let Some((before, now)) = analysis.traffic(service) {
        figures.push(figure("Requests per s", before, now, number));
    }
    let failing = good(&before) - good(&now);
    let slower = p95(&now) / p95(&before).max(1e-6);
    let moved = failing > 0.005 || slower > 1.5;
    let began = analysis.onset(service);
    let claim = match (calls_before > 0.0, moved, began) {
        (false, _, _) => {
            format!("{service} has no baseline; {} of its requests succeed now.", percent(good(&now)))
        }
        (true, true, Some(at)) => format!("{service} left its baseline at {}.", at.clock_time()),
        (true, true, None) => format!("{service} is outside its baseline."),
        (true, false, _) => format!("{service} is within its baseline as a whole."),
    };
    Outcome::Found(vec![Draft {
        service: service.clone(),
        claim,
        strength: if moved { Strength::Strong } else { Strength::Weak },
        figures,
        began,
        query: analysis.seen.queries.requests.clone(),
        exhibit: panels(analysis, &before, &now),
    }])
}

fn calls(slices: &[&OperationSlice]) -> f64 {
    slices.iter().map(|slice| slice.calls as f64).sum()
}

fn weighted(slices: &[&OperationSlice], value: impl Fn(&OperationSlice) -> f64) -> f64 {
    slices.iter().map(|slice| value(slice) * slice.calls as f64).sum::<f64>() / calls(slices).max(1.0)
}

fn panels(analysis: &Analysis<'_>, before: &[&OperationSlice], now: &[&OperationSlice]) -> Exhibit {
    let every = analysis
        .slice_seconds()
        .map_or_else(String::new, |width| format!(", per {}", domain::text::duration(width)));
    // Of a baseline cut as finely as a short window, its end: the rest would press the window to a hair.
    let drawn: Vec<&OperationSlice> =
        before.iter().skip(before.len().saturating_sub(MAX_DRAWN)).chain(now).copied().collect();
    let line = |value: &dyn Fn(&OperationSlice) -> f64| Line {
        name: analysis.impacted.clone(),
        role: LineRole::Subject,
        points: drawn.iter().map(|slice| (UnixNanos(slice.at), value(slice))).collect(),
    };
    let objectives = analysis.question.objectives;
    let marks = analysis
        .changes
        .all
        .iter()
        .filter(|change| analysis.suspects.first().is_some_and(|suspect| suspect.place == change.service))
        .map(|change| Mark { at: change.at, name: super::changes::title(change) })
        .collect();
    Exhibit::Panels {
        panels: vec![
            Panel {
                title: format!("Availability{every}"),
                unit: Unit::Ratio,
                lines: vec![line(&|slice| 1.0 - slice.errors as f64 / slice.calls.max(1) as f64)],
                limit: Some(Limit {
                    name: format!("objective {}", percent(objectives.availability)),
                    value: objectives.availability,
                }),
                band: band(before, |slice| 1.0 - slice.errors as f64 / slice.calls.max(1) as f64),
            },
            Panel {
                title: "Latency p95".to_owned(),
                unit: Unit::Seconds,
                lines: vec![line(&|slice| slice.p95_ms / 1000.0)],
                limit: None,
                band: band(before, |slice| slice.p95_ms / 1000.0),
            },
        ],
        incident: analysis.question.window,
        marks,
    }
}

/// The middle 90% of the baseline's slices.
fn band(before: &[&OperationSlice], value: impl Fn(&OperationSlice) -> f64) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = before.iter().map(|slice| value(slice)).collect();
    values.sort_by(f64::total_cmp);
    let low = *values.get(values.len() / 20)?;
    let high = *values.get(values.len() * 19 / 20)?;
    Some((low, high))
}
