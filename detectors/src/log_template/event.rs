//! From a log message to the one line that stands for it: stack traces folded, JSON objects opened.
//!
//! A message of several lines is its first line and the type of the exception at the root; of a Python traceback, the
//! last line. A JSON object is its message field, then its keys in order of name, then its level:
//! `user <*> logged in {caller, time, level=info}`.

use std::borrow::Cow;

use super::scan::is_single_line;

/// Lines of a message that are looked at.
const MAX_LINES: usize = 512;
/// Keys of a JSON object that are kept.
const MAX_KEYS: usize = 32;
/// Fields that hold the message, the surest first.
const MESSAGE: [&str; 10] =
    ["message", "msg", "@message", "short_message", "log.message", "log", "event", "text", "body", "error"];
/// Fields that hold the severity.
const LEVEL: [&str; 8] =
    ["level", "severity", "lvl", "loglevel", "log_level", "log.level", "levelname", "severity_text"];
/// Fields that hold a stack trace.
const STACK: [&str; 6] =
    ["stack_trace", "stacktrace", "stack", "exc_info", "exception", "exception.stacktrace"];

/// The line that stands for a message. Borrowed when the message is one plain line.
pub(super) fn line(message: &str) -> Cow<'_, str> {
    let message = message.trim_matches(['\n', '\r', ' ', '\t']);
    if message.starts_with('{')
        && let Some(line) = json(message)
    {
        return Cow::Owned(line);
    }
    if is_single_line(message) { Cow::Borrowed(message) } else { folded(message) }
}

fn folded(message: &str) -> Cow<'_, str> {
    let head = message.lines().next().unwrap_or_default();
    let rest = || message.lines().skip(1).take(MAX_LINES);
    if head.starts_with("Traceback (most recent call last)") {
        let last = rest()
            .filter(|line| line.starts_with(|first: char| first.is_alphabetic() || first == '_'))
            .last();
        return Cow::Borrowed(last.unwrap_or(head));
    }
    match exception(message) {
        Some(exception) if !head.contains(exception) => Cow::Owned(format!("{head} {exception}")),
        _ => Cow::Borrowed(head),
    }
}

/// The type of the exception at the root of a stack trace: the last `Caused by`, or else the line above the first frame.
fn exception(trace: &str) -> Option<&str> {
    let mut found = None;
    let mut above = "";
    for line in trace.lines().take(MAX_LINES) {
        let trimmed = line.trim_start();
        if let Some(cause) = trimmed.strip_prefix("Caused by: ") {
            found = exception_type(cause).or(found);
        } else if found.is_none() && is_frame(line) {
            found = exception_type(above);
        } else if found.is_none()
            && let Some(error) = trace_last_line(line)
        {
            found = Some(error);
        }
        above = trimmed;
    }
    found
}

/// The last line of a Python traceback that follows another message.
fn trace_last_line(line: &str) -> Option<&str> {
    let name = exception_type(line)?;
    (line.starts_with(name) && (name.ends_with("Error") || name.ends_with("Exception"))).then_some(name)
}

/// `java.io.IOException: no space left` begins with a type.
fn exception_type(line: &str) -> Option<&str> {
    let end =
        line.find(|character: char| !(character.is_alphanumeric() || matches!(character, '.' | '_' | '$')));
    let name = line[..end.unwrap_or(line.len())].trim_end_matches('.');
    let ends = end.is_none_or(|end| line[end..].starts_with([':', ' ']) || line[end..].trim().is_empty());
    let looks = name.contains('.')
        || ["Error", "Exception", "Failure", "Panic"].iter().any(|end| name.ends_with(end));
    (ends && looks && name.starts_with(|first: char| first.is_alphabetic() || first == '_')).then_some(name)
}

/// A line that is a frame of a stack trace.
fn is_frame(line: &str) -> bool {
    line.starts_with([' ', '\t']) && {
        let line = line.trim_start();
        line.starts_with("at ") || (line.starts_with("File \"") && line.contains(", line "))
    }
}

/// Whether a line of a log file belongs to the message above it, as the lines of a stack trace do.
pub(super) fn is_continuation(line: &str) -> bool {
    match line.as_bytes().first() {
        Some(b' ' | b'\t') => {
            let trimmed = line.trim_start();
            is_frame(line)
                || is_more(trimmed)
                || trimmed.starts_with("Caused by: ")
                || trimmed.starts_with("Suppressed: ")
        }
        Some(b'C') => line.starts_with("Caused by: "),
        Some(b'.') => is_more(line),
        _ => false,
    }
}

