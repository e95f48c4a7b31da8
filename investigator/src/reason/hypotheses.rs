//! Possible causes, what each predicts, and whether that was seen.

use domain::text::{duration, number, seconds};
use domain::{
    Change, EvidenceKind, Hypothesis, HypothesisId, HypothesisStatus, Mechanism, Prediction, Sentence,
};

use super::analysis::Analysis;
use super::blame::Onset;
use super::collect::changes::title;
use super::collect::{Gathered, short};
use super::comparison::Comparison;
use super::mechanism;
use super::statement::statement;
use super::surge::Surge;
use super::suspects::{Remote, Suspect, remote_place};
use super::{undo, why};

/// Suspects that become hypotheses.
const MAX_SUSPECTS: usize = 5;
/// Innocent changes that become hypotheses of their own, to be ruled out in the open.
const MAX_DECOYS: usize = 3;
/// A score from which a suspect is worth naming.
const WORTH_NAMING: f64 = 0.05;
/// Pieces of evidence that are named against a hypothesis.
const MAX_AGAINST: usize = 2;
/// A runner-up this much weaker than the first is ruled out.
const RULED_OUT: f64 = 0.6;

/// Hypotheses, best first.
pub fn hypotheses(analysis: &Analysis<'_>, gathered: &Gathered) -> Vec<Hypothesis> {
    let best = analysis.suspects.first().map_or(0.0, |suspect| suspect.score);
    let named = analysis.suspects.iter().filter(|suspect| suspect.score >= WORTH_NAMING).take(MAX_SUSPECTS);
    let mut found: Vec<Hypothesis> = named
        .enumerate()
        .map(|(rank, suspect)| of_suspect(analysis, gathered, suspect, rank, best))
        .collect();
    let first = found.first().cloned();
    let mut others = decoys(analysis, gathered, first.as_ref());
    // A change that a suspect is already said to have been brought by is told once.
    let when = |one: &Hypothesis| Some(analysis.changes.named(&one.service, one.change.as_deref()?)?.at);
    others.retain(|other| {
        !found.iter().any(|known| known.service == other.service && when(known) == when(other))
    });
    found.extend(others);
    if let Some(surge) = surge_ruled_out(analysis, gathered, first.as_ref()) {
        found.push(surge);
    }
    // Changes ruled out come after the suspects only where they are weaker.
    found.sort_by(|left, right| right.score.total_cmp(&left.score));
    for (place, hypothesis) in found.iter_mut().enumerate() {
        hypothesis.id = HypothesisId(place as u32 + 1);
    }
    found
}

fn of_suspect(
    analysis: &Analysis<'_>,
    gathered: &Gathered,
    suspect: &Suspect,
    rank: usize,
    best: f64,
) -> Hypothesis {
    let harm = mechanism::harm(analysis, suspect);
    let scene = analysis.scene(&suspect.place, Some(harm.mechanism));
    let culprit = analysis.changes.culprit(&scene).map(|(change, _)| change);
    let mut supports = gathered.about(&suspect.place);
    for kind in [EvidenceKind::ServiceLevel, EvidenceKind::Traffic] {
        let relevant = kind == EvidenceKind::ServiceLevel || harm.mechanism == Mechanism::TrafficSurge;
        supports.extend(gathered.first(kind).filter(|id| relevant && !supports.contains(id)));
    }
    // A change that is not blamed is no evidence for the cause.
    supports.retain(|id| {
        let evidence = gathered.evidence.iter().find(|evidence| evidence.id == *id);
        evidence.is_none_or(|evidence| match &evidence.exhibit {
            // A commit is shown by the deploy that carried it.
            domain::Exhibit::Change { change } => {
                culprit.is_some_and(|culprit| (&culprit.service, culprit.at) == (&change.service, change.at))
            }
            _ => true,
        })
    });
    // A change that names no service is found at none.
    supports
        .extend(culprit.and_then(|culprit| gathered.of_change(culprit)).filter(|id| !supports.contains(id)));
    supports.sort_unstable();
    let statement = Sentence::new(statement(analysis, suspect, &harm, culprit), supports.clone());
    let ruled_out = rank > 0 && suspect.score < RULED_OUT * best;
    let mut predictions = predictions(analysis, gathered, suspect, culprit, scene.onset);
    if let Some(surge) = Surge::of(analysis, suspect).filter(|_| harm.mechanism == Mechanism::TrafficSurge) {
        predictions.extend(of_surge(gathered, &surge, &suspect.place));
    }
    let mut contradicts = Vec::new();
    if let Some(first) = analysis.suspects.first().filter(|_| ruled_out) {
        contradicts = gathered.about(&first.place);
        contradicts.retain(|id| !supports.contains(id));
        contradicts.truncate(MAX_AGAINST);
        // That nothing leads to it is said already.
        let unreached = suspect.place != analysis.impacted
            && analysis.path(&analysis.impacted, &suspect.place).is_empty()
            && why::signs(analysis, &suspect.place).is_some();
        if !unreached {
            let text = why::weaker(analysis, &suspect.place, &first.place);
            predictions.push(Prediction {
                text: Sentence::new(
                    format!("It should deviate first and most; {text}."),
                    contradicts.clone(),
                ),
                held: Some(false),
            });
        }
    }
    Hypothesis {
        id: HypothesisId(0),
        service: suspect.place.clone(),
        instance: instance(analysis, &suspect.place),
        mechanism: harm.mechanism,
        change: culprit.map(|change| change.reference.clone()),
        score: suspect.score,
        status: if ruled_out { HypothesisStatus::RuledOut } else { HypothesisStatus::Supported },
        statement,
        predictions,
        supports,
        contradicts,
        began: scene.onset.map(|onset| onset.at),
    }
}

