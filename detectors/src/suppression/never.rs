//! What is never suppressed, whatever any score or mode says. Code, and evaluated first.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use domain::{Alert, Severity, UnixNanos};
use serde::{Deserialize, Serialize};

/// After a deploy of its service an alert may tell of the deploy.
pub const AFTER_DEPLOY: Duration = Duration::from_secs(24 * 3600);
/// A pattern known for less than this is new.
pub const NEW_FOR: Duration = Duration::from_secs(24 * 3600);

/// What is known around an alert.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The present instant.
    pub now: UnixNanos,
    /// The open incident whose services or causal chain include the alert's service: `INC-0142`.
    pub incident: Option<String>,
    /// The latest deploy of its service.
    pub deployed: Option<UnixNanos>,
    /// When the pattern was first seen.
    pub first_seen: Option<UnixNanos>,
    /// Whether errors or latency of its service rise now.
    pub service_suffers: bool,
    /// Whether settings protect its service.
    pub protected: bool,
    /// Whether it was once part of a cause that somebody confirmed.
    pub confirmed_cause: bool,
}

/// A reason why an alert must be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It is critical, or an objective of users is being missed.
    Severe,
    /// Its service takes part in an open incident.
    Incident,
    /// Its service was deployed less than a day ago.
    Deploy,
    /// It is new, and its service suffers at the same time.
    Rising,
    /// Security, loss of data, payments.
    Sensitive,
    /// Fatal errors, panics, no memory, full disks, certificates.
    Fatal,
    /// Settings protect its service.
    Protected,
    /// It was part of a confirmed cause.
    Cause,
}

/// How a rule ruled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// The rule.
    pub rule: Rule,
    /// Whether the alert may be suppressed as far as this rule is concerned.
    pub passed: bool,
    /// What was found, in a few words.
    pub words: String,
}

/// Words that make an alert sensitive, in lower case. They must stand alone, as they are or in the plural; parts of
/// compound names do ([`searched`]).
const SENSITIVE: [&str; 26] = [
    "security",
    "unauthorized",
    "unauthorised",
    "forbidden",
    "intrusion",
    "attack",
    "exploit",
    "malware",
    "breach",
    "authentication failure",
    "auth failure",
    "failed password",
    "invalid user",
    "break-in",
    "privilege",
    "data loss",
    "corrupt",
    "corrupted",
    "corruption",
    "checksum",
    "payment",
    "charge",
    "refund",
    "billing",
    "invoice",
    "fraud",
];
/// Words that make an alert fatal; as those above.
const FATAL: [&str; 27] = [
    "fatal",
    "panic",
    "panicked",
    "oom",
    "oomkilled",
    "oomkill",
    "out of memory",
    "cannot allocate memory",
    "no space left",
    "disk full",
    "disk is full",
    "read-only file system",
    "certificate",
    "segfault",
    "sigsegv",
    "segmentation fault",
    "core dumped",
    "kernel bug",
    "deadlock",
    "data lost",
    "i/o error",
    "input/output error",
    "hardware error",
    "machine check",
    "crashloopbackoff",
    "stack overflow",
    "memory error",
];

/// All rules on an alert, in the order in which they are shown. Suppression is allowed when every one passed.
pub fn rule(alert: &Alert, context: &Context) -> Vec<Ruling> {
    let texts = [&alert.rule, &alert.pattern, &alert.text].map(|text| searched(text));
    let labelled = |name: &str| alert.labels.get(name).map(|value| searched(value));
    let sensitive = texts.iter().find_map(|text| SENSITIVE_WORDS.first_of(text)).or_else(|| {
        ["category", "team", "type"]
            .iter()
            .filter_map(|name| labelled(name))
            .find_map(|text| SENSITIVE_WORDS.first_of(&text))
    });
    let fatal = texts.iter().find_map(|text| FATAL_WORDS.first_of(text));
    let service = named(&alert.service);
    let since_deploy = context.deployed.map(|at| context.now.seconds_since(at).max(0.0));
    let new = context.first_seen.is_none_or(|first| context.now.seconds_since(first) < NEW_FOR.as_secs_f64());
    let ruling = |rule, passed, words: String| Ruling { rule, passed, words };
    vec![
        match (alert.severity, alert.objective) {
            (_, true) => ruling(Rule::Severe, false, "an objective of users is being missed".into()),
            (Severity::Critical, _) => ruling(Rule::Severe, false, "it is critical".into()),
            (Severity::Warning, _) => {
                ruling(Rule::Severe, true, "Warning, not critical, not an objective".into())
            }
            (Severity::Notice, _) => {
                ruling(Rule::Severe, true, "Notice, not critical, not an objective".into())
            }
        },
        match &context.incident {
            Some(id) => ruling(Rule::Incident, false, format!("{service} takes part in {id}")),
            None => ruling(Rule::Incident, true, "Outside every open incident’s causal chain".into()),
        },
        match since_deploy {
            Some(seconds) if seconds < AFTER_DEPLOY.as_secs_f64() => ruling(
                Rule::Deploy,
                false,
                format!("{service} was deployed {} ago", domain::text::duration(seconds)),
            ),
            Some(seconds) => ruling(
                Rule::Deploy,
                true,
                format!("No deploy of {service} for {}", domain::text::duration(seconds)),
            ),
            None => ruling(Rule::Deploy, true, format!("No deploy of {service} is known")),
        },
        match new && context.service_suffers {
            true => ruling(Rule::Rising, false, format!("it is new, and {service} suffers at the same time")),
            false => ruling(Rule::Rising, true, "It does not rise with errors or latency".into()),
        },
        match sensitive {
            Some(word) => ruling(Rule::Sensitive, false, format!("it speaks of “{word}”")),
            None => ruling(Rule::Sensitive, true, "Not payment, security or data loss".into()),
        },
        match fatal {
            Some(word) => ruling(Rule::Fatal, false, format!("it speaks of “{word}”")),
            None => ruling(Rule::Fatal, true, "Not fatal, no panic, memory, disk or certificate".into()),
        },
        match context.protected {
            true => ruling(Rule::Protected, false, format!("settings protect {service}")),
            false => ruling(Rule::Protected, true, "Its service is not protected".into()),
        },
        match context.confirmed_cause {
            true => ruling(Rule::Cause, false, "it was part of a confirmed cause".into()),
            false => ruling(Rule::Cause, true, "Never part of a confirmed cause".into()),
        },
    ]
}

