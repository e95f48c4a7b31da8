//! What is known of failures: patterns with their symptoms, checks, mitigations and fixes, read from files.
//!
//! A pattern supplies next steps. It never decides the verdict: it is looked up after the diagnosis stands, among the patterns
//! of the mechanism that was found, by phrases in the evidence that speaks for the cause.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use domain::{Diagnosis, Evidence, EvidenceId, Exhibit, Mechanism};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Deserialize;

/// Files read of a folder.
const MAX_FILES: usize = 2000;
/// Bytes of a file.
const MAX_BYTES: u64 = 64 << 10;
/// How deep folders are read.
const MAX_DEPTH: usize = 6;
const FENCE: &str = "+++";

#[derive(rust_embed::Embed)]
#[folder = "../knowledge/patterns"]
struct Files;

static BUILT_IN: LazyLock<Knowledge> = LazyLock::new(|| {
    let patterns = Files::iter().filter_map(|name| {
        let file = Files::get(&name)?;
        let pattern = Pattern::parse(&name, &String::from_utf8_lossy(&file.data));
        Some(Arc::new(pattern.expect("a test reads every pattern")))
    });
    Knowledge::of(patterns.collect())
});

/// A failure pattern: what it looks like, how it does harm, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Name of its file, without the ending.
    #[serde(skip)]
    pub name: String,
    /// In a few words.
    pub title: String,
    /// Mechanisms under which it may be found, as the API names them; none means any.
    #[serde(default)]
    pub mechanisms: Vec<String>,
    /// Phrases that evidence of it contains.
    pub symptoms: Vec<String>,
    /// How it does harm, in one sentence.
    pub mechanism: String,
    /// What to look at, read-only.
    pub checks: Vec<String>,
    /// What stops the harm.
    #[serde(default)]
    pub mitigations: Vec<String>,
    /// What removes the cause.
    pub fixes: Vec<String>,
    /// What else there is to say, as plain text.
    #[serde(skip)]
    pub text: String,
}

/// A pattern that fits a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The pattern.
    pub pattern: Arc<Pattern>,
    /// Phrases that were found.
    pub symptoms: Vec<String>,
    /// Evidence in which they were.
    pub evidence: Vec<EvidenceId>,
}

/// Known patterns. They may be replaced while others look them up: see [`Knowledge::read_again`].
#[derive(Debug, Default)]
pub struct Knowledge {
    patterns: RwLock<Patterns>,
}

/// Patterns as they were at one time.
pub type Patterns = Arc<[Arc<Pattern>]>;

/// Why a file of knowledge cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnowledgeError {
    /// It cannot be read.
    #[error("cannot read {0}")]
    Read(String, #[source] std::io::Error),
    /// It is not of the form.
    #[error("{0}: {1}")]
    Form(String, String),
}

impl Pattern {
    /// Reads a file: TOML between lines of `+++`, then text.
    pub fn parse(name: &str, file: &str) -> Result<Self, KnowledgeError> {
        let wrong = |why: String| KnowledgeError::Form(name.to_owned(), why);
        let file = file.replace("\r\n", "\n");
        let (front, text) = file
            .strip_prefix(FENCE)
            .and_then(|rest| rest.split_once("\n+++"))
            .ok_or_else(|| wrong("begins with no front matter between lines of +++".to_owned()))?;
        let mut pattern: Self = toml::from_str(front).map_err(|error| wrong(error.message().to_owned()))?;
        if let Some(unknown) = pattern.mechanisms.iter().find(|named| Mechanism::parse(named).is_none()) {
            let known = Mechanism::ALL.map(Mechanism::as_str).join(", ");
            let unknown = domain::text::plain(unknown, 60);
            return Err(wrong(format!("the mechanism `{unknown}` is unknown; there are {known}")));
        }
        pattern.name = name.trim_end_matches(".md").to_owned();
        pattern.text = text.trim().to_owned();
        if pattern.symptoms.iter().any(|symptom| symptom.trim().is_empty()) || pattern.symptoms.is_empty() {
            return Err(wrong("needs symptoms, none of them empty".to_owned()));
        }
        if pattern.checks.is_empty() || pattern.fixes.is_empty() {
            return Err(wrong("needs at least one check and one fix".to_owned()));
        }
        for step in pattern.checks.iter().chain(&pattern.mitigations).chain(&pattern.fixes) {
            let values =
                context! { service => "", caller => "", operation => "", change => "", previous => "" };
            let mut environment = Environment::new();
            environment.set_undefined_behavior(UndefinedBehavior::Strict);
            environment.render_str(step, values).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(pattern)
    }
}

impl Clone for Knowledge {
    fn clone(&self) -> Self {
        Self { patterns: RwLock::new(self.patterns()) }
    }
}

impl Knowledge {
    fn of(patterns: Vec<Arc<Pattern>>) -> Self {
        Self { patterns: RwLock::new(patterns.into()) }
    }

