//! What log patterns tell: new ones, ones that spike, ones that stopped.

use anyhow::Context as _;
use detectors::log_pattern::{self, PatternChange, PatternFinding, WINDOW};
use domain::text::{number, percent, plain};
use domain::{Detail, Finding, Observation, SeenIn, Severity, UnixNanos, Window};
use storage::Store;

/// Characters of a template that a finding's subject keeps.
const MOST_OF_A_TEMPLATE: usize = 160;

/// Patterns of every service that moved.
pub async fn findings(store: &Store, now: UnixNanos) -> anyhow::Result<Vec<Finding>> {
    let services = store.log_patterns(now).await.context("cannot ask for log patterns")?;
    let moved: Vec<_> = services.iter().flat_map(|logs| log_pattern::evaluate(logs, now).findings).collect();
    let written: Vec<_> = moved.iter().map(|found| (found.service.clone(), found.pattern)).collect();
    let window = Window::new(now.minus(WINDOW), now);
    let mut hosts =
        store.log_pattern_hosts(&written, window).await.context("cannot ask where log patterns come from")?;
    Ok(moved
        .into_iter()
        .map(|found| {
            let hosts = hosts.remove(&(found.service.clone(), found.pattern)).unwrap_or_default();
            finding(found, hosts, now)
        })
        .collect())
}

fn finding(found: PatternFinding, hosts: Vec<String>, now: UnixNanos) -> Finding {
    let (detector, numbers) = match &found.change {
        PatternChange::New { absent_since, .. } => (
            "new log pattern",
            vec![
                ("Messages".to_owned(), found.messages.to_string()),
                ("Not there since".to_owned(), absent_since.date()),
            ],
        ),
        PatternChange::Spike { usual, .. } => (
            "log pattern spike",
            vec![("In 5 min".to_owned(), found.messages.to_string()), ("Usually".to_owned(), number(*usual))],
        ),
        PatternChange::Stopped { presence, .. } => (
            "log pattern stopped",
            vec![
                ("Last written".to_owned(), found.at.clock_time()),
                ("Written in".to_owned(), format!("{} of 5-minute windows", percent(*presence))),
            ],
        ),
    };
    Finding {
        service: found.service.clone(),
        subject: plain(&found.template, MOST_OF_A_TEMPLATE),
        severity: Severity::Notice,
        started: found.at,
        window: Window::new(now.minus(WINDOW), now),
        detail: Detail::Observation(Observation {
            detector: detector.into(),
            sentence: plain(&found.sentence(), 400),
            numbers,
            seen_in: SeenIn::LogPattern(found.pattern.0),
            hosts,
        }),
    }
}
