//! Where the added time is spent: the flame graph of the window against the baseline, by exclusive time.

use std::collections::BTreeMap;

use detectors::log_template::mask;
use domain::evidence::{Frame, Trace, TraceSpan};
use domain::text::{number, plain, seconds};
use domain::{Exhibit, Figure, SpanKind, Strength, UnixNanos};
use storage::questions::sql;
use storage::questions::trace::TraceRow;

use super::{Analysis, Draft, Outcome, figure, figure_since, short};
use crate::reason::comparison::{Comparison, Step};
use crate::reason::suspects::{Remote, SIGNIFICANT, remote_place};

/// Frames below this share of the entry's time are left out, unless they changed by as much.
const MIN_SHARE: f64 = 0.005;
/// Frames kept.
const MAX_FRAMES: usize = 80;
/// Rows of a waterfall.
const MAX_ROWS: usize = 40;

/// The latency difference of the entry that gained most time.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    let comparison = &analysis.comparison;
    if comparison.entries.1 < 1.0 {
        return Outcome::Blind("no traces of these requests in the window".to_owned());
    }
    if comparison.entries.0 < 1.0 {
        return Outcome::Blind("no traces of these requests in the baseline".to_owned());
    }
    let gained = |step: &Step| {
        step.now.total.sum / comparison.entries.1 - step.before.total.sum / comparison.entries.0
    };
    let entries = comparison.scoped().filter(|(_, step)| step.is_entry);
    let Some((entry, _)) =
        entries.max_by(|left, right| gained(left.1).total_cmp(&gained(right.1)).then(right.0.cmp(&left.0)))
    else {
        return Outcome::Nothing("no entry".to_owned());
    };
    let below = subtree(comparison, entry);
    let slowest = below
        .iter()
        .map(|place| (comparison.added_ms(&comparison.steps[*place]), *place))
        .filter(|(added, place)| {
            let step = &comparison.steps[*place];
            *added > 0.0 && Comparison::own_z(step).max(comparison.calls_z(step)) >= SIGNIFICANT
        })
        .max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)));
    let root = &comparison.steps[entry];
    let (before, now) = (root.before.total.mean() / 1000.0, root.now.total.mean() / 1000.0);
    let Some((_, place)) = slowest else {
        return Outcome::Nothing(format!(
            "no operation below {} became slower beyond chance",
            short(&root.operation.name)
        ));
    };
    if now < before * 1.1 {
        return Outcome::Nothing(format!(
            "{} takes as long as before: {} against {}",
            short(&root.operation.name),
            seconds(now),
            seconds(before)
        ));
    }
    let step = &comparison.steps[place];
    let (own_before, own_now) =
        (per_entry(step.before.own.sum, root.before.calls), per_entry(step.now.own.sum, root.now.calls));
    let (calls_before, calls_now) =
        (step.before.calls / root.before.calls.max(1.0), step.now.calls / root.now.calls.max(1.0));
    let claim = format!(
        "{} takes {} longer, most of it in {} {}.",
        short(&root.operation.name),
        seconds(now - before),
        short(&step.operation.service),
        short(&step.operation.name)
    );
    let time_before = (step.before.calls > 0.0).then(|| step.before.own.mean() / 1000.0);
    let figures = vec![
        figure(short(&root.operation.name), before, now, seconds),
        figure(
            format!("{} itself", short(&step.operation.name)),
            own_before / 1000.0,
            own_now / 1000.0,
            seconds,
        ),
        Figure { name: "Calls per request".into(), ..figure("", calls_before, calls_now, number) },
        figure_since("Time per call", time_before, step.now.own.mean() / 1000.0, seconds),
    ];
    let strength = if now > before * 1.5 { Strength::Strong } else { Strength::Medium };
    // Time spent waiting for something without telemetry of its own is about that thing.
    let place = match remote_place(step, &comparison.steps) {
        Some(Remote::Peer(peer)) => peer.to_owned(),
        _ => step.operation.service.clone(),
    };
    Outcome::Found(vec![Draft {
        service: place,
        claim,
        strength,
        figures,
        began: analysis.onset(&step.operation.service),
        query: sql::both(&analysis.seen.calls_before.query, &analysis.seen.calls_now.query),
        exhibit: Exhibit::Latency {
            operation: root.operation.name.clone(),
            frames: frames(comparison, entry, &below),
            sample: waterfall(&analysis.seen.trace_id, &analysis.seen.trace),
        },
    }])
}

