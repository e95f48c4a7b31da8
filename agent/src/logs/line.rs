//! One line of a log file: plain, of Docker's json-file driver, or of a CRI runtime.

use domain::UnixNanos;
use serde::Deserialize;

/// A line without its envelope.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub text: String,
    /// When it was written, where the envelope or the start of the text tells.
    pub time: Option<UnixNanos>,
    pub stderr: bool,
    /// The runtime has cut it: the next line of this stream goes on with it.
    pub partial: bool,
}

#[derive(Deserialize)]
struct Docker {
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    time: String,
}

impl Line {
    /// Reads a line, without its line end. What is not valid UTF-8 in it is replaced.
    pub fn read(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"{\"log\":")
            && let Ok(docker) = serde_json::from_slice::<Docker>(bytes)
        {
            return Self {
                partial: !docker.log.ends_with('\n'),
                text: docker.log.trim_end_matches(['\n', '\r']).to_owned(),
                time: UnixNanos::parse(&docker.time),
                stderr: docker.stream == "stderr",
            };
        }
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\r');
        Self::of_cri(text).unwrap_or_else(|| Self {
            text: text.to_owned(),
            time: leading_time(text),
            stderr: false,
            partial: false,
        })
    }

    /// `2026-11-21T10:00:00.000000001Z stdout F text`; `P` for a part.
    fn of_cri(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let (time, stream, tag) = (words.next()?, words.next()?, words.next()?);
        let text = words.next().unwrap_or_default();
        let stderr = match stream {
            "stdout" => false,
            "stderr" => true,
            _ => return None,
        };
        let tag = tag.split(':').next()?;
        let known = matches!(tag, "F" | "P") && time.len() >= 20;
        let time = known.then(|| UnixNanos::parse(time)).flatten()?;
        Some(Self { text: text.to_owned(), time: Some(time), stderr, partial: tag == "P" })
    }
}

/// A time with its zone at the very start: RFC 3339, also with a space before the time of day, also in brackets.
fn leading_time(text: &str) -> Option<UnixNanos> {
    let text = text.trim_start_matches('[');
    if text.len() < 20 || !text.as_bytes()[..4].iter().all(u8::is_ascii_digit) || text.as_bytes()[4] != b'-' {
        return None;
    }
    let end = text
        .bytes()
        .skip(11)
        .position(|byte| matches!(byte, b' ' | b']' | b'\t' | b','))
        .map_or(text.len(), |at| at + 11);
    let stamp = text.get(..end).filter(|stamp| stamp.len() <= 40)?;
    match stamp.as_bytes().get(10)? {
        b'T' => UnixNanos::parse(stamp),
        b' ' => UnixNanos::parse(&format!("{}T{}", stamp.get(..10)?, stamp.get(11..)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    fn check(line: &str, text: &str, second: Option<i64>, stderr: bool, partial: bool) {
        let found = Line::read(line.as_bytes());
        let second_found = found.time.map(domain::UnixNanos::seconds);
        assert_eq!(
            (found.text.as_str(), second_found, found.stderr, found.partial),
            (text, second, stderr, partial)
        );
    }

    #[test]
    fn envelopes() {
        let at = Some(1_795_096_951);
        check(
            r#"{"log":"hello\n","stream":"stderr","time":"2026-11-19T14:02:31.5Z"}"#,
            "hello",
            at,
            true,
            false,
        );
        check(r#"{"log":"hel","stream":"stdout","time":"2026-11-19T14:02:31Z"}"#, "hel", at, false, true);
        check("2026-11-19T14:02:31.123456789Z stdout F hello  you", "hello  you", at, false, false);
        check("2026-11-19T15:02:31.1+01:00 stderr P hel", "hel", at, true, true);
        check("2026-11-19T14:02:31Z stdout F ", "", at, false, false);
        check("2026-11-19T14:02:31Z stdout is full", "2026-11-19T14:02:31Z stdout is full", at, false, false);
        check("[2026-11-19 14:02:31.5Z] ready\r", "[2026-11-19 14:02:31.5Z] ready", at, false, false);
        check("2026-11-19 14:02:31 local time", "2026-11-19 14:02:31 local time", None, false, false);
        check("{\"log\": broken", "{\"log\": broken", None, false, false);
        check("", "", None, false, false);
    }
}
