//! The few statistics that detectors and the investigator share.

/// Ratio of the standard deviation to the median absolute deviation of a normal distribution.
pub const MAD_TO_SIGMA: f64 = 1.4826;

/// Lower and upper bound of the Wilson score interval for `hits` of `trials` at `z` standard deviations.
///
/// `(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)`, Wilson 1927. Chosen over the normal interval because it
/// stays inside 0..1 and does not collapse at small counts: 1 failure of 3 has a lower bound of 2% at z = 3.
/// No trials: (0, 1).
pub fn wilson(hits: f64, trials: f64, z: f64) -> (f64, f64) {
    if trials <= 0.0 {
        return (0.0, 1.0);
    }
    let ratio = (hits / trials).clamp(0.0, 1.0);
    let square = z * z;
    let middle = ratio + square / (2.0 * trials);
    let spread = z * (ratio * (1.0 - ratio) / trials + square / (4.0 * trials * trials)).sqrt();
    let scale = 1.0 + square / trials;
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

/// Below this many hits and misses the normal approximation is not trusted.
const MANY: f64 = 2000.0;

/// The chance that a share is at most `share`, given `hits` of `trials`: the posterior of the Jeffreys prior,
/// `I_share(hits + 1/2, trials - hits + 1/2)`, `I` the regularised incomplete beta function (Brown, Cai, DasGupta 2001).
/// With thousands of hits and of misses the score test's normal approximation, which differs by then in no digit that
/// matters. No trials: `share` of the prior itself.
pub fn chance_at_most(hits: f64, trials: f64, share: f64) -> f64 {
    let (hits, misses) = (hits.clamp(0.0, trials.max(0.0)), (trials - hits).max(0.0));
    if share <= 0.0 || share >= 1.0 {
        return if share <= 0.0 { 0.0 } else { 1.0 };
    }
    if hits > MANY && misses > MANY {
        let spread = (share * (1.0 - share) / trials).sqrt();
        return normal_cdf((share - hits / trials) / spread);
    }
    beta_cdf(share, hits + 0.5, misses + 0.5)
}

/// The Jeffreys interval: shares that the true one is below, and above, with the chance `tail` each. As is usual, the
/// lower end is 0 without hits, and the upper one 1 without misses. No trials: (0, 1).
pub fn jeffreys(hits: f64, trials: f64, tail: f64) -> (f64, f64) {
    let at = |chance: f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if chance_at_most(hits, trials, middle) < chance { low = middle } else { high = middle }
        }
        f64::midpoint(low, high)
    };
    let low = if hits <= 0.0 || trials <= 0.0 { 0.0 } else { at(tail) };
    let high = if hits >= trials || trials <= 0.0 { 1.0 } else { at(1.0 - tail) };
    (low, high)
}

/// The regularised incomplete beta function by its continued fraction, evaluated by the modified Lentz method: Press et
/// al., Numerical Recipes, section 6.4. `a`, `b` > 0.
fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    let log_front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    // The fraction converges fast on this side of the mean, and the function is symmetric.
    match x < (a + 1.0) / (a + b + 2.0) {
        true => (log_front.exp() * beta_fraction(x, a, b) / a).clamp(0.0, 1.0),
        false => (1.0 - log_front.exp() * beta_fraction(1.0 - x, b, a) / b).clamp(0.0, 1.0),
    }
}

fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const MOST_STEPS: u32 = 2000;
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..MOST_STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-12 {
            break;
        }
    }
    fraction
}