/// The instance that the strongest metrics agree on, when only one of several deviates.
fn instance(analysis: &Analysis<'_>, place: &str) -> String {
    let mine =
        analysis.metrics.iter().filter(|metric| metric.service == place && !metric.instance.is_empty());
    let mut instances: Vec<&str> = mine.take(5).map(|metric| metric.instance.as_str()).collect();
    instances.dedup();
    if instances.len() == 1 { instances[0].to_owned() } else { String::new() }
}

fn predictions(
    analysis: &Analysis<'_>,
    gathered: &Gathered,
    suspect: &Suspect,
    culprit: Option<&Change>,
    onset: Option<Onset>,
) -> Vec<Prediction> {
    let mut predictions = Vec::new();
    if suspect.place != analysis.impacted {
        let path = analysis.path(&analysis.impacted, &suspect.place);
        let text = match path.is_empty() {
            true => format!("It should lie below {}; no call path leads there.", short(&analysis.impacted)),
            false => format!(
                "It should lie on the failing path: {}.",
                path.iter().map(|name| short(name)).collect::<Vec<_>>().join(" → ")
            ),
        };
        predictions.push(Prediction {
            text: Sentence::new(text, gathered.about(&suspect.place)),
            held: Some(!path.is_empty()),
        });
    }
    let other = (suspect.place != analysis.impacted).then_some(());
    if let (Some(onset), Some(started), Some(())) = (onset, analysis.started(), other) {
        let lag = started.seconds_since(onset.at);
        let slack = analysis.slice_seconds().unwrap_or(60.0) * 2.0;
        let cites: Vec<_> =
            gathered.find(EvidenceKind::ServiceLevel, &analysis.impacted).into_iter().collect();
        let when = match lag {
            lag if lag.abs() < 0.5 => "at the same time".to_owned(),
            lag if lag > 0.0 => format!("{} before", duration(lag)),
            lag => format!("{} after", duration(lag)),
        };
        let text =
            format!("It should deviate no later than {} does; it began {when}.", short(&analysis.impacted));
        predictions.push(Prediction { text: Sentence::new(text, cites), held: Some(lag >= -slack) });
    }
    let steps = &analysis.comparison.steps;
    let own: f64 = analysis
        .comparison
        .scoped()
        .filter(|(_, step)| {
            step.operation.service == suspect.place
                || matches!(remote_place(step, steps), Some(Remote::Peer(peer)) if peer == suspect.place)
        })
        .map(|(_, step)| analysis.comparison.added_ms(step))
        .sum();
    if suspect.latency > 0.0 {
        let cites: Vec<_> = gathered.first(EvidenceKind::LatencyDiff).into_iter().collect();
        let text = format!("Time should be added here; {} per request is.", seconds(own / 1000.0));
        predictions.push(Prediction { text: Sentence::new(text, cites), held: Some(own > 0.0) });
    }
    if let (Some(change), Some(onset)) = (culprit, onset) {
        let cites: Vec<_> = gathered.of_change(change).into_iter().collect();
        let (order, held) = onset.order(change);
        let text = format!("The change should come first; {} came {}.", title(change), order.words(""));
        predictions.push(Prediction { text: Sentence::new(text, cites), held });
    }
    if let Some(change) = culprit
        && let Some(undo) = analysis.changes.undo_of(change)
    {
        predictions.push(after_undo(analysis, gathered, &suspect.place, undo));
    }
    predictions
}

/// Harm that a change brought ends when it is undone.
fn after_undo(analysis: &Analysis<'_>, gathered: &Gathered, place: &str, undo: &Change) -> Prediction {
    let cites: Vec<_> = gathered.of_change(undo).into_iter().collect();
    let ends = undo::ends(analysis, place, undo);
    let what = match ends {
        Some(true) => "it did",
        Some(false) => "it goes on",
        None => "there are too few requests after that to tell",
    };
    let within = analysis.slice_seconds().unwrap_or(60.0) * undo::SLICES as f64;
    let text = format!(
        "Harm should end within {} of the undo ({}, {}); {what}.",
        duration(within),
        title(undo),
        undo.at.clock_time()
    );
    Prediction { text: Sentence::new(text, cites), held: ends }
}

