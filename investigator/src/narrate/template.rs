//! Tells a diagnosis from templates: always works, needs no model, cites evidence in every sentence.
//!
//! A template yields lines of `text | E1 E2`. The text is plain; whoever shows it escapes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use domain::text::{percent, plain, seconds};
use domain::{
    Answer, Diagnosis, Evidence, EvidenceId, EvidenceKind, Hypothesis, NarratedBy, Report, Sentence, Step,
    StepKind, Verdict,
};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::Deserialize;

use crate::knowledge::{Knowledge, Pattern};

const GOING_ON: &str = include_str!("../../../prompts/answer/going_on.txt");
const CAUSE: &str = include_str!("../../../prompts/answer/cause.txt");
const NEXT_STEPS: &str = include_str!("../../../knowledge/next_steps.toml");
/// Steps given.
const MAX_STEPS: usize = 3;
/// Citations shown after one sentence.
const MAX_CITES: usize = 4;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    // Sentences are plain text; pages escape them.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment
});

static STEPS: LazyLock<BTreeMap<String, Vec<KnownStep>>> =
    LazyLock::new(|| toml::from_str(NEXT_STEPS).expect("knowledge/next_steps.toml is checked by a test"));

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownStep {
    kind: StepKind,
    text: String,
    #[serde(default)]
    command: String,
    #[serde(default)]
    change: Option<bool>,
}

/// The report of a diagnosis, with next steps from the project's own knowledge.
pub fn narrate(diagnosis: Diagnosis) -> Result<Report, minijinja::Error> {
    narrate_with(diagnosis, Knowledge::built_in())
}

/// The report of a diagnosis.
pub fn narrate_with(diagnosis: Diagnosis, knowledge: &Knowledge) -> Result<Report, minijinja::Error> {
    let answer = Answer {
        going_on: going_on(&diagnosis)?,
        cause: cause(&diagnosis)?,
        next_steps: next_steps(&diagnosis, knowledge)?,
    };
    let (citations, citations_checked) = count_citations(&answer, &diagnosis);
    Ok(Report {
        format: Report::FORMAT,
        citations,
        citations_checked,
        answer,
        narrated: NarratedBy::Template,
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        diagnosis,
    })
}

/// Citations in an answer, and how many of them point at evidence which exists.
pub fn count_citations(answer: &Answer, diagnosis: &Diagnosis) -> (u32, u32) {
    let known: BTreeSet<EvidenceId> = diagnosis.evidence.iter().map(|evidence| evidence.id).collect();
    let cited: Vec<EvidenceId> =
        sentences(answer).flat_map(|sentence| sentence.cites.iter().copied()).collect();
    (cited.len() as u32, cited.iter().filter(|id| known.contains(id)).count() as u32)
}

fn sentences(answer: &Answer) -> impl Iterator<Item = &Sentence> {
    answer.going_on.iter().chain(&answer.cause).chain(answer.next_steps.iter().map(|step| &step.text))
}

fn going_on(diagnosis: &Diagnosis) -> Result<Vec<Sentence>, minijinja::Error> {
    let impact = &diagnosis.impact;
    let share = |part: u64| {
        (part > 0 && impact.requests > 0)
            .then(|| part as f64 / impact.requests as f64)
            .filter(|share| *share >= 0.005)
            .map(percent)
    };
    let found = |kind: EvidenceKind| diagnosis.evidence.iter().find(|evidence| evidence.kind == kind);
    let claim = |evidence: Option<&Evidence>| {
        evidence.map(|evidence| context! { claim => evidence.claim.clone(), cite => evidence.id.to_string() })
    };
    let threshold = diagnosis.impact.objectives.iter().find(|status| status.sli == domain::Sli::Latency);
    lines(
        GOING_ON,
        context! {
            started => diagnosis.started.map(domain::UnixNanos::clock_time),
            service => plain(&diagnosis.service, 90),
            failed_share => share(impact.failed),
            slow_share => share(impact.slow),
            threshold => threshold.map_or_else(|| seconds(0.5), |status| status.name.rsplit("under ").next().unwrap_or_default().to_owned()),
            level_cites => found(EvidenceKind::ServiceLevel).map_or_else(|| cites(&leading(diagnosis)), |evidence| evidence.id.to_string()),
            errors => claim(found(EvidenceKind::ErrorCauses).filter(|_| impact.failed > 0)),
            latency => claim(found(EvidenceKind::LatencyDiff)),
        },
    )
}

fn cause(diagnosis: &Diagnosis) -> Result<Vec<Sentence>, minijinja::Error> {
    let first = diagnosis.hypotheses.first().map(|first| {
        context! { service => first.service.clone(), statement => first.statement.text.clone(), cites => cites(&strongest(diagnosis, first)) }
    });
    lines(CAUSE, context! { inconclusive => diagnosis.verdict == Verdict::Inconclusive, first => first })
}

/// The strongest evidence for a hypothesis, one per kind, in order of citation.
fn strongest(diagnosis: &Diagnosis, hypothesis: &Hypothesis) -> Vec<EvidenceId> {
    let mut supporting: Vec<&Evidence> =
        diagnosis.evidence.iter().filter(|evidence| hypothesis.supports.contains(&evidence.id)).collect();
    supporting.sort_by_key(|evidence| (std::cmp::Reverse(evidence.strength), evidence.id));
    let mut kinds = BTreeSet::new();
    supporting.retain(|evidence| kinds.insert(evidence.kind));
    let mut ids: Vec<EvidenceId> =
        supporting.into_iter().take(MAX_CITES).map(|evidence| evidence.id).collect();
    ids.sort_unstable();
    ids
}

