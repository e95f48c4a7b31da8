//! How a suspect does harm: the first rule that its deviations satisfy.

use std::collections::BTreeSet;

use domain::Mechanism;

use super::analysis::Analysis;
use super::comparison::{Comparison, Step};
use super::logs::PatternShift;
use super::metrics::{MetricMove, Topic, words};
use super::suspects::{MATERIAL, Remote, SIGNIFICANT, Suspect, remote_place};

/// Calls per request must multiply by this to count as repeated.
const REPEATED: f64 = 3.0;
/// Requests must multiply by this to count as a surge.
const SURGE: f64 = 1.6;
/// A stem in an error or a log line that says a lock was waited for.
const LOCK_WORDS: [&str; 4] = ["lock", "deadlock", "busy", "contention"];

/// Share of a place's new errors that must agree on what is outside.
const MOST: f64 = 0.6;
/// Times that one message must come to be about a record that is stuck.
const REPEATED_RECORD: f64 = 10.0;
/// How messages name a record.
const RECORD_KEYS: [&str; 8] =
    ["offset", "record_id", "message_id", "messageid", "event_id", "row", "sequence", "document_id"];

/// A mechanism, and the step that shows it best.
#[derive(Clone, Debug)]
pub struct Harm {
    /// How.
    pub mechanism: Mechanism,
    /// Where it shows, as a place in the comparison.
    pub step: Option<usize>,
}

/// The mechanism of a suspect.
pub fn harm(analysis: &Analysis<'_>, suspect: &Suspect) -> Harm {
    if let Some(mechanism) = from_outside(analysis, &suspect.place) {
        return Harm { mechanism, step: None };
    }
    let comparison = &analysis.comparison;
    let slow = strongest(analysis, suspect, |step| {
        let slower = Comparison::own_z(step).max(comparison.calls_z(step)) >= SIGNIFICANT;
        let added = comparison.added_ms(step);
        if slower && added >= MATERIAL * comparison.usual_ms() { added } else { 0.0 }
    });
    let failing = strongest(analysis, suspect, |step| {
        if Comparison::origins_z(step) >= SIGNIFICANT {
            step.now.origins / comparison.entries.1.max(1.0)
        } else {
            0.0
        }
    });
    if suspect.latency + suspect.errors > 0.0 && surged(analysis, suspect) {
        return Harm { mechanism: Mechanism::TrafficSurge, step: slow.or(failing) };
    }
    if suspect.latency + suspect.errors <= 0.0 {
        return Harm {
            mechanism: without_time_or_errors(analysis, suspect),
            step: changed_call(analysis, suspect),
        };
    }
    // Whatever makes a service slow also makes it fail once callers give up: time explains errors, not the reverse,
    // unless the slow part is negligible beside the failures.
    let by_time = suspect.latency >= 0.5 * suspect.errors;
    match (slow.filter(|_| by_time), failing) {
        (Some(place), _) => Harm { mechanism: slowness(analysis, suspect, place), step: Some(place) },
        (None, Some(place)) => Harm { mechanism: failure(analysis, suspect, place), step: Some(place) },
        (None, None) => Harm { mechanism: without_time_or_errors(analysis, suspect), step: slow },
    }
}

/// Harm that no change of ours brings, where logs and metrics say so.
fn from_outside(analysis: &Analysis<'_>, place: &str) -> Option<Mechanism> {
    if outside_address(analysis, place).is_some() {
        Some(Mechanism::FailingDependency)
    } else if stuck_record(analysis, place).is_some() {
        Some(Mechanism::BadInput)
    } else if neighbour(analysis, place).is_some() {
        Some(Mechanism::NoisyNeighbour)
    } else {
        None
    }
}

/// The errors that a place now logs and did not, heaviest first.
fn new_errors<'a>(analysis: &'a Analysis<'_>, place: &'a str) -> impl Iterator<Item = &'a PatternShift> {
    let moved = move |pattern: &&PatternShift| {
        pattern.service == place && pattern.severity >= 17 && pattern.now > pattern.expected
    };
    analysis.patterns.iter().filter(moved)
}

