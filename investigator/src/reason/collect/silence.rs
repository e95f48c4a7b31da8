//! Services that stopped, and signals that stopped.

use domain::{Exhibit, Strength, UnixNanos};

use super::{Analysis, Draft, Outcome, short};

/// Services that sent spans in the baseline, enough that some were to be expected, and none in the window.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    if analysis.seen.coverage.is_empty() {
        return Outcome::Blind("no spans and no logs".to_owned());
    }
    let silent: Vec<Draft> = analysis
        .seen
        .coverage
        .iter()
        .filter(|coverage| analysis.fell_silent(coverage))
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
            query: analysis.seen.queries.coverage.clone(),
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

#[cfg(test)]
mod tests {
    use domain::Window;
    use storage::questions::coverage::Coverage;

    use super::*;
    use crate::{Observations, Question};

    #[test]
    fn silence_is_news_where_the_window_is_long_enough_to_expect_something() {
        let seconds =
            |from: i64, to: i64| Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to));
        let check = |spans_before: u64, length: i64, expected: bool| {
            let mut question = Question::new(None, seconds(10_000, 10_000 + length));
            question.baseline = Some(seconds(9_000, 10_000));
            let last_span = UnixNanos::from_seconds(9_990);
            let quiet = Coverage {
                service: "cart".into(),
                spans_before,
                spans_now: 0,
                last_span: last_span.0,
                logs_before: 0,
                logs_now: 0,
            };
            let seen =
                Observations { question: Some(question), coverage: vec![quiet], ..Observations::default() };
            let began = match collect(&Analysis::new(&seen)) {
                Outcome::Found(found) => found.first().and_then(|draft| draft.began),
                _ => None,
            };
            assert_eq!(began, expected.then_some(last_span), "{spans_before} in 1000 s, none in {length} s");
        };
        check(30, 600, false);
        check(40, 600, true);
        check(1000, 10, false);
        check(3000, 10, true);
    }
}
