//! Log messages to templates: masks for what varies by form, then a fixed-depth tree for what varies by position.
//!
//! Source: He, Zhu, Zheng, Lyu, "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017. A message is
//! split into tokens; groups are looked up by token count and first tokens, then by the share of equal tokens. A group's
//! template keeps the tokens that all its messages share and has `<*>` elsewhere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

/// What stands where messages differ.
pub const WILDCARD: &str = "<*>";

/// Share of equal tokens from which two messages belong together (Drain's usual setting is 0.4 to 0.5).
const SIMILARITY: f64 = 0.5;
/// Leading tokens that must agree, unless they hold digits or wildcards.
const PREFIX_TOKENS: usize = 1;
/// Tokens looked at; the rest of a longer message is one wildcard.
const MAX_TOKENS: usize = 60;
/// Characters looked at.
const MAX_CHARACTERS: usize = 1_000;
/// Groups kept; later strangers share one overflow group.
const MAX_GROUPS: usize = 5_000;

/// Things that vary by form: times, UUIDs, addresses, hex, numbers with units. Quoted and bracketed values too, since
/// what a program quotes is what it was given.
static MASKS: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?",
        r"\d{2}:\d{2}:\d{2}(?:[.,]\d+)?",
        r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
        r#""[^"]{0,200}""#,
        r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b",
        r"\b0x[0-9a-fA-F]+\b",
        r"\b[0-9a-fA-F]*\d[0-9a-fA-F]{7,}\b",
        r"(?:https?|tcp|jdbc:\w+)://\S+",
        r"[-+]?\b\d+(?:[.,:]\d+)*(?:ns|us|µs|ms|s|m|h|B|KB|MB|GB|KiB|MiB|GiB|%)?\b",
    ];
    Regex::new(&forms.join("|")).expect("the masks are a valid expression")
});

/// The message with everything that varies by form replaced by `<*>`. Only the first line counts: a stack trace groups by
/// its head.
pub fn mask(message: &str) -> String {
    let head: String = message.lines().next().unwrap_or_default().chars().take(MAX_CHARACTERS).collect();
    MASKS.replace_all(&head, WILDCARD).into_owned()
}

/// One group of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    tokens: Vec<String>,
}

/// Groups messages into templates. The same messages in the same order give the same groups.
#[derive(Clone, Debug, Default)]
pub struct Templater {
    groups: Vec<Group>,
    tree: BTreeMap<(usize, Vec<String>), Vec<usize>>,
}

impl Templater {
    /// The group of a message: an index that stays valid, whose template may still grow wildcards.
    pub fn add(&mut self, message: &str) -> usize {
        let tokens = tokens(&mask(message));
        let key = (tokens.len(), tokens.iter().take(PREFIX_TOKENS).map(|token| branch(token)).collect());
        let leaf = self.tree.entry(key).or_default();
        let best = leaf
            .iter()
            .map(|index| (*index, similarity(&self.groups[*index].tokens, &tokens)))
            .filter(|(_, share)| *share >= SIMILARITY)
            .max_by(|left, right| left.1.total_cmp(&right.1).then(right.0.cmp(&left.0)));
        if let Some((index, _)) = best {
            merge(&mut self.groups[index].tokens, &tokens);
            return index;
        }
        if self.groups.len() >= MAX_GROUPS {
            return self.groups.len() - 1;
        }
        leaf.push(self.groups.len());
        self.groups.push(Group { tokens });
        self.groups.len() - 1
    }

    /// The template of a group.
    pub fn template(&self, group: usize) -> String {
        self.groups.get(group).map(|group| group.tokens.join(" ")).unwrap_or_default()
    }
}

fn tokens(masked: &str) -> Vec<String> {
    let mut tokens: Vec<String> = masked.split_whitespace().take(MAX_TOKENS).map(str::to_owned).collect();
    if masked.split_whitespace().nth(MAX_TOKENS).is_some() {
        tokens.push(WILDCARD.to_owned());
    }
    tokens
}

/// A token with a digit or a wildcard is likely to vary: all such share a branch.
fn branch(token: &str) -> String {
    if token.contains(WILDCARD) || token.chars().any(|character| character.is_ascii_digit()) {
        WILDCARD.to_owned()
    } else {
        token.to_owned()
    }
}

fn similarity(template: &[String], tokens: &[String]) -> f64 {
    if template.is_empty() {
        return 1.0;
    }
    let equal =
        template.iter().zip(tokens).filter(|(left, right)| left == right || *left == WILDCARD).count();
    equal as f64 / template.len() as f64
}

fn merge(template: &mut [String], tokens: &[String]) {
    for (kept, token) in template.iter_mut().zip(tokens) {
        if kept != token {
            *kept = WILDCARD.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(messages: &[&str], expected: &[&str]) {
        let mut templater = Templater::default();
        let groups: Vec<usize> = messages.iter().map(|message| templater.add(message)).collect();
        let templates: Vec<String> = groups.iter().map(|group| templater.template(*group)).collect();
        assert_eq!(templates, expected);
    }

    #[test]
    fn groups_what_a_person_would() {
        let pool = "pool: no connection within <*> (in use <*>/<*>, waiting <*>)";
        check(
            &[
                "pool: no connection within 500ms (in use 20/20, waiting 31)",
                "pool: no connection within 250ms (in use 19/20, waiting 2)",
            ],
            &[pool, pool],
        );
        let user = "user <*> logged in";
        check(&["user alice logged in", "user bob logged in"], &[user, user]);
        check(&["连接 10.0.0.1:80 超时", "连接 10.0.0.2:81 超时"], &["连接 <*> 超时", "连接 <*> 超时"]);
        check(&["", "started"], &["", "started"]);
        check(&["boom\n  at a.b(C.java:10)"], &["boom"]);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(messages in prop::collection::vec(".{0,200}", 0..30)) {
            let mut templater = Templater::default();
            for message in &messages {
                let group = templater.add(message);
                prop_assert!(templater.template(group).len() <= 8 * MAX_CHARACTERS);
            }
        }
    }
}