    /// The project's own patterns.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// These patterns and those of a folder, whose names win. Files that do not end in `.md`, or begin with no `+++`, are left
    /// alone, so that a folder may hold a README.
    pub fn with_folder(&self, folder: &Path) -> Result<Self, KnowledgeError> {
        let mut found = Vec::new();
        read_folder(folder, MAX_DEPTH, &mut found)?;
        let names: BTreeSet<&str> = found.iter().map(|pattern| pattern.name.as_str()).collect();
        let known = self.patterns();
        let mut patterns: Vec<Arc<Pattern>> =
            known.iter().filter(|known| !names.contains(known.name.as_str())).cloned().collect();
        patterns.extend(found.iter().cloned().map(Arc::new));
        Ok(Self::of(patterns))
    }

    /// Reads a folder again: from now on the project's own patterns and those that it holds now are known; how many. When a file
    /// cannot be used, all stays as it was.
    pub fn read_again(&self, folder: &Path) -> Result<usize, KnowledgeError> {
        let fresh = Self::built_in().with_folder(folder)?.patterns();
        let count = fresh.len();
        *self.patterns.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(count)
    }

    /// All patterns, as they are now.
    pub fn patterns(&self) -> Patterns {
        // Replaced as a whole: a panic elsewhere leaves it whole.
        self.patterns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The pattern that fits the cause best: most symptoms found, then longest ones, then by name.
    pub fn fit(&self, diagnosis: &Diagnosis) -> Option<Fit> {
        let cause = diagnosis.hypotheses.first()?;
        let texts: Vec<(EvidenceId, String)> = diagnosis
            .evidence
            .iter()
            .filter(|evidence| cause.supports.contains(&evidence.id))
            .map(|evidence| (evidence.id, words(evidence)))
            .collect();
        let mechanism = cause.mechanism.as_str();
        let patterns = self.patterns();
        let fits = patterns
            .iter()
            .filter(|pattern| {
                pattern.mechanisms.is_empty() || pattern.mechanisms.iter().any(|known| known == mechanism)
            })
            .filter_map(|pattern| fit(pattern, &texts));
        fits.min_by_key(|fit| {
            let length: usize = fit.symptoms.iter().map(String::len).sum();
            (std::cmp::Reverse((fit.symptoms.len(), length)), fit.pattern.name.clone())
        })
    }
}

fn fit(pattern: &Arc<Pattern>, texts: &[(EvidenceId, String)]) -> Option<Fit> {
    let mut symptoms = Vec::new();
    let mut evidence = BTreeSet::new();
    for symptom in &pattern.symptoms {
        let lower = symptom.to_lowercase();
        let seen: Vec<EvidenceId> =
            texts.iter().filter(|(_, text)| has_phrase(text, &lower)).map(|(id, _)| *id).collect();
        if !seen.is_empty() {
            symptoms.push(symptom.clone());
            evidence.extend(seen);
        }
    }
    let evidence = evidence.into_iter().collect();
    (!symptoms.is_empty()).then(|| Fit { pattern: pattern.clone(), symptoms, evidence })
}

/// Everything that a piece of evidence says, in lower case.
fn words(evidence: &Evidence) -> String {
    let mut text = evidence.claim.clone();
    let mut add = |more: &str| {
        text.push('\n');
        text.push_str(more);
    };
    evidence.figures.iter().for_each(|figure| add(&figure.name));
    match &evidence.exhibit {
        Exhibit::ErrorCauses { causes, .. } => causes.iter().take(5).for_each(|cause| {
            add(&cause.message);
            add(&cause.exception);
        }),
        Exhibit::LogPatterns { patterns } => {
            patterns.iter().take(10).for_each(|pattern| add(&pattern.template));
        }
        Exhibit::Change { change } => add(&change.detail),
        _ => {}
    }
    text.to_lowercase()
}

/// Whether a phrase stands in a text, not inside a longer word.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let is_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    text.match_indices(phrase).any(|(place, _)| {
        !is_word(text[..place].chars().next_back()) && !is_word(text[place + phrase.len()..].chars().next())
    })
}

