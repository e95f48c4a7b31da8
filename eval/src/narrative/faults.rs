//! What is wrong with a sentence that was shown, judged from the diagnosis alone.
//!
//! Deliberately absent: anything of the narrator's own checks. They ask whether each word may stand; this asks whether what
//! stands is so: numbers and names of services in the text of what is cited, causes by what speaks for the cause, steps by the
//! words of a step that the engine knows.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use domain::{Diagnosis, Evidence, EvidenceKind, Exhibit, Sentence, Step, UnixNanos};
use regex::Regex;

/// Where a sentence stands.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// What is going on.
    GoingOn,
    /// The cause.
    Cause,
    /// A next step.
    Step(&'a Step),
}

/// Share of a step's words that the known step has, at least.
const SHARED: f64 = 0.5;
/// Letters of a word that tell it from others, whatever its ending.
const STEM: usize = 4;

static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:[.:]\d+)*%?"));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| pattern("“[^”]*”"));
/// What only a name looks like: signs or digits between letters, as `payment-db` and `v2`.
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z][A-Za-z]*(?:[-_.:/][A-Za-z0-9]+|[0-9]+)+"));

fn pattern(of: &str) -> Regex {
    Regex::new(of).expect("a pattern of ours")
}

/// What is wrong with a sentence, in a few words each; nothing when it is held by what it cites.
pub fn of(place: &Place<'_>, sentence: &Sentence, diagnosis: &Diagnosis, known: &[Step]) -> Vec<String> {
    let cited = cited(sentence, diagnosis);
    let mut found = Vec::new();
    if cited.is_empty() || cited.len() < sentence.cites.len() {
        found.push("cites what does not exist, or nothing".to_owned());
    }
    let step = match place {
        Place::Step(step) => counterpart(step, known),
        Place::GoingOn | Place::Cause => None,
    };
    let allowed: Vec<String> = cited
        .iter()
        .map(|evidence| text(evidence, diagnosis))
        .chain(step.map(|step| step.text.text.clone()))
        .collect();
    let words = unquoted(&sentence.text);
    for number in
        NUMBER.find_iter(&words).filter(|number| !allowed.iter().any(|text| has(text, number.as_str())))
    {
        found.push(format!("{} is not in what is cited", number.as_str()));
    }
    for name in
        names(&words, diagnosis).into_iter().filter(|name| !allowed.iter().any(|text| speaks_of(text, name)))
    {
        found.push(format!("{name} is not in what is cited"));
    }
    match place {
        Place::Cause => {
            let cause = diagnosis.cause();
            let strays = cited
                .iter()
                .filter(|evidence| cause.is_some_and(|cause| !cause.supports.contains(&evidence.id)));
            found.extend(strays.map(|evidence| format!("{} does not speak for the cause", evidence.id)));
        }
        Place::Step(_) if step.is_none() => found.push("is no step that is known".to_owned()),
        Place::Step(_) | Place::GoingOn => {}
    }
    found
}

/// The evidence that a sentence cites, as far as it exists.
pub fn cited<'a>(sentence: &Sentence, diagnosis: &'a Diagnosis) -> Vec<&'a Evidence> {
    sentence
        .cites
        .iter()
        .filter_map(|id| diagnosis.evidence.iter().find(|evidence| evidence.id == *id))
        .collect()
}

/// The numbers of a sentence, each with whether what it cites has it.
pub fn numbers(sentence: &Sentence, diagnosis: &Diagnosis) -> Vec<(String, bool)> {
    let texts: Vec<String> =
        cited(sentence, diagnosis).into_iter().map(|evidence| text(evidence, diagnosis)).collect();
    NUMBER
        .find_iter(&unquoted(&sentence.text))
        .map(|number| (number.as_str().to_owned(), texts.iter().any(|text| has(text, number.as_str()))))
        .collect()
}

/// The sentence without the outside texts that it shows in quotation marks.
pub fn unquoted(text: &str) -> String {
    QUOTED.replace_all(text, "").trim_end_matches([':', ' ', '.']).to_owned()
}

