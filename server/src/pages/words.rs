//! Small pieces that every page is put together from: cut text, cited sentences, states, times.

use domain::text::{duration, plain};
use domain::{Diagnosis, EvidenceId, Sentence, Severity, UnixNanos};
use serde::Serialize;

use super::input::Top;

/// A full name behind a cut one is itself bounded: it goes into an attribute.
const FULL_LIMIT: usize = 400;
const SENTENCE_LIMIT: usize = 700;
const PEEK_LIMIT: usize = 160;

/// Outside text, short enough for its place; the longer form is there when something was cut.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cut {
    pub text: String,
    pub full: Option<String>,
}

/// Cuts outside text to `limit` characters.
pub(super) fn cut(text: &str, limit: usize) -> Cut {
    let short = plain(text, limit);
    let full = (text.chars().nth(limit).is_some()).then(|| plain(text, FULL_LIMIT));
    Cut { text: short, full }
}

/// Text of several lines, such as a query, without control characters and cut to `limit` characters.
pub(super) fn lines(text: &str, limit: usize) -> String {
    let mut left = limit;
    let mut kept = Vec::new();
    for line in text.lines() {
        if left == 0 {
            kept.push("…".to_owned());
            break;
        }
        let line = plain(line.trim_end(), left);
        left = left.saturating_sub(line.chars().count() + 1);
        kept.push(line);
    }
    kept.join("\n")
}

/// A link to a card, with a preview of what the card says.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cite {
    pub id: u32,
    pub peek: String,
}

/// A sentence: its text, its citations, and the full stop that stands after them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Words {
    pub text: String,
    pub cites: Vec<Cite>,
    pub end: &'static str,
}

/// Turns evidence ids into links, leaving out those that point nowhere.
#[derive(Clone, Copy)]
pub(super) struct Citations<'a>(pub &'a Diagnosis);

impl Citations<'_> {
    pub(super) fn links(self, ids: &[EvidenceId]) -> Vec<Cite> {
        let link = |id: &EvidenceId| {
            let evidence = self.0.evidence(*id)?;
            Some(Cite { id: id.0, peek: plain(&evidence.claim, PEEK_LIMIT) })
        };
        ids.iter().filter_map(link).collect()
    }

    pub(super) fn sentence(self, sentence: &Sentence) -> Words {
        let text = plain(sentence.text.trim(), SENTENCE_LIMIT);
        let cites = self.links(&sentence.cites);
        match text.strip_suffix('.') {
            Some(body) if !cites.is_empty() => Words { text: body.to_owned(), cites, end: "." },
            _ => Words { text, cites, end: "" },
        }
    }

    pub(super) fn sentences(self, sentences: &[Sentence]) -> Vec<Words> {
        sentences.iter().map(|sentence| self.sentence(sentence)).collect()
    }
}

/// A state: never colour alone, always an icon and a word.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct State {
    pub class: &'static str,
    pub icon: &'static str,
    pub word: &'static str,
}

impl State {
    pub(super) const fn new(class: &'static str, icon: &'static str, word: &'static str) -> Self {
        Self { class, icon, word }
    }

    pub(super) const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Self::new("st-crit", "i-crit", "Critical"),
            Severity::Warning => Self::new("st-warn", "i-warn", "Warning"),
            Severity::Notice => Self::new("st-none", "i-none", "Notice"),
        }
    }
}

/// What the layout needs besides the page itself.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shell {
    pub title: String,
    pub base: String,
    pub open: usize,
    pub waiting: usize,
    pub current: &'static str,
    pub query: String,
}

impl Shell {
    /// The layout of a page: its title, and the entry of the navigation that it belongs to.
    pub(super) fn new(title: impl Into<String>, current: &'static str, top: &Top) -> Self {
        Self {
            title: title.into(),
            base: top.base_path.clone(),
            open: top.open_incidents,
            waiting: top.waiting,
            current,
            query: String::new(),
        }
    }
}

/// A table whose first column heads its rows.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Table {
    pub heads: Vec<Head>,
    pub rows: Vec<Vec<Cut>>,
    /// Rows that were left out, in words; or empty.
    pub note: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Head {
    pub name: String,
    pub num: bool,
}

