//! Statements without their literals, and texts of errors without what they quote.
//!
//! What cannot be read with certainty is left out: where a statement can be read in two ways, one of which would show a literal, it
//! ends there.

use super::exchange::bounded;
use super::{TraceParent, limits};

/// What a literal, or a list of them, becomes.
const LITERAL: &str = "?";
/// Stands where a statement was cut.
const CUT: &str = "…";

/// Whose SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `"` quotes names; `$tag$` quotes text.
    Postgres,
    /// `"` quotes text, `` ` `` names; `#` starts a comment.
    Mysql,
}

/// A statement without its literals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Its verb, in capitals: of [`VERBS`], or `QUERY`.
    pub operation: String,
    /// All of it, with `?` for every literal, parameter and list of these; empty for an unknown verb.
    pub shape: String,
    /// The `traceparent` of a comment, as sqlcommenter writes it.
    pub trace: Option<TraceParent>,
}

/// What a statement may start with.
pub const VERBS: &[&str] = &[
    "ABORT",
    "ALTER",
    "ANALYZE",
    "BACKUP",
    "BEGIN",
    "CALL",
    "CHANGE",
    "CHECK",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISCARD",
    "DO",
    "DROP",
    "END",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "FLUSH",
    "GRANT",
    "IMPORT",
    "INSERT",
    "KILL",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "OPTIMIZE",
    "PREPARE",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "REPLACE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "SIGNAL",
    "START",
    "TABLE",
    "TRUNCATE",
    "UPDATE",
    "USE",
    "VALUES",
    "WITH",
];

/// Reads a statement, or the head of one that is not `whole`.
pub fn of_sql(sql: &[u8], whole: bool, dialect: Dialect) -> Statement {
    let mut lexer =
        Lexer { rest: sql, whole, dialect, tokens: Vec::new(), space: false, trace: None, bytes: 0 };
    lexer.run();
    let Lexer { tokens, trace, .. } = lexer;
    let verb = operation(&tokens);
    if verb == "QUERY" {
        return Statement { operation: verb, shape: String::new(), trace };
    }
    // The value of a setting may be a bare word.
    let settings = matches!(tokens.first(), Some(first) if first.is("SET"));
    let kept = if settings { &tokens[..tokens.len().min(2)] } else { &tokens[..] };
    let mut shape = String::new();
    for token in kept {
        if token.space && !shape.is_empty() {
            shape.push(' ');
        }
        shape.push_str(&token.text);
    }
    shape.truncate(shape.trim_end_matches([';', ' ']).len());
    Statement { operation: verb, shape: bounded(shape, limits::TARGET_BYTES), trace }
}

/// The verb; of `WITH …` that of the statement behind it.
fn operation(tokens: &[Token]) -> String {
    let verb_of = |token: &Token| VERBS.iter().find(|verb| token.is(verb)).copied();
    let mut words = tokens.iter().skip_while(|token| token.text == "(");
    let verb = words.next().and_then(verb_of).unwrap_or("QUERY");
    if verb != "WITH" {
        return verb.to_owned();
    }
    let mut depth = 0_i32;
    for token in tokens {
        match token.text.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ if depth == 0 => {
                if let Some(verb @ ("SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE")) = verb_of(token) {
                    return verb.to_owned();
                }
            }
            _ => {}
        }
    }
    verb.to_owned()
}

/// Whether a statement that starts so is SQL.
pub(super) fn starts_sql(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"(").unwrap_or(text);
    let word = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    text.starts_with(b"/*") || VERBS.iter().any(|verb| text[..word].eq_ignore_ascii_case(verb.as_bytes()))
}

#[derive(Debug)]
struct Token {
    text: String,
    space: bool,
}

impl Token {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }
}

