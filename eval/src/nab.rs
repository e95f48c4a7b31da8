//! The Numenta Anomaly Benchmark: labelled series, its scoring function, and our detector's score on them.

pub mod corpus;
pub mod score;

use detectors::anomaly;

use corpus::Series;
use score::{Judged, Outcome, Profile, SeriesOutcome};

/// The detector's score of every value, series by series.
pub fn detect(series: &[Series]) -> Vec<Vec<f64>> {
    let scores = |series: &Series| {
        anomaly::score(series.points.iter().copied()).iter().map(|verdict| verdict.score).collect()
    };
    series.iter().map(scores).collect()
}

/// How scores do, at the threshold that is best for all series together.
pub fn judge(series: &[Series], scores: &[Vec<f64>], profile: Profile) -> Outcome {
    let judged: Vec<Judged> = series
        .iter()
        .zip(scores)
        .map(|(series, scores)| Judged { scores, windows: &series.windows })
        .collect();
    score::best(&judged, profile)
}

/// The outcome as a Markdown table, a row per series.
pub fn table(series: &[Series], outcome: &Outcome) -> String {
    let mut text = "| series | windows found | false alarms | score |\n|---|---|---|---|\n".to_owned();
    let score = |score: Option<f64>| score.map_or("–".into(), |score| format!("{score:.1}"));
    let row = |name: &str, row: &SeriesOutcome| {
        format!("| {name} | {}/{} | {} | {} |\n", row.found, row.windows, row.false_alarms, score(row.score))
    };
    for (series, outcome) in series.iter().zip(&outcome.series) {
        text += &row(series.name.trim_end_matches(".csv"), outcome);
    }
    let sum = |part: fn(&SeriesOutcome) -> usize| outcome.series.iter().map(part).sum();
    let all = SeriesOutcome {
        windows: sum(|series| series.windows),
        found: sum(|series| series.found),
        false_alarms: sum(|series| series.false_alarms),
        points: 0.0,
        score: Some(outcome.score),
    };
    text + &row("**all**", &all)
}
