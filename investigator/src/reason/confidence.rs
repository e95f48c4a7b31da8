//! How likely the first hypothesis is right: a logistic function of a few signs, fitted to recorded incidents of several
//! systems and to poorer copies of them (`knowledge/confidence.toml` says how, `eval/RESULTS.md` how well it carries over to a
//! system it was not fitted on). Another function of the same signs tells whether anything is wrong: that takes strong signs,
//! whoever shows them, while being right takes one place that stands out.

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
    presence: Logistic,
    chance: Logistic,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logistic {
    intercept: f64,
    score: f64,
    margin: f64,
    support: f64,
    strongest: f64,
}

impl Logistic {
    fn of(&self, signs: &Signs) -> f64 {
        let weights = [self.score, self.margin, self.support, self.strongest];
        let sum: f64 = weights.into_iter().zip(signs.values()).map(|(weight, value)| weight * value).sum();
        1.0 / (1.0 + (-(self.intercept + sum)).exp())
    }
}

/// The chance that the first hypothesis is right, given that something is wrong.
pub fn confidence(signs: &Signs) -> f64 {
    MODEL.chance.of(signs)
}

/// How far the signs are more than quiet times show, 0 to 1; to be compared with [`super::conclude::QUIET`].
pub fn presence(signs: &Signs) -> f64 {
    MODEL.presence.of(signs)
}

#[cfg(test)]
mod tests {
    use super::super::conclude::{LIKELY, QUIET};
    use super::*;

    #[test]
    fn more_of_everything_is_surer() {
        let all = Signs { score: 1.0, margin: 1.0, support: 1.0, strongest: 1.0 };
        let none = Signs::default();
        assert!(confidence(&none) < LIKELY && confidence(&all) > 0.9 && confidence(&all) < 1.0);
        assert!(presence(&none) < QUIET && presence(&all) > QUIET);
    }

    #[test]
    fn strong_signs_without_a_margin_say_that_something_is_wrong_but_not_what() {
        let torn = Signs { score: 0.9, margin: 0.0, support: 0.5, strongest: 0.9 };
        let clear = Signs { margin: 0.8, ..torn };
        assert!(presence(&torn) > QUIET);
        assert!(confidence(&torn) < 0.75 && confidence(&clear) > 0.9);
    }
}