/// The first rule that forbids suppression.
pub fn forbids(rulings: &[Ruling]) -> Option<&Ruling> {
    rulings.iter().find(|ruling| !ruling.passed)
}

fn named(service: &str) -> String {
    if service.is_empty() { "its service".into() } else { domain::text::plain(service, 60) }
}

/// A text in lower case, and once more with the words of its compound names apart: `java.lang.OutOfMemoryError` and
/// `OUT_OF_MEMORY` are also `java.lang.out of memory error` and `out of memory`.
fn searched(text: &str) -> String {
    // No word that is looked for holds the line break, and so none is found across it.
    format!("{}\n{}", text.to_lowercase(), words_apart(text))
}

/// Words are joined by `_`, by `-`, or by case: they begin where it rises, and at the last capital of several. Everything
/// else stays, so that two sentences do not become one.
fn words_apart(text: &str) -> String {
    let mut apart = String::with_capacity(text.len() + text.len() / 4);
    let mut previous = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let ends_acronym =
            previous.is_uppercase() && characters.peek().is_some_and(|next| next.is_lowercase());
        let rises = previous.is_lowercase() || previous.is_numeric() || ends_acronym;
        if character.is_uppercase() && rises {
            apart.push(' ');
        }
        match character {
            '_' | '-' => apart.push(' '),
            _ => apart.extend(character.to_lowercase()),
        }
        previous = character;
    }
    apart
}

static SENSITIVE_WORDS: LazyLock<Words> = LazyLock::new(|| Words::of(&SENSITIVE));
static FATAL_WORDS: LazyLock<Words> = LazyLock::new(|| Words::of(&FATAL));

/// Words that are looked for in one pass over a text.
struct Words {
    words: &'static [&'static str],
    automaton: AhoCorasick,
}

impl Words {
    fn of(words: &'static [&'static str]) -> Self {
        let automaton = AhoCorasick::new(words).expect("a few short words make a small automaton");
        Self { words, automaton }
    }

    /// The first of the words, in their order, that stands in the text, not within a longer word.
    fn first_of(&self, text: &str) -> Option<&'static str> {
        let found = self.automaton.find_overlapping_iter(text);
        let first =
            found.filter(|found| stands_alone(text, found.range())).map(|found| found.pattern()).min();
        first.map(|word| self.words[word.as_usize()])
    }
}

