//! A question about an incident, answered from its evidence without a model: the sentences of the report that speak of what was
//! asked, best first.
//!
//! A sentence scores Σ idf(w) over the words w that it shares with the question, idf(w) = ln(1 + N / n(w)) for N sentences of
//! which n(w) have w; what the question is about (changes, logs, errors...) counts as one more rare word for evidence of that kind.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Evidence, EvidenceId, EvidenceKind, HypothesisStatus, Report, Sentence, StepKind};

/// Sentences of an answer.
const MAX_SENTENCES: usize = 4;
/// Characters of a question that are read.
pub const MAX_QUESTION: usize = 400;
/// Shown when nothing in the report speaks of what was asked.
pub const NOTHING: &str = "The evidence of this incident does not speak of that.";

/// Words that say what a question is about.
const ABOUT: [(&[&str], About); 9] = [
    (
        &[
            "change",
            "changed",
            "deploy",
            "deployed",
            "deployment",
            "release",
            "version",
            "flag",
            "rollout",
            "config",
        ],
        About::Kind(EvidenceKind::Change),
    ),
    (&["log", "logs", "logged", "message", "messages"], About::Kind(EvidenceKind::LogPatterns)),
    (
        &["error", "errors", "fail", "fails", "failing", "failure", "exception", "exceptions"],
        About::Kind(EvidenceKind::ErrorCauses),
    ),
    (&["slow", "slower", "latency", "time", "long"], About::Kind(EvidenceKind::LatencyDiff)),
    (
        &["metric", "metrics", "cpu", "memory", "disk", "pool", "queue"],
        About::Kind(EvidenceKind::MetricShift),
    ),
    (&["traffic", "load", "requests", "surge"], About::Kind(EvidenceKind::Traffic)),
    (
        &[
            "users",
            "user",
            "customers",
            "impact",
            "affected",
            "hurt",
            "who",
            "when",
            "began",
            "start",
            "started",
        ],
        About::Kind(EvidenceKind::ServiceLevel),
    ),
    (&["do", "next", "mitigate", "fix", "rollback", "roll", "verify", "help"], About::Steps),
    (&["not", "ruled", "instead", "else", "other", "alternative", "innocent"], About::RuledOut),
];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Kind(EvidenceKind),
    Steps,
    RuledOut,
    Cause,
    Gaps,
}

/// The answer: what was looked up for it, then what the report says. Empty when nothing speaks of what was asked.
pub fn answer(report: &Report, looked: &[Evidence], question: &str) -> Vec<Sentence> {
    let mut sentences: Vec<Sentence> = looked
        .iter()
        .take(MAX_SENTENCES)
        .map(|evidence| Sentence::new(evidence.claim.clone(), [evidence.id]))
        .collect();
    for sentence in of_report(report, question) {
        if sentences.len() < MAX_SENTENCES && sentences.iter().all(|said| said.text != sentence.text) {
            sentences.push(sentence);
        }
    }
    sentences
}

fn of_report(report: &Report, question: &str) -> Vec<Sentence> {
    let asked: BTreeSet<String> = words(&question.chars().take(MAX_QUESTION).collect::<String>()).collect();
    let mut about: BTreeSet<About> = ABOUT
        .iter()
        .filter(|(words, _)| words.iter().any(|word| asked.contains(*word)))
        .map(|(_, about)| *about)
        .collect();
    if asked.contains("why") || asked.contains("cause") || asked.contains("caused") {
        about.insert(About::Cause);
    }
    let sentences = sentences(report);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (sentence, _) in &sentences {
        for word in words(&sentence.text).collect::<BTreeSet<_>>() {
            *counts.entry(word).or_default() += 1;
        }
    }
    let rarity = |count: usize| (1.0 + sentences.len() as f64 / count as f64).ln();
    let mut scored: Vec<(f64, usize)> = sentences
        .iter()
        .enumerate()
        .map(|(place, (sentence, kind))| {
            let own: BTreeSet<String> = words(&sentence.text).filter(|word| !is_empty_word(word)).collect();
            let shared = own.intersection(&asked).map(|word| rarity(counts[word])).sum::<f64>();
            (shared + if about.contains(kind) { rarity(1) } else { 0.0 }, place)
        })
        .filter(|(score, _)| *score > 0.0)
        .collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
    // A sentence that speaks far less of it than the best one is beside the point.
    let least = scored.first().map_or(0.0, |(score, _)| score * 0.5);
    scored.retain(|(score, _)| *score >= least);
    let mut said = BTreeSet::new();
    scored
        .into_iter()
        .map(|(_, place)| sentences[place].0.clone())
        .filter(|sentence| said.insert(sentence.text.clone()))
        .take(MAX_SENTENCES)
        .collect()
}

