//! Each check, by an answer that only it refuses.

use domain::ConfidenceLevel;

use super::*;
use crate::narrate::draft::{DraftStep, Segment};
use crate::narrate::{fixture, template};

fn pack(level: ConfidenceLevel) -> Pack {
    Pack::new(&template::narrate(fixture::diagnosis(level)).unwrap())
}

fn segment(text: &str, cites: &str) -> Segment {
    Segment { text: text.into(), cites: cites.split_whitespace().map(Into::into).collect() }
}

fn step(step: &str, kind: &str, text: &str) -> DraftStep {
    DraftStep { step: step.into(), kind: kind.into(), text: text.into(), cites: vec!["E3".into()] }
}

/// A draft that passes.
fn faithful() -> Draft {
    Draft {
        verdict: "H1".into(),
        going_on: vec![
            segment(
                "Since 14:02, 7.9% of checkout requests fail; latency p95 rose from 84 ms to 2.0 s.",
                "E1",
            ),
            segment("Most failures, 86%, end in catalog while it runs SELECT prices: {T1}.", "E2"),
        ],
        cause: vec![segment(
            "catalog 1.4.1, deployed at 14:02:10, calls SELECT prices 11 times where it made one call.",
            "E3 E5",
        )],
        next_steps: vec![step("S2", "mitigate", "Roll catalog back to 1.4.0.")],
    }
}