struct Lexer<'a> {
    rest: &'a [u8],
    whole: bool,
    dialect: Dialect,
    tokens: Vec<Token>,
    space: bool,
    trace: Option<TraceParent>,
    /// Bytes of the tokens.
    bytes: usize,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) {
        while let Some(&first) = self.rest.first() {
            if self.bytes > limits::TARGET_BYTES || !self.step(first) {
                self.push(CUT);
                return;
            }
        }
        if !self.whole {
            self.push(CUT);
        }
    }

    /// Reads one token; `false` when what follows cannot be trusted.
    fn step(&mut self, first: u8) -> bool {
        let postgres = self.dialect == Dialect::Postgres;
        let second = self.rest.get(1).copied().unwrap_or(0);
        match first {
            0 => return false,
            _ if first.is_ascii_whitespace() => {
                self.space = true;
                self.advance(1);
            }
            b'-' if second == b'-' => return self.line_comment(),
            b'#' if !postgres => return self.line_comment(),
            b'/' if second == b'*' => return self.comment(),
            b'\'' => return self.text(b'\''),
            b'"' if postgres => return self.name(b'"'),
            b'"' => return self.text(b'"'),
            b'`' => return self.name(b'`'),
            b'$' if postgres => return self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if second.is_ascii_digit() => self.number(),
            _ if is_word(first) => return self.word(),
            b'?' => {
                self.advance(1);
                self.literal();
            }
            b'\\' => return false,
            _ => {
                let text = char::from(first).to_string();
                self.advance(1);
                self.push(&text);
            }
        }
        true
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn push(&mut self, text: &str) {
        self.bytes += text.len() + usize::from(self.space);
        self.tokens.push(Token { text: text.to_owned(), space: self.space });
        self.space = false;
        // `(?), (?)` is one row and another.
        if text == ")" {
            let tail: Vec<&str> = self.tokens.iter().rev().take(7).map(|token| token.text.as_str()).collect();
            if tail == [")", LITERAL, "(", ",", ")", LITERAL, "("] {
                self.tokens.truncate(self.tokens.len() - 4);
            }
        }
    }

    fn literal(&mut self) {
        let tail: Vec<&str> = self.tokens.iter().rev().take(2).map(|token| token.text.as_str()).collect();
        match tail[..] {
            [",", LITERAL] => {
                self.tokens.pop();
            }
            // Adjacent strings are one.
            [LITERAL, ..] => {}
            _ => self.push(LITERAL),
        }
        self.space = false;
    }

    fn line_comment(&mut self) -> bool {
        match memchr::memchr(b'\n', self.rest) {
            Some(end) => self.advance(end),
            None => {
                self.rest = &[];
            }
        }
        true
    }

    fn comment(&mut self) -> bool {
        let mut depth = 0_usize;
        let mut at = 0;
        loop {
            match self.rest.get(at..at + 2) {
                Some(b"/*") if depth == 0 || self.dialect == Dialect::Postgres => {
                    depth += 1;
                    at += 2;
                }
                Some(b"*/") => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        break;
                    }
                }
                Some(_) => at += 1,
                None => {
                    self.rest = &[];
                    return !self.whole;
                }
            }
        }
        const KEY: &[u8] = b"traceparent='";
        if let Some(found) = memchr::memmem::find(&self.rest[..at], KEY) {
            let value = &self.rest[found + KEY.len()..at];
            self.trace = TraceParent::parse(&value[..memchr::memchr(b'\'', value).unwrap_or(value.len())]);
        }
        self.space = true;
        self.advance(at);
        true
    }

    /// A string. One with a backslash before a quote ends here or later, by settings of the server that are not known.
    fn text(&mut self, quote: u8) -> bool {
        let mut at = 1;
        loop {
            match (self.rest.get(at), self.rest.get(at + 1)) {
                (Some(b'\\'), Some(next)) if *next == quote => return self.doubtful(),
                // Backslashes in a row may or may not pair up.
                (Some(b'\\'), Some(b'\\')) => {
                    let run = self.rest[at..].iter().take_while(|byte| **byte == b'\\').count();
                    if self.rest.get(at + run).is_none_or(|byte| *byte == quote) {
                        return self.doubtful();
                    }
                    at += run;
                }
                (Some(byte), Some(next)) if *byte == quote && *next == quote => at += 2,
                (Some(byte), _) if *byte == quote => break,
                (Some(_), _) => at += 1,
                (None, _) => {
                    self.rest = &[];
                    self.literal();
                    return true;
                }
            }
        }
        self.advance(at + 1);
        self.literal();
        true
    }

    fn doubtful(&mut self) -> bool {
        self.literal();
        false
    }

    fn name(&mut self, quote: u8) -> bool {
        let Some(end) = memchr::memchr(quote, &self.rest[1..]) else { return false };
        let name = String::from_utf8_lossy(&self.rest[1..=end]).into_owned();
        self.advance(end + 2);
        let mark = char::from(quote);
        let plain = name.chars().all(|letter| letter.is_alphanumeric() || "_-. $".contains(letter));
        if name.len() > 64 || !plain {
            self.push(LITERAL);
        } else {
            self.push(&format!("{mark}{}{mark}", without_long_numbers(&name)));
        }
        true
    }

    /// `$1`, or `$tag$ … $tag$`.
    fn dollar(&mut self) -> bool {
        let tag =
            self.rest[1..].iter().take_while(|byte| is_word(**byte) || byte.is_ascii_digit()).count() + 1;
        if self.rest.get(tag) != Some(&b'$') {
            self.advance(tag);
            self.literal();
            return true;
        }
        let mark = &self.rest[..=tag];
        let end = memchr::memmem::find(&self.rest[mark.len()..], mark);
        self.rest = end.map_or(&[], |end| &self.rest[end + 2 * mark.len()..]);
        self.literal();
        true
    }

    fn number(&mut self) {
        let mut end = 0;
        while let Some(&byte) = self.rest.get(end) {
            let sign = matches!(byte, b'+' | b'-') && matches!(self.rest[end - 1], b'e' | b'E');
            let hex = self.rest.starts_with(b"0x") || self.rest.starts_with(b"0X");
            if !(byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' || (sign && !hex)) {
                break;
            }
            end += 1;
        }
        self.advance(end);
        self.literal();
    }

    fn word(&mut self) -> bool {
        let length = self
            .rest
            .iter()
            .take_while(|byte| is_word(**byte) || byte.is_ascii_digit() || **byte == b'$')
            .count();
        let word = &self.rest[..length];
        let quoted = self.rest.get(length) == Some(&b'\'');
        if quoted && matches!(word, b"e" | b"E" | b"b" | b"B" | b"x" | b"X" | b"n" | b"N") {
            self.advance(length);
            return if word.eq_ignore_ascii_case(b"e") { self.escaped_text() } else { self.text(b'\'') };
        }
        let cut = length == self.rest.len() && !self.whole;
        if !cut {
            let word = String::from_utf8_lossy(word).into_owned();
            let known = word.len() <= 64;
            self.push(if known { without_long_numbers(&word) } else { LITERAL.to_owned() }.as_str());
        }
        self.advance(length);
        true
    }

    /// A string of PostgreSQL in which a backslash always escapes.
    fn escaped_text(&mut self) -> bool {
        let mut at = 1;
        while let Some(byte) = self.rest.get(at) {
            match byte {
                b'\\' => at += 2,
                b'\'' if self.rest.get(at + 1) == Some(&b'\'') => at += 2,
                b'\'' => break,
                _ => at += 1,
            }
        }
        self.advance(at + 1);
        self.literal();
        true
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'@' || byte >= 0x80
}

