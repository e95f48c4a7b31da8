//! How likely the first hypothesis is right: a logistic function of a few signs, scaled to recorded incidents of
//! several systems (`knowledge/confidence.toml` says how, `eval/RESULTS.md` how well it carries over
//! to a system it was not fitted on).

use std::sync::LazyLock;

use serde::Deserialize;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../knowledge/confidence.toml"))
        .expect("knowledge/confidence.toml is checked by a test")
});

/// What confidence rests on; each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signs {
    /// Score of the first hypothesis.
    pub score: f64,
    /// How far it is ahead of the second, as a share of it.
    pub margin: f64,
    /// `1 - 0.5^n` for `n` independent kinds of telling evidence.
    pub support: f64,
    /// The strongest single signal of the first suspect.
    pub strongest: f64,
}

impl Signs {
    /// As a vector, in the order of [`Signs`].
    pub fn values(&self) -> [f64; 4] {
        [self.score, self.margin, self.support, self.strongest]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    intercept: f64,
    score: f64,
    margin: f64,
    support: f64,
    strongest: f64,
}

/// The chance that the first hypothesis is right.
pub fn confidence(signs: &Signs) -> f64 {
    let weights = [MODEL.score, MODEL.margin, MODEL.support, MODEL.strongest];
    let sum: f64 = weights.into_iter().zip(signs.values()).map(|(weight, value)| weight * value).sum();
    1.0 / (1.0 + (-(MODEL.intercept + sum)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_everything_is_surer() {
        let all = confidence(&Signs { score: 1.0, margin: 1.0, support: 1.0, strongest: 1.0 });
        let none = confidence(&Signs::default());
        assert!(none < super::super::conclude::INCONCLUSIVE && all > 0.9 && all < 1.0, "{none} {all}");
    }
}
