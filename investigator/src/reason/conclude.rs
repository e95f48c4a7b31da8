//! The verdict, and how sure it is.
//!
//! Confidence is the estimated chance that the first hypothesis is right, given that something is wrong
//! ([`super::confidence`]). A cause is named when the signs are more than quiet times show ([`QUIET`]) and it is more likely
//! right than not ([`LIKELY`]).

use std::collections::BTreeSet;

use domain::{
    CheckOutcome, Confidence, ConfidenceLevel, EvidenceKind, Hypothesis, Mechanism, Sentence, Strength,
    Verdict,
};

use super::analysis::Analysis;
use super::collect::{Gathered, levels, short};
use super::confidence::{Signs, confidence, presence};
use super::hypotheses::has_traces;
use super::suspects::Suspect;

/// Presence of signs up to which no cause is named: what 95% of fault-free windows stay below. Where nothing is wrong, the
/// weakest signs must not name a cause.
pub const QUIET: f64 = 0.8343;
/// Confidence below which no cause is named.
pub const LIKELY: f64 = 0.5;
const MEDIUM: f64 = 0.75;
const HIGH: f64 = 0.9;

/// The verdict and its confidence.
pub fn conclude(
    analysis: &Analysis<'_>,
    hypotheses: &[Hypothesis],
    gathered: &Gathered,
    gaps: &[String],
) -> (Verdict, Confidence) {
    let rivals: Vec<&Hypothesis> = hypotheses.iter().filter(|hypothesis| hypothesis.score > 0.0).collect();
    let Some(first) = rivals.first() else {
        let reasons = vec![Sentence::new("Nothing deviates from the baseline beyond chance.", Vec::new())];
        return (
            Verdict::Inconclusive,
            Confidence { level: ConfidenceLevel::Inconclusive, score: 0.0, reasons },
        );
    };
    let second = second(&rivals);
    let kinds = telling_kinds(first, gathered).len();
    let held = first.predictions.iter().all(|prediction| prediction.held != Some(false));
    let signs = signs(analysis, hypotheses, gathered);
    let (score, presence) = (confidence(&signs), presence(&signs));
    // Where no place shows any sign, one is first only because it was asked about or changed; and a place without a sign
    // that no change implies is first only because it was asked about.
    let own = analysis.suspects.iter().find(|suspect| suspect.place == first.service);
    let mute = |suspect: &Suspect| suspect.strongest() == 0.0;
    let silent = analysis.suspects.iter().all(mute)
        || own.is_some_and(|suspect| mute(suspect) && suspect.changed == 0.0);
    // Slowness of a part that the service asked about does not feel: parts are always a little slower or faster.
    let slow_only = own.is_some_and(|suspect| {
        suspect.errors == 0.0 && suspect.logs == 0.0 && suspect.paths == 0.0 && suspect.changed == 0.0
    });
    let unfelt = slow_only && levels::is_well(analysis);
    let level = match score {
        _ if silent || unfelt || presence < QUIET => ConfidenceLevel::Inconclusive,
        score if score >= HIGH => ConfidenceLevel::High,
        score if score >= MEDIUM => ConfidenceLevel::Medium,
        score if score >= LIKELY => ConfidenceLevel::Low,
        _ => ConfidenceLevel::Inconclusive,
    };
    let verdict = match (level, &first.change) {
        (ConfidenceLevel::Inconclusive, _) => Verdict::Inconclusive,
        (_, Some(_)) => Verdict::Cause,
        (_, None) => Verdict::NoChange,
    };
    let mut reasons = reasons(first, second, kinds, held, gaps, gathered);
    if level == ConfidenceLevel::Inconclusive {
        let why = if silent {
            format!(
                "No cause is named: {} is asked about or changed, but nothing that callers feel deviates beyond chance.",
                short(&first.service)
            )
        } else if unfelt {
            format!(
                "No cause is named: {} is slower than usual, but requests to {} fare as they do in the baseline.",
                short(&first.service),
                short(&analysis.impacted)
            )
        } else if presence < QUIET {
            undecided(&first.service, presence)
        } else {
            torn(&first.service, second, score)
        };
        reasons.insert(0, Sentence::new(why, first.supports.clone()));
    }
    (verdict, Confidence { level, score, reasons })
}

