//! Log messages to templates, as they stream by.
//!
//! Two steps. **By form**: what looks like a value (number, id, address, path, time, quoted text) is masked, see
//! `scan`; what is left, the words, is the pattern. This needs no memory and no order. **By experience**: a word that
//! differs where all else agrees is a value that looks like a word, such as a user's name. It is learned from either of
//!
//! - a value seen by form in the same place (`user 17 left`, `user bob left`), with two agreeing words for each such place;
//! - many words in the same place: `4 + 8 / agreeing words` different ones and no fewer than 5, so that two words which merely tell a state
//!   (`link up`, `link down`) stay apart; for two places at once, twice as many in each.
//!
//! The tree of Drain (He, Zhu, Zheng, Lyu, "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017)
//! has a depth of two here: the words themselves, looked up by hash, then all patterns of as many words. The share of
//! equal tokens, Drain's threshold, is not used: it takes `session opened` for `session closed` in long messages.
//! Counting different words per place is the idea of Brain (Yu et al., "Brain: Log Parsing with Bidirectional Parallel
//! Tree", IEEE TSC 2023) made incremental. There is nothing to configure but the number of patterns kept.
//!
//! **What the ids guarantee.** An id is a hash of severity class and words, with no counter and no seed: the same
//! pattern has the same id in every process, at any time. A message whose values all show by form has one id, whatever
//! came before. Where a word was learned to vary, messages get the id of the more general pattern from then on; before,
//! each had that of its own words, and [`Templater::settled`] leads from those to the general one. What is learned
//! depends on which messages came, not on their order, except where two ways of generalising compete.

mod event;
mod learn;
mod lines;
mod pattern;
mod scan;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

pub use lines::Lines;
use pattern::Pattern;
pub use pattern::WILDCARD;
use scan::Word;

/// Patterns kept unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 8_192;
/// Words in one place before one more there is no news: the pattern is a variant of known ones.
const VARIANTS: usize = 3;

/// The identity of a pattern: a hash of its severity class and words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PatternId(pub u64);

impl PatternId {
    fn of(severity: u8, words: impl Iterator<Item = u64>) -> Self {
        let mut hash = 0x2d35_8dcc_aa6c_78a5 ^ u64::from(severity);
        for word in words {
            let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15;
            // The addition keeps a run of equal words from ending in a fixed point.
            hash = ((product >> 64) as u64 ^ product as u64).wrapping_add(0x8bb8_4b93_962e_acc9);
        }
        Self(hash)
    }
}

impl fmt::Display for PatternId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// What a message turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its pattern, as far as is known now.
    pub pattern: PatternId,
    /// The pattern of its own words; the two differ once some of them were learned to vary.
    pub own: PatternId,
    /// Whether such a message came before.
    pub novelty: Novelty,
}

/// Whether a pattern is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Seen before.
    Known,
    /// One more word where several were seen: about to be learned to vary.
    Variant,
    /// Unlike anything before.
    New,
}

/// Groups messages into patterns, as they stream by. Memory is bounded: the patterns longest unseen are forgotten first.
#[derive(Clone, Debug)]
pub struct Templater {
    patterns: Vec<Pattern>,
    /// Place in `patterns` by id. Looked up, never walked through.
    places: HashMap<u64, u32, BuildHasherDefault<IdHasher>>,
    /// Patterns in use, by number of words.
    by_length: Vec<Vec<u32>>,
    capacity: usize,
    /// Messages seen.
    messages: u64,
    forgotten: u64,
    /// Whether patterns came since changes were last taken.
    changed: bool,
    words: Vec<Word>,
}

/// A pattern that came, or that another was found to stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The pattern.
    pub pattern: PatternId,
    /// The lowest severity number of its class, 0 when not said.
    pub severity: u8,
    /// The pattern that stands for it, mostly itself.
    pub settled: PatternId,
    /// Its template.
    pub template: String,
}

impl Default for Templater {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl Templater {
    /// Keeps at most `capacity` patterns, at least 32.
    pub fn new(capacity: usize) -> Self {
        Self {
            patterns: Vec::new(),
            places: HashMap::default(),
            by_length: vec![Vec::new(); scan::MAX_WORDS + 1],
            capacity: capacity.max(2 * learn::MAX_LEARNED_AT_ONCE),
            messages: 0,
            forgotten: 0,
            changed: false,
            words: Vec::with_capacity(scan::MAX_WORDS + 1),
        }
    }

