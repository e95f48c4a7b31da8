//! When harm began, to a few seconds: minutes are too coarse to compare before with after.

use std::time::Duration;

use domain::{Finding, ObjectiveMissed, Sli, UnixNanos, Window};
use storage::Store;
use storage::questions::operations::{OperationSlice, Slicing};

/// Width of the slices looked at.
const SLICE: Duration = Duration::from_secs(5);

/// How far from the first bad minute's start is looked.
const BEFORE: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_secs(60);

/// A slice is bad when its bad share is this many times what the objective allows: one unlucky request is not an onset.
const BAD_FACTOR: f64 = 5.0;

/// The finding with its start moved from the first bad minute to the first bad slice near it, where spans show one.
pub async fn refine(store: &Store, finding: Finding, now: UnixNanos) -> Result<Finding, storage::Error> {
    let Some(missed) = finding.objective().copied().filter(|missed| missed.sli != Sli::Custom) else {
        return Ok(finding);
    };
    let end = finding.started.plus(AFTER).min(now);
    let span = Window::new(finding.started.minus(BEFORE), end.max(finding.started));
    let slicing = Slicing::even(span, u32::try_from(SLICE.as_secs()).unwrap_or(1));
    let slices = match finding.subject.as_str() {
        "" => store.request_slices(std::slice::from_ref(&finding.service), &slicing).await?,
        endpoint => {
            let operation = (finding.service.clone(), endpoint.to_owned());
            store.operation_slices(&[operation], &slicing).await?
        }
    };
    let started = onset(&slices, &missed).unwrap_or(finding.started);
    Ok(Finding { started, ..finding })
}

/// The start of the first run of two bad slices; of the last slice, when only that is bad. Slices without requests are
/// not there and break no run.
fn onset(slices: &[OperationSlice], missed: &ObjectiveMissed) -> Option<UnixNanos> {
    let bad: Vec<bool> = slices.iter().map(|slice| is_bad(slice, missed)).collect();
    let first = (0..bad.len()).find(|index| bad[*index] && bad.get(index + 1).copied().unwrap_or(true))?;
    Some(UnixNanos(slices[first].at))
}

fn is_bad(slice: &OperationSlice, missed: &ObjectiveMissed) -> bool {
    let allowed = (1.0 - missed.objective) * BAD_FACTOR;
    match missed.sli {
        Sli::Availability => slice.calls > 0 && slice.errors as f64 / slice.calls as f64 > allowed.min(0.5),
        // A 95th percentile above the threshold says that more than 5% were slow.
        Sli::Latency => missed.threshold_ms.is_some_and(|threshold| slice.p95_ms > threshold),
        Sli::Custom => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::grouping::tests::missed;

    fn check(errors: &[u64], expected: Option<i64>) {
        let slice = |(index, errors): (usize, &u64)| OperationSlice {
            service: "cart".into(),
            name: String::new(),
            at: UnixNanos::from_seconds(5 * index as i64).0,
            calls: 100,
            errors: *errors,
            mean_ms: 1.0,
            p95_ms: 1.0,
        };
        let slices: Vec<_> = errors.iter().enumerate().map(slice).collect();
        assert_eq!(
            onset(&slices, &missed(Sli::Availability, 0.8)).map(UnixNanos::seconds),
            expected,
            "{errors:?}"
        );
    }

    #[test]
    fn the_first_lasting_badness_is_the_start() {
        check(&[0, 0, 30, 40, 50], Some(10));
        check(&[0, 30, 0, 0, 40, 50], Some(20));
        check(&[0, 1, 2, 40], Some(15));
        check(&[0, 1, 0], None);
        check(&[], None);
    }
}
