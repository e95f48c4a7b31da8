//! Log patterns that appeared, multiplied or vanished, and log statements that follow others than before.

use domain::evidence::{LogPattern, PatternMove};
use domain::text::{percent, plain};
use domain::{Exhibit, Strength, UnixNanos};

use super::{Analysis, Draft, Outcome, short};
use crate::reason::logs::PatternShift;

/// Patterns shown per service.
const MAX_PATTERNS: usize = 6;
/// Services shown.
const MAX_SERVICES: usize = 4;
/// A pattern this light says little.
const TELLING: f64 = 0.15;

/// One piece of evidence per service whose logs changed.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    if analysis.seen.logs.groups.is_empty() {
        return Outcome::Blind("no logs in either window".to_owned());
    }
    let telling: Vec<&PatternShift> =
        analysis.patterns.iter().filter(|pattern| pattern.weight >= TELLING).collect();
    let mut services: Vec<&str> = Vec::new();
    for pattern in &telling {
        if !services.contains(&pattern.service.as_str()) && services.len() < MAX_SERVICES {
            services.push(&pattern.service);
        }
    }
    let mut drafts: Vec<Draft> =
        services.into_iter().map(|service| draft(analysis, service, &telling)).collect();
    drafts.extend(paths(analysis));
    if drafts.is_empty() {
        return Outcome::Nothing(
            "no pattern is new, multiplied or gone, and statements follow each other as before".to_owned(),
        );
    }
    Outcome::Found(drafts)
}

/// Where the code takes another path, one piece of evidence per service.
fn paths(analysis: &Analysis<'_>) -> Vec<Draft> {
    let mut services: Vec<&str> = Vec::new();
    for step in analysis.divergences.iter().filter(|step| step.weight >= TELLING) {
        if !services.contains(&step.service.as_str()) && services.len() < MAX_SERVICES {
            services.push(&step.service);
        }
    }
    services
        .into_iter()
        .map(|service| {
            let mine =
                || analysis.divergences.iter().filter(|step| step.service == service).take(MAX_PATTERNS);
            let first = mine().next();
            let words = |statement: &str| match statement {
                "" => "the end".to_owned(),
                statement => plain(statement, 120),
            };
            Draft {
                service: service.to_owned(),
                claim: first.map_or_else(String::new, |step| {
                    format!(
                        "In {}, {} comes after {} {} of the time, {} before.",
                        short(service),
                        words(&step.to),
                        words(&step.from),
                        percent(step.now),
                        percent(step.before)
                    )
                }),
                strength: Strength::Medium,
                figures: Vec::new(),
                began: None,
                query: analysis.seen.flow.query.clone(),
                exhibit: Exhibit::Table {
                    columns: ["After", "Comes", "Before", "Now"].map(str::to_owned).to_vec(),
                    rows: mine()
                        .map(|step| {
                            vec![words(&step.from), words(&step.to), percent(step.before), percent(step.now)]
                        })
                        .collect(),
                },
            }
        })
        .collect()
}

fn draft(analysis: &Analysis<'_>, service: &str, telling: &[&PatternShift]) -> Draft {
    let mine: Vec<&PatternShift> =
        telling.iter().filter(|pattern| pattern.service == service).take(MAX_PATTERNS).copied().collect();
    let first = mine[0];
    let moved = match first.movement {
        PatternMove::New => "is new",
        PatternMove::Spiking => "is far more frequent",
        PatternMove::Gone => "is gone",
    };
    let first_seen = mine.iter().filter(|pattern| pattern.now > 0.0).map(|pattern| pattern.first_seen).min();
    Draft {
        service: service.to_owned(),
        claim: format!("In {}, “{}” {moved}.", short(service), short(&first.template)),
        strength: if first.severity >= 17 && first.z >= 6.0 { Strength::Strong } else { Strength::Medium },
        figures: Vec::new(),
        began: first_seen.filter(|at| *at > 0).map(UnixNanos),
        query: analysis.seen.logs.query.clone(),
        exhibit: Exhibit::LogPatterns {
            patterns: mine.into_iter().map(|pattern| row(analysis, pattern)).collect(),
        },
    }
}

fn row(analysis: &Analysis<'_>, pattern: &PatternShift) -> LogPattern {
    let logs = &analysis.seen.logs;
    let at = |slice: i64| UnixNanos(logs.origin + slice * logs.slice);
    let last =
        pattern.slices.keys().max().copied().unwrap_or(0).max(storage::questions::log_groups::SLICES - 1);
    LogPattern {
        service: pattern.service.clone(),
        template: plain(&pattern.template, 300),
        severity: pattern.severity,
        logger: plain(&pattern.logger, 80),
        movement: pattern.movement,
        before: pattern.expected,
        now: pattern.now as u64,
        first_seen: UnixNanos(pattern.first_seen),
        sample: plain(&pattern.sample, 300),
        counts: (0..=last)
            .map(|slice| (at(slice), pattern.slices.get(&slice).copied().unwrap_or(0) as f64))
            .collect(),
    }
}
