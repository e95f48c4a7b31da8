//! What is wrong with a config file, where, and what was probably meant.

use std::fmt;

/// A config file that cannot be used.
#[derive(Debug)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1 in characters.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
    /// The known key nearest to the one written.
    pub nearest: Option<String>,
}

impl Problem {
    /// Reads the parser's error against the text it read.
    pub fn from_toml(error: &toml::de::Error, input: &str) -> Self {
        let offset = error.span().map_or(0, |span| span.start).min(input.len());
        let before = &input.as_bytes()[..offset];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
            message: error.message().trim().replace('\n', " "),
            nearest: nearest_key(error.message()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}: {}", self.line, self.column, self.message)?;
        match &self.nearest {
            Some(key) => write!(formatter, "; did you mean `{key}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// From serde's "unknown field `a`, expected one of `b`, `c`": the expected name nearest to the one found.
fn nearest_key(message: &str) -> Option<String> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let found = names.next()?;
    names
        .map(|known| (edits(found, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.chars().count() / 3)
        .map(|(_, known)| known.to_owned())
}

/// Levenshtein distance: insertions, deletions and substitutions that turn one text into the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in to.iter().enumerate() {
            let substitute = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = substitute.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        let check = |from, to, expected| assert_eq!(edits(from, to), expected, "{from} {to}");
        check("", "abc", 3);
        check("retension", "retention", 1);
        check("kitten", "sitting", 3);
    }

    #[test]
    fn far_names_are_not_suggested() {
        assert_eq!(
            nearest_key("unknown field `retension`, expected one of `slo`, `retention`"),
            Some("retention".into())
        );
        assert_eq!(nearest_key("unknown field `frobnicate`, expected `slo` or `retention`"), None);
        assert_eq!(nearest_key("invalid type: string"), None);
    }
}