fn read_folder(folder: &Path, depth: usize, found: &mut Vec<Pattern>) -> Result<(), KnowledgeError> {
    let unread = |error| KnowledgeError::Read(folder.display().to_string(), error);
    let mut entries =
        std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unread)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // Git's own folder, and whatever else hides. Links are not followed: they may form a circle.
        let kind = entry.file_type().map_err(unread)?;
        if name.starts_with('.') || found.len() == MAX_FILES {
            continue;
        }
        if kind.is_dir() && depth > 0 {
            read_folder(&path, depth - 1, found)?;
        } else if kind.is_file()
            && name.ends_with(".md")
            && entry.metadata().map_err(unread)?.len() <= MAX_BYTES
        {
            let bytes = std::fs::read(&path).map_err(unread)?;
            let text: Cow<'_, str> = String::from_utf8_lossy(&bytes);
            if text.starts_with(FENCE) {
                found.push(Pattern::parse(&name, &text)?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceLevel;

    use super::*;
    use crate::narrate::fixture;

    #[test]
    fn every_pattern_of_ours_is_read() {
        let patterns = Knowledge::built_in().patterns();
        assert!(patterns.len() >= 40, "{}", patterns.len());
        for pattern in patterns.iter() {
            assert!(pattern.text.len() > 40 && pattern.mechanism.ends_with('.'), "{}", pattern.name);
            assert!(!pattern.mitigations.is_empty(), "{}", pattern.name);
        }
    }

    #[test]
    fn the_pattern_whose_symptoms_are_seen_fits() {
        let diagnosis = fixture::diagnosis(ConfidenceLevel::High);
        let fit = Knowledge::built_in().fit(&diagnosis).expect("repeated calls of SELECT");
        assert_eq!(fit.pattern.name, "n-plus-one");
        assert_eq!(fit.evidence, [EvidenceId(2), EvidenceId(3)]);
    }

    #[test]
    fn phrases_are_not_found_inside_words() {
        assert!(has_phrase("dial tcp: no such host", "no such host"));
        assert!(has_phrase("http 429.", "429"));
        assert!(!has_phrase("deadlocked", "lock"));
        assert!(!has_phrase("14290 rows", "429"));
    }

    #[test]
    fn a_mechanism_that_nobody_knows_is_an_error_that_names_those_known() {
        let file = "+++\ntitle = 'x'\nmechanisms = ['saturation', 'gremlins']\nsymptoms = ['y']\nmechanism = 'X.'\nchecks = ['Look.']\nfixes = ['Fix.']\n+++\n";
        let error = Pattern::parse("team.md", file).unwrap_err().to_string();
        assert!(
            error.starts_with("team.md: the mechanism `gremlins` is unknown; there are repeated_calls, "),
            "{error}"
        );
        assert!(error.ends_with("down, unknown"), "{error}");
        assert!(Pattern::parse("team.md", &file.replace("gremlins", "network")).is_ok());
    }

    #[test]
    fn a_folder_adds_and_replaces() {
        let folder = std::env::temp_dir().join(format!("inquest-knowledge-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("team")).unwrap();
        let own = "+++\ntitle = 'Ours'\nsymptoms = ['select prices']\nmechanism = 'X.'\nchecks = ['Look at {{ service }}.']\nfixes = ['Fix.']\n+++\nText.";
        std::fs::write(folder.join("team/n-plus-one.md"), own).unwrap();
        std::fs::write(folder.join("README.md"), "# Ours").unwrap();
        let knowledge = Knowledge::built_in().with_folder(&folder).unwrap();
        assert_eq!(knowledge.patterns().len(), Knowledge::built_in().patterns().len());
        let diagnosis = fixture::diagnosis(ConfidenceLevel::High);
        assert_eq!(knowledge.fit(&diagnosis).unwrap().pattern.title, "Ours");
        std::fs::write(folder.join("bad.md"), "+++\ntitle = 'x'\n+++").unwrap();
        let error = Knowledge::built_in().with_folder(&folder).unwrap_err();
        assert!(error.to_string().starts_with("bad.md: missing field"), "{error}");
        // What cannot be used changes nothing; what can is known from then on.
        std::fs::write(folder.join("team/n-plus-one.md"), own.replace("'Ours'", "'Later'")).unwrap();
        let title = || knowledge.fit(&diagnosis).unwrap().pattern.title.clone();
        assert!(knowledge.read_again(&folder).is_err());
        assert_eq!(title(), "Ours");
        std::fs::remove_file(folder.join("bad.md")).unwrap();
        assert_eq!(knowledge.read_again(&folder).unwrap(), Knowledge::built_in().patterns().len());
        assert_eq!(title(), "Later");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
