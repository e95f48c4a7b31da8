//! What a secret looks like, in the order in which it is looked for.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Secret, entropy, is_pseudonym, numbers};

/// One way to find a secret.
pub struct Rule {
    kind: Secret,
    /// Cheap test before the expression: one of these must occur; none means always.
    hints: &'static [&'static str],
    /// The secret is the group `s`, or else the whole match.
    pattern: Regex,
    /// Whether what was found is one; and how much of it, in bytes.
    accept: fn(&Captures<'_>, &str) -> Option<usize>,
}

impl Rule {
    /// Whether the expression is worth running.
    pub fn may_match(&self, text: &str) -> bool {
        self.hints.is_empty() || self.hints.iter().any(|hint| text.contains(hint))
    }

    /// The text with what was found replaced; `None` when nothing was.
    pub fn replace(&self, text: &str, mut pseudonym: impl FnMut(Secret, &str) -> String) -> Option<String> {
        let mut replaced = String::new();
        let mut done = 0;
        let mut from = 0;
        while let Some(found) = self.pattern.captures_at(text, from) {
            let whole = found.get(0).expect("group 0 is the match");
            let secret = found.name("s").unwrap_or(whole);
            // A match is never empty, and a refused one may hide another that begins inside it.
            match (self.accept)(&found, secret.as_str()) {
                Some(length) if length > 0 && !is_pseudonym(&secret.as_str()[..length]) => {
                    let end = secret.start() + length;
                    replaced.push_str(&text[done..secret.start()]);
                    replaced.push_str(&pseudonym(self.kind, &text[secret.start()..end]));
                    (done, from) = (end, end);
                }
                _ => from = secret.end().max(whole.start() + 1),
            }
            while !text.is_char_boundary(from) {
                from += 1;
            }
            if from >= text.len() {
                break;
            }
        }
        (done > 0).then(|| replaced + &text[done..])
    }
}

fn rule(
    kind: Secret,
    hints: &'static [&'static str],
    pattern: &str,
    accept: fn(&Captures<'_>, &str) -> Option<usize>,
) -> Rule {
    Rule { kind, hints, pattern: Regex::new(pattern).expect("a pattern of ours"), accept }
}

fn always(_: &Captures<'_>, secret: &str) -> Option<usize> {
    Some(secret.len())
}

/// Words that stand where a value should, and hide nothing.
fn is_placeholder(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "" | "null"
            | "nil"
            | "none"
            | "true"
            | "false"
            | "undefined"
            | "<*>"
            | "*"
            | "[redacted]"
            | "bearer"
            | "basic"
    ) || value.bytes().all(|byte| matches!(byte, b'*' | b'.' | b'-'))
}

/// The value of a telling key. A count of tokens is not a token.
fn value(found: &Captures<'_>, secret: &str) -> Option<usize> {
    let key = found.name("k").map_or("", |key| key.as_str()).to_ascii_lowercase();
    let count = key.contains("token")
        && secret.len() <= 9
        && secret.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (!count && !is_placeholder(secret)).then_some(secret.len())
}

fn credential(_: &Captures<'_>, secret: &str) -> Option<usize> {
    (entropy::is_opaque(secret) || secret.len() >= 24).then_some(secret.len())
}

fn card(_: &Captures<'_>, digits: &str) -> Option<usize> {
    numbers::is_card(digits).then_some(digits.len())
}

fn iban(_: &Captures<'_>, text: &str) -> Option<usize> {
    numbers::iban_length(text)
}

/// A word of base64. A path is judged by its parts, unless it has the signs and length of base64.
fn random(_: &Captures<'_>, word: &str) -> Option<usize> {
    let word = word.trim_end_matches(['-', '_', '/', '+']);
    let parts = || word.split('/').any(entropy::looks_random);
    (entropy::looks_random(word) || parts()).then_some(word.len())
}

const KEYS: &str = r"password|passwd|passphrase|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|account[_-]?key|private[_-]?key|encryption[_-]?key|signing[_-]?key|credentials?|session[_-]?id|sessionid|auth[_-]?key|sig|signature|otp|cvv|cvc|ssn";

