//! What is learned when a pattern comes for the first time: who stands for it, whom it stands for, which words vary.
//!
//! Known patterns never come here, so this may look at all patterns of as many words.

use std::collections::BTreeSet;

use super::pattern::Pattern;
use super::scan::{self, Word};
use super::{Novelty, Templater, VARIANTS};

/// Patterns that one new one may bring with it.
pub(super) const MAX_LEARNED_AT_ONCE: usize = 16;
/// Patterns compared with a new one, the latest first.
const MAX_COMPARED: usize = 4_096;

/// Different words in one place from which on the place is taken for a value: `4 + 8 / agreeing words`, 5 at least.
/// Two words that merely tell a state stay apart, and the less a context says, the more it takes.
fn enough_words(agreeing: usize) -> usize {
    (4 + 8 / agreeing.max(1)).max(5)
}

impl Templater {
    /// Adds a pattern whose id is not known yet.
    pub(super) fn insert(&mut self, pattern: Pattern) -> (u32, Novelty) {
        if self.patterns.len() + MAX_LEARNED_AT_ONCE >= self.capacity {
            self.forget();
        }
        let place = self.keep(pattern);
        if let Some(target) = self.covering(place) {
            self.patterns[place as usize].target = target;
            return (place, Novelty::Known);
        }
        self.use_from_now(place);
        let most = self.learn(place);
        (place, if most >= VARIANTS { Novelty::Variant } else { Novelty::New })
    }

    fn keep(&mut self, mut pattern: Pattern) -> u32 {
        self.changed = true;
        let place = self.patterns.len() as u32;
        pattern.target = place;
        self.places.insert(pattern.id.0, place);
        self.patterns.push(pattern);
        place
    }

    /// The pattern in use that covers this one; the most particular, then the oldest.
    fn covering(&self, place: u32) -> Option<u32> {
        let pattern = &self.patterns[place as usize];
        let length = pattern.words.len();
        [Some(length), length.checked_sub(1)]
            .into_iter()
            .flatten()
            .flat_map(|length| self.compared(length))
            .filter(|other| self.patterns[*other as usize].covers(pattern))
            .max_by_key(|other| (self.patterns[*other as usize].constants(), std::cmp::Reverse(*other)))
    }

    fn compared(&self, length: usize) -> impl Iterator<Item = u32> {
        self.by_length
            .get(length)
            .into_iter()
            .flat_map(|places| places.iter().rev().take(MAX_COMPARED).copied())
    }

    /// Puts a pattern in use: it stands for all that it covers.
    fn use_from_now(&mut self, place: u32) {
        let length = self.patterns[place as usize].words.len();
        for covered in [length, length + 1] {
            let Some(mut others) = self.by_length.get_mut(covered).map(std::mem::take) else { continue };
            others.retain(|other| {
                let (pattern, other_pattern) =
                    (&self.patterns[place as usize], &self.patterns[*other as usize]);
                let mine = *other != place && pattern.covers(other_pattern);
                if mine {
                    self.patterns[*other as usize].target = place;
                }
                // One that was learned goes on to catch what it covers, and leads here.
                !mine || self.patterns[*other as usize].learned != 0
            });
            self.by_length[covered] = others;
        }
        if !self.by_length[length].contains(&place) {
            self.by_length[length].push(place);
        }
    }

    /// Looks for words of a new pattern that vary, and puts the general patterns in use. The most words seen before in
    /// one of its places, all else equal.
    fn learn(&mut self, place: u32) -> usize {
        let pattern = &self.patterns[place as usize];
        let length = pattern.words.len();
        let differences: BTreeSet<Vec<usize>> = self
            .compared(length)
            .filter(|other| *other != place && self.patterns[*other as usize].severity == pattern.severity)
            .filter_map(|other| pattern.differences(&self.patterns[other as usize]))
            .collect();
        let mut most = 0;
        let mut general = Vec::new();
        for places in differences {
            let words = self.different_words(place, &places);
            if places.len() == 1 {
                most = most.max(words - 1);
            }
            if words >= enough_words(pattern.constants() - places.len()) * places.len() {
                general.push(places);
            }
        }
        for places in general.into_iter().take(MAX_LEARNED_AT_ONCE / 4) {
            let general = self.patterns[place as usize].generalised(&places);
            self.put_in_use(general);
        }
        most
    }

    /// The fewest different words in one of the places, among the patterns that agree in all others.
    fn different_words(&self, place: u32, places: &[usize]) -> usize {
        let pattern = &self.patterns[place as usize];
        let agreeing: Vec<&Pattern> = self
            .compared(pattern.words.len())
            .map(|other| &self.patterns[other as usize])
            .filter(|other| other.severity == pattern.severity && pattern.agrees_but_for(other, places))
            .collect();
        let different = |place: &usize| {
            let words: BTreeSet<u64> = agreeing
                .iter()
                .filter(|other| other.may_vary(*place))
                .map(|other| other.words[*place])
                .collect();
            words.len()
        };
        places.iter().map(different).min().unwrap_or(0)
    }

    /// Puts a learned pattern in use; where its values fall together, the shorter pattern stands for it.
    fn put_in_use(&mut self, general: Pattern) {
        let folded = folded(&general);
        let place = match self.places.get(&general.id.0).copied() {
            Some(place) => {
                self.patterns[place as usize].learned |= general.learned;
                place
            }
            None => self.keep(general),
        };
        self.use_from_now(place);
        if let Some(folded) = folded {
            let target = match self.places.get(&folded.id.0).copied() {
                Some(target) => self.stands_for(target),
                None => {
                    let target = self.keep(folded);
                    self.use_from_now(target);
                    target
                }
            };
            if target != place {
                self.patterns[place as usize].target = target;
            }
        }
    }

    /// Forgets the eighth of the patterns that were longest unseen, and those that they stood for.
    fn forget(&mut self) {
        let mut used: Vec<u64> = self.patterns.iter().map(|pattern| pattern.used).collect();
        let (_, limit, _) = used.select_nth_unstable(self.capacity / 8);
        let limit = *limit;
        let kept = |mut place: u32| loop {
            let pattern = &self.patterns[place as usize];
            if pattern.used <= limit {
                return false;
            }
            if pattern.target == place {
                return true;
            }
            place = pattern.target;
        };
        let mut next = 0;
        let moved: Vec<u32> = (0..self.patterns.len() as u32)
            .map(|place| {
                let to = if kept(place) { next } else { u32::MAX };
                next += u32::from(to != u32::MAX);
                to
            })
            .collect();
        self.forgotten += self.patterns.len() as u64 - u64::from(next);
        let mut place = 0;
        self.patterns.retain(|_| {
            place += 1;
            moved[place - 1] != u32::MAX
        });
        for pattern in &mut self.patterns {
            pattern.target = moved[pattern.target as usize];
        }
        for places in &mut self.by_length {
            places.retain_mut(|place| {
                *place = moved[*place as usize];
                *place != u32::MAX
            });
        }
        self.places.clear();
        self.places
            .extend(self.patterns.iter().enumerate().map(|(place, pattern)| (pattern.id.0, place as u32)));
    }
}

/// The pattern with the values that fell together made one; `None` when none did.
fn folded(general: &Pattern) -> Option<Pattern> {
    let mut words: Vec<Word> = Vec::new();
    scan::scan(&general.text, &mut words);
    if words.len() >= general.words.len() {
        return None;
    }
    let mut folded = Pattern::new(general.severity, &general.text, &words, general.used);
    // Its class is the general's already.
    folded.severity = general.severity;
    Some(folded)
}