/// `orders_20260101` is one of many: three digits and more in a row become `?`.
fn without_long_numbers(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
        text.push_str(&rest[..start]);
        text.push_str(if digits >= 3 { LITERAL } else { &rest[start..start + digits] });
        rest = &rest[start + digits..];
    }
    text + rest
}

/// What a server says of an error, without values: what is between the first and the last quote becomes `?`, and so does every word
/// that is not made of letters alone.
pub fn of_error(text: &[u8], whole: bool) -> String {
    const QUOTES: [char; 11] = ['\'', '"', '`', '«', '»', '„', '“', '”', '‘', '’', '‹'];
    let text = String::from_utf8_lossy(text);
    let text = text.split(['\0', '\n', '\r']).next().unwrap_or_default();
    let mut quotes =
        text.char_indices().filter(|(at, mark)| QUOTES.contains(mark) && !is_apostrophe(text, *at));
    let first = quotes.next().map(|(at, _)| at);
    let last = quotes.next_back().map(|(at, _)| at);
    let (before, after) = match (first, last) {
        (Some(first), Some(last)) if whole => (&text[..first], &text[last..]),
        (Some(first), _) => (&text[..first], ""),
        _ => (text, ""),
    };
    let quoted = if before.len() < text.len() { LITERAL } else { "" };
    let after = after.trim_start_matches(QUOTES);
    let mut words: Vec<&str> = Vec::new();
    let all = before.split_whitespace().chain(std::iter::once(quoted)).chain(after.split_whitespace());
    for word in all.filter(|word| !word.is_empty()) {
        let bare = word.trim_matches(|mark: char| ",.;:()!".contains(mark));
        let plain =
            bare.len() <= 24 && bare.chars().all(|letter| letter.is_alphabetic() || "-_/'".contains(letter));
        let plain = plain && bare.matches('\'').count() == usize::from(bare.ends_with("n't"));
        let word = if plain { word } else { LITERAL };
        if word != LITERAL || words.last() != Some(&LITERAL) {
            words.push(word);
        }
    }
    bounded(words.join(" "), limits::ERROR_BYTES)
}