/// The logarithm of the gamma function for `x` >= 1/2: Lanczos 1964 with the coefficients of Godfrey (g = 7, n = 9).
fn ln_gamma(x: f64) -> f64 {
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const REST: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let series =
        REST.iter().zip(1u32..).fold(FIRST, |sum, (value, place)| sum + value / (x + f64::from(place)));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

/// The normal distribution function: Abramowitz and Stegun 26.2.17 in the form that keeps its relative precision in the
/// lower tail (Press et al., section 6.2.2: `erfc` by a Chebyshev fit, relative error below 1.2e-7).
fn normal_cdf(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let fit = FIT.iter().rev().fold(0.0, |sum, value| sum * t + value);
    let tail = 0.5 * t * (-x * x + fit).exp();
    if z <= 0.0 { tail } else { 1.0 - tail }
}

/// How many standard errors two proportions lie apart, by the pooled two-proportion z-test with one pseudo-hit and one
/// pseudo-miss on each side (Agresti and Caffo 2000), so that zero counts are tame. Positive when the second is larger.
pub fn proportion_z(before_hits: f64, before: f64, now_hits: f64, now: f64) -> f64 {
    let (before, now) = (before + 2.0, now + 2.0);
    let (before_ratio, now_ratio) = ((before_hits + 1.0) / before, (now_hits + 1.0) / now);
    let spread = before_ratio * (1.0 - before_ratio) / before + now_ratio * (1.0 - now_ratio) / now;
    if spread <= 0.0 { 0.0 } else { (now_ratio - before_ratio) / spread.sqrt() }
}

/// How many standard errors two means lie apart (Welch 1947). Zero when either side has fewer than two values; when
/// neither side varies, the sign of the difference times infinity is cut to 1000.
pub fn welch_z(before: Moments, now: Moments) -> f64 {
    if before.count < 2.0 || now.count < 2.0 {
        return 0.0;
    }
    let difference = now.mean() - before.mean();
    let spread = (before.variance() / before.count + now.variance() / now.count).sqrt();
    if difference == 0.0 { 0.0 } else { (difference / spread.max(1e-12)).clamp(-1000.0, 1000.0) }
}

/// Count, sum and sum of squares: enough for a mean and a variance, and cheap to aggregate in SQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Moments {
    /// Values.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

impl Moments {
    /// Mean; 0 without values.
    pub fn mean(&self) -> f64 {
        if self.count > 0.0 { self.sum / self.count } else { 0.0 }
    }

    /// Sample variance, never negative; 0 with fewer than two values.
    pub fn variance(&self) -> f64 {
        if self.count < 2.0 {
            return 0.0;
        }
        ((self.squares - self.sum * self.sum / self.count) / (self.count - 1.0)).max(0.0)
    }
}

/// Median of values, which are sorted in place; `None` when there are none. NaN sorts last.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_failure_of_three_pages_nobody() {
        let (low, _) = wilson(1.0, 3.0, 3.0);
        assert!(low < 0.05, "{low}");
        let (low, _) = wilson(30.0, 30.0, 3.0);
        assert!(low > 0.7, "{low}");
        assert_eq!(wilson(0.0, 0.0, 3.0), (0.0, 1.0));
    }

    /// Values of R: `pbeta`, `qbeta`, `pnorm`.
    #[test]
    fn the_posterior_agrees_with_tables() {
        let check = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 1e-5, "{found} is not {expected}");
        };
        // Closed forms: I_x(1/2, 1/2) = 2/pi asin(sqrt x); I_x(1, 1) = x; I_x(2, 3) = 6x^2 - 8x^3 + 3x^4.
        check(beta_cdf(0.3, 0.5, 0.5), std::f64::consts::FRAC_2_PI * 0.3_f64.sqrt().asin());
        check(beta_cdf(0.7, 1.0, 1.0), 0.7);
        check(beta_cdf(0.2, 2.0, 3.0), 6.0 * 0.04 - 8.0 * 0.008 + 3.0 * 0.0016);
        check(beta_cdf(0.9, 2.0, 3.0), 6.0 * 0.81 - 8.0 * 0.729 + 3.0 * 0.6561);
        check(normal_cdf(-1.959_963_985), 0.025);
        check(normal_cdf(-3.719_016_485), 1e-4);
        check(normal_cdf(0.0), 0.5);
        check(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln());
        check(ln_gamma(11.0), 3_628_800_f64.ln());
    }

    #[test]
    fn both_forms_of_the_posterior_meet() {
        let (exact, normal) = (
            beta_cdf(0.1, 2_250.5, 19_750.5),
            normal_cdf((0.1 - 2_250.0 / 22_000.0) / (0.09_f64 / 22_000.0).sqrt()),
        );
        assert!((exact / normal).ln().abs() < 0.1, "{exact} {normal}");
    }

    /// Why Jeffreys: one failure of three with an objective of 99.9% must not page at 14.4 times, and by Wilson's bound it
    /// would, because the normal distribution is not as skewed as few rare events are.
    #[test]
    fn wilson_trusts_few_rare_events_too_much() {
        let limit = 14.4 * 0.001;
        assert!(wilson(1.0, 3.0, 3.0).0 > limit);
        assert!(jeffreys(1.0, 3.0, 0.00135).0 < limit);
    }

    #[test]
    fn constants_do_not_divide_by_zero() {
        let flat = |value: f64| Moments { count: 5.0, sum: 5.0 * value, squares: 5.0 * value * value };
        assert_eq!(welch_z(flat(1.0), flat(1.0)), 0.0);
        assert_eq!(welch_z(flat(1.0), flat(2.0)), 1000.0);
        assert_eq!(welch_z(Moments::default(), flat(2.0)), 0.0);
    }

    proptest! {
        #[test]
        fn jeffreys_holds_the_ratio_and_narrows(trials in 1.0..1e9f64, share in 0.0..1.0f64, tail in 1e-6..0.2f64) {
            let hits = (trials * share).floor();
            let (low, high) = jeffreys(hits, trials.ceil(), tail);
            let ratio = hits / trials.ceil();
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
            prop_assert!(low <= ratio + 1e-6 && ratio <= high + 1e-6, "{} {} {}", low, ratio, high);
            let (wider, _) = jeffreys(hits, trials.ceil(), tail / 10.0);
            prop_assert!(wider <= low + 1e-9);
        }

        #[test]
        fn the_interval_holds_the_ratio(trials in 1.0..1e6f64, share in 0.0..1.0f64) {
            let (low, high) = wilson(trials * share, trials, 3.0);
            prop_assert!(low <= share + 1e-9 && share <= high + 1e-9);
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
        }
    }
}
