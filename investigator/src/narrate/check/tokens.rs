//! A sentence cut into what has to be checked.

use super::numbers::Number;

/// A part of a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A quantity, also when spelled out.
    Number(Number),
    /// `14:02` or `14:02:31`.
    Time(String),
    /// `T1`, from `{T1}`.
    Mark(String),
    /// Something that only a name looks like: signs, digits or capitals inside.
    Name(String),
    /// An ordinary word, in lower case.
    Word(String),
}

const SPELLED: [(&str, f64); 13] = [
    ("two", 2.0),
    ("three", 3.0),
    ("four", 4.0),
    ("five", 5.0),
    ("six", 6.0),
    ("seven", 7.0),
    ("eight", 8.0),
    ("nine", 9.0),
    ("ten", 10.0),
    ("eleven", 11.0),
    ("twelve", 12.0),
    ("hundred", 100.0),
    ("thousand", 1000.0),
];

/// The parts of a sentence, in order.
pub fn tokens(text: &str) -> Vec<Token> {
    let text = joined_digits(text);
    let mut found = Vec::new();
    let words: Vec<&str> = text.split_whitespace().map(trimmed).filter(|word| !word.is_empty()).collect();
    let mut place = 0;
    while place < words.len() {
        let word = words[place];
        place += 1;
        if let Some(number) = Number::parse(word) {
            match words.get(place).and_then(|unit| number.with_unit(unit)) {
                Some(with_unit) => {
                    found.push(Token::Number(with_unit));
                    place += 1;
                }
                None => found.push(Token::Number(number)),
            }
        } else {
            token(word, &mut found);
        }
    }
    found
}

fn token(word: &str, found: &mut Vec<Token>) {
    if let Some((_, value)) = SPELLED.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) {
        found.extend(Number::parse(&value.to_string()).map(Token::Number));
    } else if is_time(word) {
        found.push(Token::Time(word.to_owned()));
    } else if let Some(mark) = mark(word) {
        found.push(Token::Mark(mark.to_owned()));
    } else if is_name(word) {
        found.push(Token::Name(word.to_owned()));
    } else {
        found.extend(parts(word).map(Token::Word));
    }
}

/// The words of a hyphenated word, without possession.
fn parts(word: &str) -> impl Iterator<Item = String> {
    let word = word.strip_suffix("'s").or_else(|| word.strip_suffix("’s")).unwrap_or(word);
    word.split(['-', '–', '—', '−', '/']).filter(|part| !part.is_empty()).map(str::to_lowercase)
}

/// A word without the punctuation around it.
pub fn trimmed(word: &str) -> &str {
    let word = word.trim_start_matches(['(', '[', '"', '\'', '“', '‘', '„', ',', ';', ':']);
    word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '"', '\'', '”', '’', '…'])
}

fn mark(word: &str) -> Option<&str> {
    word.strip_prefix('{')?.strip_suffix('}').filter(|mark| is_mark(mark))
}

/// Whether this is the name of a mark: `T12`.
pub fn is_mark(name: &str) -> bool {
    name.strip_prefix('T')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_time(word: &str) -> bool {
    let parts: Vec<&str> = word.split(':').collect();
    matches!(parts.len(), 2 | 3)
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Anything but letters, or a capital after the first letter; a capital first letter alone begins a sentence.
fn is_name(word: &str) -> bool {
    let ordinary = |character: char| character.is_alphabetic() || "-–—'’".contains(character);
    let capital_inside = word.split('-').any(|part| part.chars().skip(1).any(char::is_uppercase));
    !word.chars().all(ordinary) || capital_inside
}

/// `20 424` as we write it (a thin space between) is one number.
fn joined_digits(text: &str) -> String {
    text.replace('\u{202f}', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let shown: Vec<String> = tokens(text)
            .into_iter()
            .map(|token| match token {
                Token::Number(number) => format!("{} {:?}", number.value, number.dimension),
                Token::Time(time) => format!("time {time}"),
                Token::Mark(mark) => format!("mark {mark}"),
                Token::Name(name) => format!("name {name}"),
                Token::Word(word) => word,
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn sentences_are_cut() {
        check("Since 14:02, 7.5% fail.", &["since", "time 14:02", "0.075 Ratio", "fail"]);
        check("It took 2 s, not 500ms", &["it", "took", "2 Time", "not", "0.5 Time"]);
        check(
            "POST /orders makes 20\u{202f}424 calls (was 2.1e-5/s)",
            &["name POST", "name /orders", "makes", "20424 Plain", "calls", "was", "0.000021 Rate"],
        );
        check(
            "catalog 1.4.1's p95: two “{T1}”",
            &["catalog", "name 1.4.1's", "name p95", "2 Plain", "mark T1"],
        );
        check("Long-running Redis evil.com", &["long", "running", "redis", "name evil.com"]);
        check("12:99x 1,613 −3 x2y", &["name 12:99x", "1613 Plain", "-3 Plain", "name x2y"]);
    }
}
