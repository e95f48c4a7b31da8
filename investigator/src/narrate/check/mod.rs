//! Whether a draft says no more than the evidence it cites: each rule mechanical, none a judgement.
//!
//! A sentence may use the words of the evidence it cites, those of the candidate it speaks for, and those of a list of plain
//! words (`prompts/narrate/words.txt`). The list has no word that could add a fact, an order, a promise or a denial; so a sentence
//! that passes is a paraphrase. Numbers, times and names must stand in the cited evidence. Outside text never counts as
//! evidence: it is shown through its mark, in quotation marks, or not at all.

mod numbers;
mod tokens;
mod vocabulary;

use std::collections::BTreeSet;
use std::fmt;

use domain::text::plain;

use super::draft::{Draft, INCONCLUSIVE};
use super::pack::{Item, Pack};
use tokens::{Token, tokens};
use vocabulary::Vocabulary;

/// Sentences on what is going on, and on the cause.
const MAX_SENTENCES: usize = 4;
/// Next steps.
const MAX_STEPS: usize = 3;
/// Characters of a sentence.
const MAX_LENGTH: usize = 320;
/// Citations of a sentence.
const MAX_CITES: usize = 8;

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every sentence cites evidence that exists.
    Cited,
    /// What is cited for the cause speaks for that candidate.
    Supports,
    /// The verdict is the engine's, or inconclusive.
    Verdict,
    /// Numbers stand in the cited evidence, unit included, to the digits given.
    Number,
    /// Times of day stand in the cited evidence or bound the incident.
    Time,
    /// Names of services, operations, versions and the like stand in the cited evidence.
    Name,
    /// Other words stand in the cited evidence or in the list of plain words.
    Word,
    /// A sentence says something of the evidence it cites.
    Substance,
    /// Marks are those of outside texts in the cited evidence.
    Mark,
    /// Neither links nor mentions nor markup nor invisible characters.
    Markup,
    /// Neither too long nor too many.
    Length,
    /// Words of certainty only at high confidence.
    Certainty,
    /// Steps are known ones, once each, of their kind.
    Step,
    /// Steps act on nothing that the known step does not act on.
    Action,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 14] = [
        Self::Cited,
        Self::Supports,
        Self::Verdict,
        Self::Number,
        Self::Time,
        Self::Name,
        Self::Word,
        Self::Substance,
        Self::Mark,
        Self::Markup,
        Self::Length,
        Self::Certainty,
        Self::Step,
        Self::Action,
    ];
}

/// A part of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The verdict.
    Verdict,
    /// A sentence on what is going on.
    GoingOn(usize),
    /// A sentence on the cause.
    Cause(usize),
    /// A step.
    Step(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict => write!(formatter, "verdict"),
            Self::GoingOn(place) => write!(formatter, "going_on[{place}]"),
            Self::Cause(place) => write!(formatter, "cause[{place}]"),
            Self::Step(place) => write!(formatter, "next_steps[{place}]"),
        }
    }
}

/// A rule that a part of a draft breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub place: Place,
    /// Which rule.
    pub rule: Rule,
    /// What to do about it, for the model.
    pub advice: String,
}

/// What a draft breaks of all rules.
pub fn check(draft: &Draft, pack: &Pack) -> Vec<Violation> {
    check_rules(draft, pack, &Rule::ALL)
}

/// What a draft breaks of some rules. A test leaves each out in turn, to see that it is needed.
pub fn check_rules(draft: &Draft, pack: &Pack, rules: &[Rule]) -> Vec<Violation> {
    let mut checker = Checker { pack, found: Vec::new() };
    checker.draft(draft);
    checker.found.retain(|violation| rules.contains(&violation.rule));
    checker.found
}

struct Checker<'a> {
    pack: &'a Pack,
    found: Vec<Violation>,
}

