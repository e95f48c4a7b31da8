//! Whether harm ended when the change that is thought to bring it was undone.

use domain::{Change, UnixNanos};
use storage::questions::operations::OperationSlice;

use super::analysis::Analysis;

/// Slices within which harm should end.
pub const SLICES: usize = 3;
/// Slices after that from which one can tell.
const ENOUGH: usize = 2;
/// A slice is harmed when it is this many times worse than the quiet time at its 90th percentile.
const RATIO: f64 = 2.0;

/// Whether most of what follows the undo, after [`SLICES`], is as it was in the quiet time: by the requests of the place, or
/// of the impacted service where it has none. `None` where too little follows.
pub fn ends(analysis: &Analysis<'_>, place: &str, undo: &Change) -> Option<bool> {
    let slices = |service: &str| -> Vec<&OperationSlice> {
        analysis.seen.requests.iter().filter(|slice| slice.service == service && slice.calls > 0).collect()
    };
    let mut mine = slices(place);
    if mine.is_empty() {
        mine = slices(&analysis.impacted);
    }
    let width = analysis.slice_seconds()?;
    let deadline = undo.at.seconds() as f64 + width * SLICES as f64;
    let errors = |slice: &OperationSlice| slice.errors as f64 / slice.calls as f64;
    let usual = |value: &dyn Fn(&OperationSlice) -> f64| {
        let quiet = mine.iter().filter(|slice| analysis.baseline.contains(UnixNanos(slice.at)));
        let mut values: Vec<f64> = quiet.map(|slice| value(slice)).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() * 9 / 10).copied()
    };
    let (usual_errors, usual_p95) = (usual(&errors)?, usual(&|slice| slice.p95_ms)?);
    let after: Vec<bool> = mine
        .iter()
        .filter(|slice| slice.at as f64 / 1e9 >= deadline)
        .map(|slice| errors(slice) > RATIO * usual_errors + 0.02 || slice.p95_ms > RATIO * usual_p95 + 5.0)
        .collect();
    let harmed = after.iter().filter(|harmed| **harmed).count();
    (after.len() >= ENOUGH).then_some(harmed * 2 < after.len())
}

#[cfg(test)]
mod tests {
    use domain::ChangeKind;

    use super::*;
    use crate::reason::fixture::{HARM, World, at, deploy};
    use crate::reason::reason;

    #[track_caller]
    fn check(undone: i64, ended: i64, expected: Option<bool>) {
        let undo = Change {
            at: at(HARM + undone),
            kind: ChangeKind::Rollback,
            reference: "back".into(),
            ..deploy("shop", 0)
        };
        let mut world = World::failing_shop()
            .failed("shop", "NullPointerException", "price is null", 600)
            .changed(deploy("shop", 60))
            .changed(undo);
        for slice in &mut world.0.requests {
            if slice.at >= at(HARM + ended).0 {
                slice.errors = 0;
            }
        }
        let diagnosis = reason(&world.0);
        let first = &diagnosis.hypotheses[0];
        assert_eq!(first.change.as_deref(), Some("deploy-shop"));
        let prediction =
            first.predictions.iter().find(|one| one.text.text.starts_with("Harm should end within 30 s"));
        assert_eq!(prediction.expect("it was undone").held, expected);
    }

    #[test]
    fn harm_ends_with_the_undo_or_the_undone_is_doubted() {
        check(120, 140, Some(true));
        check(120, 1000, Some(false));
        check(270, 290, None);
    }
}
