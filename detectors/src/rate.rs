//! Counters as rates.

use domain::UnixNanos;

/// Rates per second between the values of a counter, each at its later value's time.
///
/// A counter that falls was reset to zero, so its new value is what it grew by since: `(x_t - x_(t-1)) / dt`, or `x_t / dt`
/// after a reset. Values that are not finite and times that do not advance are passed over.
pub fn rates(points: impl IntoIterator<Item = (UnixNanos, f64)>) -> impl Iterator<Item = (UnixNanos, f64)> {
    let mut rate = Rate::default();
    points.into_iter().filter_map(move |(at, value)| rate.push(at, value).map(|rate| (at, rate)))
}

/// The same, value by value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    last: Option<(UnixNanos, f64)>,
}

impl Rate {
    /// The rate since the value before; `None` for the first, and for what is passed over.
    pub fn push(&mut self, at: UnixNanos, value: f64) -> Option<f64> {
        if !value.is_finite() || self.last.is_some_and(|(last, _)| at <= last) {
            return None;
        }
        let (last, before) = self.last.replace((at, value))?;
        let grown = if value < before { value } else { value - before };
        Some(grown / at.seconds_since(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_gaps_and_repeats() {
        let counter =
            [(0, 100.0), (10, 200.0), (20, f64::NAN), (30, 400.0), (30, 9e9), (40, 50.0), (50, 50.0)];
        let points = counter.map(|(at, value)| (UnixNanos::from_seconds(at), value));
        let rates: Vec<(i64, f64)> = rates(points).map(|(at, rate)| (at.seconds(), rate)).collect();
        assert_eq!(rates, [(10, 10.0), (30, 10.0), (40, 5.0), (50, 0.0)]);
    }
}