/// What a piece of evidence says by itself: its service, claim and figures, when it began, and of a change what changed. What users
/// felt belongs to the service level of the service that they use.
fn text(evidence: &Evidence, diagnosis: &Diagnosis) -> String {
    let mut said = vec![evidence.service.clone(), evidence.claim.clone()];
    said.extend(
        evidence
            .figures
            .iter()
            .flat_map(|figure| [figure.name.clone(), figure.before.clone(), figure.now.clone()]),
    );
    said.extend(evidence.began.map(UnixNanos::clock_time));
    if let Exhibit::Change { change } = &evidence.exhibit {
        said.extend([
            change.service.clone(),
            change.version.clone(),
            change.previous.clone(),
            change.at.clock_time(),
        ]);
    }
    if evidence.kind == EvidenceKind::ServiceLevel && evidence.service == diagnosis.service {
        let impact = &diagnosis.impact;
        let share = |part: u64| domain::text::percent(part as f64 / impact.requests.max(1) as f64);
        said.extend([impact.requests, impact.failed, impact.slow].map(|count| count.to_string()));
        said.extend([share(impact.failed), share(impact.slow)]);
        said.extend(diagnosis.started.map(UnixNanos::clock_time));
    }
    said.join("\n").replace('\u{202f}', "")
}

/// Whether a text has a number, to the digits given; a share is another thing than a count.
fn has(text: &str, number: &str) -> bool {
    NUMBER.find_iter(text).any(|found| {
        let found = found.as_str();
        let (plain, wanted) = (found.trim_end_matches('%'), number.trim_end_matches('%'));
        found == number
            || found.starts_with(&format!("{number}:"))
            || (found.ends_with('%') == number.ends_with('%') && rounds_to(plain, wanted))
    })
}

fn rounds_to(found: &str, number: &str) -> bool {
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    match (found.parse::<f64>(), number.parse::<f64>()) {
        (Ok(found), Ok(number)) => format!("{found:.decimals$}") == format!("{number:.decimals$}"),
        _ => false,
    }
}

/// Services of the diagnosis that a text names, and whatever else in it only a name looks like.
fn names(text: &str, diagnosis: &Diagnosis) -> BTreeSet<String> {
    let services = std::iter::once(&diagnosis.service)
        .chain(diagnosis.evidence.iter().map(|evidence| &evidence.service))
        .chain(diagnosis.hypotheses.iter().map(|hypothesis| &hypothesis.service))
        .chain(diagnosis.changes.iter().map(|change| &change.change.service));
    let named = services.filter(|service| !service.is_empty() && speaks_of(text, service)).cloned();
    let like_names = NAME.find_iter(text).map(|found| found.as_str().to_owned());
    named.chain(like_names.filter(|name| name.split(['-', '/']).any(|part| !is_word(part)))).collect()
}

/// `rolled-back` is two words, `payment-2` and `a.b` are names.
fn is_word(part: &str) -> bool {
    part.chars().all(char::is_alphabetic)
}

/// Whether a name stands in a text by itself, not inside a longer word.
fn speaks_of(text: &str, name: &str) -> bool {
    let inside = |character: Option<char>| character.is_some_and(|one| one.is_alphanumeric() || one == '_');
    text.match_indices(name).any(|(place, _)| {
        !inside(text[..place].chars().next_back()) && !inside(text[place + name.len()..].chars().next())
    })
}

/// The known step that a shown one says again: of its kind, with its verb, and with most of its words.
fn counterpart<'a>(shown: &Step, known: &'a [Step]) -> Option<&'a Step> {
    let words = stems(&shown.text.text);
    known.iter().filter(|step| step.kind == shown.kind).find(|step| {
        let theirs = stems(&step.text.text);
        let shared = words.iter().filter(|word| theirs.contains(word)).count();
        words.first().is_some_and(|verb| theirs.contains(verb))
            && shared as f64 >= words.len() as f64 * SHARED
    })
}

/// The beginnings of the words of a text, in order.
fn stems(text: &str) -> Vec<String> {
    let words = text
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| word.chars().count() >= STEM);
    words.map(|word| word.to_lowercase().chars().take(STEM).collect()).collect()
}

#[cfg(test)]
mod tests {
    use domain::diagnosis::{Confidence, HypothesisStatus, Impact};
    use domain::{
        ConfidenceLevel, EvidenceId, Figure, Hypothesis, HypothesisId, Mechanism, StepKind, Strength,
        Verdict, Window,
    };

    use super::*;

    fn evidence(id: u32, kind: EvidenceKind, service: &str, claim: &str, now: &str) -> Evidence {
        let figure = Figure {
            name: "p95".into(),
            before: "84 ms".into(),
            now: now.into(),
            before_value: None,
            now_value: None,
        };
        Evidence {
            id: EvidenceId(id),
            kind,
            service: service.into(),
            claim: claim.into(),
            strength: Strength::Strong,
            supports: Vec::new(),
            contradicts: Vec::new(),
            figures: vec![figure],
            // 14:02:31.
            began: Some(UnixNanos::from_seconds(50_551)),
            window: Window::new(UnixNanos::from_seconds(50_000), UnixNanos::from_seconds(51_000)),
            query: String::new(),
            exhibit: Exhibit::None,
        }
    }

