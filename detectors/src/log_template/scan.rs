//! From a line of text to its words, with everything that varies by form masked.
//!
//! One pass over the bytes, no regular expression. A word is a run of letters, digits and `_-./\@#$%+~&`; whatever
//! stands between words only separates them, so that `size=5`, `size: 5` and `(size 5)` read alike. A word is a value
//! when it holds a digit (numbers, times, addresses, UUIDs, hex, versions, units, most ids), is a path, a URL, an
//! e-mail address, eight or more hex letters, very long, or quoted with a digit or a slash inside. Values in a row, with
//! no bracket between them, are one value, and a list that repeats (`a 1, b 2, a 3, b 4`) is one item: the length of a
//! list does not split a pattern.

use xxhash_rust::xxh3::xxh3_64;

/// The hash of every value.
pub(super) const VALUE: u64 = 0;
/// Words looked at; the rest of a longer line does not count.
pub(super) const MAX_WORDS: usize = 64;
/// Bytes looked at.
pub(super) const MAX_BYTES: usize = 4 * 1024;
/// A longer word is data.
const MAX_WORD_BYTES: usize = 128;
/// Bytes within which a quote must end.
const MAX_QUOTED_BYTES: usize = 200;
/// Words of a list's item that may repeat.
const MAX_PERIOD: usize = 4;

const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const JOINT: u8 = 4;
const HIGH: u8 = 8;
/// A letter that no hex number has.
const NOT_HEX: u8 = 16;
const SLASH: u8 = 32;
const AT: u8 = 64;
const DOT: u8 = 128;
const WORD: u8 = LETTER | DIGIT | JOINT;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => LETTER,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => LETTER | NOT_HEX,
            b'/' | b'\\' => JOINT | SLASH | NOT_HEX,
            b'@' => JOINT | AT | NOT_HEX,
            b'.' => JOINT | DOT | NOT_HEX,
            b'-' => JOINT,
            b'#' | b'$' | b'%' | b'+' | b'~' | b'&' => JOINT | NOT_HEX,
            0x80..=0xff => HIGH,
            _ => 0,
        };
        byte += 1;
    }
    table
}

/// A word of a line, by position in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// Hash of the text; [`VALUE`] for a value.
    pub hash: u64,
    /// First byte.
    pub start: u32,
    /// End of the word.
    pub stop: u32,
    /// End of what was folded into it.
    pub end: u32,
}

/// Reads the first line of `text` into `words`.
pub(super) fn scan(text: &str, words: &mut Vec<Word>) {
    words.clear();
    let text = &text[..text.floor_char_boundary(MAX_BYTES)];
    Scanner { text, bytes: text.as_bytes(), words, calendar: 0 }.run(0, text.len());
}

/// Whether the first line of `text` is all there is.
pub(super) fn is_single_line(text: &str) -> bool {
    memchr::memchr(b'\n', text.as_bytes()).is_none()
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    words: &'a mut Vec<Word>,
    /// Names of days and months at the end of `words`: part of a value if one follows.
    calendar: usize,
}

