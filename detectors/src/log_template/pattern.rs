//! One pattern: its words, its text, and what it covers.

use super::PatternId;
use super::scan::{VALUE, Word};

/// What stands where messages differ.
pub const WILDCARD: &str = "<*>";
/// Bytes of a template's text.
const MAX_TEXT_BYTES: usize = 1024;
/// Bytes kept of what stands between two words.
const MAX_GAP_BYTES: usize = 16;

/// A pattern: the words that its messages share, and where they differ.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub id: PatternId,
    /// Class of severity, 0 when not said.
    pub severity: u8,
    /// Hashes of the words, [`VALUE`] where messages differ.
    pub words: Box<[u64]>,
    /// What each word is like.
    kinds: Box<[Kind]>,
    /// The template.
    pub text: Box<str>,
    /// Where each word stands in the text.
    spans: Box<[(u16, u16)]>,
    /// Words that were learned to vary, as bits.
    pub learned: u64,
    /// The pattern that stands for this one; itself when it is in use.
    pub target: u32,
    /// The pattern that was last told to stand for this one.
    pub told: Option<PatternId>,
    /// When a message of it was last seen, in messages.
    pub used: u64,
}

/// What a word is like, as far as it tells whether it may stand for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Value,
    /// `not`, `to`, `is`: never a value.
    Function,
    /// Lower case prose.
    Plain,
    /// Has capitals, dots, underscores: may be a name.
    Name,
}

impl Pattern {
    /// The pattern of one message, read from `line` into `words`.
    pub fn new(severity: u8, line: &str, words: &[Word], now: u64) -> Self {
        let mut text = String::new();
        let mut spans = Vec::with_capacity(words.len());
        let mut end = 0;
        for word in words {
            gap(&mut text, &line[end..word.start as usize]);
            let start = text.len().min(MAX_TEXT_BYTES);
            text.push_str(if word.hash == VALUE {
                WILDCARD
            } else {
                &line[word.start as usize..word.stop as usize]
            });
            end = word.end as usize;
            spans.push((start as u16, text.len().min(MAX_TEXT_BYTES) as u16));
            if text.len() > MAX_TEXT_BYTES {
                end = line.len();
            }
        }
        let tail = line[end..].lines().next().unwrap_or_default();
        gap(&mut text, if words.len() < super::scan::MAX_WORDS { tail } else { "" });
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        for span in &mut spans {
            *span = (floor(&text, span.0), floor(&text, span.1));
        }
        let text = text.trim_end().to_owned();
        let spans: Box<[(u16, u16)]> = spans
            .into_iter()
            .map(|(start, stop)| (start.min(text.len() as u16), stop.min(text.len() as u16)))
            .collect();
        let kinds = words
            .iter()
            .zip(&spans)
            .map(|(word, span)| Kind::of(word.hash, &text[span.0 as usize..span.1 as usize]))
            .collect();
        let words: Box<[u64]> = words.iter().map(|word| word.hash).collect();
        let id = PatternId::of(severity, words.iter().copied());
        Self {
            id,
            severity,
            words,
            kinds,
            text: text.into(),
            spans,
            learned: 0,
            target: u32::MAX,
            told: None,
            used: now,
        }
    }

    /// This pattern with some words made to vary, and whether words fell together so that a shorter pattern is the same.
    pub fn generalised(&self, places: &[usize]) -> Self {
        let mut general = self.clone();
        let mut text = String::with_capacity(self.text.len());
        let mut spans = Vec::with_capacity(self.words.len());
        let mut end = 0;
        for (place, (start, stop)) in
            self.spans.iter().map(|(start, stop)| (*start as usize, *stop as usize)).enumerate()
        {
            text.push_str(&self.text[end..start]);
            let from = text.len();
            let varies = places.contains(&place);
            text.push_str(if varies { WILDCARD } else { &self.text[start..stop] });
            spans.push((from as u16, text.len() as u16));
            if varies {
                general.words[place] = VALUE;
                general.kinds[place] = Kind::Value;
                general.learned |= 1 << place;
            }
            end = stop;
        }
        text.push_str(&self.text[end..]);
        general.text = text.into();
        general.spans = spans.into();
        general.id = PatternId::of(self.severity, general.words.iter().copied());
        general.target = u32::MAX;
        general.told = None;
        general
    }

    /// Words that do not vary.
    pub fn constants(&self) -> usize {
        self.words.iter().filter(|word| **word != VALUE).count()
    }

    /// Whether the word may stand for a value.
    pub fn may_vary(&self, place: usize) -> bool {
        matches!(self.kinds[place], Kind::Plain | Kind::Name)
    }