    /// Users of checkout are hurt, catalog is to blame, and gateway is beside it.
    fn diagnosis() -> Diagnosis {
        let cause = Hypothesis {
            id: HypothesisId(1),
            service: "catalog".into(),
            instance: String::new(),
            mechanism: Mechanism::RepeatedCalls,
            change: None,
            score: 0.9,
            status: HypothesisStatus::Supported,
            statement: Sentence::new("catalog calls the database too often", [EvidenceId(2)]),
            predictions: Vec::new(),
            supports: vec![EvidenceId(1), EvidenceId(2)],
            contradicts: Vec::new(),
            began: None,
        };
        Diagnosis {
            service: "checkout".into(),
            title: String::new(),
            window: Window::new(UnixNanos::from_seconds(50_000), UnixNanos::from_seconds(51_000)),
            baseline: None,
            started: None,
            verdict: Verdict::NoChange,
            confidence: Confidence { level: ConfidenceLevel::High, score: 0.9, reasons: Vec::new() },
            impact: Impact { requests: 1000, failed: 79, slow: 0, ..Impact::default() },
            chain: Vec::new(),
            changes: Vec::new(),
            evidence: vec![
                evidence(1, EvidenceKind::ServiceLevel, "checkout", "checkout left its baseline.", "1.98 s"),
                evidence(2, EvidenceKind::LatencyDiff, "catalog", "catalog runs SELECT 11 times.", "384 ms"),
                evidence(3, EvidenceKind::LogPatterns, "gateway", "gateway logs a new pattern.", "12"),
            ],
            hypotheses: vec![cause],
            checks: Vec::new(),
            gaps: Vec::new(),
            timeline: Vec::new(),
        }
    }

    fn step(kind: StepKind, text: &str) -> Step {
        Step { kind, text: Sentence::new(text, [EvidenceId(2)]), command: String::new() }
    }

    #[track_caller]
    fn check(place: Place<'_>, text: &str, cites: &[u32], expected: &[&str]) {
        let known = [
            step(StepKind::Verify, "Look at the statements that catalog runs, with their counts."),
            step(StepKind::Mitigate, "Roll catalog back to 1.4.0."),
        ];
        let cites: Vec<EvidenceId> = cites.iter().copied().map(EvidenceId).collect();
        let sentence = Sentence::new(text, cites);
        assert_eq!(of(&place, &sentence, &diagnosis(), &known), expected, "{text}");
    }

    #[test]
    fn what_is_held_by_what_it_cites_has_no_fault() {
        check(Place::GoingOn, "Since 14:02, 7.9% of checkout requests fail; p95 rose to 2.0 s.", &[1], &[]);
        check(Place::GoingOn, "gateway logs “payment-db gone, 99 times”.", &[3], &[]);
        check(Place::Cause, "catalog runs SELECT 11 times.", &[2], &[]);
        let said = step(StepKind::Mitigate, "Roll back catalog to 1.4.0.");
        check(Place::Step(&said), "Roll back catalog to 1.4.0.", &[2], &[]);
    }

    #[test]
    fn each_fault_is_found() {
        check(
            Place::GoingOn,
            "checkout fails.",
            &[],
            &["cites what does not exist, or nothing", "checkout is not in what is cited"],
        );
        check(Place::GoingOn, "checkout fails.", &[1, 9], &["cites what does not exist, or nothing"]);
        check(Place::GoingOn, "79% of checkout requests fail.", &[1], &["79% is not in what is cited"]);
        // Right, but not of this evidence.
        check(Place::GoingOn, "catalog fails 7.9% of requests.", &[2], &["7.9% is not in what is cited"]);
        check(Place::GoingOn, "checkout fails since 13:59.", &[1], &["13:59 is not in what is cited"]);
        check(Place::GoingOn, "gateway fails too.", &[1], &["gateway is not in what is cited"]);
        check(
            Place::GoingOn,
            "checkout waits for payment-db2.",
            &[1],
            &["payment-db2 is not in what is cited"],
        );
        check(Place::Cause, "gateway logs a new pattern.", &[3], &["E3 does not speak for the cause"]);
        let unknown = "is no step that is known";
        for (kind, text) in [
            (StepKind::Fix, "Roll back catalog."),
            (StepKind::Verify, "Drop the statements of catalog."),
            (StepKind::Verify, "Look elsewhere, somewhere entirely different, catalog."),
        ] {
            check(Place::Step(&step(kind, text)), text, &[2], &[unknown]);
        }
    }
}