/// `doesn't` quotes nothing.
fn is_apostrophe(text: &str, at: usize) -> bool {
    text[..at].ends_with('n') && text[at..].starts_with("'t ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Dialect, of_error, of_sql};

    fn check(dialect: Dialect, sql: &str, expected: &str) {
        let found = of_sql(sql.as_bytes(), true, dialect);
        assert_eq!(format!("{}: {}", found.operation, found.shape), expected, "{sql}");
    }

    #[test]
    fn literals_are_removed() {
        use Dialect::{Mysql, Postgres};
        check(
            Postgres,
            "select * from t where a = 'x' and b=12",
            "SELECT: select * from t where a = ? and b=?",
        );
        check(Postgres, "SELECT $1::text, $2", "SELECT: SELECT ?::text, ?");
        check(Postgres, "SELECT 'it''s', E'a\\'b', X'ff', 1.5e-3, 0x1F", "SELECT: SELECT ?");
        check(Postgres, "SELECT $$a 'b'$$, $f$ $$ $f$ FROM t", "SELECT: SELECT ? FROM t");
        check(Postgres, "SELECT \"Name\" FROM \"T\" -- secret", "SELECT: SELECT \"Name\" FROM \"T\"");
        check(Postgres, "SELECT /* a /* b */ secret */ 1", "SELECT: SELECT ?");
        check(Mysql, "SELECT \"secret\", `n` FROM t # secret", "SELECT: SELECT ?, `n` FROM t");
        check(Mysql, "SELECT 1 FROM t WHERE id IN (1, 2,3)", "SELECT: SELECT ? FROM t WHERE id IN (?)");
        check(
            Mysql,
            "INSERT INTO t (a,b) VALUES (1,'x'), (2,'y'),(3,'z')",
            "INSERT: INSERT INTO t (a,b) VALUES (?)",
        );
        check(Postgres, "SET SESSION AUTHORIZATION bob", "SET: SET SESSION");
        check(Postgres, "select * from orders_20260101 o1", "SELECT: select * from orders_? o1");
        check(Postgres, "my secret", "QUERY: ");
        check(Postgres, "", "QUERY: ");
        check(
            Postgres,
            "WITH a AS (SELECT 1) UPDATE t SET b = 2 FROM a",
            "UPDATE: WITH a AS (SELECT ?) UPDATE t SET b = ? FROM a",
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_ends_the_statement() {
        check(Dialect::Mysql, r"SELECT 'a\', secret, 'b'", "SELECT: SELECT ?…");
        check(Dialect::Postgres, r"SELECT 'a\\', secret, 'b'", "SELECT: SELECT ?…");
    }

    #[test]
    fn a_cut_statement_keeps_no_half_word() {
        let found = of_sql(b"SELECT a FROM cust", false, Dialect::Postgres);
        assert_eq!(found.shape, "SELECT a FROM …");
        let found = of_sql(b"SELECT a FROM t WHERE b = 'secr", false, Dialect::Postgres);
        assert_eq!(found.shape, "SELECT a FROM t WHERE b = ?…");
    }

    #[test]
    fn the_trace_of_a_comment() {
        let sql = b"SELECT 1 /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/";
        assert!(of_sql(sql, true, Dialect::Postgres).trace.is_some());
    }

    #[test]
    fn errors() {
        let check = |text: &str, expected: &str| assert_eq!(of_error(text.as_bytes(), true), expected);
        check("relation \"secret\" does not exist", "relation ? does not exist");
        check("Duplicate entry 'a@b' for key 'users.email'", "Duplicate entry ?");
        check("You have an error near 'it's' at line 1", "You have an error near ? at line ?");
        check("canceling statement due to statement timeout", "canceling statement due to statement timeout");
        check("Table 'shop.t' doesn't exist", "Table ? doesn't exist");
        check("can't find 'secret' or 'it' there", "can't find ? there");
        check("bad value 12 of 7f3a", "bad value ? of ?");
        assert_eq!(of_error(b"no such 'thi", false), "no such ?");
    }

    /// A literal of any kind, holding a secret that no keyword holds.
    fn literal(dialect: Dialect) -> impl Strategy<Value = String> {
        let secret = "qzx[a-z]{0,3}['\\\\\" ,;()$-]{0,2}[a-z]{0,3}qzx";
        let number = "9[0-9]{4,8}(\\.[0-9]{1,3})?";
        let quoted = secret.prop_map(move |text| match dialect {
            Dialect::Mysql => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
            Dialect::Postgres => format!("'{}'", text.replace('\'', "''")),
        });
        let second = secret.prop_map(move |text| match dialect {
            Dialect::Mysql => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")),
            Dialect::Postgres => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        });
        prop_oneof![quoted, second, number]
    }

    fn statement(dialect: Dialect) -> impl Strategy<Value = String> {
        proptest::collection::vec(literal(dialect), 1..8).prop_map(|literals| {
            format!("SELECT a FROM t WHERE b IN ({}) AND c = {}", literals.join(", "), literals[0])
        })
    }

    fn shows_nothing(dialect: Dialect, sql: &str, cut: usize) -> Result<(), TestCaseError> {
        let end = cut.min(sql.len());
        for (bytes, whole) in [(sql.as_bytes(), true), (&sql.as_bytes()[..end], false)] {
            let shape = of_sql(bytes, whole, dialect).shape;
            prop_assert!(!shape.contains("qzx") && !shape.contains('9'), "{sql} gives {shape}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_literal_of_postgres_is_shown(sql in statement(Dialect::Postgres), cut in 0_usize..400) {
            shows_nothing(Dialect::Postgres, &sql, cut)?;
        }

        #[test]
        fn no_literal_of_mysql_is_shown(sql in statement(Dialect::Mysql), cut in 0_usize..400) {
            shows_nothing(Dialect::Mysql, &sql, cut)?;
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), whole: bool) {
            let _ = of_sql(&bytes, whole, Dialect::Mysql);
            let _ = of_sql(&bytes, whole, Dialect::Postgres);
            let _ = of_error(&bytes, whole);
        }
    }
}