    /// Whether the messages of `other` belong here: `other` has words where this pattern has values, and enough
    /// words agree, at least two for each that does not.
    pub fn covers(&self, other: &Self) -> bool {
        if self.severity != other.severity || self.id == other.id {
            return false;
        }
        if self.words.len() == other.words.len() {
            self.covers_in_place(other)
        } else {
            self.words.len() + 1 == other.words.len() && self.covers_without_a_name(other)
        }
    }

    fn covers_in_place(&self, other: &Self) -> bool {
        let (mut agree, mut differ, mut learned) = (0, 0, true);
        for (place, (mine, theirs)) in self.words.iter().zip(&other.words).enumerate() {
            if mine == theirs {
                agree += usize::from(*mine != VALUE);
            } else if *mine == VALUE && other.may_vary(place) {
                differ += 1;
                learned &= self.learned >> place & 1 == 1;
            } else {
                return false;
            }
        }
        learned || (differ <= MAX_VARYING && agree >= 2 * differ)
    }

    /// `synchronized to LOCAL(0)` and `synchronized to 10.0.0.1`: a name that clings to a value is part of it.
    fn covers_without_a_name(&self, other: &Self) -> bool {
        let name = self.words.iter().zip(&other.words).take_while(|(mine, theirs)| mine == theirs).count();
        other.words[name + 1..] == self.words[name..]
            && self.constants() >= 2
            && other.kinds[name] == Kind::Name
            && [name.checked_sub(1), Some(name + 1)]
                .into_iter()
                .flatten()
                .any(|beside| other.words.get(beside) == Some(&VALUE) && other.clings(beside.min(name)))
    }

    /// Whether no space stands between a word and the next.
    fn clings(&self, place: usize) -> bool {
        let (Some((_, stop)), Some((start, _))) = (self.spans.get(place), self.spans.get(place + 1)) else {
            return false;
        };
        !self.text[*stop as usize..*start as usize].contains(' ')
    }

    /// The places at which the two differ, when both have words there that may vary, and they are few.
    pub fn differences(&self, other: &Self) -> Option<Vec<usize>> {
        let mut places = Vec::new();
        for (place, (mine, theirs)) in self.words.iter().zip(&other.words).enumerate() {
            if mine != theirs {
                if places.len() == MAX_VARYING || !self.may_vary(place) || !other.may_vary(place) {
                    return None;
                }
                places.push(place);
            }
        }
        let agree = self.constants() - places.len();
        (!places.is_empty() && agree + 1 >= 2 * places.len()).then_some(places)
    }

    /// Whether the two agree at all places but these.
    pub fn agrees_but_for(&self, other: &Self, places: &[usize]) -> bool {
        self.words
            .iter()
            .zip(&other.words)
            .enumerate()
            .all(|(place, (mine, theirs))| mine == theirs || places.contains(&place))
    }
}

/// Words that may be found to vary at once.
const MAX_VARYING: usize = 2;

impl Kind {
    fn of(hash: u64, text: &str) -> Self {
        if hash == VALUE {
            return Self::Value;
        }
        let is_function = matches!(
            text,
            "not"
                | "no"
                | "is"
                | "are"
                | "was"
                | "were"
                | "be"
                | "been"
                | "to"
                | "from"
                | "for"
                | "in"
                | "on"
                | "of"
                | "by"
                | "with"
                | "without"
                | "and"
                | "or"
                | "at"
                | "as"
                | "has"
                | "have"
                | "had"
                | "can"
                | "cannot"
                | "will"
                | "the"
                | "a"
                | "an"
        );
        if is_function {
            Self::Function
        } else if text
            .chars()
            .any(|character| character.is_uppercase() || matches!(character, '.' | '_' | '@'))
        {
            Self::Name
        } else {
            Self::Plain
        }
    }
}

/// Appends what stands between two words, spaces made one, and not too much of it.
fn gap(text: &mut String, between: &str) {
    let mut space = false;
    let limit = text.len() + MAX_GAP_BYTES;
    for character in between.chars() {
        if character.is_whitespace() || character.is_control() {
            space = true;
            continue;
        }
        if text.len() >= limit {
            break;
        }
        if std::mem::take(&mut space) && !text.is_empty() {
            text.push(' ');
        }
        text.push(character);
    }
    if space && !text.is_empty() {
        text.push(' ');
    }
}

fn floor(text: &str, place: u16) -> u16 {
    text.floor_char_boundary(place as usize) as u16
}