/// An instant as the page writes it and as a machine reads it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Moment {
    pub clock: String,
    pub iso: String,
    pub date: String,
}

pub(super) fn moment(at: UnixNanos) -> Moment {
    Moment {
        clock: at.clock_time(),
        iso: at.to_string(),
        date: at.to_timestamp().strftime("%-d %b").to_string(),
    }
}

/// `14:02` on the day of `today`, `18 Nov 14:02` on another.
pub(super) fn short_time(at: UnixNanos, today: UnixNanos) -> String {
    let form = if at.date() == today.date() { "%H:%M" } else { "%-d %b %H:%M" };
    at.to_timestamp().strftime(form).to_string()
}

/// `21 s before`, `2 m 49 s after`, `at the start`.
pub(super) fn distance(at: UnixNanos, origin: UnixNanos) -> String {
    let seconds = at.seconds_since(origin).round();
    if seconds == 0.0 {
        "at the start".into()
    } else {
        format!("{} {}", duration(seconds), if seconds < 0.0 { "before" } else { "after" })
    }
}

/// `−21 s`, `0`, `+1 m 59 s`.
pub(super) fn lag(at: UnixNanos, origin: UnixNanos) -> String {
    let seconds = at.seconds_since(origin).round();
    match seconds {
        0.0 => "0".into(),
        _ => format!("{}{}", if seconds < 0.0 { '−' } else { '+' }, duration(seconds)),
    }
}

/// `3 s`, `18 m`, `5 h`, `3 d`: how long ago, in one unit.
pub(super) fn ago(at: UnixNanos, now: UnixNanos) -> String {
    let seconds = now.seconds_since(at).max(0.0);
    let (value, unit) = match seconds {
        s if s < 90.0 => (s, "s"),
        s if s < 5400.0 => (s / 60.0, "m"),
        s if s < 129_600.0 => (s / 3600.0, "h"),
        s => (s / 86_400.0, "d"),
    };
    format!("{value:.0} {unit}")
}

/// `1 service`, `3 services`.
pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    let number = domain::text::count(i64::try_from(count).unwrap_or(i64::MAX));
    format!("{number} {}", if count == 1 { one } else { many })
}

/// A count for people, whatever its size.
pub(super) fn count(value: u64) -> String {
    domain::text::count(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Percent-encodes a segment of a path or a value of a query string.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// The address of a service's page, whatever its name: browsers take `.` and `..` as steps of the path even when they are
/// encoded, and an empty segment is none, so these names go into the query.
pub(super) fn service_href(base: &str, name: &str) -> String {
    match name {
        "" | "." | ".." => format!("{base}/services?name={}", encode(name)),
        name => format!("{base}/services/{}", encode(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_relative_to_the_start() {
        let at = UnixNanos::from_seconds;
        assert_eq!(distance(at(79), at(100)), "21 s before");
        assert_eq!(distance(at(269), at(100)), "2 m 49 s after");
        assert_eq!(lag(at(100), at(100)), "0");
        assert_eq!(lag(at(79), at(100)), "−21 s");
        assert_eq!(ago(at(0), at(1100)), "18 m");
        assert_eq!(ago(at(50), at(0)), "0 s");
    }

    #[test]
    fn any_name_has_an_address() {
        let check = |name: &str, expected: &str| assert_eq!(service_href("/i", name), expected);
        check("cart", "/i/services/cart");
        check("a/b ?#<'\">", "/i/services/a%2Fb%20%3F%23%3C%27%22%3E");
        check("корзина", "/i/services/%D0%BA%D0%BE%D1%80%D0%B7%D0%B8%D0%BD%D0%B0");
        check("..", "/i/services?name=..");
        check("", "/i/services?name=");
    }

    #[test]
    fn cuts_keep_the_longer_form_and_lines_keep_their_breaks() {
        let long = "x".repeat(10_000);
        let cut = cut(&long, 20);
        assert_eq!(cut.text.chars().count(), 21);
        assert_eq!(cut.full.map(|full| full.chars().count()), Some(FULL_LIMIT + 1));
        assert_eq!(lines("SELECT 1\n  FROM x\u{202e}", 100), "SELECT 1\n  FROM x");
        assert_eq!(lines("aaaa\nbbbb\ncccc", 6), "aaaa\nb…\n…");
    }
}
