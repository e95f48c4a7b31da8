//! The words that one sentence may use.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::numbers::Number;
use super::tokens::{Token, tokens, trimmed};
use crate::narrate::draft::INCONCLUSIVE;
use crate::narrate::pack::{Item, Pack};

/// Words that add no fact, order, promise or denial.
static PLAIN_WORDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    include_str!("../../../../prompts/narrate/words.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(stem)
        .collect()
});

/// Words of certainty.
const CERTAIN: [&str; 10] = [
    "certainly",
    "certain",
    "definitely",
    "clearly",
    "obviously",
    "undoubtedly",
    "proves",
    "proven",
    "confirmed",
    "guaranteed",
];

/// What does harm when done to the wrong thing.
pub static ACTIONS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    "delete drop kill restart reboot disable stop truncate remove wipe rollback roll revert scale shut terminate purge flush \
     evict drain pause cancel rotate reset deploy redeploy apply patch upgrade downgrade grant revoke open expose run execute \
     install download send share forward paste call contact ignore skip bypass turn switch unset clear format overwrite"
        .split_whitespace()
        .map(stem)
        .collect()
});

/// Whether a word claims certainty.
pub fn is_certain(word: &str) -> bool {
    CERTAIN.contains(&word)
}

/// The stems of the ordinary words of a text.
pub fn stems(text: &str) -> impl Iterator<Item = String> {
    tokens(text).into_iter().filter_map(|token| match token {
        Token::Word(word) => Some(stem(&word)),
        _ => None,
    })
}

/// A word without its ending. Crude: it need only bring the forms of one word together.
fn stem(word: &str) -> String {
    let word = word.to_lowercase();
    for ending in ["ings", "ing", "ies", "ied", "ed", "es", "er", "ly", "s", "e", "y"] {
        if let Some(rest) = word.strip_suffix(ending)
            && rest.chars().count() >= 3
        {
            // `stopped` and `stop`.
            let mut letters = rest.chars().rev();
            let doubled = letters.next().zip(letters.next()).is_some_and(|(last, before)| last == before);
            let keep = !doubled || rest.chars().count() < 4 || rest.ends_with('l') || rest.ends_with('s');
            return if keep { rest.to_owned() } else { rest[..rest.len() - 1].to_owned() };
        }
    }
    word
}

/// What the evidence cited by a sentence lets it say.
pub struct Vocabulary {
    stems: BTreeSet<String>,
    names: BTreeSet<String>,
    times: BTreeSet<String>,
    marks: BTreeSet<String>,
    numbers: Vec<Number>,
}

impl Vocabulary {
    /// The vocabulary of a sentence that cites `items`; a step may use the words of the step it stands for.
    pub fn new(pack: &Pack, items: &[&Item], step: Option<&str>) -> Self {
        let mut vocabulary = Self {
            stems: BTreeSet::new(),
            names: BTreeSet::new(),
            times: BTreeSet::new(),
            marks: BTreeSet::new(),
            numbers: Vec::new(),
        };
        for item in items {
            for text in [&item.claim, &item.service, &item.kind, &item.began] {
                vocabulary.learn(text);
            }
            for figure in &item.figures {
                for text in [&figure.name, &figure.before, &figure.now] {
                    vocabulary.learn(text);
                }
            }
        }
        let scene = &pack.incident;
        for text in [&scene.service, &scene.from, &scene.to, &scene.began] {
            vocabulary.learn(text);
        }
        // The engine's own statement may be repeated where the evidence it rests on is cited.
        if let Some(candidate) = pack.candidate(&pack.verdict)
            && items.iter().any(|item| candidate.evidence.contains(&item.id))
        {
            for text in [&candidate.statement, &candidate.service, &candidate.mechanism] {
                vocabulary.learn(text);
            }
        }
        if pack.verdict == INCONCLUSIVE {
            vocabulary.learn("the evidence does not single out a cause");
        }
        if let Some(step) = step {
            vocabulary.learn(step);
        }
        vocabulary
    }

    fn learn(&mut self, text: &str) {
        for token in tokens(text) {
            match token {
                Token::Number(number) => self.numbers.push(number),
                Token::Time(time) => {
                    self.times.insert(time);
                }
                Token::Mark(mark) => {
                    self.marks.insert(mark);
                }
                Token::Name(name) => {
                    self.stems.extend(name.split(|part: char| !part.is_alphanumeric()).map(stem));
                    self.names.insert(name.to_lowercase());
                }
                Token::Word(word) => {
                    self.stems.insert(stem(&word));
                }
            }
        }
        // A name that is also a word (`catalog`, `two-phase`) may stand whole.
        self.names.extend(text.split_whitespace().map(|word| trimmed(word).to_lowercase()));
    }

    /// Whether the cited evidence has this number, more exactly or as exactly.
    pub fn has_number(&self, number: &Number) -> bool {
        self.numbers.iter().any(|seen| number.rounds(seen))
    }

    /// Whether the cited evidence has this time; minutes suffice.
    pub fn has_time(&self, time: &str) -> bool {
        self.times.iter().any(|seen| seen.starts_with(time))
    }

    /// Whether the cited evidence has this mark.
    pub fn has_mark(&self, mark: &str) -> bool {
        self.marks.contains(mark)
    }

    /// Whether the cited evidence has this name.
    pub fn has_name(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.names.contains(name.strip_suffix("'s").or_else(|| name.strip_suffix("’s")).unwrap_or(&name))
    }

    /// Whether the cited evidence has this word, or anybody may use it.
    pub fn has_word(&self, word: &str) -> bool {
        let stem = stem(word);
        self.stems.contains(&stem) || PLAIN_WORDS.contains(&stem)
    }

    /// Whether a token that is allowed came from the evidence rather than from the list of plain words.
    pub fn is_specific(&self, token: &Token) -> bool {
        match token {
            Token::Word(word) => {
                let stem = stem(word);
                self.stems.contains(&stem) && !PLAIN_WORDS.contains(&stem)
            }
            Token::Number(_) | Token::Time(_) | Token::Mark(_) | Token::Name(_) => true,
        }
    }
}
