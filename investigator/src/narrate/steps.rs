//! What to do next, in the order of somebody who is woken: undo what is blamed, then look, then repair.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use domain::text::plain;
use domain::{
    Change, ChangeKind, ConsideredChange, Diagnosis, EvidenceId, EvidenceKind, Exhibit, Hypothesis,
    HypothesisStatus, Mechanism, Sentence, Step, StepKind, Verdict,
};
use minijinja::context;
use serde::Deserialize;

use super::template::{ENVIRONMENT, strongest};
use crate::knowledge::{Knowledge, Pattern};
use crate::reason::collect::changes::named;
use crate::reason::outside::hosts;

const NEXT_STEPS: &str = include_str!("../../../knowledge/next_steps.toml");
/// Steps given.
const MAX_STEPS: usize = 3;
const OTHER_LEAD: &str = "If {{ service }} is sound, look at {{ other }}.";

static STEPS: LazyLock<BTreeMap<String, Vec<KnownStep>>> =
    LazyLock::new(|| toml::from_str(NEXT_STEPS).expect("knowledge/next_steps.toml is checked by a test"));

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownStep {
    kind: StepKind,
    text: String,
    #[serde(default)]
    command: String,
}

impl KnownStep {
    fn new(kind: StepKind, text: &str) -> Self {
        Self { kind, text: text.to_owned(), command: String::new() }
    }
}

/// The steps of a diagnosis. Where no cause is named nothing is touched yet: only what to look at is told.
pub fn next_steps(diagnosis: &Diagnosis, knowledge: &Knowledge) -> Result<Vec<Step>, minijinja::Error> {
    let Some(first) = diagnosis.hypotheses.first() else { return Ok(Vec::new()) };
    let blamed = diagnosis.changes.iter().find(|change| change.blamed);
    let general = STEPS.get(first.mechanism.as_str()).map_or(&[][..], Vec::as_slice);
    let fit = knowledge.fit(diagnosis);
    let mut known = match &fit {
        Some(fit) => special(&fit.pattern),
        None => general.to_vec(),
    };
    if let Some(blamed) = blamed {
        // Undoing what is blamed is the better relief, and comes first.
        known.retain(|step| step.kind != StepKind::Mitigate);
        known.insert(0, KnownStep::new(StepKind::Mitigate, &relief(diagnosis, &blamed.change)));
    }
    let other = other_lead(diagnosis, first);
    if diagnosis.verdict == Verdict::Inconclusive {
        known.retain(|step| step.kind == StepKind::Verify);
        known.extend(general.iter().filter(|step| fit.is_some() && step.kind == StepKind::Verify).cloned());
        known.extend(other.map(|_| KnownStep::new(StepKind::Verify, OTHER_LEAD)));
    }
    let outside = outside_host(diagnosis, first);
    let caller = diagnosis
        .chain
        .iter()
        .skip_while(|link| link.component != first.service)
        .nth(1)
        .map_or_else(|| diagnosis.service.clone(), |link| link.component.clone());
    let caller = if outside.is_some() { first.service.clone() } else { caller };
    let values = context! {
        service => plain(&first.service, 90),
        other => other.map_or_else(String::new, |other| plain(&other.service, 90)),
        dependency => plain(outside.as_deref().unwrap_or(&first.service), 90),
        caller => plain(&caller, 90),
        operation => operation(diagnosis, first).unwrap_or_else(|| "the call".to_owned()),
        undo => blamed.map_or_else(String::new, |blamed| undo(&blamed.change)),
        change => blamed.map_or_else(String::new, |blamed| crate::reason::collect::changes::title(&blamed.change)),
        previous => blamed.map_or_else(String::new, |blamed| named(&blamed.change.previous)),
    };
    let cites = fit.map_or_else(|| strongest(diagnosis, first), |fit| fit.evidence);
    known
        .iter()
        .take(MAX_STEPS)
        .enumerate()
        .map(|(place, step)| {
            let own = blamed.filter(|_| place == 0).and_then(|blamed| shown(diagnosis, blamed));
            let text = ENVIRONMENT.render_str(&step.text, &values)?;
            let command = ENVIRONMENT.render_str(&step.command, &values)?;
            let cite = own.or_else(|| cites.get(place).or(cites.first()).copied());
            let cites: Vec<EvidenceId> = cite.into_iter().collect();
            Ok(Step { kind: step.kind, text: Sentence::new(text, cites), command })
        })
        .collect()
}

