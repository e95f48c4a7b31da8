//! What a change touched, in words, beside the words of what was seen to fail.
//!
//! A word counts by how rare it is among the changes at hand (inverse document frequency, Spärck Jones 1972). Of a diff,
//! only its net effect speaks: what moved from a removed line to an added one changed nothing. Code that went away says
//! more about what now fails than code that came. Words of one concept (`knowledge/concepts.toml`) match each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use domain::Change;
use serde::Deserialize;

use super::metrics;

/// Weights of where a word of a change stands.
const REMOVED: f64 = 1.0;
const ADDED: f64 = 0.3;
const FILE: f64 = 0.5;
const MESSAGE: f64 = 0.3;
/// A flag or version has nothing but its name.
const NAME: f64 = 0.4;
/// A word's concept counts this much of the word itself, on either side.
const CONCEPT: f64 = 0.7;
/// What a word of a failure counts that is said where nothing fails as well.
const USUAL: f64 = 0.3;
/// What a failure quotes (a field, a table, a key) is more telling than the prose around it.
const QUOTED: f64 = 1.5;
/// What a diff that takes nothing away counts beside one that does.
const ADDS_ONLY: f64 = 0.65;
/// Sum of matched weight at which a change is as good as relevant.
const ENOUGH: f64 = 0.8;
/// Bytes of a change's text that are read.
const MAX_BYTES: usize = 20_000;

/// Words that any failure and any code hold.
const COMMON: &[&str] = &[
    "error",
    "err",
    "fail",
    "failed",
    "failure",
    "request",
    "response",
    "status",
    "http",
    "https",
    "service",
    "svc",
    "server",
    "client",
    "handler",
    "upstream",
    "the",
    "a",
    "an",
    "of",
    "to",
    "in",
    "on",
    "for",
    "and",
    "or",
    "is",
    "not",
    "with",
    "from",
    "by",
    "return",
    "returned",
    "returning",
    "func",
    "function",
    "def",
    "class",
    "var",
    "let",
    "const",
    "import",
    "package",
    "string",
    "int",
    "bool",
    "float64",
    "map",
    "type",
    "struct",
    "this",
    "self",
    "new",
    "get",
    "set",
    "ctx",
    "context",
    "go",
    "ts",
    "py",
    "js",
    "java",
    "yaml",
    "src",
    "pkg",
    "cmd",
    "internal",
    "main",
    "chore",
    "feat",
    "fix",
    "refactor",
    "total",
    "ratio",
    "rate",
    "count",
    "p99",
    "p95",
    "ms",
    "second",
    "pct",
    "per",
    "no",
    "if",
    "else",
    "true",
    "false",
    "does",
    "exist",
    "fatal",
    "runtime",
    "panic",
    "invalid",
];

static CONCEPTS: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| {
    let table: BTreeMap<String, Vec<String>> =
        toml::from_str(include_str!("../../../knowledge/concepts.toml"))
            .expect("knowledge/concepts.toml is checked by a test");
    let mut concepts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (concept, words) in table {
        for word in words {
            concepts.entry(word).or_default().push(format!("~{concept}"));
        }
    }
    concepts
});

/// Words, each with its weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    matched: BTreeMap<String, f64>,
    /// Of the words that a diff takes away or adds, the weight it takes away, 0 to 1; 1 where there is no diff.
    taken: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Commit {
    message: Option<String>,
    files_changed: Option<Vec<String>>,
    diff: Option<String>,
}

impl Words {
    /// Adds the words of a text; each keeps its largest weight.
    pub fn add(&mut self, text: &str, weight: f64) {
        for word in split(text) {
            let known = self.matched.entry(word).or_default();
            *known = known.max(weight);
        }
    }