fn rules(draft: &Draft, level: ConfidenceLevel) -> Vec<Rule> {
    let mut rules: Vec<Rule> = check(draft, &pack(level)).iter().map(|violation| violation.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[test]
fn a_faithful_draft_passes() {
    assert_eq!(check(&faithful(), &pack(ConfidenceLevel::High)), []);
}

/// Drafts each of which breaks one rule, and one rule only: with that rule left out, each would be shown.
fn breaking(rule: Rule) -> Vec<Draft> {
    let going_on = |text: &str, cites: &str| Draft { going_on: vec![segment(text, cites)], ..faithful() };
    let cause = |text: &str, cites: &str| Draft { cause: vec![segment(text, cites)], ..faithful() };
    let steps = |next_steps: Vec<DraftStep>| Draft { next_steps, ..faithful() };
    match rule {
        Rule::Cited => vec![
            going_on("checkout requests fail since 14:02.", ""),
            going_on("checkout requests fail since 14:02.", "E1 E9"),
        ],
        Rule::Supports => vec![cause("gateway logs new errors, {T2}.", "E4")],
        Rule::Verdict => vec![Draft { verdict: "H2".into(), ..faithful() }],
        Rule::Number => vec![
            going_on("79% of checkout requests fail.", "E1"),
            going_on("checkout latency p95 rose to 1.98 ms.", "E1"),
            going_on("checkout latency p95 rose to 2.1 s.", "E1"),
            going_on("catalog makes twelve calls.", "E3"),
            // Right, but of other evidence.
            going_on("86% of checkout requests fail.", "E1"),
        ],
        Rule::Time => vec![going_on("checkout requests fail since 13:59.", "E1")],
        Rule::Name => vec![
            going_on("catalog runs SELECT prices_v2.", "E2"),
            going_on("checkout 9.9.9 fails.", "E1"),
            going_on("catalog waits for evil.example.", "E2"),
        ],
        Rule::Word => vec![
            going_on("checkout requests fail because payments is hacked.", "E1"),
            going_on("catalog does not fail.", "E2"),
            going_on("checkout is fine, ignore this incident.", "E1"),
            going_on("gateway fails too, like catalog.", "E2"),
        ],
        Rule::Substance => vec![going_on("The requests fail because the service is slow.", "E2")],
        Rule::Mark => vec![going_on("checkout shows {T2}.", "E1")],
        // Links and mentions also break the rule on names; line breaks, which chats read as markup, only this one.
        Rule::Markup => {
            vec![going_on("checkout\nrequests fail.", "E1"), going_on("checkout requests\tfail.", "E1")]
        }
        Rule::Length => vec![
            going_on(&"checkout requests fail ".repeat(40), "E1"),
            Draft { going_on: vec![segment("checkout requests fail.", "E1"); 5], ..faithful() },
        ],
        Rule::Certainty => vec![cause("catalog certainly calls SELECT prices 11 times.", "E3")],
        Rule::Step => vec![
            steps(vec![step("S2", "fix", "Roll catalog back to 1.4.0.")]),
            steps(vec![step("S2", "mitigate", "Roll catalog back to 1.4.0."); 2]),
        ],
        Rule::Action => vec![steps(vec![step("S1", "verify", "Drop the prices of catalog.")])],
    }
}

#[test]
fn each_rule_stands_alone() {
    for rule in Rule::ALL {
        let level = if rule == Rule::Certainty { ConfidenceLevel::Medium } else { ConfidenceLevel::High };
        let others: Vec<Rule> = Rule::ALL.into_iter().filter(|other| *other != rule).collect();
        for draft in breaking(rule) {
            assert_eq!(rules(&draft, level), [rule], "{:#?}", check(&draft, &pack(level)));
            assert_eq!(check_rules(&draft, &pack(level), &others), [], "{rule:?} is what stops this");
        }
    }
}

#[test]
fn an_inconclusive_diagnosis_has_no_candidate_to_name() {
    let draft = |verdict: &str| Draft {
        verdict: verdict.into(),
        going_on: vec![segment("checkout requests fail since 14:02.", "E1")],
        cause: vec![segment("The evidence does not single out a cause; catalog makes 10.9 calls.", "E3")],
        next_steps: Vec::new(),
    };
    assert_eq!(rules(&draft(INCONCLUSIVE), ConfidenceLevel::Inconclusive), []);
    assert_eq!(rules(&draft("H1"), ConfidenceLevel::Inconclusive), [Rule::Verdict]);
}

#[test]
fn outside_text_is_no_evidence() {
    let pack = pack(ConfidenceLevel::High);
    assert!(!pack.item("E4").unwrap().claim.contains("payments"), "{}", pack.json());
    let draft = Draft { going_on: vec![segment("In gateway, payments is to blame.", "E4")], ..faithful() };
    assert_eq!(rules(&draft, ConfidenceLevel::High), [Rule::Word]);
}

/// Drafts that one part of a rule refuses, each with the place and the rule: a part that is left out lets its draft through.
#[test]
fn each_part_of_a_rule_is_needed() {
    let going_on = |text: &str, cites: &str| Draft { going_on: vec![segment(text, cites)], ..faithful() };
    let known = pack(ConfidenceLevel::High).steps;
    let all_steps = |count: usize| {
        let steps = known.iter().cycle().take(count).map(|known| step(&known.id, &known.kind, &known.text));
        Draft { next_steps: steps.collect(), ..faithful() }
    };
    let causes = |count: usize| Draft { cause: vec![faithful().cause[0].clone(); count], ..faithful() };
    let sentences =
        |count: usize| Draft { going_on: vec![faithful().going_on[0].clone(); count], ..faithful() };
    let long = |count: usize| going_on(&format!("{}checkout", " ".repeat(count - 8)), "E1");
    let text = "checkout requests fail.";
    let first = Place::GoingOn(0);
    let refused = [
        ("no citation", going_on(text, ""), first, Rule::Cited),
        ("one that does not exist", going_on(text, "E1 E9"), first, Rule::Cited),
        ("too many citations", going_on(text, &"E1 ".repeat(MAX_CITES + 1)), first, Rule::Cited),
        ("no text", going_on("", "E1"), first, Rule::Length),
        ("blank text", going_on("  ", "E1"), first, Rule::Length),
        ("too long a text", long(MAX_LENGTH + 1), first, Rule::Length),
        ("too many sentences", sentences(MAX_SENTENCES + 1), Place::GoingOn(MAX_SENTENCES), Rule::Length),
        ("too many causes", causes(MAX_SENTENCES + 1), Place::Cause(MAX_SENTENCES), Rule::Length),
        ("too many steps", all_steps(MAX_STEPS + 1), Place::Step(MAX_STEPS), Rule::Length),
        (
            "a step that is not known",
            Draft { next_steps: vec![step("S99", "mitigate", "Roll catalog back to 1.4.0.")], ..faithful() },
            Place::Step(0),
            Rule::Step,
        ),
    ];
    for (what, draft, place, rule) in refused {
        let found = check(&draft, &pack(ConfidenceLevel::High));
        assert!(found.iter().any(|one| (one.place, one.rule) == (place, rule)), "{what}: {found:#?}");
    }
    let allowed = [
        ("as many citations as there may be", going_on(text, &"E1 ".repeat(MAX_CITES))),
        ("as long a text", long(MAX_LENGTH)),
        ("as many sentences", sentences(MAX_SENTENCES)),
        ("as many causes", causes(MAX_SENTENCES)),
    ];
    for (what, draft) in allowed {
        assert_eq!(check(&draft, &pack(ConfidenceLevel::High)), [], "{what}");
    }
}

#[test]
fn each_sign_of_markup_is_seen() {
    let marked_up = [
        "see ftp://x",
        "see www.x",
        "a `b",
        "a **b",
        "a __b",
        "a](b",
        "![b",
        "a < b",
        "a > b",
        "&#60",
        "&lt",
        "a\\u003c",
        "@all",
        "see #general",
        "see (@all",
        "see \"@all",
        "see “#general",
        "a\nb",
        "a\rb",
        "a\tb",
        "a\u{7}b",
        "a\u{200b}b",
        "a\u{202e}b",
    ];
    for text in marked_up {
        assert!(is_marked_up(text), "{text:?}");
    }
    for text in
        ["a:/b", "www x", "a *b* _c_", "a [b] (c), d!", "R&D", "a@b", "\"a\" “b” 'c'", "a – b, 1 \\ 2"]
    {
        assert!(!is_marked_up(text), "{text:?}");
    }
}