/// The steps of a pattern: its first check, mitigation and fix.
fn special(pattern: &Pattern) -> Vec<KnownStep> {
    let one = |kind, texts: &[String]| texts.first().map(|text| KnownStep::new(kind, text));
    [
        one(StepKind::Verify, &pattern.checks),
        one(StepKind::Mitigate, &pattern.mitigations),
        one(StepKind::Fix, &pattern.fixes),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Undoing a change, or seeing whether its undoing helped.
fn relief(diagnosis: &Diagnosis, change: &Change) -> String {
    let later = diagnosis.changes.iter().map(|considered| &considered.change).find(|later| {
        later.kind == ChangeKind::Rollback && later.service == change.service && later.at > change.at
    });
    match later {
        Some(later) => {
            format!(
                "{{{{ service }}}} was rolled back at {}: see that the harm ends with it.",
                later.at.clock_time()
            )
        }
        None => "{{ undo }}".to_owned(),
    }
}

/// How a change is undone, in one sentence.
fn undo(change: &Change) -> String {
    let (service, version) = (plain(&change.service, 90), named(&change.version));
    let (reference, previous) = (named(&change.reference), named(&change.previous));
    let to = if previous.is_empty() { String::new() } else { format!(" to {previous}") };
    let of = if service.is_empty() { String::new() } else { format!(" of {service}") };
    let text = match change.kind {
        ChangeKind::Deploy if previous.is_empty() => {
            format!("Roll {service} back to what ran before {version}.")
        }
        ChangeKind::Deploy => format!("Roll {service} back from {version}{to}."),
        ChangeKind::CanaryStep => format!("Take the canary {version}{of} out of traffic."),
        ChangeKind::Flag => format!("Set flag {reference}{of} back{to}."),
        ChangeKind::Config => format!("Set configuration {reference}{of} back{to}."),
        ChangeKind::Scale => format!("Scale {service} back{to}."),
        ChangeKind::Migration => {
            format!("Undo migration {reference}{of} if it can be undone; stop it if it still runs.")
        }
        ChangeKind::Commit => {
            format!("Revert commit {reference}{of} and deploy, or roll back to what ran before it.")
        }
        ChangeKind::Rollback => {
            format!("Set {service} forward again from {version}, or to another version that is known good.")
        }
        ChangeKind::Other => format!("Undo change {reference}{of}."),
    };
    // What is not known leaves no hole.
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" .", ".").replace(" ;", ";")
}

/// The evidence of a change.
fn shown(diagnosis: &Diagnosis, blamed: &ConsideredChange) -> Option<EvidenceId> {
    let shows = |exhibit: &Exhibit| matches!(exhibit, Exhibit::Change { change } if *change == blamed.change);
    diagnosis.evidence.iter().find(|evidence| shows(&evidence.exhibit)).map(|evidence| evidence.id)
}

/// Where to look when the first lead is sound.
fn other_lead<'a>(diagnosis: &'a Diagnosis, first: &Hypothesis) -> Option<&'a Hypothesis> {
    diagnosis.hypotheses.iter().find(|other| {
        other.status == HypothesisStatus::Supported && other.service != first.service && other.score > 0.0
    })
}