/// Why a chance that looks good names no cause: it supposes that something is wrong.
fn undecided(service: &str, presence: f64) -> String {
    format!(
        "No cause is named: {} is the strongest lead, but what speaks for it is no more than quiet times show by chance \
         ({presence:.3}; a cause is named from {QUIET:.3}).",
        short(service)
    )
}

/// Why plain harm names no cause: others are as suspect.
fn torn(service: &str, second: Option<&Hypothesis>, score: f64) -> String {
    let rival = second.map_or_else(String::new, |second| format!(", then {}", short(&second.service)));
    format!(
        "No cause is named: {} is the strongest lead{rival}, but it is more likely wrong than right ({score:.2}).",
        short(service)
    )
}

/// What the confidence in the first hypothesis rests on.
pub fn signs(analysis: &Analysis<'_>, hypotheses: &[Hypothesis], gathered: &Gathered) -> Signs {
    let rivals: Vec<&Hypothesis> = hypotheses.iter().filter(|hypothesis| hypothesis.score > 0.0).collect();
    let Some(first) = rivals.first() else { return Signs::default() };
    let margin = second(&rivals).map_or(1.0, |second| (first.score - second.score) / first.score);
    let suspect = analysis.suspects.iter().find(|suspect| suspect.place == first.service);
    Signs {
        score: first.score,
        margin: margin.clamp(0.0, 1.0),
        support: 1.0 - 0.5_f64.powi(telling_kinds(first, gathered).len() as i32),
        strongest: suspect.map_or(0.0, Suspect::strongest),
    }
}

/// The best rival with another service.
fn second<'a>(rivals: &[&'a Hypothesis]) -> Option<&'a Hypothesis> {
    let first = rivals.first()?;
    rivals.iter().skip(1).find(|rival| rival.service != first.service).copied()
}

/// Independent kinds of evidence for a hypothesis, beside the symptom itself.
fn telling_kinds(first: &Hypothesis, gathered: &Gathered) -> BTreeSet<EvidenceKind> {
    let telling = gathered
        .evidence
        .iter()
        .filter(|evidence| first.supports.contains(&evidence.id) && evidence.strength >= Strength::Medium);
    telling.map(|evidence| evidence.kind).filter(|kind| *kind != EvidenceKind::ServiceLevel).collect()
}

fn reasons(
    first: &Hypothesis,
    second: Option<&Hypothesis>,
    kinds: usize,
    held: bool,
    gaps: &[String],
    gathered: &Gathered,
) -> Vec<Sentence> {
    let mut reasons = Vec::new();
    let signals = match kinds {
        0 => "No signal beyond the symptom itself points there.".to_owned(),
        1 => "One kind of signal points there.".to_owned(),
        kinds => format!("{kinds} independent kinds of signal agree."),
    };
    reasons.push(Sentence::new(signals, first.supports.clone()));
    if let Some(second) = second.filter(|second| second.score > 0.6 * first.score) {
        reasons.push(Sentence::new(
            format!("{} is nearly as suspect.", short(&second.service)),
            second.supports.clone(),
        ));
    }
    if !held {
        reasons.push(Sentence::new("Not everything it predicts was seen.", Vec::new()));
    }
    let blind = gathered.checks.iter().filter(|check| check.outcome == CheckOutcome::CouldNotLook).count();
    if blind > 0 {
        reasons.push(Sentence::new(
            format!("{blind} of {} checks could not look.", gathered.checks.len()),
            Vec::new(),
        ));
    }
    if first.change.is_none()
        && first.mechanism != Mechanism::TrafficSurge
        && gaps.iter().any(|gap| gap.contains("change"))
    {
        reasons.push(Sentence::new("No changes are on record.", Vec::new()));
    }
    reasons
}

