//! Results as text for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::CaseResult;

/// One line per case, then one per system.
pub fn table(results: &[CaseResult]) -> String {
    let mut text = String::new();
    for result in results {
        let rank = result.correct_service_rank.map_or_else(|| "–".to_owned(), |rank| rank.to_string());
        let named: Vec<String> = result
            .ranked
            .iter()
            .take(3)
            .map(|ranked| format!("{} {} {:.2}", ranked.service, ranked.mechanism, ranked.score))
            .collect();
        let culprit = match result.culprit_correct {
            Some(true) => "change right",
            Some(false) => "change wrong",
            None => "",
        };
        let _ = writeln!(
            text,
            "{rank:>2}  {}  {:.2}  {} ms + {} ms  {culprit}  {}",
            result.id,
            result.confidence,
            result.load_ms,
            result.elapsed_ms,
            named.join(" | ")
        );
    }
    let mut systems: BTreeMap<&str, Vec<&CaseResult>> = BTreeMap::new();
    for result in results {
        systems.entry(&result.system).or_default().push(result);
    }
    for (system, results) in systems {
        let within = |top: usize| {
            results
                .iter()
                .filter(|result| result.correct_service_rank.is_some_and(|rank| rank <= top))
                .count()
        };
        let known = results.iter().filter(|result| result.culprit_correct.is_some()).count();
        let right = results.iter().filter(|result| result.culprit_correct == Some(true)).count();
        let _ = writeln!(
            text,
            "{system}: {} cases, right service first in {}, in the first 3 in {}, in the first 5 in {}; right change in {right} of {known}",
            results.len(),
            within(1),
            within(3),
            within(5)
        );
    }
    text
}