/// What is slow or repeated: of repeated calls the statement, not what waits for it.
fn operation(diagnosis: &Diagnosis, first: &Hypothesis) -> Option<String> {
    let of = |kind: EvidenceKind| {
        diagnosis
            .evidence
            .iter()
            .find(move |evidence| evidence.kind == kind && evidence.service == first.service)
    };
    let called = || match &of(EvidenceKind::CallStructure)?.exhibit {
        Exhibit::Table { rows, .. } => Some(rows.first()?.get(1)?.split_once(": ")?.1.to_owned()),
        _ => None,
    };
    let slow =
        || Some(of(EvidenceKind::LatencyDiff)?.figures.get(1)?.name.trim_end_matches(" itself").to_owned());
    if first.mechanism == Mechanism::RepeatedCalls { called().or_else(slow) } else { slow() }
}

/// The host outside the system that the cause names.
fn outside_host(diagnosis: &Diagnosis, first: &Hypothesis) -> Option<String> {
    if first.mechanism != Mechanism::FailingDependency {
        return None;
    }
    let said = |text: &str| hosts(text).find(|host| first.statement.text.contains(*host)).map(str::to_owned);
    let supporting = diagnosis.evidence.iter().filter(|evidence| first.supports.contains(&evidence.id));
    supporting
        .filter_map(|evidence| match &evidence.exhibit {
            Exhibit::LogPatterns { patterns } => patterns.iter().find_map(|pattern| said(&pattern.sample)),
            Exhibit::ErrorCauses { causes, .. } => causes.iter().find_map(|cause| said(&cause.message)),
            _ => None,
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::narrate::fixture;
    use domain::{ConfidenceLevel, UnixNanos};

    #[test]
    fn every_step_renders_for_every_mechanism() {
        for (mechanism, steps) in STEPS.iter() {
            assert!(!steps.is_empty(), "{mechanism}");
            for step in steps {
                let values = context! { service => "a", caller => "b", operation => "c", dependency => "f", undo => "D.", change => "d", previous => "e" };
                let text = ENVIRONMENT.render_str(&step.text, values).expect(mechanism);
                assert!(text.ends_with(['.', '?']), "{mechanism}: {text}");
            }
        }
    }

    #[test]
    fn every_mechanism_has_a_next_step() {
        for mechanism in Mechanism::ALL {
            assert!(STEPS.contains_key(mechanism.as_str()), "{mechanism:?}");
        }
    }

    fn kinds(diagnosis: &Diagnosis) -> Vec<StepKind> {
        let steps = next_steps(diagnosis, Knowledge::built_in()).unwrap();
        steps.into_iter().map(|step| step.kind).collect()
    }

    #[test]
    fn what_is_blamed_is_undone_first_and_nothing_is_touched_without_a_cause() {
        let mut diagnosis = fixture::diagnosis(ConfidenceLevel::High);
        assert!(diagnosis.changes.iter().any(|change| change.blamed));
        assert_eq!(kinds(&diagnosis), [StepKind::Mitigate, StepKind::Verify, StepKind::Fix]);
        diagnosis.verdict = Verdict::Inconclusive;
        diagnosis.changes.iter_mut().for_each(|change| change.blamed = false);
        assert!(kinds(&diagnosis).iter().all(|kind| *kind == StepKind::Verify));
        assert!(!kinds(&diagnosis).is_empty());
    }

    #[test]
    fn every_change_is_undone_in_its_way() {
        let check = |kind: ChangeKind, previous: &str, expected: &str| {
            let change = Change {
                at: UnixNanos::default(),
                kind,
                service: "cart".into(),
                version: "2.0".into(),
                previous: previous.into(),
                reference: "9fceb02d0ae598e95dc970b74767f19372d61af8".into(),
                ..Change::default()
            };
            assert_eq!(undo(&change), expected);
        };
        check(ChangeKind::Deploy, "1.9", "Roll cart back from 2.0 to 1.9.");
        check(ChangeKind::Deploy, "", "Roll cart back to what ran before 2.0.");
        check(ChangeKind::CanaryStep, "", "Take the canary 2.0 of cart out of traffic.");
        check(
            ChangeKind::Commit,
            "",
            "Revert commit 9fceb02d0ae5 of cart and deploy, or roll back to what ran before it.",
        );
        check(ChangeKind::Flag, "off", "Set flag 9fceb02d0ae5 of cart back to off.");
    }
}
