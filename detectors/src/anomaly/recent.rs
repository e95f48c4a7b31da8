//! The last values of a series, as a near and a far part, with their means at hand.

use std::collections::VecDeque;

use domain::UnixNanos;

/// Values of the near part; the far part before it is up to five times as long.
pub const NEAR: usize = 36;
const LENGTH: usize = 6 * NEAR;
/// Sums are built anew after so many values, so that rounding errors of large values do not outlive them.
const REBUILD: usize = LENGTH;

/// A ring of values with the sums of both parts. Pushing costs the same whatever its length.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    values: VecDeque<(UnixNanos, f64)>,
    near: f64,
    far: f64,
    pushes: usize,
}

impl Recent {
    /// Adds a value, and drops the oldest when there are too many.
    pub fn push(&mut self, at: UnixNanos, value: f64) {
        self.values.push_back((at, value));
        self.near += value;
        if self.values.len() > NEAR {
            let moved = self.values[self.values.len() - 1 - NEAR].1;
            self.near -= moved;
            self.far += moved;
        }
        if self.values.len() > LENGTH
            && let Some((_, dropped)) = self.values.pop_front()
        {
            self.far -= dropped;
        }
        self.pushes += 1;
        if self.pushes.is_multiple_of(REBUILD) {
            let split = self.values.len().saturating_sub(NEAR);
            let sum = |from: usize, to: usize| self.values.range(from..to).map(|(_, value)| value).sum();
            (self.far, self.near) = (sum(0, split), sum(split, self.values.len()));
        }
    }

    /// Means of the far and the near part; `None` while the far part is shorter than the near one.
    pub fn means(&self) -> Option<(f64, f64)> {
        let far = self.values.len().saturating_sub(NEAR);
        (far >= NEAR).then(|| (self.far / far as f64, self.near / NEAR as f64))
    }

    /// When the near part begins.
    pub fn near_since(&self) -> Option<UnixNanos> {
        self.values.get(self.values.len().saturating_sub(NEAR)).map(|(at, _)| *at)
    }

    /// Where the level changed most likely: the split of the last `2 NEAR` values into two means that leaves the smallest
    /// squared error, that is, maximises `(mean after - mean before)² a b / (a + b)` for `a` values before and `b` after
    /// (the least-squares estimate of a single change point, Bai 1994). `None` with fewer than two values.
    pub fn change(&self) -> Option<Change> {
        let from = self.values.len().saturating_sub(2 * NEAR);
        let values: Vec<(UnixNanos, f64)> = self.values.range(from..).copied().collect();
        let total: f64 = values.iter().map(|(_, value)| value).sum();
        let (mut before, mut best) = (0.0, None::<(f64, Change)>);
        for (place, (_, value)) in values.iter().enumerate().take(values.len().saturating_sub(1)) {
            before += value;
            let (left, right) = ((place + 1) as f64, (values.len() - place - 1) as f64);
            let (old, new) = (before / left, (total - before) / right);
            let gain = (new - old).powi(2) * left * right;
            if best.as_ref().is_none_or(|(most, _)| gain > *most) {
                best = Some((gain, Change { at: values[place + 1].0, before: old, after: new }));
            }
        }
        best.map(|(_, change)| change)
    }
}

/// A change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// First value of the new level.
    pub at: UnixNanos,
    /// Mean before.
    pub before: f64,
    /// Mean since.
    pub after: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_follow_the_ring() {
        let mut recent = Recent::default();
        for place in 0..1000 {
            // A value so large that adding and taking it away again would leave nothing of the others.
            let value = if place == 300 { 1e300 } else { f64::from(place) };
            recent.push(UnixNanos::from_seconds(i64::from(place)), value);
            if place == 70 {
                assert_eq!(recent.means(), None);
            }
        }
        let (far, near) = recent.means().unwrap();
        assert!((near - (964.0 + 999.0) / 2.0).abs() < 1e-9 && (far - (784.0 + 963.0) / 2.0).abs() < 1e-9);
        assert_eq!(recent.near_since(), Some(UnixNanos::from_seconds(964)));
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let mut recent = Recent::default();
        assert_eq!(recent.change(), None);
        for place in 0..200 {
            recent.push(UnixNanos::from_seconds(place), if place < 183 { 10.0 } else { 30.0 });
        }
        let change = recent.change().unwrap();
        assert_eq!(change, Change { at: UnixNanos::from_seconds(183), before: 10.0, after: 30.0 });
    }
}
