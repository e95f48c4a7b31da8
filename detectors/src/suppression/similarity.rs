//! How alike two alerts are: cosine of the words of their patterns, with rule and service as words among them.

use std::collections::{BTreeMap, HashMap};

/// Words taken of one pattern.
const MAX_WORDS: usize = 64;
/// The rule and the service tell more than any one word.
const NAME_WEIGHT: f64 = 1.5;

/// The words of an alert, each with its weight, of length one together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words(BTreeMap<String, f64>);

impl Words {
    /// The words of an alert.
    pub fn of(rule: &str, service: &str, pattern: &str) -> Self {
        let mut words = BTreeMap::new();
        let lower = pattern.to_lowercase();
        let found = lower.split(|character: char| !character.is_alphanumeric()).filter(|word| word.len() > 1);
        for word in found.take(MAX_WORDS) {
            words.insert(word.to_owned(), 1.0);
        }
        words.insert(format!("rule:{rule}"), NAME_WEIGHT);
        if !service.is_empty() {
            words.insert(format!("service:{service}"), NAME_WEIGHT / 2.0);
        }
        let length = words.values().map(|weight| weight * weight).sum::<f64>().sqrt();
        words.values_mut().for_each(|weight| *weight /= length);
        Self(words)
    }

    /// 0 for nothing in common, 1 for the same.
    pub fn similarity(&self, other: &Self) -> f64 {
        Index::of(std::slice::from_ref(other)).similarities(self)[0]
    }
}

/// Many alerts by their words, so that one is compared with all of them at the cost of the words that they share.
#[derive(Debug, Default)]
pub struct Index {
    /// Per word the alerts that have it, and its weight in each.
    postings: HashMap<String, Vec<(usize, f64)>>,
    alerts: usize,
}

impl Index {
    /// An index of alerts.
    pub fn of(alerts: &[Words]) -> Self {
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        for (index, words) in alerts.iter().enumerate() {
            for (word, weight) in &words.0 {
                postings.entry(word.clone()).or_default().push((index, *weight));
            }
        }
        Self { postings, alerts: alerts.len() }
    }

    /// How alike an alert is to each: 0 for nothing in common, 1 for the same.
    pub fn similarities(&self, words: &Words) -> Vec<f64> {
        let mut dots = vec![0.0; self.alerts];
        for (word, weight) in &words.0 {
            for (index, also) in self.postings.get(word).into_iter().flatten() {
                dots[*index] += weight * also;
            }
        }
        dots.iter_mut().for_each(|dot: &mut f64| *dot = dot.clamp(0.0, 1.0));
        dots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_one_and_another_less() {
        let one = Words::of("log pattern", "cart", "redis: connection reset by peer, retrying in <*> ms");
        let near = Words::of("log pattern", "web", "redis: connection reset, retrying in <*> ms");
        let far = Words::of("HighMemory", "mail", "memory of <*> is above <*>");
        assert!((one.similarity(&one) - 1.0).abs() < 1e-9);
        assert!(one.similarity(&near) > 0.7);
        assert!(one.similarity(&far) < 0.1);
        assert_eq!(one.similarity(&near), near.similarity(&one));
    }
}
