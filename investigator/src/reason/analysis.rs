//! The comparison, the moved patterns and metrics, the topology and the suspects: worked out once, read by everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use detectors::statistics::median;
use domain::{Mechanism, UnixNanos, Window};

use domain::evidence::PatternMove;
use storage::questions::coverage::Coverage;
use storage::questions::operations::OperationSlice;

use super::blame::{Changes, Onset, Scene};
use super::comparison::Comparison;
use super::flow::{self, Divergence};
use super::implicate::implicate;
use super::is_usable;
use super::logs::{self, PatternShift};
use super::metrics::{self, MetricMove};
use super::skew::{answering, newcomers_since, skews};
use super::spread;
use super::suspects::{self, Suspect};
use super::words::Words;
use crate::{Observations, Question};

/// What words of another service's failure count beside the place's own.
const BESIDE: f64 = 0.4;
/// Messages, patterns and metrics read for their words, each.
const MAX_TEXTS: usize = 30;
/// Robust score from which a metric counts as moved.
pub const METRIC_THRESHOLD: f64 = 4.0;
/// Spans from which a service's own work is a better scale than the whole system's.
const ENOUGH_SPANS: f64 = 20.0;
/// Slices with requests that a rate needs on each side.
const ENOUGH_SLICES: usize = 5;
/// A service is taken for silent where chance would leave it so less often than this. Requests come in bursts: well below
/// what one would take for independent ones.
const CHANCE_OF_NONE: f64 = 1e-8;
/// A service deviates in a slice when it is this many times worse than its own baseline.
const ONSET_RATIO: f64 = 2.0;

/// What follows from the observations before any hypothesis is made.
pub struct Analysis<'a> {
    /// What was seen.
    pub seen: &'a Observations,
    /// What was asked.
    pub question: Question,
    /// What it is compared with.
    pub baseline: Window,
    /// The service whose callers are hurt.
    pub impacted: String,
    /// Call trees laid over each other.
    pub comparison: Comparison,
    /// Log patterns that moved.
    pub patterns: Vec<PatternShift>,
    /// Steps between log statements that diverge.
    pub divergences: Vec<Divergence>,
    /// Metrics that moved.
    pub metrics: Vec<MetricMove>,
    /// Who calls whom.
    pub edges: BTreeSet<(String, String)>,
    /// How much worse new instances fare than old ones, by service ([`super::skew`]).
    pub skews: BTreeMap<String, f64>,
    /// Whether new instances are seen to answer well, by service ([`super::skew`]).
    pub answering: BTreeMap<String, bool>,
    /// From when on a release brings instances that count as new ([`super::skew`]).
    pub newcomers_since: UnixNanos,
    /// Changes, told apart.
    pub changes: Changes,
    /// Places that deviate, strongest first.
    pub suspects: Vec<Suspect>,
}

impl<'a> Analysis<'a> {
    /// Works everything out.
    pub fn new(seen: &'a Observations) -> Self {
        let question = seen.asked();
        let comparison = Comparison::new(&seen.calls_before, &seen.calls_now, question.service.as_deref());
        let baseline = question.quiet_time();
        let patterns =
            logs::shifts(&seen.logs, |service| work_ratio(seen, &comparison, service, &question, &baseline));
        let divergences = flow::divergences(&seen.flow);
        let compared = metrics::compared(&seen.metrics, baseline.start, &question.window);
        let metrics = metrics::moves(&compared, METRIC_THRESHOLD);
        let edges = edges(seen, &question, &comparison);
        let changes = Changes::new(&seen.changes);
        let added = spread::added(&compared, &edges, &changes.touched(), question.service.as_deref());
        let suspects = suspects::suspects(
            &comparison,
            &patterns,
            &divergences,
            &metrics,
            &added,
            &edges,
            question.service.as_deref(),
        );
        let impacted = impacted(&question, &comparison, &suspects);
        let newcomers_since = newcomers_since(&question, baseline, &seen.metrics);
        let analysis = Self {
            seen,
            question,
            baseline,
            impacted,
            comparison,
            patterns,
            divergences,
            metrics,
            edges,
            skews: skews(&compared),
            answering: answering(&compared),
            newcomers_since,
            changes,
            suspects,
        };
        let suspects = implicate(&analysis, analysis.suspects.clone());
        Self { suspects, ..analysis }
    }