/// An address outside the system that most of a place's new errors complain of.
pub fn outside_address<'a>(analysis: &'a Analysis<'_>, place: &'a str) -> Option<&'a str> {
    let all: f64 = new_errors(analysis, place).map(|pattern| pattern.now).sum();
    let named = |pattern: &'a PatternShift| {
        let host = pattern.sample.split("://").nth(1)?.split(['/', ' ', ':', '"', '\'']).next()?;
        // A name with a dot that is none of ours.
        let ours =
            analysis.seen.coverage.iter().any(|known| host.split('.').any(|part| part == known.service));
        (host.contains('.')
            && !host.ends_with(".local")
            && !ours
            && host.parse::<std::net::IpAddr>().is_err())
        .then_some(host)
    };
    let outside: f64 = new_errors(analysis, place)
        .filter(|pattern| named(pattern).is_some())
        .map(|pattern| pattern.now)
        .sum();
    (all > 0.0 && outside >= MOST * all).then(|| new_errors(analysis, place).find_map(named)).flatten()
}

/// A pattern that repeats one and the same message about one record: a poison pill.
pub fn stuck_record<'a>(analysis: &'a Analysis<'_>, place: &'a str) -> Option<&'a PatternShift> {
    let all: f64 = new_errors(analysis, place).map(|pattern| pattern.now).sum();
    new_errors(analysis, place).find(|pattern| {
        pattern.variants == 1
            && pattern.now >= REPEATED_RECORD
            && pattern.now >= MOST * all
            && names_a_record(&pattern.sample)
    })
}

/// Whether a text tells which record, by `offset=12` or the like.
fn names_a_record(text: &str) -> bool {
    text.split([' ', ',', ';', '(', ')']).any(|part| {
        let Some((key, value)) = part.split_once(['=', ':']) else { return false };
        RECORD_KEYS.iter().any(|known| key.to_lowercase().ends_with(known))
            && value.chars().any(|c| c.is_ascii_digit())
    })
}

/// Something that is no part of the place's calls and took a resource that the place then lacked.
pub fn neighbour<'a>(analysis: &'a Analysis<'_>, place: &str) -> Option<&'a str> {
    let resource = |metric: &&MetricMove| {
        matches!(metric.topic, Topic::Cpu | Topic::Memory | Topic::Disk) && metric.score > 0.0
    };
    let throttled = analysis.metrics.iter().any(|metric| {
        metric.service == place
            && words(&metric.name).iter().any(|word| word.starts_with("throttl") || word == "steal")
            && metric.score > 0.0
    });
    let ours: BTreeSet<&str> =
        analysis.edges.iter().flat_map(|(caller, callee)| [caller.as_str(), callee.as_str()]).collect();
    let own = analysis.onset_of(place)?;
    analysis
        .metrics
        .iter()
        .filter(resource)
        .filter(|metric| metric.service != place && !ours.contains(metric.service.as_str()))
        .find(|metric| {
            throttled
                && metric.began.is_none_or(|began| began <= own.plus(std::time::Duration::from_secs(120)))
        })
        .map(|metric| metric.service.as_str())
}

/// The step of a suspect with the largest amount, if any has one.
fn strongest(analysis: &Analysis<'_>, suspect: &Suspect, amount: impl Fn(&Step) -> f64) -> Option<usize> {
    let steps = &analysis.comparison.steps;
    let here = analysis.comparison.scoped().filter(|(_, step)| belongs(step, steps, &suspect.place));
    let amounts = here.map(|(place, step)| (amount(step), place)).filter(|(amount, _)| *amount > 0.0);
    amounts
        .max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)))
        .map(|(_, place)| place)
}

/// Whether a step is a suspect's own, or a call to it when it has no steps.
fn belongs(step: &Step, steps: &[Step], place: &str) -> bool {
    step.operation.service == place
        || matches!(remote_place(step, steps), Some(Remote::Peer(peer) | Remote::Callee(peer)) if peer == place)
}

fn surged(analysis: &Analysis<'_>, suspect: &Suspect) -> bool {
    let own = analysis.traffic(&suspect.place).or_else(|| analysis.traffic(&analysis.impacted));
    let entry = analysis.traffic(&analysis.impacted);
    let rose = |(before, now): (f64, f64)| before > 0.0 && now / before >= SURGE;
    own.is_some_and(rose) && entry.is_none_or(rose)
}

