//! What newly fails at a place, in its own words: the ends of failing traces and the errors that it logs.

use std::collections::BTreeSet;

use detectors::log_template::mask;
use domain::evidence::PatternMove;

use super::analysis::Analysis;
use super::metrics::words;

/// A failure that was there before must come this many times as often to be news.
const GROWN: f64 = 3.0;

/// One way to fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure<'a> {
    /// Exception and message, or the log line.
    pub text: String,
    /// Traces or lines.
    pub count: f64,
    /// The message alone, as sent.
    pub message: &'a str,
}

/// Failures of a place that it did not have, or had far less, most frequent first.
pub fn new_failures<'a>(analysis: &'a Analysis<'_>, place: &str) -> Vec<Failure<'a>> {
    let scale = analysis.question.window.seconds() / analysis.baseline.seconds().max(1.0);
    let before = |exception: &str, message: &str| {
        let known = analysis.seen.errors_before.groups.iter();
        let same = known.filter(|group| {
            group.service == place && group.exception == exception && mask(&group.message) == mask(message)
        });
        same.map(|group| group.traces as f64 * scale).sum::<f64>()
    };
    let traced = analysis
        .seen
        .errors_now
        .groups
        .iter()
        .filter(|group| group.service == place && !(group.message.is_empty() && group.exception.is_empty()))
        .filter(|group| group.traces as f64 > GROWN * before(&group.exception, &group.message))
        .map(|group| Failure {
            text: format!("{} {}", group.exception, group.message).trim().to_owned(),
            count: group.traces as f64,
            message: if group.message.is_empty() { &group.exception } else { &group.message },
        });
    let logged = analysis
        .patterns
        .iter()
        .filter(|pattern| {
            pattern.service == place && pattern.severity >= 17 && pattern.movement != PatternMove::Gone
        })
        .map(|pattern| Failure {
            text: pattern.sample.clone(),
            count: pattern.now,
            message: &pattern.sample,
        });
    let mut failures: Vec<Failure<'_>> = traced.chain(logged).collect();
    failures
        .sort_by(|left, right| right.count.total_cmp(&left.count).then_with(|| left.text.cmp(&right.text)));
    failures
}

/// The words of a text, each once: split where neither letter nor digit stands and where case rises.
pub fn tokens(text: &str) -> BTreeSet<String> {
    text.split_whitespace().flat_map(words).collect()
}