    /// Requests per second of a service in the baseline and the window: medians over slices with any, so that a young
    /// store or a pause does not look like a surge. `None` without requests on either side.
    pub fn traffic(&self, service: &str) -> Option<(f64, f64)> {
        let width = self.slice_seconds()?;
        let [before, now] = self.slices(service);
        let end = self.question.window.end;
        let rates = |slices: &[&OperationSlice]| -> Vec<f64> {
            // The newest slice has only come as far as the window has.
            let covered = |slice: &OperationSlice| match UnixNanos(slice.at) {
                at if at < end => end.seconds_since(at).min(width),
                _ => width,
            };
            let whole =
                slices.iter().map(|slice| (slice, covered(slice))).filter(|(_, covered)| *covered >= 1.0);
            whole.map(|(slice, covered)| slice.calls as f64 / covered).collect()
        };
        let (mut before, mut now) = (rates(&before), rates(&now));
        let enough = before.len() >= ENOUGH_SLICES;
        Some((median(&mut before)?, median(&mut now)?)).filter(|_| enough)
    }

    /// Slices of the requests of a service, oldest first: those of the baseline and those of the window.
    pub fn slices(&self, service: &str) -> [Vec<&'a OperationSlice>; 2] {
        let whole = |slice: &OperationSlice| is_usable(slice.mean_ms) && is_usable(slice.p95_ms);
        let mine = || self.seen.requests.iter().filter(|slice| slice.service == service && whole(slice));
        [self.baseline, self.question.window].map(|window| {
            let mut inside: Vec<_> = mine().filter(|slice| window.contains(UnixNanos(slice.at))).collect();
            inside.sort_by_key(|slice| slice.at);
            inside
        })
    }

    /// Requests to a service in the window, and how many of them failed.
    pub fn requests_in_window(&self, service: &str) -> (u64, u64) {
        let [_, now] = self.slices(service);
        now.iter().fold((0, 0), |(calls, errors), slice| (calls + slice.calls, errors + slice.errors))
    }

    /// Width of the slices observed, seconds.
    pub fn slice_seconds(&self) -> Option<f64> {
        if self.seen.slice_seconds > 0 {
            return Some(f64::from(self.seen.slice_seconds));
        }
        let starts: BTreeSet<i64> = self.seen.requests.iter().map(|slice| slice.at).collect();
        let gaps = starts.iter().zip(starts.iter().skip(1)).map(|(left, right)| right - left);
        gaps.min().map(|gap| gap as f64 / 1e9)
    }

