//! How likely an alert is noise: logistic regression over [`Features`], of which one is what the nearest decided alerts say.
//!
//! It learns from what people decided. Before they have decided much, two pairs of anchors stand in for them (a prior by data
//! augmentation, Greenland 2007): an alert that comes all the time, for weeks, never with an incident, like ones that were
//! approved, is noise; one that is new, comes in a burst and with incidents, like ones that were rejected, is not. A
//! rejection weighs five approvals, because a missed incident costs more than a page.
//!
//! The score is the lower of the two, regression and neighbours: however harmless an alert looks, nothing is proposed that is
//! unlike all that people approved, and whatever its like was, its own past must look harmless too.

use std::collections::HashMap;

use linfa::DatasetBase;
use linfa::prelude::Fit;
use linfa_logistic::{FittedLogisticRegression, LogisticRegression};
use ndarray::{Array1, Array2};

use super::features::{COUNT, Features};
use super::similarity::{Index, Words};

/// Neighbours asked.
const NEIGHBOURS: usize = 5;
/// Similarity below which a neighbour has nothing to say.
const ALIKE: f64 = 0.5;
/// How much more a rejection counts than an approval.
pub const REJECTION_WEIGHT: usize = 5;
/// Decisions learned from; older ones are forgotten.
pub const MAX_DECIDED: usize = 500;

/// An alert about which a person decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// Which alert.
    pub fingerprint: String,
    /// Its rule.
    pub rule: String,
    /// Its service.
    pub service: String,
    /// Its pattern.
    pub pattern: String,
    /// What it was like when it was decided.
    pub features: Features,
    /// Whether it was found to be noise.
    pub noise: bool,
}

/// A decided alert like the one asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Its place among the decided.
    pub index: usize,
    /// 0 to 1.
    pub similarity: f64,
}

/// What was learned.
pub struct Model {
    decided: Vec<Decided>,
    index: Index,
    /// Per rule the approvals and the rejections.
    rules: HashMap<String, (usize, usize)>,
    regression: Option<FittedLogisticRegression<f64, bool>>,
}

impl Model {
    /// Learns from decisions, oldest first. The same decisions give the same model.
    pub fn learn(decided: Vec<Decided>) -> Self {
        let from = decided.len().saturating_sub(MAX_DECIDED);
        let decided: Vec<Decided> = decided.into_iter().skip(from).collect();
        let words: Vec<Words> =
            decided.iter().map(|one| Words::of(&one.rule, &one.service, &one.pattern)).collect();
        let mut rules: HashMap<String, (usize, usize)> = HashMap::new();
        for one in &decided {
            let (approved, rejected) = rules.entry(one.rule.clone()).or_default();
            *(if one.noise { approved } else { rejected }) += 1;
        }
        let mut model = Self { index: Index::of(&words), decided, rules, regression: None };
        model.regression = model.fit(&words);
        model
    }

    /// The decided alerts.
    pub fn decided(&self) -> &[Decided] {
        &self.decided
    }

    /// How likely such an alert is noise, and what of that its past, its rule and its neighbours say.
    pub fn score(&self, rule: &str, service: &str, pattern: &str, own: Features) -> (f64, Features) {
        let words = Words::of(rule, service, pattern);
        let features = self.complete(rule, &words, own, None);
        let row = Array2::from_shape_fn((1, COUNT), |(_, column)| features.row()[column]);
        let regressed = self.regression.as_ref().map_or(0.5, |model| model.predict_probabilities(&row)[0]);
        let score = regressed.min(features.neighbours);
        (if score.is_finite() { score.clamp(0.0, 1.0) } else { 0.0 }, features)
    }

    /// The nearest decided alerts, nearest first.
    pub fn nearest(&self, rule: &str, service: &str, pattern: &str) -> Vec<Neighbour> {
        self.near(&Words::of(rule, service, pattern), None)
    }

    fn near(&self, words: &Words, but: Option<usize>) -> Vec<Neighbour> {
        let mut near: Vec<Neighbour> = self
            .index
            .similarities(words)
            .into_iter()
            .enumerate()
            .filter(|(index, similarity)| *similarity >= ALIKE && Some(*index) != but)
            .map(|(index, similarity)| Neighbour { index, similarity })
            .collect();
        let nearer =
            |a: &Neighbour, b: &Neighbour| b.similarity.total_cmp(&a.similarity).then(b.index.cmp(&a.index));
        if near.len() > NEIGHBOURS {
            near.select_nth_unstable_by(NEIGHBOURS, nearer);
            near.truncate(NEIGHBOURS);
        }
        near.sort_by(nearer);
        near
    }

