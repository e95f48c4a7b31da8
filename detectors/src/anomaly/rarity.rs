//! How rare a deviation is among those seen before: a conformal rank, with a tail that is extrapolated.

use std::collections::VecDeque;

use crate::statistics::MAD_TO_SIGMA;

/// Deviations remembered: a month of five-minute values, near enough.
const MEMORY: usize = 8192;
/// Deviations known before the tail is estimated; below, robust statistics.
const FEW: usize = 50;
/// Deviations known before anything is said.
const FEWEST: usize = 8;
/// Share of the largest deviations that the tail is estimated from, and their least number.
const TAIL: f64 = 0.01;
const TAIL_LEAST: usize = 3;
/// A deviation at least this share of another counts as its like: what has been seen to nearly this size is not new.
const ALIKE: f64 = 0.8;
/// No tail is taken to be lighter than that of a normal distribution at its last percents.
const LIGHTEST: f64 = 0.1;
/// Degrees of freedom of the Student distribution that short histories are judged by: heavy tails, yet a variance.
const FREEDOM: f64 = 4.0;

/// The deviations of the recent past, as non-negative finite numbers in any unit.
#[derive(Clone, Debug, Default)]
pub struct Rarity {
    arrived: VecDeque<f64>,
    sorted: Vec<f64>,
}

impl Rarity {
    /// Surprise at a deviation, `-ln p`, where `p` estimates how often one of its size occurs. 0 to unbounded.
    ///
    /// With `n` deviations known, of which `m` reach 80% of `d`, `p` is at least `m / n`: the conformal p-value (Vovk et al.
    /// 2005), taken at a size somewhat smaller, so that a spike that comes every night is known after the first ones.
    /// Beyond the largest 1% (`k` of them, the smallest being `u`) the rank says little, and the tail is extrapolated as a
    /// power law, `p = k/n (d/u)^(-1/x)` with Hill's estimate (1975) `x = mean ln(d_i/u)`. The likelier of both counts.
    ///
    /// With fewer than 50 known, `z = d / (1.4826 median)` is judged by a Student distribution, and `n` values vouch for no
    /// `p` below `1/n²`; fewer than 8 say nothing.
    pub fn surprise(&self, deviation: f64) -> f64 {
        let count = self.sorted.len();
        if count < FEWEST || deviation <= 0.0 {
            return 0.0;
        }
        if count < FEW {
            return self.robust(deviation);
        }
        // Half of all are as large: nothing to tell. This is also what keeps the common case cheap.
        let alike_from = deviation * ALIKE;
        if alike_from <= self.sorted[count / 2] {
            return 0.0;
        }
        let total = count as f64;
        let tail = ((total * TAIL).ceil() as usize).max(TAIL_LEAST);
        let from = self.sorted[count - tail - 1];
        let alike = count - self.sorted.partition_point(|known| *known < alike_from);
        let seen = if alike == 0 { f64::INFINITY } else { -(alike as f64 / total).ln() };
        if deviation <= from {
            return seen;
        }
        // Constant stretches deviate by nothing; the ratio to nothing is cut to a billion.
        let from = from.max(deviation * 1e-9);
        let largest = &self.sorted[count - tail..];
        let index = largest.iter().map(|known| (known.max(from) / from).ln()).sum::<f64>() / tail as f64;
        let beyond = -(tail as f64 / total).ln() + (deviation / from).ln() / index.max(LIGHTEST);
        seen.min(beyond)
    }

    fn robust(&self, deviation: f64) -> f64 {
        let count = self.sorted.len();
        let scale = MAD_TO_SIGMA * self.sorted[count / 2];
        let z = deviation / scale.max(deviation * 1e-9);
        let student = (FREEDOM + 1.0) / 2.0 * (z * z / FREEDOM).ln_1p();
        student.min(2.0 * (count as f64).ln())
    }

    /// Remembers a deviation, and forgets the oldest when there are too many.
    pub fn learn(&mut self, deviation: f64) {
        if self.arrived.len() == MEMORY
            && let Some(oldest) = self.arrived.pop_front()
        {
            let place = self.sorted.partition_point(|known| *known < oldest);
            self.sorted.remove(place);
        }
        let place = self.sorted.partition_point(|known| *known < deviation);
        self.sorted.insert(place, deviation);
        self.arrived.push_back(deviation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Surprise at `deviation` after `known`.
    fn check(known: impl Iterator<Item = f64>, deviation: f64, expected: std::ops::Range<f64>) {
        let mut rarity = Rarity::default();
        known.for_each(|deviation| rarity.learn(deviation));
        let surprise = rarity.surprise(deviation);
        assert!(expected.contains(&surprise), "{deviation}: {surprise} not in {expected:?}");
    }

    #[test]
    fn rank_tail_and_short_history() {
        let ramp = |count: u32| (0..count).map(|value| f64::from(value % 100) / 100.0);
        // The upper tenth: 1 - 0.8 * 0.9 = 28% are alike.
        check(ramp(1000), 0.9, 1.2..1.4);
        check(ramp(1000), 0.3, 0.0..1e-9);
        // Ten times what was ever seen, and just above it.
        check(ramp(1000), 9.9, 20.0..40.0);
        check(ramp(1000), 1.0, 1.0..2.0);
        // A size that occurred twice in a thousand is worth ln 500, however far it lies out.
        check(ramp(998).chain([50.0, 55.0]), 51.0, 6.1..6.3);
        // Little is known: little is said.
        check(ramp(7), 100.0, 0.0..1e-9);
        check(ramp(20), 100.0, 5.9..6.0);
        check(ramp(20), 0.2, 0.0..2.0);
        // Nothing ever moved.
        check((0..1000).map(|_| 0.0), 1.0, 50.0..300.0);
        check((0..1000).map(|_| 0.0), 0.0, 0.0..1e-9);
        check(std::iter::empty(), 1.0, 0.0..1e-9);
    }

    #[test]
    fn memory_is_bounded() {
        let mut rarity = Rarity::default();
        (0..MEMORY + 100).for_each(|value| rarity.learn(value as f64));
        assert_eq!((rarity.sorted.len(), rarity.arrived.len()), (MEMORY, MEMORY));
        assert_eq!(rarity.sorted[0], 100.0);
    }
}
