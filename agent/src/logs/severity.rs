//! The level that a line names.

use serde_json::Value;

/// Bytes at the start of a text in which its level is looked for.
const HEAD_BYTES: usize = 160;

/// OpenTelemetry's severity number of `text`: of the level of a JSON object, else of the first word in its head that is the name of
/// a level, in capitals or set off by marks (`[error]`, `level=error`, `ERROR`).
pub(super) fn of(text: &str) -> Option<u8> {
    if text.starts_with('{')
        && let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text)
    {
        let level = ["level", "severity", "lvl", "severity_text", "loglevel", "log.level"]
            .iter()
            .find_map(|name| fields.get(*name))?;
        return match level {
            Value::String(name) => number(&name.to_ascii_uppercase()),
            // As pino and bunyan count.
            Value::Number(level) => level.as_u64().and_then(|level| {
                (10..=60)
                    .contains(&level)
                    .then(|| [1, 5, 9, 13, 17, 21][(level as usize / 10).clamp(1, 6) - 1])
            }),
            _ => None,
        };
    }
    let head = &text[..text.floor_char_boundary(HEAD_BYTES)];
    let mut at = 0;
    for word in head.split(|letter: char| !letter.is_ascii_alphabetic()) {
        let start = at;
        at += word.len() + 1;
        let Some(level) = number(&word.to_ascii_uppercase()) else { continue };
        let before = head[..start].chars().next_back();
        let after = head[start + word.len()..].chars().next();
        let marked =
            matches!(before, Some('[' | '<' | '=' | '"' | '|')) || matches!(after, Some(']' | '>' | '|'));
        let leads = start == 0 && after == Some(':');
        if marked || leads || (word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase())) {
            return Some(level);
        }
    }
    None
}

fn number(name: &str) -> Option<u8> {
    Some(match name {
        "TRACE" => 1,
        "DEBUG" | "DBG" => 5,
        "INFO" | "INF" | "INFORMATION" => 9,
        "NOTICE" => 10,
        "WARN" | "WARNING" | "WRN" => 13,
        "ERROR" | "ERR" | "SEVERE" => 17,
        "CRITICAL" | "CRIT" => 18,
        "ALERT" => 19,
        "FATAL" | "PANIC" | "EMERG" | "EMERGENCY" => 21,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn levels() {
        let check = |text: &str, expected: Option<u8>| assert_eq!(super::of(text), expected, "{text}");
        check("2026-11-21T10:00:00Z ERROR connection refused", Some(17));
        check("2026/11/21 10:00:00 [error] 12#12: *1 open() failed", Some(17));
        check("time=2026 level=warn msg=\"slow\"", Some(13));
        check("{\"level\":\"info\",\"msg\":\"an ERROR is quoted\"}", Some(9));
        check("{\"level\":50,\"msg\":\"x\"}", Some(17));
        check("{\"msg\":\"x\"}", None);
        check("error: no such file", Some(17));
        check("<warning> x", Some(13));
        check("no error here", None);
        check("GET /info 200", None);
        check("", None);
    }
}