    /// When a service's requests first left their baseline inside the window: the first slice whose error share or p95 is
    /// at least twice anything the baseline holds at its 90th percentile.
    pub fn onset(&self, service: &str) -> Option<UnixNanos> {
        let [before, now] = self
            .slices(service)
            .map(|slices| slices.into_iter().filter(|slice| slice.calls > 0).collect::<Vec<_>>());
        let usual = |value: &dyn Fn(&OperationSlice) -> f64| {
            let mut values: Vec<f64> = before.iter().map(|slice| value(slice)).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() * 9 / 10).copied()
        };
        let errors = |slice: &OperationSlice| slice.errors as f64 / slice.calls as f64;
        let usual_errors = usual(&errors)?;
        let usual_p95 = usual(&|slice| slice.p95_ms)?;
        now.iter()
            .find(|slice| {
                errors(slice) > ONSET_RATIO * usual_errors + 0.02
                    || slice.p95_ms > ONSET_RATIO * usual_p95 + 5.0
            })
            .map(|slice| UnixNanos(slice.at))
    }

    /// When users began to be hurt: seen in the impacted service's requests, or as the detector said.
    pub fn started(&self) -> Option<UnixNanos> {
        self.onset(&self.impacted).or(self.question.started)
    }

    /// When a place first deviated: by its requests, else by the metric and the log pattern that show it best, whichever
    /// of the two came first.
    pub fn onset_of(&self, place: &str) -> Option<UnixNanos> {
        self.dated_onset(place).map(|onset| onset.at)
    }

    /// [`Self::onset_of`], with what the signal that dates it can tell apart.
    pub fn dated_onset(&self, place: &str) -> Option<Onset> {
        let metric = self
            .metrics
            .iter()
            .filter(|metric| metric.service == place && metric.worse_by > 0.0 && metric.began.is_some())
            .filter(|metric| metric.topic.is_symptom() || metric.filled > 0.0)
            .max_by(|left, right| {
                left.score.abs().total_cmp(&right.score.abs()).then(right.began.cmp(&left.began))
            })
            .and_then(|metric| Some(Onset { at: metric.began?, resolution: self.sampled_every(metric) }));
        let log = self
            .patterns
            .iter()
            .find(|pattern| {
                pattern.service == place && pattern.movement == PatternMove::New && pattern.severity >= 13
            })
            .map(|pattern| Onset::exact(UnixNanos(pattern.first_seen)));
        let slice = Duration::from_secs_f64(self.slice_seconds().unwrap_or_default());
        let by_requests = |service: &str| Some(Onset { at: self.onset(service)?, resolution: slice });
        let noticed = self.question.started;
        by_requests(place)
            .or_else(|| metric.into_iter().chain(log).min_by_key(|onset| onset.at))
            .or_else(|| by_requests(&self.impacted))
            .map(|onset| noticed.map_or(onset, |noticed| onset.noticed(noticed)))
            .or(noticed.map(Onset::exact))
    }

    /// The usual time between two values of a metric in the window.
    fn sampled_every(&self, metric: &MetricMove) -> Duration {
        Duration::from_secs_f64(self.question.window.seconds().max(0.0) / metric.now.count.max(1.0))
    }

    /// Whether a service that sent spans in the baseline sends none now, and that is no chance: with as many as were to be
    /// expected in a window of this length, the chance of none is `exp(-expected)` (Poisson) and below [`CHANCE_OF_NONE`].
    pub fn fell_silent(&self, coverage: &Coverage) -> bool {
        let length = self.question.harm_window().seconds() / self.baseline.seconds().max(1.0);
        let expected = coverage.spans_before as f64 * length;
        coverage.spans_now == 0 && expected > -CHANCE_OF_NONE.ln()
    }

    /// What a change of or beside `place` would have to explain.
    pub fn scene<'b>(&'b self, place: &'b str, mechanism: Option<Mechanism>) -> Scene<'b> {
        let next_door = self
            .edges
            .iter()
            .filter_map(|(caller, callee)| match (caller.as_str(), callee.as_str()) {
                (caller, callee) if callee == place => Some(caller),
                (caller, callee) if caller == place => Some(callee),
                _ => None,
            })
            .collect();
        let skew = self.skews.get(place).copied();
        Scene {
            place,
            mechanism,
            onset: self.dated_onset(place),
            next_door,
            skew,
            words: self.words_of(place),
        }
    }

    /// The words of what fails at a place and, less, next to it.
    fn words_of(&self, place: &str) -> Words {
        let mut words = Words::default();
        let mut services: BTreeSet<&str> = BTreeSet::new();
        let say = |words: &mut Words, service: &str, text: &str, weight: f64| {
            words.add_failure(text, if service == place { weight } else { weight * BESIDE });
        };
        for group in self.seen.errors_now.groups.iter().take(MAX_TEXTS) {
            say(&mut words, &group.service, &format!("{} {}", group.message, group.exception), 1.0);
        }
        for pattern in self.patterns.iter().filter(|pattern| pattern.severity >= 13).take(MAX_TEXTS) {
            say(
                &mut words,
                &pattern.service,
                &pattern.sample,
                if pattern.severity >= 17 { 1.0 } else { 0.7 },
            );
        }
        for metric in self.metrics.iter().filter(|metric| metric.weight >= 0.5).take(MAX_TEXTS) {
            say(&mut words, &metric.service, &metric.name, 0.5);
        }
        let usual = self.seen.logs.groups.iter().filter(|group| group.before > 0 && group.severity < 13);
        words.quieten(usual.map(|group| group.sample.as_str()));
        services.extend(self.edges.iter().flat_map(|(caller, callee)| [caller.as_str(), callee.as_str()]));
        services.into_iter().chain([place]).fold(words, Words::without)
    }

    /// Services on the way from `caller` down to `callee`, both included; empty when there is none.
    pub fn path(&self, caller: &str, callee: &str) -> Vec<String> {
        let mut from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut frontier = vec![caller];
        while let Some(here) = frontier.pop().filter(|_| !from.contains_key(callee) && caller != callee) {
            let mut next: Vec<&str> = Vec::new();
            for (_, callee) in
                self.edges.range((here.to_owned(), String::new())..).take_while(|(source, _)| source == here)
            {
                if callee != caller && !from.contains_key(callee.as_str()) {
                    from.insert(callee, here);
                    next.push(callee);
                }
            }
            frontier.splice(0..0, next.into_iter().rev());
        }
        let mut path = vec![callee.to_owned()];
        let mut here = callee;
        while here != caller {
            let Some(above) = from.get(here) else { return Vec::new() };
            path.push((*above).to_owned());
            here = above;
        }
        path.reverse();
        path
    }
}

