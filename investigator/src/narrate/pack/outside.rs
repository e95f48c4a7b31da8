//! Finds the outside text in sentences that the engine composed, and puts marks in its place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use domain::text::plain;
use domain::{Diagnosis, EvidenceKind, Exhibit};
use regex::{Captures, Regex};

/// Lengths to which sentences of the engine cut outside text.
const CUTS: [usize; 4] = [90, 120, 200, 300];
/// Longest outside text shown, in characters.
const SHOWN: usize = 160;
/// Marks given out; later texts are left out altogether.
const MAX_MARKS: usize = 40;
/// Words of an operation's name such as `SELECT shop.orders`.
const NAME_WORDS: usize = 3;

/// What the engine puts around outside text of its own accord.
static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new("“([^”]*)”").expect("a pattern of ours"));

/// The outside texts of a diagnosis.
pub struct Outside {
    /// Each in every length in which it may stand in a sentence; longest first.
    known: Vec<String>,
    marks: BTreeMap<String, u32>,
}

impl Outside {
    /// The outside texts that the evidence and the changes carry.
    pub fn of(diagnosis: &Diagnosis) -> Self {
        let mut known = Vec::new();
        let mut prose = |text: &str| {
            if text.split_whitespace().nth(1).is_some() || !is_name(text, 1) {
                known.push(text.to_owned());
            }
        };
        let mut names: Vec<(&str, usize)> = vec![(&diagnosis.service, 1)];
        for evidence in &diagnosis.evidence {
            names.push((&evidence.service, 1));
            if evidence.kind == EvidenceKind::MetricShift {
                names.extend(evidence.figures.iter().map(|figure| (&*figure.name, 1)));
            }
            match &evidence.exhibit {
                Exhibit::ErrorCauses { causes, .. } => {
                    for cause in causes {
                        prose(&cause.message);
                        names.extend([(&*cause.exception, 1), (&*cause.service, 1), (&*cause.peer, 1)]);
                        names.push((&cause.span_name, NAME_WORDS));
                    }
                }
                Exhibit::LogPatterns { patterns } => {
                    patterns.iter().for_each(|pattern| prose(&pattern.template));
                    patterns.iter().for_each(|pattern| prose(&pattern.sample));
                }
                Exhibit::Latency { operation, frames, .. } => {
                    names.push((operation, NAME_WORDS));
                    for frame in frames {
                        prose(&frame.detail);
                        names.extend([(&*frame.name, NAME_WORDS), (&*frame.service, 1)]);
                    }
                }
                Exhibit::Skew { rows, .. } => names.extend(rows.iter().map(|row| (&*row.name, NAME_WORDS))),
                _ => {}
            }
        }
        for considered in &diagnosis.changes {
            let change = &considered.change;
            prose(&change.detail);
            names.extend(
                [&change.service, &change.version, &change.previous, &change.reference]
                    .map(|name| (&**name, 1)),
            );
        }
        names.extend(diagnosis.hypotheses.iter().map(|hypothesis| (&*hypothesis.service, 1)));
        names.extend(diagnosis.hypotheses.iter().map(|hypothesis| (&*hypothesis.instance, 1)));
        let odd =
            names.into_iter().filter(|(name, words)| !is_name(name, *words)).map(|(name, _)| name.to_owned());
        known.extend(odd);
        let mut lengths: Vec<String> = known
            .iter()
            .flat_map(|text| std::iter::once(text.clone()).chain(CUTS.map(|cut| plain(text, cut))))
            .filter(|text| !text.trim().is_empty())
            .collect();
        lengths.sort_by(|left, right| right.len().cmp(&left.len()).then_with(|| left.cmp(right)));
        lengths.dedup();
        Self { known: lengths, marks: BTreeMap::new() }
    }

    /// The sentence with a mark for each outside text in it.
    pub fn mark(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for place in 0..self.known.len() {
            if text.contains(&self.known[place]) {
                let mark = self.mark_of(place);
                text = text.replace(&self.known[place], &mark);
            }
        }
        QUOTED
            .replace_all(&text, |found: &Captures<'_>| {
                let inner = &found[1];
                if inner.starts_with("{T") { inner.to_owned() } else { self.new_mark(inner) }
            })
            .into_owned()
    }

    /// The marks given out, with their texts cut short.
    pub fn used(&self) -> impl Iterator<Item = (String, String)> {
        let marks: Vec<(String, String)> =
            self.marks.iter().map(|(text, number)| (format!("T{number}"), plain(text, SHOWN))).collect();
        marks.into_iter()
    }

    /// A text and its cuts share a mark.
    fn mark_of(&mut self, place: usize) -> String {
        let text = &self.known[place];
        let start = text.trim_end_matches('…');
        let whole = self.known[..place].iter().find(|longer| longer.starts_with(start)).unwrap_or(text);
        self.new_mark(&whole.clone())
    }

    fn new_mark(&mut self, text: &str) -> String {
        if !self.marks.contains_key(text) {
            if self.marks.len() == MAX_MARKS {
                return "(a text)".to_owned();
            }
            let next = self.marks.len() as u32 + 1;
            self.marks.insert(text.to_owned(), next);
        }
        format!("{{T{}}}", self.marks[text])
    }
}

/// Whether a text is a name that people gave to a thing, rather than prose: few words, of ordinary signs.
fn is_name(text: &str, words: usize) -> bool {
    let ordinary =
        |character: char| character.is_alphanumeric() || " _-./:{}*?$@#=,()+<>[]".contains(character);
    text.chars().count() <= 90
        && text.split_whitespace().count() <= words
        && text.split_whitespace().all(|word| word.chars().count() <= 64)
        && text.chars().all(ordinary)
        && !text.contains("://")
}