/// `... 12 more`, as Java shortens what two traces share.
fn is_more(line: &str) -> bool {
    line.strip_prefix("... ").is_some_and(|rest| {
        let rest = rest.trim_start_matches(|character: char| character.is_ascii_digit());
        rest.starts_with(" more") || rest.starts_with(" common frames")
    })
}

/// `None` when the text is not a JSON object, or none with a message in it.
fn json(text: &str) -> Option<String> {
    let fields = fields(text)?;
    let find = |names: &[&str]| {
        names.iter().find_map(|name| {
            let field = fields
                .iter()
                .find(|(key, value)| key.eq_ignore_ascii_case(name) && value.starts_with('"'))?;
            Some((field.0, serde_json::from_str::<String>(field.1).ok()?))
        })
    };
    let (message_key, message) = find(&MESSAGE)?;
    let level = find(&LEVEL);
    let message = message.trim();
    let mut line = folded(message).into_owned();
    if let Some((_, stack)) = find(&STACK)
        && let Some(exception) = exception(&stack).or_else(|| exception_type(&stack))
        && !line.contains(exception)
    {
        line.push(' ');
        line.push_str(exception);
    }
    let level_key = level.as_ref().map(|(key, _)| *key);
    let mut keys: Vec<&str> = fields
        .iter()
        .map(|(key, _)| *key)
        .filter(|key| *key != message_key && Some(*key) != level_key)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut parts: Vec<String> = keys.into_iter().map(str::to_owned).collect();
    parts.extend(level.map(|(key, level)| format!("{key}={}", level.to_lowercase())));
    if !parts.is_empty() {
        line.push_str(" {");
        line.push_str(&parts.join(", "));
        line.push('}');
    }
    Some(line)
}

/// Keys and raw values of the outermost object.
fn fields(text: &str) -> Option<Vec<(&str, &str)>> {
    let bytes = text.as_bytes();
    let mut fields = Vec::new();
    let mut at = skip_space(bytes, 1);
    if bytes.get(at) == Some(&b'}') {
        return Some(fields);
    }
    while fields.len() < MAX_KEYS {
        let key_end = string_end(bytes, at)?;
        let key = &text[at + 1..key_end - 1];
        at = skip_space(bytes, key_end);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        at = skip_space(bytes, at + 1);
        let value_end = value_end(bytes, at)?;
        fields.push((key, text[at..value_end].trim_end()));
        at = skip_space(bytes, value_end);
        match bytes.get(at)? {
            b',' => at = skip_space(bytes, at + 1),
            b'}' => return Some(fields),
            _ => return None,
        }
    }
    Some(fields)
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + bytes[at.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the string that begins at `at`, behind its closing quote.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The end of the value that begins at `at`. Brackets are counted, so depth costs nothing.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        assert_eq!(line(message), expected);
    }

    #[test]
    fn stack_traces_are_one_line() {
        check("boom\n  at a.b(C.java:10)", "boom");
        check(
            "cannot charge\njava.lang.IllegalStateException: no stock\n\tat shop.Cart.add(Cart.java:10)\n\t... 3 more",
            "cannot charge java.lang.IllegalStateException",
        );
        check(
            "java.lang.RuntimeException: wrapped\n\tat a.B.c(B.java:1)\nCaused by: java.sql.SQLException: gone\n\tat d.E.f(E.java:2)",
            "java.lang.RuntimeException: wrapped java.sql.SQLException",
        );
        check(
            "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nValueError: bad 5",
            "ValueError: bad 5",
        );
        check(
            "task failed\nTraceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nKeyError: 'x'",
            "task failed KeyError",
        );
        check("\n\nfirst\nsecond", "first");
    }

    #[test]
    fn json_is_opened() {
        check(
            r#"{"ts":"2024-01-01T00:00:00Z","level":"ERROR","msg":"user \"bob\" gone","caller":"a.go:5","n":{"a":[1,2]}}"#,
            r#"user "bob" gone {caller, n, ts, level=error}"#,
        );
        check(r#"{"message":"ok"}"#, "ok");
        check(r#"{"user":"bob"}"#, r#"{"user":"bob"}"#);
        check(r#"{"message":"cut of"#, r#"{"message":"cut of"#);
        check("{}", "{}");
        check(
            r#"{"message":"failed","exception":"java.io.IOException: x\n\tat a.b(C.java:1)"}"#,
            "failed java.io.IOException {exception}",
        );
    }

    #[test]
    fn lines_of_a_trace_continue_it() {
        for line in
            ["\tat a.b(C.java:1)", "Caused by: x.Y: z", "\t... 12 more", "  File \"a.py\", line 3, in f"]
        {
            assert!(is_continuation(line), "{line}");
        }
        for line in ["at noon", "  indented", "Caused trouble", "... and so on", ""] {
            assert!(!is_continuation(line), "{line}");
        }
    }
}