impl Scanner<'_> {
    fn run(&mut self, mut at: usize, end: usize) {
        while at < end && self.words.len() < MAX_WORDS {
            let byte = self.bytes[at];
            let class = CLASS[byte as usize];
            at = if class & (LETTER | DIGIT) != 0 {
                self.word(at, end)
            } else if class & HIGH != 0 {
                self.high(at, end)
            } else {
                match byte {
                    b'\n' => return,
                    b'/' | b'~' | b'.' | b'\\' => self.path(at, end),
                    b'-' | b'+' if at + 1 < end && self.bytes[at + 1].is_ascii_digit() => self.word(at, end),
                    b'"' | b'\'' | b'`' => self.quoted(at, end),
                    b'<' if self.bytes[at..end].starts_with(b"<*>") => self.value(at, at + 3),
                    _ => at + 1,
                }
            };
        }
    }

    /// Takes the word that begins at `start`; gives the place after it.
    fn word(&mut self, start: usize, end: usize) -> usize {
        let mut flags = 0;
        let mut at = start;
        while at < end {
            let class = CLASS[self.bytes[at] as usize];
            if class & WORD == 0 {
                if class & HIGH == 0 {
                    break;
                }
                let Some((class, bytes)) = self.high_class(at) else { break };
                flags |= class;
                at += bytes;
                continue;
            }
            flags |= class;
            at += 1;
        }
        if flags & DOT != 0
            && let Some(dots) = self.bytes[start..at].windows(2).position(|pair| pair == b"..")
        {
            // Dots that lead the eye to a value: `enable.........1`.
            at = start + dots.max(1);
            flags = self.bytes[start..at].iter().fold(0, |flags, byte| flags | CLASS[*byte as usize]);
            flags = if flags & HIGH != 0 { flags | NOT_HEX } else { flags };
        }
        let next = at;
        while at > start + 1
            && matches!(
                self.bytes[at - 1],
                b'.' | b'-' | b'/' | b'\\' | b'@' | b'#' | b'$' | b'%' | b'&' | b'~'
            )
        {
            at -= 1;
        }
        self.classify(start, at, next, end, flags)
    }

    fn classify(&mut self, start: usize, stop: usize, next: usize, end: usize, flags: u8) -> usize {
        let length = stop - start;
        let rest = &self.bytes[next..end];
        if rest.first() == Some(&b':') {
            if rest.starts_with(b"://") {
                return self.until_delimiter(start, next + 3, end);
            }
            if length == 1 && matches!(rest.get(1), Some(b'\\' | b'/')) && flags & DIGIT == 0 {
                return self.until_delimiter(start, next + 1, end);
            }
            if length <= 4
                && flags & (NOT_HEX | JOINT) == 0
                && let Some(stop) = self.colon_address(start, end)
            {
                return self.value(start, stop);
            }
            if flags & DOT != 0 && rest.get(1).is_some_and(u8::is_ascii_digit) {
                // A host and its port.
                let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                return self.value(start, next + 1 + digits);
            }
        }
        let word = &self.bytes[start..stop];
        let is_value = flags & DIGIT != 0
            || length > MAX_WORD_BYTES
            || (length >= 8 && flags & NOT_HEX == 0)
            || (flags & AT != 0 && word.contains(&b'@'))
            || (flags & SLASH != 0 && word.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count() > 1);
        if is_value {
            self.value(start, stop);
        } else {
            self.constant(start, stop);
        }
        next
    }

    /// Letters beyond ASCII. Scripts without spaces between words (Chinese, Japanese, Thai) give one word for a run of
    /// letters, and digits or Latin letters within it are words of their own.
    fn high(&mut self, start: usize, end: usize) -> usize {
        if self.high_class(start).is_some() {
            return self.word(start, end);
        }
        let mut at = start;
        for character in self.text[start..end].chars() {
            if !(is_unspaced(character) && character.is_alphabetic()) {
                break;
            }
            at += character.len_utf8();
        }
        if at == start {
            return start + self.text[start..].chars().next().map_or(1, char::len_utf8);
        }
        self.constant(start, at);
        at
    }

    /// The class of a character that may stand within a word, and its bytes.
    fn high_class(&self, at: usize) -> Option<(u8, usize)> {
        let character = self.text[at..].chars().next()?;
        if character.is_numeric() {
            Some((DIGIT, character.len_utf8()))
        } else if (character.is_alphabetic() && !is_unspaced(character))
            || ('\u{300}'..'\u{370}').contains(&character)
        {
            Some((LETTER | NOT_HEX, character.len_utf8()))
        } else {
            None
        }
    }

    /// A path that begins with a slash, a drive's or a server's backslashes, `~/`, `./` or `../`.
    fn path(&mut self, start: usize, end: usize) -> usize {
        let bytes = &self.bytes[start..end];
        let lead = match bytes {
            [b'/', ..] => 1,
            [b'~' | b'.', b'/', ..] | [b'\\', b'\\', ..] => 2,
            [b'.', b'.', b'/', ..] => 3,
            _ => return start + 1,
        };
        match bytes.get(lead) {
            Some(byte) if CLASS[*byte as usize] & (LETTER | DIGIT | HIGH) != 0 || *byte == b'.' => {
                self.until_delimiter(start, start + lead, end)
            }
            _ => start + lead,
        }
    }

    /// A value that goes on until a space or whatever closes it.
    fn until_delimiter(&mut self, start: usize, from: usize, end: usize) -> usize {
        let url = self.bytes[start..from].ends_with(b"//");
        let mut query = false;
        let mut at = from;
        while at < end {
            match self.bytes[at] {
                0..=b' ' | b',' | b';' | b')' | b']' | b'}' | b'"' | b'\'' | b'<' | b'>' | b'`' => break,
                b':' | b'=' if !(url || query) => break,
                b'?' => query = true,
                _ => {}
            }
            at += 1;
        }
        let stop = if at > from && self.bytes[at - 1] == b'.' { at - 1 } else { at };
        self.value(start, stop);
        at
    }

    /// MAC and IPv6 addresses: groups of up to four hex digits, three or more colons.
    fn colon_address(&self, start: usize, end: usize) -> Option<usize> {
        let (mut colons, mut group, mut at) = (0, 0, start);
        while at < end {
            match self.bytes[at] {
                b':' => (colons, group) = (colons + 1, 0),
                byte if byte.is_ascii_hexdigit() && group < 4 => group += 1,
                byte if CLASS[byte as usize] & (LETTER | DIGIT | HIGH) != 0 => return None,
                _ => break,
            }
            at += 1;
        }
        let double = self.bytes[start..at].windows(2).any(|pair| pair == b"::");
        let trailing = usize::from(group == 0 && !self.bytes[start..at].ends_with(b"::"));
        (colons - trailing >= 3 || (double && colons >= 2)).then_some(at - trailing)
    }

    /// What a program quotes is what it was given: one word, a value when it holds a digit or a slash. The quoted
    /// message of a `key="text"` line and a quoted HTTP request are read as text.
    fn quoted(&mut self, start: usize, end: usize) -> usize {
        let quote = self.bytes[start];
        if quote != b'"' && start > 0 && CLASS[self.bytes[start - 1] as usize] & (LETTER | DIGIT | HIGH) != 0
        {
            return start + 1; // An apostrophe.
        }
        let from = start + 1;
        let limit = end.min(from + MAX_QUOTED_BYTES);
        let Some(length) = memchr::memchr2(quote, b'\n', &self.bytes[from..limit]) else { return from };
        let stop = from + length;
        let in_word = |at: usize| {
            self.bytes.get(at).is_some_and(|byte| CLASS[*byte as usize] & (LETTER | DIGIT | HIGH) != 0)
        };
        let closed = self.bytes[stop] == quote && (quote == b'"' || !in_word(stop + 1));
        if !closed || length == 0 || self.reads_as_text(start, from, stop) {
            return from;
        }
        let flags = self.bytes[from..stop].iter().fold(0, |flags, byte| flags | CLASS[*byte as usize]);
        if flags & (DIGIT | SLASH) != 0 || self.bytes[from..stop].windows(3).any(|window| window == b"<*>") {
            self.value(start, stop + 1);
        } else if flags & (LETTER | HIGH) != 0 {
            self.constant(start, stop + 1);
        }
        stop + 1
    }

    fn reads_as_text(&self, start: usize, from: usize, stop: usize) -> bool {
        let before = &self.bytes[..start];
        let inside = &self.bytes[from..stop];
        let is_message = matches!(before.last(), Some(b'='))
            && ["msg=", "message=", "error=", "err=", "reason="]
                .iter()
                .any(|key| before.ends_with(key.as_bytes()));
        let is_request = ["GET /", "POST /", "PUT /", "DELETE /", "PATCH /", "HEAD /", "OPTIONS /"]
            .iter()
            .any(|method| inside.starts_with(method.as_bytes()));
        is_message || is_request
    }

    fn value(&mut self, start: usize, stop: usize) -> usize {
        let mut start = start as u32;
        for _ in 0..std::mem::take(&mut self.calendar) {
            start = self.words.pop().map_or(start, |word| word.start);
        }
        let stop = stop as u32;
        let in_a_row = self.words.last().is_some_and(|last| {
            last.hash == VALUE && !self.bytes[last.end as usize..start as usize].iter().any(is_bracket)
        });
        if in_a_row && let Some(last) = self.words.last_mut() {
            last.end = stop;
        } else {
            self.push(Word { hash: VALUE, start, stop, end: stop });
        }
        stop as usize
    }

    fn constant(&mut self, start: usize, stop: usize) {
        let word = &self.bytes[start..stop];
        let after_value = self.words.last().is_some_and(|last| last.hash == VALUE);
        let calendar = (2..=4).contains(&word.len()) && is_calendar(word);
        if after_value
            && (calendar || (word.len() <= 3 && is_unit(word)))
            && let Some(last) = self.words.last_mut()
        {
            last.end = stop as u32;
            return;
        }
        let (start, stop) = (start as u32, stop as u32);
        let folded = self.push(Word { hash: xxh3_64(word).max(1), start, stop, end: stop });
        self.calendar = if calendar && !folded { self.calendar + 1 } else { 0 };
    }

    /// Adds a word; whether it completed a repetition, which is then folded.
    fn push(&mut self, word: Word) -> bool {
        self.words.push(word);
        fold(self.words)
    }
}