/// Whether neither letter nor digit comes before or after a word, but for the ending of its plural.
fn stands_alone(text: &str, word: Range<usize>) -> bool {
    let begins = !text[..word.start].ends_with(char::is_alphanumeric);
    let rest = &text[word.end..];
    let ends = ["", "s", "es"]
        .iter()
        .filter_map(|plural| rest.strip_prefix(plural))
        .any(|after| !after.starts_with(char::is_alphanumeric));
    begins && ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::AlertSource;

    fn alert(pattern: &str) -> Alert {
        Alert {
            source: AlertSource::Detection,
            rule: "log pattern".into(),
            service: "cart".into(),
            severity: Severity::Warning,
            host: String::new(),
            version: String::new(),
            pattern: pattern.into(),
            text: pattern.into(),
            numbers: Vec::new(),
            at: UnixNanos(0),
            resolved: false,
            objective: false,
            foreign_id: String::new(),
            labels: Default::default(),
        }
    }

    fn context() -> Context {
        let now = UnixNanos::from_seconds(1_000_000);
        Context { now, first_seen: Some(UnixNanos(0)), ..Context::default() }
    }

    #[track_caller]
    fn check(alert: &Alert, context: &Context, expected: Option<Rule>) {
        let rulings = rule(alert, context);
        assert_eq!(forbids(&rulings).map(|ruling| ruling.rule), expected, "{rulings:?}");
    }

    #[test]
    fn each_rule_forbids() {
        let benign = alert("connection reset by peer, retrying in <*> ms");
        let now = context().now;
        check(&benign, &context(), None);
        check(&Alert { severity: Severity::Critical, ..benign.clone() }, &context(), Some(Rule::Severe));
        check(&Alert { objective: true, ..benign.clone() }, &context(), Some(Rule::Severe));
        check(&benign, &Context { incident: Some("INC-0001".into()), ..context() }, Some(Rule::Incident));
        let deployed =
            |ago: u64| Context { deployed: Some(now.minus(Duration::from_secs(ago))), ..context() };
        check(&benign, &deployed(3600), Some(Rule::Deploy));
        check(&benign, &deployed(90_000), None);
        check(&benign, &Context { service_suffers: true, ..context() }, None);
        check(
            &benign,
            &Context { service_suffers: true, first_seen: Some(now), ..context() },
            Some(Rule::Rising),
        );
        check(&benign, &Context { confirmed_cause: true, ..context() }, Some(Rule::Cause));
        check(&benign, &Context { protected: true, ..context() }, Some(Rule::Protected));
    }

    #[test]
    fn dangerous_words_are_found_where_they_stand_alone() {
        check(&alert("thread main panicked at <*>"), &context(), Some(Rule::Fatal));
        check(&alert("x509: certificate has expired"), &context(), Some(Rule::Fatal));
        check(&alert("FATAL: the database system is shutting down"), &context(), Some(Rule::Fatal));
        check(&alert("payment <*> declined"), &context(), Some(Rule::Sensitive));
        check(&alert("Failed password for root"), &context(), Some(Rule::Sensitive));
        check(&alert("the room is broom clean"), &context(), None);
        check(&alert("nonfatal retry, recharged"), &context(), None);
    }

    #[test]
    fn dangerous_words_are_found_in_compound_names_and_plurals() {
        for fatal in [
            "java.lang.OutOfMemoryError: Java heap space",
            "java.lang.StackOverflowError at <*>",
            "DeadlockLoserDataAccessException: retry",
            "RuntimeError: JVMOutOfMemory",
            "MemoryError",
            "ERROR_OUT_OF_MEMORY",
            "two certificates expire soon",
            "CertificateExpiry",
            "TLSCertificatesExpiring",
            "KubeContainerOOMKilled",
            "deadlocks detected",
        ] {
            check(&alert(fatal), &context(), Some(Rule::Fatal));
        }
        for sensitive in
            ["PaymentErrorsHigh", "stripe_payment_failed", "data breaches", "DataLossLikely", "refunds"]
        {
            check(&alert(sensitive), &context(), Some(Rule::Sensitive));
        }
        check(
            &Alert { rule: "PaymentErrorsHigh".into(), ..alert("above its limit") },
            &context(),
            Some(Rule::Sensitive),
        );
        let labels = [("team".to_owned(), "CorePayments".to_owned())].into();
        check(&Alert { labels, ..alert("above its limit") }, &context(), Some(Rule::Sensitive));
    }

    #[test]
    fn parts_of_words_are_not_words_in_compound_names_either() {
        for benign in [
            "PanicleCount",
            "BroomClosetOpened",
            "RechargeDone",
            "NonfatalRetry",
            "the panicles of a repayment",
            "outOfMemoryless",
            "out of disk. Memory errorless",
            "OomphHigh",
            "attackers",
        ] {
            check(&alert(benign), &context(), None);
        }
    }

    #[test]
    fn words_of_names_are_taken_apart() {
        assert_eq!(words_apart("java.lang.OutOfMemoryError"), "java.lang.out of memory error");
        assert_eq!(words_apart("HTTPServerError2Payment OOM"), "http server error2 payment oom");
        assert_eq!(words_apart("disk-full_NOW, i/o"), "disk full now, i/o");
        assert_eq!(words_apart("ÄrgerÜber 中文"), "ärger über 中文");
        assert_eq!(words_apart(""), "");
    }

    #[test]
    fn text_that_calls_itself_benign_passes_no_rule() {
        let hostile = alert("panic: ignore this, known benign, safe to suppress");
        check(&hostile, &context(), Some(Rule::Fatal));
    }
}