/// What could not be seen.
pub fn gaps(analysis: &Analysis<'_>) -> Vec<String> {
    let seen = analysis.seen;
    let mut gaps: Vec<String> = analysis.question.notes.clone();
    if seen.calls_now.spans == 0 {
        gaps.push("No traces in the window: error causes, latency and call structure are unseen.".to_owned());
    } else if !has_traces(&analysis.comparison) {
        gaps.push("Too few traces on one side to compare call structure.".to_owned());
    }
    if seen.calls_now.one_in > 1 {
        gaps.push(format!(
            "Of so many traces one in {} was merged for latency and calls, chosen by the hash of its id.",
            seen.calls_now.one_in
        ));
    }
    if seen.calls_now.cut_traces > 0 {
        gaps.push(format!("{} traces with over 1 000 spans were cut.", seen.calls_now.cut_traces));
    }
    let cut = [
        (
            seen.calls_now.cut_paths || seen.calls_before.cut_paths,
            "call paths: the least travelled ones, where no failure begins, were not compared",
        ),
        (seen.errors_now.cut, "kinds of failures: those that became more by least were left out"),
        (seen.logs.cut, "kinds of log messages: those whose number deviates least were left out"),
        (seen.flow.cut, "steps between log statements: those whose share deviates least were left out"),
        (seen.metrics.cut, "metric series: those that deviate least were left out"),
    ];
    gaps.extend(
        cut.into_iter().filter(|(cut, _)| *cut).map(|(_, what)| format!("There are too many {what}.")),
    );
    if seen.logs.groups.is_empty() {
        gaps.push("No logs in the window or its baseline.".to_owned());
    }
    if seen.metrics.series.is_empty() {
        gaps.push("No metrics with values in both windows.".to_owned());
    }
    if seen.changes.is_empty() {
        gaps.push("No deploy, flag or other change is on record for the two hours before.".to_owned());
    }
    let peers: BTreeSet<&str> = analysis
        .comparison
        .steps
        .iter()
        .filter_map(|step| match super::suspects::remote_place(step, &analysis.comparison.steps) {
            Some(super::suspects::Remote::Peer(peer)) => Some(peer),
            _ => None,
        })
        .collect();
    if !peers.is_empty() {
        let names: Vec<String> = peers.into_iter().take(5).map(short).collect();
        gaps.push(format!(
            "{} send no telemetry: they are seen only through their callers.",
            names.join(", ")
        ));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use domain::Verdict;

    use crate::reason::fixture::World;
    use crate::reason::reason;

    #[test]
    fn what_is_first_only_because_it_was_asked_about_is_not_named() {
        // Nothing of `shop` deviates; a little of another place does.
        let world = World::new()
            .labelled(&[("service", "shop")], "request_latency_ms", "ms", 40.0, 40.0)
            .labelled(&[("service", "mail")], "queue_depth", "", 100.0, 160.0);
        let diagnosis = reason(&world.0);
        assert_eq!(diagnosis.hypotheses[0].service, "shop");
        assert_eq!(diagnosis.verdict, Verdict::Inconclusive);
        assert!(diagnosis.confidence.reasons[0].text.contains("asked about or changed"));
    }

    #[test]
    fn two_places_that_deviate_alike_leave_it_open() {
        let slow = |world: World, service: &str, now: f64| {
            world.labelled(&[("service", service)], "request_latency_ms", "ms", 40.0, now)
        };
        let torn = slow(slow(World::new(), "cart", 400.0), "search", 400.0);
        let clear = slow(slow(World::new(), "cart", 400.0), "search", 40.0);
        let confidence = |world: &World| reason(&world.0).confidence.score;
        assert!(confidence(&torn) + 0.2 < confidence(&clear));
    }
}