/// Folds the repetition at the end of `words`, if there is one that holds a value.
pub(super) fn fold(words: &mut Vec<Word>) -> bool {
    let length = words.len();
    let Some(last) = words.last().copied() else { return false };
    for period in 2..=MAX_PERIOD {
        if length < 2 * period || words[length - 1 - period].hash != last.hash {
            continue;
        }
        let (before, item) = words[length - 2 * period..].split_at(period);
        if item.iter().zip(before).all(|(left, right)| left.hash == right.hash)
            && item.iter().any(|word| word.hash == VALUE)
        {
            words.truncate(length - period);
            words[length - period - 1].end = last.end;
            return true;
        }
    }
    false
}

/// Values on either side of a bracket are two: an empty pair of brackets tells another story than a full one.
fn is_bracket(byte: &u8) -> bool {
    matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}')
}

/// Days, months, halves of the day and zones, as dates spell them.
fn is_calendar(word: &[u8]) -> bool {
    matches!(
        word,
        b"Mon"
            | b"Tue"
            | b"Wed"
            | b"Thu"
            | b"Fri"
            | b"Sat"
            | b"Sun"
            | b"Jan"
            | b"Feb"
            | b"Mar"
            | b"Apr"
            | b"May"
            | b"Jun"
            | b"Jul"
            | b"Aug"
            | b"Sep"
            | b"Sept"
            | b"Oct"
            | b"Nov"
            | b"Dec"
            | b"AM"
            | b"PM"
            | b"UTC"
            | b"GMT"
            | b"EST"
            | b"EDT"
            | b"CST"
            | b"CDT"
            | b"MST"
            | b"MDT"
            | b"PST"
            | b"PDT"
            | b"CET"
            | b"CEST"
    )
}

/// Units, which belong to the number before them.
fn is_unit(word: &[u8]) -> bool {
    matches!(
        word,
        b"B" | b"KB"
            | b"MB"
            | b"GB"
            | b"TB"
            | b"kB"
            | b"kb"
            | b"mb"
            | b"gb"
            | b"KiB"
            | b"MiB"
            | b"GiB"
            | b"TiB"
            | b"K"
            | b"M"
            | b"G"
            | b"ns"
            | b"us"
            | b"ms"
            | b"s"
            | b"sec"
            | b"min"
            | b"hz"
            | b"Hz"
            | b"kHz"
            | b"MHz"
            | b"GHz"
    ) || word == "µs".as_bytes()
}

/// Scripts that put no spaces between words.
fn is_unspaced(character: char) -> bool {
    matches!(u32::from(character),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x2e80..=0xa4cf | 0xf900..=0xfaff | 0xff66..=0xff9f | 0x20000..=0x3ffff)
}
