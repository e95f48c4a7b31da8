//! Possible causes, what each predicts, and whether that was seen.

use domain::text::{number, percent, seconds};
use domain::{
    Change, EvidenceKind, Hypothesis, HypothesisId, HypothesisStatus, Mechanism, Prediction, Sentence,
    UnixNanos,
};

use super::analysis::Analysis;
use super::blame::{Scene, Standing};
use super::collect::changes::title;
use super::collect::{Gathered, short};
use super::comparison::Comparison;
use super::mechanism::{self, Harm};
use super::suspects::{Remote, Suspect, remote_place};

/// Suspects that become hypotheses.
const MAX_SUSPECTS: usize = 5;
/// Innocent changes that become hypotheses of their own, to be ruled out in the open.
const MAX_DECOYS: usize = 3;
/// A score from which a suspect is worth naming.
const WORTH_NAMING: f64 = 0.05;
/// Weight from which a word that a change shares with what fails is worth quoting.
const TELLING_WORD: f64 = 0.1;
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
    found.extend(decoys(analysis, gathered, first.as_ref()));
    if let Some(surge) = surge_ruled_out(analysis, gathered, first.as_ref()) {
        found.push(surge);
    }
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
    let onset = scene.onset.map(|onset| onset.at);
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
    supports.sort_unstable();
    let statement = Sentence::new(statement(analysis, suspect, &harm, culprit), supports.clone());
    let ruled_out = rank > 0 && suspect.score < RULED_OUT * best;
    Hypothesis {
        id: HypothesisId(0),
        service: suspect.place.clone(),
        instance: instance(analysis, &suspect.place),
        mechanism: harm.mechanism,
        change: culprit.map(|change| change.reference.clone()),
        score: suspect.score,
        status: if ruled_out { HypothesisStatus::RuledOut } else { HypothesisStatus::Supported },
        statement,
        predictions: predictions(analysis, gathered, suspect, culprit, onset),
        supports,
        contradicts: Vec::new(),
        began: onset,
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

/// The cause in one sentence.
fn statement(analysis: &Analysis<'_>, suspect: &Suspect, harm: &Harm, culprit: Option<&Change>) -> String {
    let who = match culprit {
        Some(change) => format!("{} ({})", short(&suspect.place), brought_by(change)),
        None => short(&suspect.place),
    };
    let comparison = &analysis.comparison;
    let step = harm.step.map(|place| &comparison.steps[place]);
    let operation = step.map_or_else(|| "its work".to_owned(), |step| short(&step.operation.name));
    let per_call = step.map(|step| (step.before.own.mean() / 1000.0, step.now.own.mean() / 1000.0));
    let times = per_call.map_or_else(String::new, |(before, now)| {
        format!(", {} instead of {}", seconds(now), seconds(before))
    });
    match harm.mechanism {
        Mechanism::RepeatedCalls => {
            let repeated = comparison
                .scoped()
                .filter(|(_, step)| step.operation.service == suspect.place)
                .filter_map(|(_, step)| mechanism::repeated(comparison, step).map(|counts| (step, counts)))
                .max_by(|left, right| left.1.1.total_cmp(&right.1.1));
            match repeated {
                Some((step, (before, now))) => format!(
                    "{who} runs {} {} times where it ran it {}: one call per item.",
                    short(&step.operation.name),
                    number(now.round()),
                    times_word(before)
                ),
                None => format!("{who} repeats {operation} for every item."),
            }
        }
        Mechanism::LockContention => {
            format!("{who} waits for a lock in its database: {operation} takes{}.", longer(per_call))
        }
        Mechanism::SlowQuery => format!("{who}: the statement {operation} became slow{times}."),
        Mechanism::SlowDependency => format!(
            "{who} answers slowly{}: {operation} takes{}.",
            called_by(analysis, &suspect.place),
            longer(per_call)
        ),
        Mechanism::FailingDependency => {
            format!("{who} fails{}: calls to it come back as errors.", called_by(analysis, &suspect.place))
        }
        Mechanism::NewErrors => {
            let cause = analysis.seen.errors_now.groups.iter().find(|group| group.service == suspect.place);
            let what = cause.map(|group| {
                if group.message.is_empty() { group.exception.clone() } else { group.message.clone() }
            });
            let logged = || {
                analysis
                    .patterns
                    .iter()
                    .find(|pattern| pattern.service == suspect.place && pattern.severity >= 17)
                    .map(|pattern| pattern.template.clone())
            };
            match what.filter(|text| !text.is_empty()).or_else(logged) {
                Some(text) => format!("{who} fails where it did not: “{}”.", short(&text)),
                None => format!("{who} fails in {operation} where it did not."),
            }
        }
        Mechanism::SlowCode => format!("{who} became slow by itself in {operation}{times}."),
        Mechanism::ChangedBehaviour => match harm.step.map(|place| &comparison.steps[place]) {
            Some(step) => {
                let (before, now) = comparison.calls_per_parent(step);
                format!(
                    "{who} behaves differently: it makes {} calls to {} where it made {}.",
                    number(now),
                    short(&step.operation.name),
                    number(before)
                )
            }
            None => format!("{who} behaves differently from before."),
        },
        Mechanism::TrafficSurge => {
            let traffic = analysis.traffic(&suspect.place).or_else(|| analysis.traffic(&analysis.impacted));
            let (before, now) = traffic.unwrap_or_default();
            format!(
                "A surge of traffic, {} to {} requests per second, is more than {} can serve. No change is to blame.",
                number(before),
                number(now),
                short(&suspect.place)
            )
        }
        Mechanism::Saturation => {
            let metric =
                analysis.metrics.iter().find(|metric| metric.service == suspect.place && metric.score > 0.0);
            match metric {
                Some(metric) => format!(
                    "{who} runs out of a resource: {} went from {} to {}.",
                    short(&metric.name),
                    number(metric.before.median),
                    number(metric.reached)
                ),
                None => format!("{who} runs out of a resource."),
            }
        }
        Mechanism::NoisyNeighbour => match mechanism::neighbour(analysis, &suspect.place) {
            Some(other) => format!(
                "{who} is starved of its machine: {} takes it. No change of ours is to blame.",
                short(other)
            ),
            None => format!("{who} is starved of its machine by something else on it."),
        },
        Mechanism::BadInput => {
            let record = mechanism::stuck_record(analysis, &suspect.place);
            let text = record.map(|pattern| pattern.sample.clone()).unwrap_or_default();
            format!(
                "{who} fails on one and the same record again and again: “{}”. No change is to blame.",
                short(&text)
            )
        }
        Mechanism::Network => {
            format!("The network to or from {who} is slow: time passes between the two ends of its calls.")
        }
        Mechanism::Down => format!("{who} stopped answering."),
        Mechanism::Unknown => format!("{who} deviates most, in a way that fits no known mechanism."),
    }
}

/// `1.4.1, deployed 14:02:10`.
fn brought_by(change: &Change) -> String {
    format!(
        "{}, {}",
        title(change).replacen(&format!("{} ", short(&change.service)), "", 1),
        change.at.clock_time()
    )
}

fn times_word(count: f64) -> String {
    match count {
        count if count < 0.5 => "not at all".to_owned(),
        count if count < 1.5 => "once".to_owned(),
        count => format!("{} times", number(count.round())),
    }
}

fn longer(per_call: Option<(f64, f64)>) -> String {
    per_call.map_or_else(
        || " longer".to_owned(),
        |(before, now)| format!(" {} instead of {}", seconds(now), seconds(before)),
    )
}

fn called_by(analysis: &Analysis<'_>, place: &str) -> String {
    let caller = analysis.edges.iter().find(|(_, callee)| callee == place).map(|(caller, _)| caller);
    caller.map_or_else(String::new, |caller| format!(" to {}", short(caller)))
}

fn predictions(
    analysis: &Analysis<'_>,
    gathered: &Gathered,
    suspect: &Suspect,
    culprit: Option<&Change>,
    onset: Option<UnixNanos>,
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
    if let (Some(onset), Some(started)) = (onset, analysis.started()) {
        let lag = started.seconds_since(onset);
        let slack = analysis.slice_seconds().unwrap_or(60.0) * 2.0;
        let cites: Vec<_> =
            gathered.find(EvidenceKind::ServiceLevel, &analysis.impacted).into_iter().collect();
        let text = format!(
            "It should deviate no later than {} does; it began {} {}.",
            short(&analysis.impacted),
            domain::text::duration(lag),
            if lag >= 0.0 { "before" } else { "after" }
        );
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
        let cites: Vec<_> = gathered.find(EvidenceKind::Change, &suspect.place).into_iter().collect();
        let text = format!(
            "The change should come first; {} came {} before.",
            title(change),
            domain::text::duration(onset.seconds_since(change.at).max(0.0))
        );
        predictions.push(Prediction { text: Sentence::new(text, cites), held: Some(true) });
    }
    predictions
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
                    "Predicts that {} deviates. {} Its deviation scores {}, {}’s {}.",
                    short(&change.service),
                    unchanged(analysis, &change.service),
                    number(score),
                    short(&first.service),
                    number(first.score)
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

fn unchanged(analysis: &Analysis<'_>, service: &str) -> String {
    let mine = analysis.comparison.steps.iter().filter(|step| step.operation.service == service);
    let (before, now) =
        mine.fold((0.0, 0.0), |(before, now), step| (before + step.before.own.sum, now + step.now.own.sum));
    let entries = analysis.comparison.entries;
    if entries.0 < 1.0 || entries.1 < 1.0 || before <= 0.0 {
        return String::new();
    }
    format!(
        "It spends {} per request, {} before.",
        seconds(now / entries.1 / 1000.0),
        seconds(before / entries.0 / 1000.0)
    )
}

/// "More traffic" is what people ask first: answered in the open when it is not the cause.
fn surge_ruled_out(
    analysis: &Analysis<'_>,
    gathered: &Gathered,
    first: Option<&Hypothesis>,
) -> Option<Hypothesis> {
    let (before, now) = analysis.traffic(&analysis.impacted)?;
    if first.is_some_and(|first| first.mechanism == Mechanism::TrafficSurge) {
        return None;
    }
    let cites: Vec<_> = gathered
        .first(EvidenceKind::Traffic)
        .or_else(|| gathered.first(EvidenceKind::ServiceLevel))
        .into_iter()
        .collect();
    Some(Hypothesis {
        id: HypothesisId(0),
        service: analysis.impacted.clone(),
        instance: String::new(),
        mechanism: Mechanism::TrafficSurge,
        change: None,
        score: 0.0,
        status: HypothesisStatus::RuledOut,
        statement: Sentence::new("A surge of traffic.", cites.clone()),
        predictions: vec![Prediction {
            text: Sentence::new(
                format!("Predicts more requests. {} → {} per second.", number(before), number(now)),
                cites.clone(),
            ),
            held: Some(false),
        }],
        supports: Vec::new(),
        contradicts: cites,
        began: None,
    })
}

/// Why a change is or is not blamed for the first hypothesis.
pub fn reason_for(analysis: &Analysis<'_>, change: &Change, first: Option<&Hypothesis>) -> (f64, String) {
    let Some(first) = first else { return (0.0, "No cause was found that it could explain.".to_owned()) };
    let place = short(&change.service);
    let scene = analysis.scene(&first.service, Some(first.mechanism));
    match analysis.changes.standing(change, &scene) {
        Standing::Explains(score) => {
            let before = first.began.map(|onset| onset.seconds_since(change.at).max(0.0));
            let when = before.map_or_else(String::new, |before| {
                format!(", {} before it began to deviate", domain::text::duration(before))
            });
            let where_to =
                if change.service == first.service { "where the harm begins" } else { "next to the harm" };
            (
                score,
                format!(
                    "It touched {place}, {where_to}{when}.{}{}",
                    said(analysis, change, &scene),
                    skewed(&scene)
                ),
            )
        }
        Standing::Elsewhere => {
            let deviates = analysis
                .suspects
                .iter()
                .find(|suspect| suspect.place == change.service)
                .map_or(0.0, |suspect| suspect.score);
            (
                0.0,
                format!(
                    "It touched {place}, which deviates little ({}) beside {} ({}). {}",
                    percent(deviates),
                    short(&first.service),
                    percent(first.score),
                    unchanged(analysis, &change.service)
                ),
            )
        }
        Standing::Later => (0.0, "It came after the harm began.".to_owned()),
        Standing::Unneeded => (0.0, format!("What happened to {place} came from outside it.")),
    }
}

/// Which of its words what fails uses as well.
fn said(analysis: &Analysis<'_>, change: &Change, scene: &Scene<'_>) -> String {
    let shared = analysis.changes.shared_words(change, scene);
    let words: Vec<String> = shared
        .iter()
        .filter(|(word, weight)| *weight >= TELLING_WORD && !word.starts_with('~'))
        .take(3)
        .map(|(word, _)| format!("“{}”", short(word)))
        .collect();
    if words.is_empty() { String::new() } else { format!(" It shares {} with what fails.", words.join(", ")) }
}

/// What the instances that a release brought say of it.
fn skewed(scene: &Scene<'_>) -> &'static str {
    match scene.skew {
        Some(skew) if skew < 0.25 => " Its old instances suffer as much as the new ones.",
        Some(skew) if skew > 0.75 => " Its new instances suffer, the old ones do not.",
        _ => "",
    }
}

/// Whether a comparison has enough traces on both sides to speak.
pub fn has_traces(comparison: &Comparison) -> bool {
    comparison.traces.0 >= 5.0 && comparison.traces.1 >= 5.0
}