impl Checker<'_> {
    fn add(&mut self, place: Place, rule: Rule, advice: impl Into<String>) {
        self.found.push(Violation { place, rule, advice: advice.into() });
    }

    fn draft(&mut self, draft: &Draft) {
        if draft.verdict != self.pack.verdict && draft.verdict != INCONCLUSIVE {
            self.add(Place::Verdict, Rule::Verdict, "the verdict must be the engine's, or inconclusive");
        }
        for (place, segment) in draft.going_on.iter().enumerate() {
            self.sentence(Place::GoingOn(place), &segment.text, &segment.cites, None);
        }
        for (place, segment) in draft.cause.iter().enumerate() {
            self.supports(Place::Cause(place), &segment.cites);
            self.sentence(Place::Cause(place), &segment.text, &segment.cites, None);
        }
        let mut seen = BTreeSet::new();
        for (place, step) in draft.next_steps.iter().enumerate() {
            let here = Place::Step(place);
            let known = self.pack.step(&step.step);
            match known {
                Some(known) if known.kind == step.kind && seen.insert(step.step.as_str()) => {}
                _ => self.add(here, Rule::Step, "use each known step at most once, with its own kind"),
            }
            let text = known.map_or("", |known| known.text.as_str());
            self.action(here, &step.text, text);
            self.sentence(here, &step.text, &step.cites, Some(text));
        }
        for place in MAX_SENTENCES..draft.going_on.len() {
            self.add(Place::GoingOn(place), Rule::Length, "too many sentences");
        }
        for place in MAX_SENTENCES..draft.cause.len() {
            self.add(Place::Cause(place), Rule::Length, "too many sentences");
        }
        for place in MAX_STEPS..draft.next_steps.len() {
            self.add(Place::Step(place), Rule::Length, "too many steps");
        }
    }

    fn supports(&mut self, place: Place, cites: &[String]) {
        let Some(candidate) = self.pack.candidate(&self.pack.verdict) else { return };
        let strays: Vec<&str> =
            cites.iter().filter(|cite| !candidate.evidence.contains(cite)).map(String::as_str).collect();
        if !strays.is_empty() {
            let advice = format!("{} does not speak for {}", strays.join(", "), candidate.id);
            self.add(place, Rule::Supports, advice);
        }
    }

    fn action(&mut self, place: Place, text: &str, known: &str) {
        let known: BTreeSet<String> = vocabulary::stems(known).collect();
        for stem in vocabulary::stems(text) {
            if vocabulary::ACTIONS.contains(&stem) && !known.contains(&stem) {
                self.add(place, Rule::Action, format!("the known step does not say to {stem} anything"));
            }
        }
    }

    fn sentence(&mut self, place: Place, text: &str, cites: &[String], step: Option<&str>) {
        let items: Vec<&Item> = cites.iter().filter_map(|cite| self.pack.item(cite)).collect();
        if items.is_empty() || items.len() < cites.len() || cites.len() > MAX_CITES {
            self.add(place, Rule::Cited, "cite evidence of the list, at least one and at most eight");
        }
        if text.chars().count() > MAX_LENGTH || text.trim().is_empty() {
            self.add(place, Rule::Length, format!("write between 1 and {MAX_LENGTH} characters"));
        }
        if is_marked_up(text) {
            self.add(place, Rule::Markup, "write plain text: no links, mentions, markup or line breaks");
        }
        let vocabulary = Vocabulary::new(self.pack, &items, step);
        let mut substance = false;
        for token in tokens(text) {
            let wrong = self.token(&token, &vocabulary);
            substance |= wrong.is_none() && vocabulary.is_specific(&token);
            if let Some((rule, advice)) = wrong {
                self.add(place, rule, advice);
            }
        }
        if !substance {
            self.add(place, Rule::Substance, "say something that the cited evidence says");
        }
    }

    fn token(&self, token: &Token, vocabulary: &Vocabulary) -> Option<(Rule, String)> {
        match token {
            Token::Number(number) if !vocabulary.has_number(number) => {
                Some((Rule::Number, format!("{} is not in the cited evidence", number.text)))
            }
            Token::Time(time) if !vocabulary.has_time(time) => {
                Some((Rule::Time, format!("{time} is not in the cited evidence")))
            }
            Token::Mark(mark) if !vocabulary.has_mark(mark) => {
                Some((Rule::Mark, format!("{{{mark}}} is not in the cited evidence")))
            }
            Token::Name(name) if !vocabulary.has_name(name) => {
                Some((Rule::Name, format!("`{}` is not in the cited evidence", plain(name, 60))))
            }
            Token::Word(word) if vocabulary::is_certain(word) => {
                (self.pack.confidence != "High").then(|| {
                    (Rule::Certainty, format!("confidence is {}: do not say {word}", self.pack.confidence))
                })
            }
            Token::Word(word) if !vocabulary.has_word(word) => Some((
                Rule::Word,
                format!("`{}` is neither in the cited evidence nor a plain word", plain(word, 60)),
            )),
            _ => None,
        }
    }
}

/// Whether a text would be more than text somewhere.
fn is_marked_up(text: &str) -> bool {
    const SIGNS: [&str; 12] = ["://", "www.", "`", "**", "__", "](", "![", "<", ">", "&#", "&lt", "\\u"];
    let mention = |word: &str| word.trim_start_matches(['(', '"', '“']).starts_with(['@', '#']);
    SIGNS.iter().any(|sign| text.contains(sign))
        || text.split_whitespace().any(mention)
        // Line breaks, and what cannot be seen.
        || plain(text, usize::MAX) != text
}

#[cfg(test)]
mod tests;