/// Everything that the report says, with what it is about.
fn sentences(report: &Report) -> Vec<(Sentence, About)> {
    let diagnosis = &report.diagnosis;
    let mut found: Vec<(Sentence, About)> =
        report.answer.cause.iter().map(|sentence| (sentence.clone(), About::Cause)).collect();
    found.extend(diagnosis.evidence.iter().map(|evidence| {
        (Sentence::new(evidence.claim.clone(), vec![evidence.id]), About::Kind(evidence.kind))
    }));
    for hypothesis in diagnosis.hypotheses.iter().filter(|other| other.status == HypothesisStatus::RuledOut) {
        let against = hypothesis.contradicts.iter().chain(&hypothesis.supports).copied();
        let cites: Vec<EvidenceId> = against.take(3).collect();
        found.push((
            Sentence::new(format!("Ruled out: {}", hypothesis.statement.text), cites),
            About::RuledOut,
        ));
    }
    for change in diagnosis.changes.iter().filter(|change| !change.reason.text.is_empty()) {
        found.push((change.reason.clone(), About::Kind(EvidenceKind::Change)));
    }
    for step in &report.answer.next_steps {
        let word = match step.kind {
            StepKind::Verify => "Verify",
            StepKind::Mitigate => "Mitigate",
            StepKind::Fix => "Fix",
        };
        let sentence = Sentence::new(format!("{word}: {}", step.text.text), step.text.cites.clone());
        found.push((sentence, About::Steps));
    }
    found.extend(diagnosis.gaps.iter().map(|gap| (Sentence::new(gap.clone(), []), About::Gaps)));
    found
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Words that every sentence may have, and that say nothing of what it is about.
fn is_empty_word(word: &str) -> bool {
    word.chars().count() < 3
        || [
            "the", "and", "was", "were", "are", "did", "does", "what", "why", "how", "has", "have", "for",
            "with", "this", "that", "not", "from", "when", "who", "which", "any", "there",
        ]
        .contains(&word)
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceLevel;

    use super::*;
    use crate::narrate::{fixture, narrate};

    fn check(question: &str, expected: &[&str]) {
        let report = narrate(fixture::diagnosis(ConfidenceLevel::High)).unwrap();
        let found: Vec<String> =
            answer(&report, &[], question).into_iter().map(|sentence| sentence.text).collect();
        assert_eq!(
            found.iter().take(expected.len()).map(String::as_str).collect::<Vec<_>>(),
            expected,
            "{question}"
        );
        assert_eq!(found.is_empty(), expected.is_empty(), "{found:?}");
    }

    #[test]
    fn what_was_asked_is_spoken_of() {
        check("was there a deploy of catalog?", &["catalog 1.4.1 deployed at 14:02:10."]);
        check("why not the gateway?", &["Ruled out: gateway fails where it did not."]);
        check("when did users begin to feel it", &["checkout left its baseline at 14:02:31."]);
        check("does the acquirer send telemetry?", &["acquirer sends no telemetry."]);
        check("how is the weather on mars", &[]);
        check("", &[]);
    }

    #[test]
    fn every_sentence_of_evidence_is_cited() {
        let report = narrate(fixture::diagnosis(ConfidenceLevel::High)).unwrap();
        let found = answer(&report, &[], "what errors does catalog have");
        assert!(!found.is_empty() && found.iter().all(|sentence| !sentence.cites.is_empty()), "{found:?}");
    }
}
