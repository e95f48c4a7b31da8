//! Secrets and personal data taken out of text before it leaves the program: to a model, a cache, a chat, a notification.
//!
//! Each secret gives way to a pseudonym such as `<EMAIL_1>`: the same value has the same one throughout a [`Redactor`], so
//! that a reader still sees that two lines speak of the same thing. Git SHAs, trace ids, UUIDs and image digests stay:
//! an investigation lives on them.
//!
//! Order matters and is the order of `rules::RULES`: what surrounds a secret (a PEM block, a URL, a key) is surer than what
//! it looks like, and the guess by entropy comes last.

mod entropy;
mod numbers;
mod rules;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Secrets of one [`Redactor`] that keep a pseudonym of their own; later ones share a last one.
const MAX_PSEUDONYMS: usize = 10_000;

/// What was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// A PEM block that holds a private key.
    PrivateKey,
    /// User name and password of a URL.
    Userinfo,
    /// What follows `Authorization:` or `Bearer`.
    Credential,
    /// The value of a key such as `password`.
    Value,
    /// A JSON Web Token.
    Jwt,
    /// A token whose prefix says whose it is.
    Token,
    /// An e-mail address.
    Email,
    /// A payment card number (Luhn).
    Card,
    /// A bank account number (ISO 13616, modulo 97).
    Iban,
    /// Looks random.
    Random,
}

impl Secret {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::PrivateKey,
        Self::Userinfo,
        Self::Credential,
        Self::Value,
        Self::Jwt,
        Self::Token,
        Self::Email,
        Self::Card,
        Self::Iban,
        Self::Random,
    ];

    /// The name inside a pseudonym.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "PRIVATE_KEY",
            Self::Userinfo => "USERINFO",
            Self::Credential => "CREDENTIAL",
            Self::Value => "SECRET",
            Self::Jwt => "JWT",
            Self::Token => "TOKEN",
            Self::Email => "EMAIL",
            Self::Card => "CARD",
            Self::Iban => "IBAN",
            Self::Random => "RANDOM",
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Takes secrets out of texts that belong together.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    pseudonyms: BTreeMap<(Secret, String), u32>,
    counts: BTreeMap<Secret, u32>,
}

impl Redactor {
    /// A redactor that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text without its secrets. Doing it twice changes nothing more.
    pub fn text<'a>(&mut self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for rule in rules::RULES.iter() {
            if rule.may_match(&text)
                && let Some(replaced) = rule.replace(&text, |kind, secret| self.pseudonym(kind, secret))
            {
                text = Cow::Owned(replaced);
            }
        }
        text
    }

    /// How many of each kind were taken out.
    pub const fn counts(&self) -> &BTreeMap<Secret, u32> {
        &self.counts
    }

    /// How many were taken out.
    pub fn total(&self) -> u32 {
        self.counts.values().sum()
    }

    fn pseudonym(&mut self, kind: Secret, secret: &str) -> String {
        *self.counts.entry(kind).or_default() += 1;
        if self.pseudonyms.len() >= MAX_PSEUDONYMS
            && !self.pseudonyms.contains_key(&(kind, secret.to_owned()))
        {
            return format!("<{kind}_0>");
        }
        let next = self.pseudonyms.keys().filter(|(known, _)| *known == kind).count() as u32 + 1;
        let number = *self.pseudonyms.entry((kind, secret.to_owned())).or_insert(next);
        format!("<{kind}_{number}>")
    }
}

/// Whether the text is one of our pseudonyms.
fn is_pseudonym(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else { return false };
    inner.rsplit_once('_').is_some_and(|(name, number)| {
        Secret::ALL.iter().any(|kind| kind.name() == name)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests;
