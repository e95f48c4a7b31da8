//! What an incident looks like, as named features and as a vector, so that like ones can be found again.
//!
//! The vector is made by feature hashing (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009):
//! feature f of weight w adds ±w to one of [`DIMENSIONS`] places, place and sign from a hash of f; the sum is brought to length
//! 1. Two incidents that share all features have distance 0, ones that share none about 1. Deterministic, and no model needed.

use std::collections::BTreeMap;

use domain::{Diagnosis, EvidenceKind, Exhibit};

/// Name of this embedding; vectors of another are not comparable.
pub const MODEL: &str = "lexical-1";
/// Length of a vector.
pub const DIMENSIONS: usize = 256;

/// Features of one incident.
const MAX_FEATURES: usize = 200;
/// Words taken of one text.
const MAX_WORDS: usize = 24;
/// Longest feature, in characters.
const MAX_LENGTH: usize = 80;

/// Features with their weights, by name. Names are in words, for people: `mechanism lock contention`, `error timeout`.
pub fn features(diagnosis: &Diagnosis) -> BTreeMap<String, f64> {
    let mut features = Features::default();
    features.add("hurts", &diagnosis.service, 1.0);
    if let Some(cause) = diagnosis.hypotheses.first() {
        features.add("in", &cause.service, 2.0);
        features.add("mechanism", &cause.mechanism.as_str().replace('_', " "), 3.0);
        for evidence in diagnosis.evidence.iter().filter(|evidence| cause.supports.contains(&evidence.id)) {
            features.add("evidence of", evidence.kind.title(), 0.5);
        }
    }
    for considered in diagnosis.changes.iter().filter(|change| change.blamed) {
        features.add("change", considered.change.kind.as_str(), 1.5);
        features.add("changed", &considered.change.service, 1.0);
    }
    for evidence in &diagnosis.evidence {
        match &evidence.exhibit {
            Exhibit::ErrorCauses { causes, .. } => {
                for cause in causes.iter().take(3) {
                    features.add("fails", &cause.span_name, 1.0);
                    features.add("exception", &cause.exception, 1.5);
                    features.words("error", &cause.message, 1.0);
                }
            }
            Exhibit::LogPatterns { patterns } => {
                for pattern in patterns.iter().take(5) {
                    features.words("log", &pattern.template, 0.5);
                }
            }
            _ if evidence.kind == EvidenceKind::MetricShift => {
                for figure in evidence.figures.iter().take(3) {
                    features.add("metric", &figure.name, 0.7);
                }
            }
            _ => {}
        }
    }
    features.0
}

#[derive(Default)]
struct Features(BTreeMap<String, f64>);

impl Features {
    fn add(&mut self, kind: &str, what: &str, weight: f64) {
        let what = domain::text::plain(what.trim(), MAX_LENGTH);
        if what.is_empty() || self.0.len() >= MAX_FEATURES {
            return;
        }
        let entry = self.0.entry(format!("{kind} {}", what.to_lowercase())).or_default();
        *entry = entry.max(weight);
    }

    /// The words of a text, without what varies: numbers, and what a pattern masks.
    fn words(&mut self, kind: &str, text: &str, weight: f64) {
        let words = text.split(|character: char| !character.is_alphanumeric() && character != '_');
        let telling = words
            .filter(|word| word.chars().count() > 2 && !word.chars().any(|letter| letter.is_ascii_digit()));
        for word in telling.take(MAX_WORDS) {
            self.add(kind, word, weight);
        }
    }
}

/// The vector of features, of length 1; `None` when there are none.
pub fn embed(features: &BTreeMap<String, f64>) -> Option<Vec<f32>> {
    let mut vector = vec![0.0_f64; DIMENSIONS];
    for (feature, weight) in features {
        let hash = blake3::hash(feature.as_bytes());
        let bytes = hash.as_bytes();
        let place = usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % DIMENSIONS;
        vector[place] += if bytes[2] & 1 == 0 { *weight } else { -*weight };
    }
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    (length > 0.0).then(|| vector.iter().map(|value| (value / length) as f32).collect())
}

/// What two incidents share, heaviest first.
pub fn shared(features: &BTreeMap<String, f64>, others: &[String]) -> Vec<String> {
    let mut shared: Vec<(&String, f64)> = others
        .iter()
        .filter_map(|other| features.get_key_value(other).map(|(feature, weight)| (feature, *weight)))
        .collect();
    shared.sort_by(|left, right| right.1.total_cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    shared.into_iter().map(|(feature, _)| feature.clone()).collect()
}

/// The features as one text without secrets, for a model of embedding elsewhere.
pub fn text(features: &BTreeMap<String, f64>) -> String {
    let text = features.keys().map(String::as_str).collect::<Vec<_>>().join("\n");
    crate::redact::Redactor::new().text(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceLevel;

    use super::*;
    use crate::narrate::fixture;

    fn distance(left: &Diagnosis, right: &Diagnosis) -> f64 {
        let vectors = [left, right].map(|diagnosis| embed(&features(diagnosis)).expect("features"));
        1.0 - vectors[0].iter().zip(&vectors[1]).map(|(a, b)| f64::from(a * b)).sum::<f64>()
    }

    #[test]
    fn likeness_is_graded() {
        let first = fixture::diagnosis(ConfidenceLevel::High);
        let mut again = first.clone();
        again.title = "another day".into();
        let mut other_cause = first.clone();
        other_cause.hypotheses.swap(0, 1);
        let mut unlike = first.clone();
        unlike.service = "mail".into();
        unlike.hypotheses.clear();
        unlike.evidence.clear();
        unlike.changes.clear();
        assert!(distance(&first, &again).abs() < 1e-6);
        let (near, far) = (distance(&first, &other_cause), distance(&first, &unlike));
        assert!(0.05 < near && near < far && far > 0.8, "{near} {far}");
    }

    #[test]
    fn what_is_shared_is_named_heaviest_first() {
        let features = features(&fixture::diagnosis(ConfidenceLevel::High));
        let others = ["error timed".to_owned(), "mechanism repeated calls".into(), "in elsewhere".into()];
        assert_eq!(shared(&features, &others), ["mechanism repeated calls", "error timed"]);
        assert!(!text(&features).contains("jane@"));
    }
}
