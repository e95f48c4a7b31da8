//! Literals for SQL text. Every outside string that enters a query passes [`quote`].

use domain::{UnixNanos, Window};

/// A string literal. Backslashes, quotes and control characters are escaped as ClickHouse reads them, so that no text can
/// end the literal.
pub fn quote(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for character in text.chars() {
        match character {
            '\\' => literal.push_str("\\\\"),
            '\'' => literal.push_str("\\'"),
            '\0' => literal.push_str("\\0"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            // The client binds parameters at `?`; an escaped one cannot be mistaken.
            '?' => literal.push_str("\\x3F"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// A list of string literals for `IN`.
pub fn quote_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(quote).collect();
    if quoted.is_empty() { "('')".to_owned() } else { format!("({})", quoted.join(", ")) }
}

/// An instant with nanoseconds.
pub fn instant(at: UnixNanos) -> String {
    format!("fromUnixTimestamp64Nano({})", at.0)
}

/// `column >= start AND column < end`.
pub fn within(column: &str, window: &Window) -> String {
    format!("{column} >= {} AND {column} < {}", instant(window.start), instant(window.end))
}

/// `column` (a `DateTime` minute) inside the window; the minute that holds the start counts.
pub fn within_minutes(column: &str, window: &Window) -> String {
    let start = window.start.seconds().max(0);
    let end = window.end.seconds().max(0);
    format!("{column} >= toStartOfMinute(toDateTime({start})) AND {column} < toDateTime({end})")
}

/// The text without what varies from one message to the next: words that hold a digit are hidden.
pub fn masked(text: &str) -> String {
    format!("replaceRegexpAll({text}, '[0-9a-fA-F]*[0-9][0-9a-fA-F]*', '<*>')")
}

/// How far the number of something in the window lies from what the baseline lets expect, in standard errors of a count;
/// above 0 where it became more. `share` is the length of the window by that of the baseline.
pub fn deviation(before: &str, now: &str, share: f64) -> String {
    format!("({now} - {before} * {share}) / sqrt({now} + {before} * {share} + 1)")
}

/// One statement that gives the rows of two, each said to be of the baseline or of the window. Of one that is not known, the
/// other alone.
pub fn both(before: &str, now: &str) -> String {
    if before.is_empty() || now.is_empty() {
        return format!("{before}{now}");
    }
    format!("SELECT 'baseline' AS part, * FROM ({before}) UNION ALL SELECT 'window' AS part, * FROM ({now})")
}

/// Who a span calls, when it says so: the first attribute that names a peer, bounded.
pub const PEER: &str = "substring(arrayFirst(x -> x != '', [SpanAttributes['peer.service'], SpanAttributes['db.namespace'], \
    SpanAttributes['db.name'], SpanAttributes['messaging.destination.name'], SpanAttributes['server.address'], \
    SpanAttributes['net.peer.name'], SpanAttributes['rpc.service']]), 1, 200)";

/// Who a span calls in the words of `span_minutes`: the same expression as in its view.
pub const MINUTE_PEER: &str = "substringUTF8(multiIf(\
    SpanAttributes['peer.service'] != '', SpanAttributes['peer.service'], \
    SpanAttributes['db.system.name'] != '', trimRight(concat(SpanAttributes['db.system.name'], ':', \
        if(SpanAttributes['db.namespace'] != '', SpanAttributes['db.namespace'], SpanAttributes['db.name'])), ':'), \
    SpanAttributes['db.system'] != '', trimRight(concat(SpanAttributes['db.system'], ':', \
        if(SpanAttributes['db.namespace'] != '', SpanAttributes['db.namespace'], SpanAttributes['db.name'])), ':'), \
    SpanAttributes['messaging.destination.name'] != '', SpanAttributes['messaging.destination.name'], \
    SpanAttributes['server.address'] != '', SpanAttributes['server.address'], \
    SpanAttributes['net.peer.name'] != '', SpanAttributes['net.peer.name'], \
    SpanAttributes['rpc.service']), 1, 128)";

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn no_text_ends_the_literal() {
        assert_eq!(quote("it's"), r"'it\'s'");
        assert_eq!(quote(r"\'; DROP TABLE x; --"), r"'\\\'; DROP TABLE x; --'");
        assert_eq!(quote("a?b"), r"'a\x3Fb'");
    }
}
