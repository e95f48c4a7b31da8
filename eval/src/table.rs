//! Results as text for a terminal.

use std::fmt::Write as _;

use crate::summary::{ALL, Scores, Share, Summary};
use crate::{Outcome, floors};

/// One line per case.
pub fn cases(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let result = &outcome.result;
        let rank = result.correct_service_rank.map_or_else(|| "–".to_owned(), |rank| rank.to_string());
        let named: Vec<String> = result
            .ranked
            .iter()
            .take(3)
            .map(|ranked| format!("{} {} {:.2}", ranked.service, ranked.mechanism, ranked.score))
            .collect();
        let culprit = match (result.culprit_correct, outcome.marks.culprit_rank) {
            (Some(true), _) => "change right".to_owned(),
            (Some(false), Some(rank)) => format!("change at {rank}"),
            (Some(false), None) => "change wrong".to_owned(),
            (None, _) => String::new(),
        };
        let _ = writeln!(
            text,
            "{rank:>2}  {}  {:.2}  load {} + observe {} + reason {} ms  {culprit}  {}",
            result.id,
            result.confidence,
            outcome.load_ms,
            result.elapsed_ms.saturating_sub(outcome.reason_ms),
            outcome.reason_ms,
            named.join(" | ")
        );
    }
    text
}

/// One line per set and one for all, then the floors. `named` is HR@1 where the verdict names a cause.
pub fn summary(summary: &Summary) -> String {
    let mut text = format!(
        "{:<44}{:>6}{:>7}{:>7}{:>7}{:>7}{:>7}{:>8}{:>8}{:>8}{:>9}{:>8}{:>7}{:>9}{:>10}{:>8}\n",
        "",
        "cases",
        "AC@1",
        "AC@3",
        "AC@5",
        "Avg@5",
        "MRR",
        "HR@1",
        "named",
        "HR@3",
        "no chg",
        "false",
        "ECE",
        "evidence",
        "median ms",
        "max ms"
    );
    for (set, scores) in rows(summary) {
        let _ = writeln!(
            text,
            "{:<44}{:>6}{:>7}{:>7}{:>7}{:>7.3}{:>7.3}{:>8}{:>8}{:>8}{:>9}{:>8}{:>7.3}{:>9}{:>10}{:>8}",
            cut(set),
            scores.cases,
            ratio(scores.ac1),
            ratio(scores.ac3),
            ratio(scores.ac5),
            scores.avg5,
            scores.mrr,
            ratio(scores.culprit_hr1),
            ratio(scores.culprit_hr1_named),
            ratio(scores.culprit_hr3),
            count(scores.no_change),
            count(scores.false_blame),
            scores.ece,
            count(scores.evidence),
            scores.median_ms,
            scores.max_ms
        );
        for name in floors::NAMES {
            if let Some(floor) = scores.floors.get(name) {
                let _ = writeln!(
                    text,
                    "{:<44}{:>6}{:>7}{:>7}{:>29}",
                    format!("    {name}"),
                    "",
                    ratio(floor.ac1),
                    ratio(floor.ac3),
                    ratio(floor.culprit_hr1)
                );
            }
        }
    }
    text
}

fn rows(summary: &Summary) -> impl Iterator<Item = (&str, &Scores)> {
    summary.sets.iter().map(|(set, scores)| (set.as_str(), scores)).chain([(ALL, &summary.all)])
}

fn cut(text: &str) -> String {
    text.chars().take(42).collect()
}

fn ratio(share: Share) -> String {
    if share.of == 0 { "–".to_owned() } else { format!("{:.3}", share.ratio) }
}

fn count(share: Share) -> String {
    if share.of == 0 { "–".to_owned() } else { format!("{:.0}/{}", share.hits, share.of) }
}