    /// What usual messages say as well tells less of a failure.
    pub fn quieten<'a>(&mut self, usual: impl Iterator<Item = &'a str>) {
        for word in usual.flat_map(split).collect::<BTreeSet<String>>() {
            if let Some(weight) = self.matched.get_mut(&word) {
                *weight *= USUAL;
            }
        }
    }

    /// With the concepts of its words; several words of one concept are surer of it than one: `1 - Π(1 - weight)`.
    fn conceived(&self) -> BTreeMap<&str, f64> {
        let mut all: BTreeMap<&str, f64> =
            self.matched.iter().map(|(word, weight)| (word.as_str(), *weight)).collect();
        for (word, weight) in &self.matched {
            for concept in CONCEPTS.get(word).into_iter().flatten() {
                let known = all.entry(concept).or_default();
                *known = 1.0 - (1.0 - *known) * (1.0 - (weight * CONCEPT).min(1.0));
            }
        }
        all
    }

    /// Adds the words of a failure: what it quotes counts more.
    pub fn add_failure(&mut self, text: &str, weight: f64) {
        self.add(text, weight);
        for quoted in quoted(text) {
            self.add(quoted, weight * QUOTED);
        }
    }

    /// Takes the words of a name out: that a change names its own service says nothing.
    pub fn without(mut self, name: &str) -> Self {
        let name = name.to_lowercase();
        self.matched.retain(|word, _| !name.contains(word.as_str()));
        self
    }

    /// The words of a change.
    pub fn of(change: &Change) -> Self {
        let mut words = Self::default();
        words.add(&change.reference, NAME);
        words.add(&change.version, NAME);
        let text = &change.detail[..change.detail.floor_char_boundary(MAX_BYTES)];
        match serde_json::from_str::<Commit>(&change.detail) {
            Ok(commit) => {
                words.add(&commit.message.unwrap_or_default(), MESSAGE);
                words.add(&commit.files_changed.unwrap_or_default().join(" "), FILE);
                words.add_diff(&commit.diff.unwrap_or_default());
            }
            Err(_) => words.add(text, MESSAGE),
        }
        words
    }

    fn add_diff(&mut self, diff: &str) {
        let diff = &diff[..diff.floor_char_boundary(MAX_BYTES)];
        let mut balance: BTreeMap<String, i64> = BTreeMap::new();
        for line in diff.lines() {
            let sign = match line.as_bytes() {
                [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => continue,
                [b'+', ..] => 1,
                [b'-', ..] => -1,
                _ => continue,
            };
            let code = line[1..].trim();
            if !["//", "#", "/*", "*", "--"].iter().any(|comment| code.starts_with(comment)) {
                for word in split(code) {
                    *balance.entry(word).or_default() += sign;
                }
            }
        }
        let (gone, come) =
            balance.values().fold((0.0, 0.0), |(gone, come), balance| match balance.signum() {
                -1 => (gone + 1.0, come),
                1 => (gone, come + 1.0),
                _ => (gone, come),
            });
        if !diff.is_empty() {
            self.taken = Some(if gone + come > 0.0 { gone / (gone + come) } else { 0.0 });
        }
        for (word, balance) in balance.into_iter().filter(|(_, balance)| *balance != 0) {
            self.add(&word, if balance < 0 { REMOVED } else { ADDED });
        }
    }

    /// How relevant the words of a change are to these of a failure, 0 to 1: `1 - exp(-Σ w(failure) w(change) idf)`.
    pub fn relevance(&self, change: &Self, rarity: &Rarity) -> f64 {
        let matched: f64 = self.shared(change, rarity).into_iter().map(|(_, weight)| weight).sum();
        1.0 - (-matched / ENOUGH).exp()
    }

    /// Words and concepts that a failure shares with a change, the most telling first.
    pub fn shared(&self, change: &Self, rarity: &Rarity) -> Vec<(String, f64)> {
        let theirs = change.conceived();
        let mut shared: Vec<(String, f64)> = self
            .conceived()
            .into_iter()
            .filter_map(|(word, weight)| {
                Some((word.to_owned(), weight * theirs.get(word)? * rarity.of(word)))
            })
            .collect();
        shared.sort_by(|left, right| right.1.total_cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        shared
    }

    /// How much of what a change does is to take something away, as a factor from [`ADDS_ONLY`] to 1.
    pub fn risk(&self) -> f64 {
        ADDS_ONLY + (1.0 - ADDS_ONLY) * self.taken.unwrap_or(1.0)
    }
}

/// Whether a commit touched only folders that bear the name, or the beginning of the name, of another of `services`.
pub fn is_of_another(commit: &Change, service: &str, services: &BTreeSet<&str>) -> bool {
    let Ok(told) = serde_json::from_str::<Commit>(&commit.detail) else { return false };
    let files = told.files_changed.unwrap_or_default();
    let bears = |file: &str, name: &str| {
        let folders = file.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').any(|folder| folder.len() >= 4 && name.starts_with(folder))
    };
    !files.is_empty()
        && files.iter().all(|file| {
            !bears(file, service) && services.iter().any(|other| *other != service && bears(file, other))
        })
}

/// What stands in quotes or square brackets.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    ['\'', '"', '`', '['].into_iter().flat_map(move |open| {
        let close = if open == '[' { ']' } else { open };
        text.split(open)
            .skip(1)
            .step_by(if open == close { 2 } else { 1 })
            .filter_map(move |rest| rest.split(close).next().filter(|inner| inner.len() <= 60))
    })
}

