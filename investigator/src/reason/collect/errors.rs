//! Where failing requests end.

use std::collections::BTreeMap;

use detectors::log_template::mask;
use domain::evidence::ErrorCause;
use domain::text::{percent, plain};
use domain::{Exhibit, SpanKind, Strength, UnixNanos};
use storage::questions::error_causes::ErrorGroup;

use super::{Analysis, Draft, Outcome, figure, short};

/// Rows shown.
const MAX_ROWS: usize = 8;
/// Failing traces below which a share means little.
const FEW: u64 = 5;

type Key = (String, String, String, String);

/// Groups of the deepest failing spans, messages masked and merged.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    let failing = analysis.seen.errors_now.failing_traces;
    if analysis.seen.calls_now.spans == 0 {
        return Outcome::Blind("no traces in the window".to_owned());
    }
    if failing == 0 {
        return Outcome::Nothing("no failed span in the window".to_owned());
    }
    let scale = analysis.question.window.seconds() / analysis.baseline.seconds().max(1.0);
    let before = merged(&analysis.seen.errors_before.groups);
    let mut causes: Vec<ErrorCause> = merged(&analysis.seen.errors_now.groups)
        .into_iter()
        .map(|(key, group)| {
            cause(before.get(&key).map_or(0.0, |group| group.traces as f64 * scale), &key, &group, failing)
        })
        .collect();
    causes.sort_by(|left, right| {
        right
            .now
            .cmp(&left.now)
            .then_with(|| (&left.service, &left.span_name).cmp(&(&right.service, &right.span_name)))
    });
    causes.truncate(MAX_ROWS);
    // Spans that are each other's parents, and a span that came between two queries, leave failures without an end.
    let Some(first) = causes.first() else {
        return Outcome::Blind(format!(
            "{} traces failed, and no span of them tells where",
            domain::text::count(failing as i64)
        ));
    };
    let claim = format!(
        "{} of {} failing traces end in {}, {}{}.",
        percent(first.share.min(1.0)),
        domain::text::count(failing as i64),
        short(&first.service),
        short(&first.span_name),
        if first.message.is_empty() { String::new() } else { format!(": {}", short(&first.message)) }
    );
    let grown = first.now as f64 > 2.0 * first.before;
    let strength = match (failing >= FEW && grown, first.share > 0.5) {
        (true, true) => Strength::Strong,
        (true, false) => Strength::Medium,
        _ => Strength::Weak,
    };
    Outcome::Found(vec![Draft {
        service: first.service.clone(),
        claim,
        strength,
        figures: vec![figure(
            "Failing traces",
            analysis.seen.errors_before.failing_traces as f64 * scale,
            failing as f64,
            domain::text::number,
        )],
        began: Some(first.first_seen),
        query: analysis.seen.errors_now.query.clone(),
        exhibit: Exhibit::ErrorCauses { causes: causes.clone(), failing_traces: failing },
    }])
}

fn merged(groups: &[ErrorGroup]) -> BTreeMap<Key, ErrorGroup> {
    let mut merged: BTreeMap<Key, ErrorGroup> = BTreeMap::new();
    for group in groups {
        let key = (group.service.clone(), group.name.clone(), group.exception.clone(), mask(&group.message));
        let known = merged.entry(key).or_insert_with(|| ErrorGroup { traces: 0, spans: 0, ..group.clone() });
        known.traces += group.traces;
        known.spans += group.spans;
        known.first_seen = known.first_seen.min(group.first_seen);
    }
    merged
}

fn cause(
    before: f64,
    (service, name, exception, message): &Key,
    group: &ErrorGroup,
    failing: u64,
) -> ErrorCause {
    ErrorCause {
        service: service.clone(),
        span_name: name.clone(),
        kind: SpanKind::parse(&group.kind),
        peer: group.peer.clone(),
        message: plain(message, 200),
        exception: plain(exception, 100),
        before,
        now: group.traces,
        share: group.traces as f64 / failing as f64,
        sample_trace: group.sample_trace.clone(),
        first_seen: UnixNanos(group.first_seen),
    }
}

#[cfg(test)]
mod tests {
    use domain::{CheckOutcome, EvidenceKind};

    use crate::reason::fixture::World;
    use crate::reason::reason;

    #[test]
    fn failing_traces_without_an_end_are_no_panic() {
        let mut world = World::failing_shop();
        world.0.errors_now.failing_traces = 1500;
        let diagnosis = reason(&world.0);
        let check = diagnosis.checks.iter().find(|check| check.kind == EvidenceKind::ErrorCauses);
        let check = check.expect("every collector leaves a check");
        assert_eq!(check.outcome, CheckOutcome::CouldNotLook);
        assert_eq!(check.note, "1\u{202f}500 traces failed, and no span of them tells where");
    }
}
