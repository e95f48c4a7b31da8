//! Tells a diagnosis from templates: always works, needs no model, cites evidence in every sentence.
//!
//! A template yields lines of `text | E1 E2`. The text is plain; whoever shows it escapes it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use domain::text::{percent, plain, seconds};
use domain::{
    Answer, Diagnosis, Evidence, EvidenceId, EvidenceKind, Hypothesis, NarratedBy, Report, Sentence,
    Strength, Verdict,
};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use super::steps;
use crate::knowledge::Knowledge;

const GOING_ON: &str = include_str!("../../../prompts/answer/going_on.txt");
const CAUSE: &str = include_str!("../../../prompts/answer/cause.txt");
/// Citations shown after one sentence.
const MAX_CITES: usize = 4;

pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    // Sentences are plain text; pages escape them.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment
});

/// The report of a diagnosis, with next steps from the project's own knowledge.
pub fn narrate(diagnosis: Diagnosis) -> Result<Report, minijinja::Error> {
    narrate_with(diagnosis, Knowledge::built_in())
}

/// The report of a diagnosis.
pub fn narrate_with(diagnosis: Diagnosis, knowledge: &Knowledge) -> Result<Report, minijinja::Error> {
    let answer = Answer {
        going_on: going_on(&diagnosis)?,
        cause: cause(&diagnosis)?,
        next_steps: steps::next_steps(&diagnosis, knowledge)?,
    };
    let (citations, citations_checked) = count_citations(&answer, &diagnosis);
    Ok(Report {
        format: Report::FORMAT,
        citations,
        citations_checked,
        answer,
        narrated: NarratedBy::Template,
        used: None,
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
    let level = found(EvidenceKind::ServiceLevel).filter(|level| level.figures.len() > 1);
    let within = level.is_some_and(|level| level.strength == Strength::Weak);
    let is_new = level.is_some_and(|level| level.figures.iter().all(|figure| figure.before.is_empty()));
    let threshold = diagnosis.impact.objectives.iter().find(|status| status.sli == domain::Sli::Latency);
    lines(
        GOING_ON,
        context! {
            started => diagnosis.started.map(domain::UnixNanos::clock_time),
            service => plain(&diagnosis.service, 90),
            failed_share => share(impact.failed),
            slow_share => share(impact.slow),
            threshold => threshold.map_or_else(|| seconds(0.5), |status| status.name.rsplit("under ").next().unwrap_or_default().to_owned()),
            within,
            is_new,
            as_before => if within { ", as before" } else { "" },
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
pub(super) fn strongest(diagnosis: &Diagnosis, hypothesis: &Hypothesis) -> Vec<EvidenceId> {
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
    fn what_is_said_to_be_amiss_is_what_the_evidence_says() {
        let mut diagnosis = crate::narrate::fixture::diagnosis(domain::ConfidenceLevel::High);
        let said = |diagnosis: &Diagnosis| going_on(diagnosis).unwrap()[0].text.clone();
        let levels = |diagnosis: &mut Diagnosis, strength| {
            let level = &mut diagnosis.evidence[0];
            (level.kind, level.strength) = (EvidenceKind::ServiceLevel, strength);
            let figure = diagnosis.evidence.iter().find_map(|evidence| evidence.figures.first()).cloned();
            diagnosis.evidence[0].figures = vec![figure.expect("a figure"); 2];
        };
        diagnosis.impact = domain::Impact { requests: 1000, ..domain::Impact::default() };
        levels(&mut diagnosis, Strength::Strong);
        assert!(said(&diagnosis).ends_with("deviates from its baseline."), "{}", said(&diagnosis));
        levels(&mut diagnosis, Strength::Weak);
        assert!(said(&diagnosis).ends_with("its own requests are as they were."), "{}", said(&diagnosis));
        diagnosis.impact.failed = 100;
        assert!(said(&diagnosis).ends_with("requests fail, as before."), "{}", said(&diagnosis));
        diagnosis.impact.failed = 0;
        levels(&mut diagnosis, Strength::Medium);
        diagnosis.evidence[0].figures.iter_mut().for_each(|figure| figure.before.clear());
        let words = said(&diagnosis);
        assert!(words.ends_with("requests, of which there were none before."), "{words}");
    }

    #[test]
    fn text_cannot_forge_a_citation() {
        let found = lines("{{ text }} | E1\n", context! { text => "x | E9" }).unwrap();
        assert_eq!(found, [Sentence::new("x | E9", vec![EvidenceId(1)])]);
    }
}