    /// Fills in what other decisions say, leaving out the decision `but` itself.
    fn complete(&self, rule: &str, words: &Words, own: Features, but: Option<usize>) -> Features {
        let (mut approved, mut rejected) = self.rules.get(rule).copied().unwrap_or_default();
        if let Some(itself) = but.map(|index| &self.decided[index]).filter(|one| one.rule == rule) {
            *(if itself.noise { &mut approved } else { &mut rejected }) -= 1;
        }
        let noise = 1.0 + approved as f64;
        let all = noise + 1.0 + (rejected * REJECTION_WEIGHT) as f64;
        let (said, weights) =
            self.near(words, but).iter().fold((0.5, 1.0), |(said, weights), near| {
                match self.decided[near.index].noise {
                    true => (said + near.similarity, weights + near.similarity),
                    false => (said, weights + near.similarity * REJECTION_WEIGHT as f64),
                }
            });
        Features { rule_approved: noise / all, neighbours: said / weights, ..own }
    }

    fn fit(&self, words: &[Words]) -> Option<FittedLogisticRegression<f64, bool>> {
        let mut rows: Vec<([f64; COUNT], bool)> = Vec::new();
        for (features, noise) in ANCHORS {
            // Twice, so that one decision alone cannot turn the model round.
            rows.extend([(features.row(), noise); 2]);
        }
        for (index, (decided, words)) in self.decided.iter().zip(words).enumerate() {
            let features = self.complete(&decided.rule, words, decided.features, Some(index));
            let times = if decided.noise { 1 } else { REJECTION_WEIGHT };
            rows.extend(std::iter::repeat_n((features.row(), decided.noise), times));
        }
        let records = Array2::from_shape_fn((rows.len(), COUNT), |(row, column)| rows[row].0[column]);
        let targets: Array1<bool> = rows.iter().map(|(_, noise)| *noise).collect();
        let dataset = DatasetBase::new(records, targets);
        LogisticRegression::default().alpha(0.1).max_iterations(200).fit(&dataset).ok()
    }
}

/// What is believed before anybody has decided.
const ANCHORS: [(Features, bool); 4] = [
    (
        Features {
            frequency: 0.5,
            known: 0.5,
            with_incidents: 0.0,
            burst: 0.05,
            severity: 0.0,
            rule_approved: 0.8,
            neighbours: 0.9,
        },
        true,
    ),
    (
        Features {
            frequency: 0.2,
            known: 0.3,
            with_incidents: 0.0,
            burst: 0.3,
            severity: 1.0,
            rule_approved: 0.7,
            neighbours: 0.8,
        },
        true,
    ),
    (
        Features {
            frequency: 0.1,
            known: 0.0,
            with_incidents: 0.5,
            burst: 1.0,
            severity: 1.0,
            rule_approved: 0.3,
            neighbours: 0.2,
        },
        false,
    ),
    (
        Features {
            frequency: 0.3,
            known: 0.5,
            with_incidents: 1.0,
            burst: 0.5,
            severity: 0.0,
            rule_approved: 0.4,
            neighbours: 0.2,
        },
        false,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Features {
        Features {
            frequency: 0.4,
            known: 0.6,
            burst: 0.05,
            severity: 1.0,
            rule_approved: 0.5,
            neighbours: 0.5,
            with_incidents: 0.0,
        }
    }

    fn decided(pattern: &str, noise: bool) -> Decided {
        let features = match noise {
            true => quiet(),
            false => Features { with_incidents: 0.8, burst: 0.9, known: 0.1, ..quiet() },
        };
        Decided {
            fingerprint: pattern.into(),
            rule: "log pattern".into(),
            service: "cart".into(),
            pattern: pattern.into(),
            features,
            noise,
        }
    }

    fn score(model: &Model, pattern: &str, own: Features) -> f64 {
        model.score("log pattern", "cart", pattern, own).0
    }

    #[test]
    fn without_decisions_the_prior_decides_with_care() {
        let model = Model::learn(Vec::new());
        let noisy = score(&model, "retrying", quiet());
        let bad =
            score(&model, "retrying", Features { with_incidents: 1.0, burst: 1.0, known: 0.0, ..quiet() });
        assert!(noisy > bad + 0.3, "{noisy} {bad}");
        assert!(
            noisy < super::super::DEFAULT_THRESHOLD,
            "nothing is proposed before anybody decided: {noisy}"
        );
    }

    #[test]
    fn approvals_of_the_like_raise_it_and_one_rejection_lowers_it() {
        let approved: Vec<Decided> = (0..12)
            .map(|n| decided(&format!("connection reset by peer, retrying in <*> ms attempt {n}"), true))
            .collect();
        let asked = "connection reset by peer, retrying in <*> ms";
        let with = score(&Model::learn(approved.clone()), asked, quiet());
        assert!(with >= super::super::DEFAULT_THRESHOLD, "{with}");
        let mut rejected = approved;
        rejected.push(decided(asked, false));
        let less = score(&Model::learn(rejected), asked, quiet());
        assert!(less < with - 0.1 && less < super::super::DEFAULT_THRESHOLD, "{with} {less}");
    }

    #[test]
    fn the_same_decisions_give_the_same_score() {
        let decisions =
            || (0..30).map(|n| decided(&format!("message {n} of kind {}", n % 7), n % 4 != 0)).collect();
        let (one, two) = (Model::learn(decisions()), Model::learn(decisions()));
        assert_eq!(
            score(&one, "message of kind 3", quiet()).to_bits(),
            score(&two, "message of kind 3", quiet()).to_bits()
        );
    }
}