/// How much a service did in the window for each unit of the baseline: by its spans, else by all traces, else by time.
fn work_ratio(
    seen: &Observations,
    comparison: &Comparison,
    service: &str,
    question: &Question,
    baseline: &Window,
) -> f64 {
    let spans = seen.coverage.iter().find(|coverage| coverage.service == service);
    match spans.map(|coverage| (coverage.spans_before as f64, coverage.spans_now as f64)) {
        Some((before, now)) if before >= ENOUGH_SPANS && now >= ENOUGH_SPANS => now / before,
        _ if comparison.traces.0 >= 5.0 && comparison.traces.1 >= 5.0 => {
            comparison.traces.1 / comparison.traces.0
        }
        _ => question.window.seconds() / baseline.seconds().max(1.0),
    }
}

fn impacted(question: &Question, comparison: &Comparison, suspects: &[Suspect]) -> String {
    let busiest = || {
        let roots = comparison.steps.iter().filter(|step| step.parent.is_none());
        roots
            .max_by(|left, right| left.now.calls.total_cmp(&right.now.calls))
            .map(|step| step.operation.service.clone())
    };
    let strongest = || suspects.first().map(|suspect| suspect.place.clone());
    question.service.clone().or_else(busiest).or_else(strongest).unwrap_or_default()
}

fn edges(seen: &Observations, question: &Question, comparison: &Comparison) -> BTreeSet<(String, String)> {
    let mut edges: BTreeSet<(String, String)> = question.edges.iter().cloned().collect();
    edges.extend(seen.graph.iter().map(|edge| (edge.caller.clone(), edge.callee.clone())));
    for step in &comparison.steps {
        let service = &step.operation.service;
        if let Some(above) = step.parent.map(|parent| &comparison.steps[parent].operation.service)
            && above != service
        {
            edges.insert((above.clone(), service.clone()));
        }
        if let Some(suspects::Remote::Peer(peer)) = suspects::remote_place(step, &comparison.steps) {
            edges.insert((service.clone(), peer.to_owned()));
        }
    }
    for series in &seen.metrics.series {
        if let (Some(source), Some(destination)) =
            (series.labels.get("source"), series.labels.get("destination"))
        {
            edges.insert((source.clone(), destination.clone()));
        }
    }
    edges.retain(|(caller, callee)| caller != callee && !caller.is_empty() && !callee.is_empty());
    edges
}