/// What the first hypothesis rests on; failing that, whatever was found first.
fn leading(diagnosis: &Diagnosis) -> Vec<EvidenceId> {
    let first = diagnosis.hypotheses.first().map(|first| strongest(diagnosis, first)).unwrap_or_default();
    if first.is_empty() {
        diagnosis.evidence.iter().take(1).map(|evidence| evidence.id).collect()
    } else {
        first
    }
}

fn next_steps(diagnosis: &Diagnosis, knowledge: &Knowledge) -> Result<Vec<Step>, minijinja::Error> {
    let Some(first) = diagnosis.hypotheses.first() else { return Ok(Vec::new()) };
    let blamed = diagnosis.changes.iter().find(|change| change.blamed);
    let general = STEPS.get(first.mechanism.as_str()).map_or(&[][..], Vec::as_slice);
    let fit = knowledge.fit(diagnosis);
    let known = match &fit {
        Some(fit) => special(&fit.pattern, general, blamed.is_some()),
        None => general.to_vec(),
    };
    let operation = diagnosis
        .evidence
        .iter()
        .find(|evidence| evidence.kind == EvidenceKind::LatencyDiff && evidence.service == first.service);
    let operation = operation
        .and_then(|evidence| evidence.figures.get(1))
        .map(|figure| figure.name.trim_end_matches(" itself").to_owned());
    let caller = diagnosis
        .chain
        .iter()
        .skip_while(|link| link.component != first.service)
        .nth(1)
        .map_or_else(|| diagnosis.service.clone(), |link| link.component.clone());
    let values = context! {
        service => plain(&first.service, 90),
        caller => plain(&caller, 90),
        operation => operation.unwrap_or_else(|| "the call".to_owned()),
        change => blamed.map_or_else(String::new, |blamed| crate::reason::collect::changes::title(&blamed.change)),
        previous => blamed.map_or_else(String::new, |blamed| plain(&blamed.change.previous, 60)),
    };
    let fitting = known.iter().filter(|step| step.change.is_none_or(|needs| needs == blamed.is_some()));
    let cites = fit.map_or_else(|| strongest(diagnosis, first), |fit| fit.evidence);
    fitting
        .take(MAX_STEPS)
        .enumerate()
        .map(|(place, step)| {
            let text = ENVIRONMENT.render_str(&step.text, &values)?;
            let command = ENVIRONMENT.render_str(&step.command, &values)?;
            let cites: Vec<EvidenceId> = cites.get(place).or(cites.first()).copied().into_iter().collect();
            Ok(Step { kind: step.kind, text: Sentence::new(text, cites), command })
        })
        .collect()
}

/// The steps of a pattern: its first check, mitigation and fix. Undoing the change to blame is the better mitigation.
fn special(pattern: &Pattern, general: &[KnownStep], has_change: bool) -> Vec<KnownStep> {
    let step =
        |kind, text: &String| KnownStep { kind, text: text.clone(), command: String::new(), change: None };
    let undo = general
        .iter()
        .find(|step| has_change && step.kind == StepKind::Mitigate && step.change == Some(true));
    let relief = || pattern.mitigations.first().map(|text| step(StepKind::Mitigate, text));
    let verify = pattern.checks.first().map(|text| step(StepKind::Verify, text));
    let fix = pattern.fixes.first().map(|text| step(StepKind::Fix, text));
    [verify, undo.cloned().or_else(relief), fix].into_iter().flatten().collect()
}

fn cites(ids: &[EvidenceId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Renders a template and reads its lines. The citation mark is the last ` | ` of a line, so text cannot forge one.
fn lines(template: &str, values: minijinja::Value) -> Result<Vec<Sentence>, minijinja::Error> {
    let rendered = ENVIRONMENT.render_str(template, values)?;
    let sentence = |line: &str| {
        let (text, cites) = line.rsplit_once(" |").unwrap_or((line, ""));
        let cites: Vec<EvidenceId> = cites
            .split_whitespace()
            .filter_map(|cite| cite.strip_prefix('E')?.parse().ok().map(EvidenceId))
            .collect();
        Sentence::new(text.trim(), cites)
    };
    Ok(rendered.lines().filter(|line| !line.trim().is_empty()).map(sentence).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_renders_for_every_mechanism() {
        for (mechanism, steps) in STEPS.iter() {
            assert!(!steps.is_empty(), "{mechanism}");
            for step in steps {
                let values = context! { service => "a", caller => "b", operation => "c", change => "d", previous => "e" };
                let text = ENVIRONMENT.render_str(&step.text, values).expect(mechanism);
                assert!(text.ends_with(['.', '?']), "{mechanism}: {text}");
            }
        }
    }

    #[test]
    fn text_cannot_forge_a_citation() {
        let found = lines("{{ text }} | E1\n", context! { text => "x | E9" }).unwrap();
        assert_eq!(found, [Sentence::new("x | E9", vec![EvidenceId(1)])]);
    }
}
