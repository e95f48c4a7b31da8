//! How unlikely a count is, given counts of the same kind.

use crate::statistics::median;

/// Scales the median absolute deviation to the standard deviation of a normal distribution.
const MAD_SCALE: f64 = 1.4826;

/// What is usual: a negative binomial distribution, by its mean and variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usual {
    /// Mean.
    pub mean: f64,
    /// Variance, at least the mean.
    variance: f64,
}

impl Usual {
    /// From counts, robustly: a spike of last week does not hide that of today. The mean is the median, or for what is
    /// mostly absent the mean without the highest tenth, and half a message more for all that was not seen. The
    /// variance is the highest of Poisson's, of the scaled median absolute deviation, and of what the counts below the
    /// highest tenth show; that of the mean itself comes on top.
    pub fn of(counts: &[f64]) -> Self {
        let n = counts.len().max(1) as f64;
        let mut sorted = counts.to_vec();
        sorted.sort_by(f64::total_cmp);
        let kept = &sorted[..sorted.len() - sorted.len() / 10];
        let trimmed = kept.iter().sum::<f64>() / kept.len().max(1) as f64;
        let middle = median(&mut sorted.clone()).unwrap_or(0.0);
        let mean = middle.max(trimmed) + 0.5 / n;
        let mut deviations: Vec<f64> = counts.iter().map(|count| (count - middle).abs()).collect();
        let spread = MAD_SCALE * median(&mut deviations).unwrap_or(0.0);
        let around = kept.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / kept.len().max(1) as f64;
        let variance = mean.max(spread * spread).max(around);
        Self { mean, variance: variance * (1.0 + 1.0 / n) }
    }

    /// Bound on the chance of `count` or more.
    pub fn chance_of(&self, count: f64) -> f64 {
        tail_bound(self.mean, self.variance, count)
    }
}

/// Chernoff's bound on the chance that a negative binomial count of the given mean and variance reaches `count`:
/// `exp(-(x ln(x/m) - (x + r) ln((x + r)/(m + r))))` with `r = m^2 / (v - m)`; Poisson's, `exp(-(x ln(x/m) - x + m))`, when
/// the variance does not exceed the mean. 1 when `count` does not exceed the mean; 0 for a mean of 0.
pub fn tail_bound(mean: f64, variance: f64, count: f64) -> f64 {
    if count.is_nan() || mean.is_nan() || count <= mean {
        return 1.0;
    }
    if mean <= 0.0 {
        return 0.0;
    }
    let excess = variance - mean;
    let exponent = if excess > mean * 1e-9 {
        let shape = mean * mean / excess;
        count * (count / mean).ln() - (count + shape) * ((count + shape) / (mean + shape)).ln()
    } else {
        count * (count / mean).ln() - count + mean
    };
    (-exponent).exp().min(1.0)
}