fn slowness(analysis: &Analysis<'_>, suspect: &Suspect, place: usize) -> Mechanism {
    let comparison = &analysis.comparison;
    let steps = &comparison.steps;
    let step = &steps[place];
    if repeated(comparison, step).is_some() {
        return Mechanism::RepeatedCalls;
    }
    // Waiting for a pool or a lock shows beside the calls that hog it.
    if comparison
        .scoped()
        .any(|(_, other)| other.operation.service == suspect.place && repeated(comparison, other).is_some())
    {
        return Mechanism::RepeatedCalls;
    }
    if !step.operation.database.is_empty() {
        return if speaks_of_locks(analysis, &suspect.place) {
            Mechanism::LockContention
        } else {
            Mechanism::SlowQuery
        };
    }
    match remote_place(step, steps) {
        Some(Remote::Peer(_)) => Mechanism::SlowDependency,
        Some(Remote::Callee(_)) => Mechanism::Network,
        None if speaks_of_locks(analysis, &suspect.place) => Mechanism::LockContention,
        None if saturated(analysis, &suspect.place) => Mechanism::Saturation,
        None => Mechanism::SlowCode,
    }
}

/// Calls per call of the step above, before and now, when they multiplied while each took about as long or the sum grew.
pub fn repeated(comparison: &Comparison, step: &Step) -> Option<(f64, f64)> {
    let (before, now) = comparison.calls_per_parent(step);
    let multiplied =
        now >= 2.0 && now >= REPEATED * before.max(0.1) && comparison.calls_z(step) >= SIGNIFICANT;
    multiplied.then_some((before, now))
}

fn failure(analysis: &Analysis<'_>, suspect: &Suspect, place: usize) -> Mechanism {
    let step = &analysis.comparison.steps[place];
    if speaks_of_locks(analysis, &suspect.place) && !step.operation.database.is_empty() {
        return Mechanism::LockContention;
    }
    match remote_place(step, &analysis.comparison.steps) {
        Some(Remote::Peer(_)) => Mechanism::FailingDependency,
        _ => Mechanism::NewErrors,
    }
}

fn without_time_or_errors(analysis: &Analysis<'_>, suspect: &Suspect) -> Mechanism {
    let silent = analysis.seen.coverage.iter().find(|coverage| coverage.service == suspect.place);
    if silent.is_some_and(|coverage| analysis.fell_silent(coverage)) {
        return Mechanism::Down;
    }
    let strongest = analysis.metrics.iter().find(|metric| metric.service == suspect.place);
    let by_metric = strongest.map(|metric| match metric.topic {
        Topic::Cpu | Topic::Memory | Topic::Saturation | Topic::Disk => Mechanism::Saturation,
        Topic::Network => Mechanism::Network,
        Topic::Errors | Topic::Success => Mechanism::NewErrors,
        Topic::Latency => Mechanism::SlowCode,
        Topic::Traffic | Topic::Other => Mechanism::Unknown,
    });
    let errors_logged =
        analysis.patterns.iter().any(|pattern| pattern.service == suspect.place && pattern.severity >= 17);
    if suspect.calls > 0.0 {
        Mechanism::ChangedBehaviour
    } else if errors_logged {
        Mechanism::NewErrors
    } else {
        by_metric.unwrap_or(Mechanism::Unknown)
    }
}

fn changed_call(analysis: &Analysis<'_>, suspect: &Suspect) -> Option<usize> {
    let steps = &analysis.comparison.steps;
    let mine =
        |step: &Step| step.parent.is_some_and(|parent| steps[parent].operation.service == suspect.place);
    let changed = analysis.comparison.scoped().filter(|(_, step)| mine(step));
    let by_z = changed
        .map(|(place, step)| (analysis.comparison.calls_z(step).abs(), place))
        .filter(|(z, _)| *z >= SIGNIFICANT);
    by_z.max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1))).map(|(_, place)| place)
}

fn saturated(analysis: &Analysis<'_>, service: &str) -> bool {
    let mine = analysis.metrics.iter().filter(|metric| metric.service == service && metric.score > 0.0);
    mine.into_iter()
        .any(|metric| matches!(metric.topic, Topic::Cpu | Topic::Memory | Topic::Saturation | Topic::Disk))
}

fn speaks_of_locks(analysis: &Analysis<'_>, service: &str) -> bool {
    let says = |text: &str| {
        let text = text.to_lowercase();
        LOCK_WORDS.iter().any(|word| text.contains(word))
    };
    let failures = analysis.seen.errors_now.groups.iter().filter(|group| group.service == service);
    let logged = analysis.patterns.iter().filter(|pattern| pattern.service == service);
    failures.into_iter().any(|group| says(&group.message) || says(&group.exception))
        || logged.into_iter().any(|pattern| says(&pattern.template) || says(&pattern.sample))
}