/// Changes that somebody will suspect, with why they are not the cause.
fn decoys(analysis: &Analysis<'_>, gathered: &Gathered, first: Option<&Hypothesis>) -> Vec<Hypothesis> {
    let Some(first) = first else { return Vec::new() };
    let mut changes = analysis.changes.all.clone();
    changes.retain(|change| !change.service.is_empty() && change.service != first.service);
    changes.sort_by_key(|change| std::cmp::Reverse(change.at));
    changes.iter().take(MAX_DECOYS).map(|change| decoy(analysis, gathered, first, change)).collect()
}

fn decoy(analysis: &Analysis<'_>, gathered: &Gathered, first: &Hypothesis, change: &Change) -> Hypothesis {
    let suspect = analysis.suspects.iter().find(|suspect| suspect.place == change.service);
    let score = suspect.map_or(0.0, |suspect| suspect.score * 0.5);
    let contradicts: Vec<_> =
        [EvidenceKind::LatencyDiff, EvidenceKind::ErrorCauses, EvidenceKind::ServiceLevel]
            .into_iter()
            .filter_map(|kind| gathered.first(kind))
            .take(2)
            .collect();
    Hypothesis {
        id: HypothesisId(0),
        service: change.service.clone(),
        instance: String::new(),
        mechanism: Mechanism::Unknown,
        change: Some(change.reference.clone()),
        score,
        status: HypothesisStatus::RuledOut,
        statement: Sentence::new(
            format!("{} broke {}.", title(change), short(&analysis.impacted)),
            contradicts.clone(),
        ),
        predictions: vec![Prediction {
            text: Sentence::new(
                format!(
                    "{} should deviate first and most; {}.",
                    short(&change.service),
                    why::weaker(analysis, &change.service, &first.service)
                ),
                contradicts.clone(),
            ),
            held: Some(false),
        }],
        supports: Vec::new(),
        contradicts,
        began: None,
    }
}

/// "More traffic" is what people ask first: answered in the open when it is not the cause.
fn surge_ruled_out(
    analysis: &Analysis<'_>,
    gathered: &Gathered,
    first: Option<&Hypothesis>,
) -> Option<Hypothesis> {
    if first.is_some_and(|first| first.mechanism == Mechanism::TrafficSurge) {
        return None;
    }
    let place = first.map_or(&analysis.impacted, |first| &first.service);
    let unknown = Suspect { place: place.clone(), ..Suspect::default() };
    let suspect = analysis.suspects.iter().find(|suspect| suspect.place == *place).unwrap_or(&unknown);
    let surge = Surge::of(analysis, suspect)?;
    let cites: Vec<_> = gathered
        .first(EvidenceKind::Traffic)
        .or_else(|| gathered.first(EvidenceKind::ServiceLevel))
        .into_iter()
        .collect();
    let predictions = of_surge(gathered, &surge, place);
    let fails = predictions.iter().any(|prediction| prediction.held == Some(false));
    Some(Hypothesis {
        id: HypothesisId(0),
        service: analysis.impacted.clone(),
        instance: String::new(),
        mechanism: Mechanism::TrafficSurge,
        change: None,
        score: 0.0,
        status: if fails { HypothesisStatus::RuledOut } else { HypothesisStatus::Supported },
        statement: Sentence::new("A surge of traffic.", cites.clone()),
        predictions,
        supports: Vec::new(),
        contradicts: if fails { cites } else { Vec::new() },
        began: None,
    })
}

/// What a surge predicts, and what was seen.
fn of_surge(gathered: &Gathered, surge: &Surge<'_>, place: &str) -> Vec<Prediction> {
    let counted: Vec<_> = gathered
        .first(EvidenceKind::Traffic)
        .or_else(|| gathered.first(EvidenceKind::ServiceLevel))
        .into_iter()
        .collect();
    let (before, now) = surge.rate;
    let text =
        format!("It predicts more requests: {} per second before, {} now.", number(before), number(now));
    let mut predictions = vec![Prediction { text: Sentence::new(text, counted), held: Some(surge.rose) }];
    if !surge.rose {
        return predictions;
    }
    let mut cites = gathered.about(place);
    cites.truncate(2);
    let name = short(place);
    let predict =
        |held: bool, text: String| Prediction { text: Sentence::new(text, cites.clone()), held: Some(held) };
    predictions.push(predict(
        surge.strains,
        format!(
            "It predicts that {name} fills up, slows down or times out; {}.",
            if surge.strains { "it does" } else { "it does not" }
        ),
    ));
    if surge.came_after {
        predictions.push(predict(
            false,
            format!("It predicts that {name} suffers after requests rise; it did before."),
        ));
    }
    if surge.repeats {
        predictions
            .push(predict(false, format!("It predicts no more work per request; {name} repeats calls.")));
    }
    if let Some(message) = &surge.foreign {
        predictions.push(predict(
            false,
            format!("It predicts timeouts and refusals; what newly fails says “{}”.", short(message)),
        ));
    }
    if let Some(change) = surge.change {
        predictions.push(predict(
            false,
            format!("It predicts harm without a change; {} came at that time.", title(change)),
        ));
    }
    predictions
}

/// Whether a comparison has enough traces on both sides to speak.
pub fn has_traces(comparison: &Comparison) -> bool {
    comparison.traces.0 >= 5.0 && comparison.traces.1 >= 5.0
}
