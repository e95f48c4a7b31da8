//! OTLP messages to rows. Everything is taken by value, so that a string is moved from message to row, not copied.

mod histogram;
mod logs;
mod metrics;
mod resource;
mod traces;
mod value;

use domain::{Attributes, UnixNanos};
use opentelemetry_proto::tonic::common::v1::KeyValue;

use crate::limits::{Limits, MAX_CLOCK_AHEAD};
use crate::repeated::Repeated;
use crate::tally::{Correction, Tally};

/// Converts the parts of one request, counting what it refuses, corrects and cuts.
pub(crate) struct Converter<'a> {
    limits: &'a Limits,
    now: UnixNanos,
    /// Bytes of names and labels that this request has unfolded to so far.
    series_bytes: usize,
    /// What rows of this request repeat so far.
    repeated: Repeated,
    /// What became of the items.
    pub(crate) tally: Tally,
}

impl<'a> Converter<'a> {
    pub(crate) fn new(limits: &'a Limits, now: UnixNanos) -> Self {
        let repeated = Repeated::within(limits);
        Self { limits, now, series_bytes: 0, repeated, tally: Tally::default() }
    }

    /// A name, cut to the bound.
    fn name(&mut self, text: String) -> String {
        self.cut(text, self.limits.max_name_bytes)
    }

    /// A value, body or message, cut to the bound.
    fn text(&mut self, text: String) -> String {
        self.cut(text, self.limits.max_field_bytes)
    }

    fn cut(&mut self, mut text: String, bytes: usize) -> String {
        if text.len() > bytes {
            text.truncate(text.floor_char_boundary(bytes));
            text.shrink_to_fit();
            self.tally.truncated += 1;
        }
        text
    }

    /// Attributes as text, as many as are allowed. A repeated key keeps its last value; a nameless one is dropped.
    fn attributes(&mut self, list: Vec<KeyValue>) -> Attributes {
        let mut attributes = Attributes::new();
        for attribute in list {
            if attribute.key.is_empty() || attributes.len() == self.limits.max_attributes {
                self.tally.truncated += 1;
                continue;
            }
            let key = self.name(attribute.key);
            let value = self.value(attribute.value);
            attributes.insert(key, value);
        }
        attributes
    }

    /// A timestamp; `None` when it lies too far in the future. A missing one is the time of receipt.
    fn instant(&mut self, nanos: u64) -> Option<UnixNanos> {
        if nanos == 0 {
            self.tally.correct(Correction::MissingTime);
            return Some(self.now);
        }
        let at = UnixNanos(i64::try_from(nanos).ok()?);
        (at <= self.now.plus(MAX_CLOCK_AHEAD)).then_some(at)
    }
}

/// A trace or span id of `N` bytes in lower-case hex; `None` when it has another length or is all zero.
fn hex_id<const N: usize>(bytes: &[u8]) -> Option<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if bytes.len() != N || bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let mut text = String::with_capacity(N * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_length_and_are_not_zero() {
        assert_eq!(hex_id::<2>(&[0x0a, 0xff]).as_deref(), Some("0aff"));
        assert_eq!(hex_id::<2>(&[0, 0]), None);
        assert_eq!(hex_id::<2>(&[1]), None);
        assert_eq!(hex_id::<2>(&[]), None);
    }

    #[test]
    fn cuts_between_characters_and_counts() {
        let limits = Limits { max_name_bytes: 4, ..Limits::default() };
        let mut converter = Converter::new(&limits, UnixNanos(0));
        assert_eq!(converter.name("aééé".into()), "aé");
        assert_eq!(converter.name("aé".into()), "aé");
        assert_eq!(converter.tally.truncated, 1);
    }
}
