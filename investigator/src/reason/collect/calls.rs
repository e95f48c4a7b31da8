//! Calls that appeared, vanished, multiplied.

use domain::text::number;
use domain::{Exhibit, Strength};
use storage::questions::sql;

use super::{Analysis, Draft, Outcome, short};
use crate::reason::comparison::Step;
use crate::reason::suspects::SIGNIFICANT;

/// Rows shown.
const MAX_ROWS: usize = 8;

/// Operations whose calls per call of the operation above changed beyond chance.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    let comparison = &analysis.comparison;
    if comparison.traces.0 < 5.0 || comparison.traces.1 < 5.0 {
        return Outcome::Blind("fewer than 5 traces on one side".to_owned());
    }
    let mut changed: Vec<(f64, usize)> = comparison
        .scoped()
        .map(|(place, step)| (comparison.calls_z(step), place))
        .filter(|(z, _)| z.abs() >= SIGNIFICANT)
        .collect();
    changed.sort_by(|left, right| right.0.abs().total_cmp(&left.0.abs()).then(left.1.cmp(&right.1)));
    let Some((z, first)) = changed.first().copied() else {
        return Outcome::Nothing("requests make the same calls as before".to_owned());
    };
    let steps = &comparison.steps;
    let caller = |step: &Step| step.parent.map(|parent| &steps[parent]);
    let step = &steps[first];
    let (before, now) = comparison.calls_per_parent(step);
    let above = caller(step)
        .map_or_else(String::new, |above| format!("{} {}", above.operation.service, above.operation.name));
    let claim = match (before < 0.01, now < 0.01) {
        (true, _) => format!(
            "{} began to call {} {}.",
            short(&above),
            short(&step.operation.service),
            short(&step.operation.name)
        ),
        (_, true) => format!(
            "{} stopped calling {} {}.",
            short(&above),
            short(&step.operation.service),
            short(&step.operation.name)
        ),
        _ => format!(
            "{} calls {} {} {} times instead of {}.",
            short(&above),
            short(&step.operation.service),
            short(&step.operation.name),
            number(now),
            number(before)
        ),
    };
    let rows = changed
        .iter()
        .take(MAX_ROWS)
        .map(|(_, place)| {
            let step = &steps[*place];
            let (before, now) = comparison.calls_per_parent(step);
            let above = caller(step).map_or_else(String::new, |above| {
                format!("{}: {}", above.operation.service, short(&above.operation.name))
            });
            vec![
                above,
                format!("{}: {}", step.operation.service, short(&step.operation.name)),
                number(before),
                number(now),
            ]
        })
        .collect();
    Outcome::Found(vec![Draft {
        service: caller(step)
            .map_or_else(|| step.operation.service.clone(), |above| above.operation.service.clone()),
        claim,
        strength: if z.abs() >= 2.0 * SIGNIFICANT { Strength::Strong } else { Strength::Medium },
        figures: vec![super::figure("Calls per call", before, now, number)],
        began: None,
        query: sql::both(&analysis.seen.calls_before.query, &analysis.seen.calls_now.query),
        exhibit: Exhibit::Table {
            columns: ["Caller", "Calls", "Before", "Now"].map(str::to_owned).to_vec(),
            rows,
        },
    }])
}
