//! Whether the impacted service left its baseline: availability, latency, traffic.

use domain::evidence::{Limit, Line, LineRole, Mark, Panel, Unit};
use domain::text::{number, percent, seconds};
use domain::{Exhibit, Strength, UnixNanos};
use storage::questions::operations::OperationSlice;

use super::{Analysis, Draft, Outcome, figure, figure_since};

/// Requests on either side below which nobody can say that a service is well.
const FEW: f64 = 100.0;
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
    let has_baseline = calls_before > 0.0;
    let known = |value: f64| Some(value).filter(|_| has_baseline);
    let mut figures = vec![
        figure_since("Availability", known(good(&before)), good(&now), percent),
        figure_since("Latency p95", known(p95(&before)), p95(&now), seconds),
    ];
    if let Some((before, now)) = analysis.traffic(service) {
        figures.push(figure("Requests per s", before, now, number));
    }
    let moved = has_baseline && moved(&before, &now);
    let began = analysis.onset(service);
    let claim = match (has_baseline, moved, began) {
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
        // Without a baseline nobody can say that it fares as it did.
        strength: match (has_baseline, moved) {
            (_, true) => Strength::Strong,
            (true, false) => Strength::Weak,
            (false, false) => Strength::Medium,
        },
        figures,
        began,
        query: analysis.seen.queries.requests.clone(),
        exhibit: panels(analysis, &before, &now),
    }])
}

/// Whether requests fare worse than in the baseline by what their callers would notice.
fn moved(before: &[&OperationSlice], now: &[&OperationSlice]) -> bool {
    let (failing, slower) = (good(before) - good(now), p95(now) / p95(before).max(1e-6));
    failing > 0.005 || slower > 1.5
}

/// Whether the impacted service is seen to fare as in its baseline.
pub fn is_well(analysis: &Analysis<'_>) -> bool {
    let [before, now] = analysis.slices(&analysis.impacted);
    calls(&before) >= FEW && calls(&now) >= FEW && !moved(&before, &now)
}

/// Share of requests that succeed.
fn good(slices: &[&OperationSlice]) -> f64 {
    1.0 - slices.iter().map(|slice| slice.errors as f64).sum::<f64>() / calls(slices).max(1.0)
}

/// Mean of the 95th percentiles, seconds.
fn p95(slices: &[&OperationSlice]) -> f64 {
    weighted(slices, |slice| slice.p95_ms) / 1000.0
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

#[cfg(test)]
mod tests {
    use domain::{EvidenceKind, Strength};

    use crate::reason::fixture::{World, load};
    use crate::reason::reason;

    #[test]
    fn a_service_without_a_baseline_has_no_numbers_before() {
        let mut world = World::new().requests("shop", load(0, 0, 0.0), load(100, 0, 40.0));
        world.0.requests.retain(|slice| slice.calls > 0);
        let diagnosis = reason(&world.0);
        let level = &diagnosis.evidence[0];
        assert_eq!((level.kind, level.strength), (EvidenceKind::ServiceLevel, Strength::Medium));
        assert_eq!(level.claim, "shop has no baseline; 100% of its requests succeed now.");
        let told: Vec<_> = level.figures.iter().map(|one| (one.before.as_str(), one.now.as_str())).collect();
        assert_eq!(told, [("", "100%"), ("", "40 ms")]);
        assert!(level.figures.iter().all(|figure| figure.before_value.is_none()));
        assert_eq!(diagnosis.title, "Something around shop deviates");
    }
}