/// How rare words are among changes.
#[derive(Clone, Debug, Default)]
pub struct Rarity {
    changes: f64,
    with: BTreeMap<String, f64>,
}

impl Rarity {
    /// Counts the words of all changes.
    pub fn new<'a>(changes: impl Iterator<Item = &'a Words>) -> Self {
        let mut rarity = Self::default();
        for words in changes {
            rarity.changes += 1.0;
            for word in words.conceived().into_keys() {
                *rarity.with.entry(word.to_owned()).or_default() += 1.0;
            }
        }
        rarity
    }

    /// 1 for a word of one change only among many, toward 0 for one of all.
    fn of(&self, word: &str) -> f64 {
        let with = self.with.get(word).copied().unwrap_or(0.0).max(1.0);
        let all = (self.changes + 1.0).ln();
        if all <= 0.0 { 1.0 } else { (((self.changes + 1.0) / with).ln() / all).clamp(0.0, 1.0) }
    }
}

/// Words of any text, without plural, common words and numbers.
fn split(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .flat_map(metrics::words)
        .filter(|word| !COMMON.contains(&word.as_str()))
        .map(|word| match word.strip_suffix('s') {
            Some(stem) if stem.len() >= 3 && !stem.ends_with('s') => stem.to_owned(),
            _ => word,
        })
        .filter(|word| {
            word.len() >= 2 && !COMMON.contains(&word.as_str()) && !word.chars().all(|c| c.is_ascii_digit())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(diff: &str) -> Words {
        let detail =
            serde_json::json!({ "message": "tidy", "files_changed": ["a/b.go"], "diff": diff }).to_string();
        Words::of(&Change { detail, ..Change::default() })
    }

    #[test]
    fn only_the_net_effect_of_a_diff_speaks() {
        let moved = change("-  if gateway.Charge() {\n+  ok := gateway.Charge()");
        let gone = change("-  registerAgents(registry)\n+  // registerAgents(registry)");
        let rarity = Rarity::new([&moved, &gone].into_iter());
        let mut failure = Words::default();
        failure.add_failure("agent lookup: gateway not registered in registry", 1.0);
        assert_eq!(failure.relevance(&moved, &rarity), 0.0);
        assert!(failure.relevance(&gone, &rarity) > 0.5);
    }

    #[test]
    fn words_of_one_concept_match() {
        let unlocked = change("-  l.mu.Lock()\n-  defer l.mu.Unlock()");
        let rarity = Rarity::new([&unlocked].into_iter());
        let mut failure = Words::default();
        failure.add_failure("fatal error: concurrent map writes", 1.0);
        assert!(failure.relevance(&unlocked, &rarity) > 0.2);
    }
}