/// Every rule, in order.
pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    // Quoted or not: the value ends where either form would.
    let keyed = format!(
        r#"(?i)(?P<k>["']?[A-Za-z0-9_.-]*(?:{KEYS})s?\\?["']?)\s*(?:=>|[:=]|%3D)\s*\\?["']?(?P<s>[^\s,;&"'\\}}\])]+)"#
    );
    vec![
        // A block that was cut has no end.
        rule(
            Secret::PrivateKey,
            &["-----BEGIN"],
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]*-----|\z)",
            always,
        ),
        // Passwords of databases may hold a slash.
        rule(
            Secret::Userinfo,
            &["://"],
            r#"(?i)\b(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|kafka|nats|ldaps?|ftps?|sftp|smtps?)://(?P<s>[^\s"'<>]+)@"#,
            always,
        ),
        rule(Secret::Userinfo, &["://"], r#"(?i)\b[a-z][a-z0-9+.-]*://(?P<s>[^\s/?#"'<>]+)@"#, always),
        rule(
            Secret::Credential,
            &[],
            r#"(?i)\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?P<s>[a-z]+\s+[^\s"',;]+|[^\s"',;]+)"#,
            value,
        ),
        rule(Secret::Credential, &[], r#"(?i)\b(?:set-)?cookie["']?\s*[:=]\s*["']?(?P<s>[^\r\n"']+)"#, value),
        rule(
            Secret::Credential,
            &[],
            r"(?i)\b(?:bearer|basic|digest|genie_?key|apikey|token)\s+(?P<s>[A-Za-z0-9._~+/=-]{8,})",
            credential,
        ),
        rule(Secret::Jwt, &["eyJ"], r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){0,4}\.?", always),
        rule(Secret::Token, &[], VENDORS, always),
        rule(Secret::Value, &[], &keyed, value),
        rule(
            Secret::Email,
            &["@", "%40"],
            r"(?i)[a-z0-9_.+'~-]*[a-z0-9_+-](?:@|%40)(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}",
            always,
        ),
        rule(Secret::Iban, &[], r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,40}", iban),
        rule(Secret::Card, &[], r"\b[0-9](?:[ -]?[0-9]){12,18}\b", card),
        rule(Secret::Random, &[], r"[A-Za-z0-9+/_-]{24,}={0,2}", random),
    ]
});

/// Tokens whose prefix says whose they are.
const VENDORS: &str = r"(?x)
    \b(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA)[A-Z0-9]{16}\b        # AWS
  | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,} # GitHub
  | \bgl(?:pat|dt|rt|cbt|ptt|soat)-[A-Za-z0-9_-]{16,}                     # GitLab
  | \bxox[a-z]-[A-Za-z0-9_-]{8,} | \bxapp-[A-Za-z0-9_-]{8,}                       # Slack
  | hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9_/-]+
  | \b[sr]k_(?:live|test)_[A-Za-z0-9_]{8,} | \bwhsec_[A-Za-z0-9_+/=-]{16,}          # Stripe, Standard Webhooks
  | \bAIza[A-Za-z0-9_-]{30,} | \bya29\.[A-Za-z0-9_.-]{16,} | \bGOCSPX-[A-Za-z0-9_-]{16,}  # Google
  | \bsk-[A-Za-z0-9_-]{16,}                                               # OpenAI, Anthropic
  | \bnpm_[A-Za-z0-9]{30,} | \bpypi-[A-Za-z0-9_-]{16,} | \bhf_[A-Za-z0-9]{24,}
  | \bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}                                  # SendGrid
  | \bSK[0-9a-f]{32}\b                                            # Twilio
  | \bdo[opr]_v1_[a-f0-9]{32,} | \bdapi[a-f0-9]{32}               # DigitalOcean, Databricks
  | \bhv[sbr]\.[A-Za-z0-9_-]{16,} | \bs\.[A-Za-z0-9]{24}\b                # Vault
  | \bglsa_[A-Za-z0-9_]{24,} | \bNRAK-[A-Z0-9]{20,}               # Grafana, New Relic
  | \b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}                                        # Telegram
";
