//! Attribute values that bad requests have and good ones do not, such as a version.

use detectors::statistics::proportion_z;
use domain::evidence::SkewRow;
use domain::text::{percent, plain};
use domain::{Exhibit, Strength};

use super::{Analysis, Draft, Outcome, short};

/// Rows shown.
const MAX_ROWS: usize = 6;
/// Standard errors between the shares; many values are compared, so chance gets many tries.
const SIGNIFICANT: f64 = 5.0;
/// The shares must differ by this much to matter.
const MIN_DIFFERENCE: f64 = 0.2;
/// Attributes that restate the outcome rather than explain it, by stem.
const RESTATING: [&str; 6] = ["status", "error", "exception", "duration", "otel.", "response"];

/// The values that separate bad requests of the impacted service from good ones.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    let seen = &analysis.seen.attributes;
    let (bad, good) = (seen.bad as f64, seen.good as f64);
    if bad < 10.0 || good < 10.0 {
        return Outcome::Blind(format!("too few requests to compare: {} bad, {} good", seen.bad, seen.good));
    }
    let mut rows: Vec<SkewRow> = seen
        .values
        .iter()
        .filter(|value| !RESTATING.iter().any(|stem| value.key.to_lowercase().contains(stem)))
        .filter(|value| proportion_z(value.good as f64, good, value.bad as f64, bad).abs() >= SIGNIFICANT)
        .map(|value| SkewRow {
            name: plain(&format!("{} = {}", value.key, value.value), 120),
            bad: value.bad as f64 / bad,
            good: value.good as f64 / good,
        })
        .filter(|row| (row.bad - row.good).abs() >= MIN_DIFFERENCE)
        .collect();
    rows.sort_by(|left, right| {
        (right.bad - right.good)
            .abs()
            .total_cmp(&(left.bad - left.good).abs())
            .then_with(|| left.name.cmp(&right.name))
    });
    // Values that go together (a version and its instances) say one thing: keep the first of equal shares.
    rows.dedup_by(|later, earlier| (later.bad, later.good) == (earlier.bad, earlier.good));
    rows.truncate(MAX_ROWS);
    let Some(first) = rows.first() else {
        return Outcome::Nothing("bad and good requests have the same attributes".to_owned());
    };
    let claim = format!(
        "{} of bad requests have {}, against {} of good ones.",
        percent(first.bad),
        short(&first.name),
        percent(first.good)
    );
    let strength = if (first.bad - first.good).abs() > 0.5 { Strength::Strong } else { Strength::Medium };
    Outcome::Found(vec![Draft {
        service: analysis.impacted.clone(),
        claim,
        strength,
        figures: Vec::new(),
        began: None,
        query: seen.query.clone(),
        exhibit: Exhibit::Skew { bad: seen.bad, good: seen.good, rows },
    }])
}
