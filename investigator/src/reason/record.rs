//! A record that cannot be read and comes again and again: a poison pill.

use super::analysis::Analysis;
use super::logs::PatternShift;
use super::metrics::words;

/// Share of a place's new errors that must agree on one message.
const MOST: f64 = 0.6;
/// Times that one message must come to be about a record that is stuck.
const REPEATED_RECORD: f64 = 10.0;
/// How messages name a record, by the last words of a key.
const RECORD_KEYS: [&[&str]; 13] = [
    &["offset"],
    &["row"],
    &["seq"],
    &["sequence"],
    &["recordid"],
    &["record", "id"],
    &["messageid"],
    &["message", "id"],
    &["msg", "id"],
    &["eventid"],
    &["event", "id"],
    &["document", "id"],
    &["doc", "id"],
];

/// The errors that a place now logs and did not, heaviest first.
fn new_errors<'a>(analysis: &'a Analysis<'_>, place: &'a str) -> impl Iterator<Item = &'a PatternShift> {
    let moved = move |pattern: &&PatternShift| {
        pattern.service == place && pattern.severity >= 17 && pattern.now > pattern.expected
    };
    analysis.patterns.iter().filter(moved)
}

/// A pattern that repeats one and the same message about one record: a poison pill.
pub fn stuck_record<'a>(analysis: &'a Analysis<'_>, place: &'a str) -> Option<&'a PatternShift> {
    let all: f64 = new_errors(analysis, place).map(|pattern| pattern.now).sum();
    new_errors(analysis, place).find(|pattern| {
        pattern.variants == 1
            && pattern.now >= REPEATED_RECORD
            && pattern.now >= MOST * all
            && names_a_record(&pattern.sample)
    })
}

/// Whether a text tells which record, by `offset=12` or the like.
fn names_a_record(text: &str) -> bool {
    let parts = text.split([' ', ',', ';', '(', ')', '{', '}', '"']);
    parts.filter_map(|part| part.split_once(['=', ':'])).any(|(key, value)| {
        let key = words(key);
        let named = RECORD_KEYS.iter().any(|known| {
            key.len() >= known.len()
                && key[key.len() - known.len()..].iter().zip(*known).all(|(word, known)| word == known)
        });
        named && value.chars().any(|character| character.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_named_by_whole_words() {
        assert!(names_a_record("cannot decode partition=3 offset=8812"));
        assert!(names_a_record("bad value; record_id=geo-evt-8f3a217"));
        assert!(names_a_record("messageId=77 rejected"));
        assert!(!names_a_record("borrow=5 failed"));
        assert!(!names_a_record("throw:42"));
        assert!(!names_a_record("offset=none"));
    }
}