    /// The pattern of a message. `severity` is OpenTelemetry's number, 0 when not said: messages of different classes
    /// (debug, info, warning, error) are different patterns.
    pub fn add(&mut self, severity: u8, message: &str) -> Seen {
        let severity = severity_class(severity);
        let line = event::line(message);
        let mut words = std::mem::take(&mut self.words);
        scan::scan(&line, &mut words);
        let own = PatternId::of(severity, words.iter().map(|word| word.hash));
        self.messages += 1;
        let (place, novelty) = match self.places.get(&own.0) {
            Some(place) => (*place, Novelty::Known),
            None => self.insert(Pattern::new(severity, &line, &words, self.messages)),
        };
        self.words = words;
        let place = self.touch(place);
        Seen { pattern: self.patterns[place as usize].id, own, novelty }
    }

    /// Takes a template for known, such as one stored by an earlier run.
    pub fn know(&mut self, severity: u8, template: &str) -> PatternId {
        self.add(severity, template).pattern
    }

    /// The pattern that by now stands for one given earlier; itself when it was forgotten.
    pub fn settled(&self, pattern: PatternId) -> PatternId {
        self.places
            .get(&pattern.0)
            .map_or(pattern, |place| self.patterns[self.stands_for(*place) as usize].id)
    }

    /// What came since this was last asked: to be kept beside the messages. In order of first sight.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for place in 0..if std::mem::take(&mut self.changed) { self.patterns.len() } else { 0 } {
            let settled = self.patterns[self.stands_for(place as u32) as usize].id;
            let pattern = &mut self.patterns[place];
            if pattern.told != Some(settled) {
                pattern.told = Some(settled);
                changes.push(Change {
                    pattern: pattern.id,
                    severity: (pattern.severity * 4).saturating_sub(3),
                    settled,
                    template: pattern.text.to_string(),
                });
            }
        }
        changes
    }

    /// Has all patterns told again by [`Templater::take_changes`]: those taken last were lost.
    pub fn tell_again(&mut self) {
        self.changed = true;
        self.patterns.iter_mut().for_each(|pattern| pattern.told = None);
    }

    /// The template of a pattern that is not forgotten.
    pub fn template(&self, pattern: PatternId) -> Option<&str> {
        self.places.get(&pattern.0).map(|place| &*self.patterns[*place as usize].text)
    }

    /// Patterns kept, with those that others stand for.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the next new pattern makes old ones be forgotten.
    pub fn is_full(&self) -> bool {
        self.patterns.len() + learn::MAX_LEARNED_AT_ONCE >= self.capacity
    }

    /// Patterns forgotten for want of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Marks a pattern, and those that stand for it, as just used; gives the last of them.
    fn touch(&mut self, mut place: u32) -> u32 {
        loop {
            let pattern = &mut self.patterns[place as usize];
            pattern.used = self.messages;
            if pattern.target == place {
                return place;
            }
            place = pattern.target;
        }
    }

    fn stands_for(&self, mut place: u32) -> u32 {
        while self.patterns[place as usize].target != place {
            place = self.patterns[place as usize].target;
        }
        place
    }
}

/// The template of one message by itself: what varies by form is masked, nothing is learned.
pub fn mask(message: &str) -> String {
    let line = event::line(message);
    let mut words = Vec::new();
    scan::scan(&line, &mut words);
    Pattern::new(0, &line, &words, 0).text.into()
}

/// The words of a template, read once to be compared with many. Values and the case of letters do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateWords(Vec<u64>);

impl TemplateWords {
    /// Of a template.
    pub fn of(template: &str) -> Self {
        let mut words = Vec::new();
        scan::scan(&template.to_lowercase(), &mut words);
        Self(words.iter().map(|word| word.hash).filter(|hash| *hash != scan::VALUE).collect())
    }

    /// How alike two templates are, 0 to 1: twice the words in common, in order, by all words (Dice's coefficient of their
    /// longest common subsequence). 0 when both have no words.
    pub fn similarity(&self, other: &Self) -> f64 {
        let (left, right) = (&self.0, &other.0);
        let mut row = vec![0_usize; right.len() + 1];
        for mine in left {
            let mut diagonal = 0;
            for (place, theirs) in right.iter().enumerate() {
                let above = row[place + 1];
                row[place + 1] = if mine == theirs { diagonal + 1 } else { above.max(row[place]) };
                diagonal = above;
            }
        }
        let words = left.len() + right.len();
        if words == 0 { 0.0 } else { 2.0 * row[right.len()] as f64 / words as f64 }
    }
}

/// Trace, debug, info, warning, error, fatal: 1 to 6; 0 when not said.
fn severity_class(number: u8) -> u8 {
    number.min(24).div_ceil(4)
}

/// Ids are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

#[cfg(test)]
mod tests;
