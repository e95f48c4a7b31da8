//! Services that stopped, and signals that stopped.

use domain::{Exhibit, Strength, UnixNanos};

use super::{Analysis, Draft, Outcome, short};

/// Rows in the baseline from which silence is news.
const USUAL: u64 = 20;

/// Services that sent spans or logs in the baseline and none in the window.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    if analysis.seen.coverage.is_empty() {
        return Outcome::Blind("no spans and no logs".to_owned());
    }
    let silent: Vec<Draft> = analysis
        .seen
        .coverage
        .iter()
        .filter(|coverage| coverage.spans_before >= USUAL && coverage.spans_now == 0)
        .map(|coverage| Draft {
            service: coverage.service.clone(),
            claim: format!(
                "{} sent {} spans in the baseline and none in the window.",
                short(&coverage.service),
                coverage.spans_before
            ),
            strength: Strength::Medium,
            figures: Vec::new(),
            began: (coverage.last_span > 0).then_some(UnixNanos(coverage.last_span)),
            query: String::new(),
            exhibit: Exhibit::None,
        })
        .take(3)
        .collect();
    if silent.is_empty() {
        Outcome::Nothing("every service that spoke before speaks now".to_owned())
    } else {
        Outcome::Found(silent)
    }
}