fn per_entry(sum: f64, calls: f64) -> f64 {
    sum / calls.max(1.0)
}

fn subtree(comparison: &Comparison, entry: usize) -> Vec<usize> {
    let mut below = Vec::new();
    let mut pending = vec![entry];
    while let Some(place) = pending.pop() {
        below.push(place);
        pending.extend(comparison.steps[place].children.iter().rev());
    }
    below
}

fn frames(comparison: &Comparison, entry: usize, below: &[usize]) -> Vec<Frame> {
    let root = &comparison.steps[entry];
    let whole = per_entry(root.now.total.sum, root.now.calls)
        .max(per_entry(root.before.total.sum, root.before.calls));
    let mut numbers: BTreeMap<usize, u32> = BTreeMap::new();
    let mut frames: Vec<Frame> = Vec::new();
    for place in below {
        let step = &comparison.steps[*place];
        let now_ms = per_entry(step.now.total.sum, root.now.calls);
        let before_ms = per_entry(step.before.total.sum, root.before.calls);
        let above = if *place == entry {
            Some(0)
        } else {
            step.parent.and_then(|parent| numbers.get(&parent).copied())
        };
        let Some(parent) = above else { continue };
        if now_ms.max(before_ms) < MIN_SHARE * whole || frames.len() >= MAX_FRAMES {
            continue;
        }
        numbers.insert(*place, frames.len() as u32);
        frames.push(Frame {
            depth: step.depth - root.depth,
            parent,
            service: step.operation.service.clone(),
            name: plain(&step.operation.name, 120),
            detail: plain(&mask(&step.operation.detail), 300),
            now_ms,
            before_ms,
            self_now_ms: per_entry(step.now.own.sum, root.now.calls),
            self_before_ms: per_entry(step.before.own.sum, root.before.calls),
            calls_now: step.now.calls / root.now.calls.max(1.0),
            calls_before: step.before.calls / root.before.calls.max(1.0),
            errors_now: step.now.errors / step.now.calls.max(1.0),
        });
    }
    frames
}

/// A trace in depth-first order, runs of equal leaf siblings folded.
pub fn waterfall(trace_id: &str, rows: &[TraceRow]) -> Option<Trace> {
    let start = rows.iter().map(|row| row.start).min()?;
    let end = rows.iter().map(|row| row.start.saturating_add_unsigned(row.duration_ns)).max()?;
    let known: BTreeMap<&str, usize> =
        rows.iter().enumerate().map(|(place, row)| (row.span_id.as_str(), place)).collect();
    let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let above = known.get(row.parent.as_str()).copied().filter(|parent| *parent != place);
        children.entry(above).or_default().push(place);
    }
    let mut spans: Vec<TraceSpan> = Vec::new();
    let mut shown = vec![false; rows.len()];
    // Roots first; then whatever no root leads to, since spans on a cycle are still spans.
    let roots = children.get(&None).cloned().unwrap_or_default();
    for first in roots.into_iter().chain(0..rows.len()) {
        let mut pending = vec![(first, 0)];
        while let Some((place, depth)) = pending.pop() {
            if std::mem::replace(&mut shown[place], true) {
                continue;
            }
            let below = children.get(&Some(place)).map_or(&[][..], Vec::as_slice);
            let row = &rows[place];
            let run = (row.start - start, row.duration_ns);
            let twin = spans.last_mut().filter(|last| {
                below.is_empty()
                    && last.depth == depth
                    && last.service == row.service
                    && last.name == row.name
            });
            match twin {
                Some(last) => {
                    last.runs.push(run);
                    last.failed |= row.status == "Error";
                }
                None => spans.push(TraceSpan {
                    depth,
                    service: row.service.clone(),
                    name: plain(&row.name, 120),
                    kind: SpanKind::parse(&row.kind),
                    runs: vec![run],
                    failed: row.status == "Error",
                    message: plain(&row.message, 200),
                    span_id: row.span_id.clone(),
                }),
            }
            pending.extend(below.iter().rev().map(|child| (*child, depth + 1)));
        }
    }
    let omitted = spans.iter().skip(MAX_ROWS).map(|span| span.runs.len() as u64).sum();
    spans.truncate(MAX_ROWS);
    Some(Trace {
        trace_id: trace_id.to_owned(),
        start: UnixNanos(start),
        duration_ns: (end - start).unsigned_abs(),
        spans,
        omitted,
    })
}
