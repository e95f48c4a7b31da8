//! Read-only questions to the store about an incident, beyond what its report says: each one of a few kinds, never free SQL.
//!
//! [`options`] lists what can be looked up, [`chosen`] takes what a question asks for by its words, and [`look`] asks the store
//! and makes evidence of the answers. That evidence is cited, shown to a model and checked like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::evidence::{LogPattern, PatternMove};
use domain::text::{count, number, percent, plain, seconds};
use domain::{Evidence, EvidenceId, EvidenceKind, Exhibit, Figure, Report, Strength, UnixNanos, Window};
use storage::Store;
use storage::questions::sli::{Latency, SliMinute};

use crate::reason::collect::changes::title as change_title;

/// Lookups made for one question.
pub const MAX_LOOKUPS: usize = 6;
/// Lookups that a model may choose from.
pub const MAX_OPTIONS: usize = 40;
/// Changes, log patterns and callers told of one lookup.
const MOST: usize = 5;
/// Log patterns kept to draw.
const MOST_PATTERNS: usize = 20;

/// A question to the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// Requests, failures and latency of a service, against the time before.
    Levels(String),
    /// The same of each of its operations.
    Operations(String),
    /// Its log patterns, against the time before.
    Logs(String),
    /// Who calls it, and whom it calls.
    Calls(String),
    /// Changes to it; with no service, to all.
    Changes(Option<String>),
}

impl Lookup {
    /// What it asks, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Levels(service) => format!("requests, errors and latency of {service}"),
            Self::Operations(service) => {
                format!("requests, errors and latency of each operation of {service}")
            }
            Self::Logs(service) => format!("log patterns of {service}"),
            Self::Calls(service) => format!("who calls {service}, and whom it calls"),
            Self::Changes(None) => "changes to any service".into(),
            Self::Changes(Some(service)) => format!("changes to {service}"),
        }
    }
}

/// When to look, and what to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The stretch asked about.
    pub now: Window,
    /// The stretch it is compared with.
    pub before: Window,
}

const LEVELS: &[&str] = &[
    "slow",
    "slower",
    "fast",
    "latency",
    "p50",
    "p95",
    "p99",
    "percentile",
    "error",
    "errors",
    "fail",
    "fails",
    "failed",
    "failing",
    "failures",
    "requests",
    "traffic",
    "load",
    "rate",
    "availability",
    "compare",
    "compared",
    "usual",
    "normal",
    "normally",
    "healthy",
    "before",
    "earlier",
];
const OPERATIONS: &[&str] =
    &["operation", "operations", "endpoint", "endpoints", "route", "routes", "path", "paths", "each"];
const LOGS: &[&str] =
    &["log", "logs", "logged", "logging", "message", "messages", "pattern", "patterns", "wrote", "writes"];
const CALLS: &[&str] = &[
    "call",
    "calls",
    "called",
    "caller",
    "callers",
    "calling",
    "upstream",
    "downstream",
    "depend",
    "depends",
    "dependency",
    "dependencies",
    "talks",
];
const CHANGES: &[&str] = &[
    "change",
    "changed",
    "changes",
    "deploy",
    "deployed",
    "deploys",
    "deployment",
    "release",
    "released",
    "rollout",
    "rolled",
    "flag",
    "flags",
    "config",
    "configuration",
    "migration",
    "scaled",
];
/// What asks for the answer itself, which the report has.
const ANSWER: &[&str] = &[
    "why", "cause", "caused", "do", "fix", "mitigate", "next", "ruled", "innocent", "verify", "help", "who",
    "when",
];

/// What a question asks for, by its words: services that it names, and what of them. `services` are the known ones. Without a
/// service the incident's is meant; a question for the cause, or for what to do, is the report's to answer.
pub fn chosen(question: &str, report: &Report, services: &[String]) -> Vec<Lookup> {
    let lower = question.to_lowercase();
    let words: BTreeSet<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let says = |of: &[&str]| of.iter().any(|word| words.contains(word));
    let named: Vec<&String> =
        services.iter().filter(|service| names(&lower, &service.to_lowercase())).collect();
    let about: Vec<String> = match named.is_empty() {
        true => vec![report.diagnosis.service.clone()],
        false => named.iter().map(|service| (*service).clone()).collect(),
    };
    let mut lookups = Vec::new();
    if says(CHANGES) {
        match named.is_empty() {
            true => lookups.push(Lookup::Changes(None)),
            false => lookups.extend(about.iter().cloned().map(|service| Lookup::Changes(Some(service)))),
        }
    }
    let mut of_each = |wanted: bool, make: fn(String) -> Lookup| {
        if wanted {
            lookups.extend(about.iter().filter(|service| !service.is_empty()).cloned().map(make));
        }
    };
    of_each(says(LOGS), Lookup::Logs);
    of_each(says(CALLS), Lookup::Calls);
    of_each(says(OPERATIONS), Lookup::Operations);
    of_each(says(LEVELS), Lookup::Levels);
    if lookups.is_empty() && !says(ANSWER) {
        lookups.extend(named.into_iter().cloned().map(Lookup::Levels));
    }
    lookups.truncate(MAX_LOOKUPS);
    lookups
}

/// Whether a text speaks of a name: whole, not within a longer one.
fn names(text: &str, name: &str) -> bool {
    let bounds = |at: usize| {
        let part = |character: char| character.is_alphanumeric() || character == '-' || character == '_';
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    };
    !name.is_empty() && text.match_indices(name).any(|(at, _)| bounds(at))
}

/// What a model may choose from: everything about the services that the report speaks of, nearest to the cause first.
pub fn options(report: &Report, services: &[String]) -> Vec<Lookup> {
    let diagnosis = &report.diagnosis;
    let spoken = diagnosis.chain.iter().map(|link| &link.component);
    let spoken = spoken.chain([&diagnosis.service]).chain(diagnosis.evidence.iter().map(|one| &one.service));
    let mut seen = BTreeSet::new();
    let known: Vec<String> = spoken
        .chain(services)
        .filter(|service| services.contains(service) && seen.insert((*service).clone()))
        .cloned()
        .collect();
    let mut options = vec![Lookup::Changes(None)];
    for service in known {
        let makes: [fn(String) -> Lookup; 4] =
            [Lookup::Levels, Lookup::Operations, Lookup::Logs, Lookup::Calls];
        options.extend(makes.map(|make| make(service.clone())));
    }
    options.truncate(MAX_OPTIONS);
    options
}

/// The stretch that a question means: between its times of day (`14:05`, UTC, on the day of the incident), since one of them, or
/// the incident's own. It is compared with as long a stretch that ended before harm began.
pub fn span(question: &str, report: &Report) -> Span {
    let incident = report.diagnosis.window;
    let day = incident.start.floor(Duration::from_secs(86_400));
    let mut times: Vec<UnixNanos> = question
        .split(|c: char| !c.is_ascii_digit() && c != ':')
        .filter_map(time_of_day)
        .map(|past| {
            let at = day.plus(past);
            // After midnight, of an incident that began before.
            if at < incident.start.minus(Duration::from_secs(12 * 3600)) {
                at.plus(Duration::from_secs(86_400))
            } else {
                at
            }
        })
        .collect();
    times.sort_unstable();
    let now = match times.as_slice() {
        [] => incident,
        [since] if *since < incident.end => Window::new(*since, incident.end),
        [_] => incident,
        [first, .., last] if first < last => Window::new(*first, *last),
        _ => incident,
    };
    let given = report.diagnosis.baseline.filter(|baseline| baseline.end <= now.start);
    let length = now.duration().max(Duration::from_secs(600));
    Span { now, before: given.unwrap_or_else(|| Window::new(now.start.minus(length), now.start)) }
}

fn time_of_day(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let mut next = |most: u64| parts.next()?.parse::<u64>().ok().filter(|part| *part < most);
    let (hours, minutes) = (next(24)?, next(60)?);
    let seconds = next(60).unwrap_or(0);
    Some(Duration::from_secs(hours * 3600 + minutes * 60 + seconds))
}

/// Asks the store. Evidence is numbered on from the report's; what the report says already is left out.
pub async fn look(
    store: &Store,
    lookups: &[Lookup],
    span: Span,
    question: &str,
    report: &Report,
) -> Result<Vec<Evidence>, storage::Error> {
    let mut found = Vec::new();
    for lookup in lookups.iter().take(MAX_LOOKUPS) {
        found.extend(match lookup {
            Lookup::Levels(service) => levels(store, service, span, question).await?,
            Lookup::Operations(service) => operations(store, service, span).await?,
            Lookup::Logs(service) => logs(store, service, span).await?,
            Lookup::Calls(service) => calls(store, service, span).await?,
            Lookup::Changes(service) => changes(store, service.as_deref(), span).await?,
        });
    }
    let evidence = &report.diagnosis.evidence;
    let said: BTreeSet<&str> = evidence.iter().map(|one| one.claim.as_str()).collect();
    found.retain(|one| !said.contains(one.claim.as_str()));
    let last = evidence.iter().map(|one| one.id.0).max().unwrap_or(0);
    for (id, one) in (last + 1..).zip(&mut found) {
        one.id = EvidenceId(id);
    }
    Ok(found)
}

fn evidence(kind: EvidenceKind, service: &str, claim: String, span: Span) -> Evidence {
    Evidence {
        id: EvidenceId(0),
        kind,
        service: service.to_owned(),
        claim,
        // Somebody asked for it: it is not to be left out.
        strength: Strength::Strong,
        supports: Vec::new(),
        contradicts: Vec::new(),
        figures: Vec::new(),
        began: None,
        window: span.now,
        query: String::new(),
        exhibit: Exhibit::None,
    }
}

fn when(window: Window) -> String {
    format!("from {} to {}", window.start.clock_time(), window.end.clock_time())
}

/// Requests of one stretch.
#[derive(Clone, Debug, Default)]
struct Level {
    requests: u64,
    errors: u64,
    latency: Latency,
}

impl Level {
    fn add(&mut self, minute: &SliMinute) {
        self.requests += minute.requests;
        self.errors += minute.errors;
        self.latency.merge(&minute.latency);
    }

    fn failed(&self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }

    fn p95(&self) -> String {
        self.latency.quantile(0.95).map_or_else(|| "unknown".into(), seconds)
    }
}

/// Before and now, of every endpoint and, under an empty name, of all.
async fn measured(
    store: &Store,
    service: &str,
    span: Span,
) -> Result<BTreeMap<String, [Level; 2]>, storage::Error> {
    let mut levels: BTreeMap<String, [Level; 2]> = BTreeMap::new();
    for (place, window) in [span.before, span.now].into_iter().enumerate() {
        for minute in store.sli_minutes_by_endpoint(service, window).await? {
            levels.entry(minute.endpoint.clone()).or_default()[place].add(&minute);
            levels.entry(String::new()).or_default()[place].add(&minute);
        }
    }
    Ok(levels)
}

fn level(whom: &str, service: &str, [before, now]: &[Level; 2], span: Span) -> Evidence {
    let whole = |value: u64| count(i64::try_from(value).unwrap_or(i64::MAX));
    let claim = match (before.requests, now.requests) {
        (0, 0) => format!("{whom} received no request {}.", when(span.now)),
        (_, 0) => {
            format!("{whom} received no request {}; before, {}.", when(span.now), whole(before.requests))
        }
        (0, _) => format!(
            "{whom} received {} requests {}: {} failed, 95% took at most {}; before, it received none.",
            whole(now.requests),
            when(span.now),
            percent(now.failed()),
            now.p95()
        ),
        _ => format!(
            "{whom} received {} requests {}: {} failed, 95% took at most {}; {}, {} failed and 95% took at most {}.",
            whole(now.requests),
            when(span.now),
            percent(now.failed()),
            now.p95(),
            when(span.before),
            percent(before.failed()),
            before.p95()
        ),
    };
    let figure = |name: &str, of: &dyn Fn(&Level) -> String, value: &dyn Fn(&Level) -> Option<f64>| Figure {
        name: name.into(),
        before: if before.requests > 0 { of(before) } else { String::new() },
        now: of(now),
        before_value: value(before),
        now_value: value(now),
    };
    let figures = vec![
        figure("Requests", &|level| whole(level.requests), &|level| Some(level.requests as f64)),
        figure("Failed", &|level| percent(level.failed()), &|level| Some(level.failed())),
        figure("95th percentile", &Level::p95, &|level| level.latency.quantile(0.95)),
    ];
    Evidence { figures, ..evidence(EvidenceKind::ServiceLevel, service, claim, span) }
}

async fn levels(
    store: &Store,
    service: &str,
    span: Span,
    question: &str,
) -> Result<Vec<Evidence>, storage::Error> {
    let measured = measured(store, service, span).await?;
    let asked = question.to_lowercase();
    let name = plain(service, 80);
    let mut found: Vec<Evidence> = measured
        .iter()
        .filter(|(endpoint, _)| names(&asked, &endpoint.to_lowercase()))
        .take(MOST)
        .map(|(endpoint, levels)| level(&format!("{} of {name}", plain(endpoint, 80)), service, levels, span))
        .collect();
    if found.is_empty() {
        let none = <[Level; 2]>::default();
        found.push(level(&name, service, measured.get("").unwrap_or(&none), span));
    }
    Ok(found)
}

async fn operations(store: &Store, service: &str, span: Span) -> Result<Vec<Evidence>, storage::Error> {
    let measured = measured(store, service, span).await?;
    let mut each: Vec<_> = measured.iter().filter(|(endpoint, _)| !endpoint.is_empty()).collect();
    // What fails most comes first, then what is busiest.
    each.sort_by_key(|(_, [_, now])| std::cmp::Reverse((now.errors, now.requests)));
    let name = plain(service, 80);
    let of = |(endpoint, levels): &(&String, &[Level; 2])| {
        level(&format!("{} of {name}", plain(endpoint, 80)), service, levels, span)
    };
    Ok(each.iter().take(MOST).map(of).collect())
}

async fn logs(store: &Store, service: &str, span: Span) -> Result<Vec<Evidence>, storage::Error> {
    let groups = store.log_groups(Some(span.before), span.now).await?;
    let scale = span.now.seconds() / span.before.seconds().max(1.0);
    let mut patterns: Vec<LogPattern> = groups
        .groups
        .into_iter()
        .filter(|group| group.service == service)
        .map(|group| {
            let before = group.before as f64 * scale;
            let movement = match (before, group.now) {
                (0.0, _) => PatternMove::New,
                (before, now) if (now as f64) < before => PatternMove::Gone,
                _ => PatternMove::Spiking,
            };
            let template = if group.template.is_empty() { &group.sample } else { &group.template };
            LogPattern {
                service: group.service.clone(),
                template: plain(template, 400),
                severity: group.severity,
                logger: group.logger,
                movement,
                before,
                now: group.now,
                first_seen: UnixNanos(group.first_seen),
                sample: plain(&group.sample, 400),
                counts: Vec::new(),
            }
        })
        .collect();
    let moved = |pattern: &LogPattern| (pattern.now as f64 - pattern.before).abs();
    patterns.sort_by(|a, b| moved(b).total_cmp(&moved(a)).then(a.template.cmp(&b.template)));
    let written: u64 = patterns.iter().map(|pattern| pattern.now).sum();
    let known = patterns.len();
    patterns.truncate(MOST_PATTERNS);
    let name = plain(service, 80);
    let said: Vec<String> = patterns
        .iter()
        .take(MOST)
        .map(|pattern| {
            format!("“{}” {} times, before {}", pattern.template, pattern.now, number(pattern.before.round()))
        })
        .collect();
    let claim = match said.is_empty() {
        true => format!("{name} wrote no log message {}, and none before.", when(span.now)),
        false => format!(
            "{name} wrote {} log messages of {known} patterns {}; these moved most: {}.",
            count(i64::try_from(written).unwrap_or(i64::MAX)),
            when(span.now),
            said.join("; ")
        ),
    };
    let found = evidence(EvidenceKind::LogPatterns, service, claim, span);
    Ok(vec![Evidence { exhibit: Exhibit::LogPatterns { patterns }, query: groups.query, ..found }])
}

async fn calls(store: &Store, service: &str, span: Span) -> Result<Vec<Evidence>, storage::Error> {
    let edges = store.service_graph(span.now).await?;
    let told = |mut others: Vec<(&String, u64, u64)>| {
        others.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let more = others.len().saturating_sub(MOST);
        let mut said: Vec<String> = others
            .iter()
            .take(MOST)
            .map(|(name, calls, errors)| {
                let failed = percent(*errors as f64 / (*calls).max(1) as f64);
                format!(
                    "{} ({} calls, {failed} failed)",
                    plain(name, 80),
                    count(i64::try_from(*calls).unwrap_or(i64::MAX))
                )
            })
            .collect();
        if more > 0 {
            said.push(format!("{more} more"));
        }
        said.join(", ")
    };
    let callers = edges.iter().filter(|edge| edge.callee == service);
    let callers: Vec<_> = callers.map(|edge| (&edge.caller, edge.calls, edge.errors)).collect();
    let callees = edges.iter().filter(|edge| edge.caller == service);
    let callees: Vec<_> = callees.map(|edge| (&edge.callee, edge.calls, edge.errors)).collect();
    let name = plain(service, 80);
    let callers = match callers.is_empty() {
        true => format!("No call to {name} was seen {}.", when(span.now)),
        false => format!("{name} is called by {} {}.", told(callers), when(span.now)),
    };
    let callees = match callees.is_empty() {
        true => format!("{name} was seen to call nobody {}.", when(span.now)),
        false => format!("{name} calls {} {}.", told(callees), when(span.now)),
    };
    let of = |claim: String| evidence(EvidenceKind::CallStructure, service, claim, span);
    Ok(vec![of(callers), of(callees)])
}

async fn changes(store: &Store, service: Option<&str>, span: Span) -> Result<Vec<Evidence>, storage::Error> {
    // A change may work late: the time that is compared with counts as well.
    let window = Window::new(span.before.start.min(span.now.start), span.now.end);
    let mut changes = store.changes(window).await?;
    changes.retain(|change| service.is_none_or(|service| change.service == service));
    if changes.is_empty() {
        let whom = service.map_or(String::new(), |service| format!(" of {}", plain(service, 80)));
        let claim = format!("No change{whom} was recorded {}.", when(window));
        return Ok(vec![evidence(EvidenceKind::Change, service.unwrap_or_default(), claim, span)]);
    }
    let latest = changes.into_iter().rev().take(MOST).map(|change| {
        let claim = format!("{} at {}.", change_title(&change), change.at.clock_time());
        let found = evidence(EvidenceKind::Change, &change.service, claim, span);
        Evidence { began: Some(change.at), exhibit: Exhibit::Change { change }, ..found }
    });
    Ok(latest.collect())
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceLevel;
    use domain::{Batch, Change, ChangeKind, LogRecord, Span as TraceSpan, SpanKind, StatusCode};

    use super::*;
    use crate::narrate::{fixture, narrate};

    fn report() -> Report {
        narrate(fixture::diagnosis(ConfidenceLevel::High)).unwrap()
    }

    fn services() -> Vec<String> {
        ["cart", "cart-db", "catalog", "checkout"].map(str::to_owned).into()
    }

    #[test]
    fn a_question_asks_for_what_it_names() {
        let of = |make: fn(String) -> Lookup, service: &str| make(service.to_owned());
        let check = |question: &str, expected: &[Lookup]| {
            assert_eq!(chosen(question, &report(), &services()), expected, "{question}");
        };
        check("is cart slow?", &[of(Lookup::Levels, "cart")]);
        check("and cart-db?", &[of(Lookup::Levels, "cart-db")]);
        check("what do the logs of Catalog say", &[of(Lookup::Logs, "catalog")]);
        check("who calls cart?", &[of(Lookup::Calls, "cart")]);
        check("which changes were there between 13:00 and 14:10", &[Lookup::Changes(None)]);
        check("was cart deployed?", &[Lookup::Changes(Some("cart".into()))]);
        check("how is latency compared with before?", &[of(Lookup::Levels, "checkout")]);
        check(
            "errors of each operation of cart",
            &[of(Lookup::Operations, "cart"), of(Lookup::Levels, "cart")],
        );
        check("why not cart?", &[]);
        check("what should I do", &[]);
        check("how is the weather on mars", &[]);
    }

    #[test]
    fn times_of_day_bound_the_stretch() {
        let report = report();
        let incident = report.diagnosis.window;
        let at = |hours: u64, minutes: u64| {
            incident
                .start
                .floor(Duration::from_secs(86_400))
                .plus(Duration::from_secs(hours * 3600 + minutes * 60))
        };
        let check = |question: &str, expected: Window| {
            assert_eq!(span(question, &report).now, expected, "{question}")
        };
        check("is cart slow?", incident);
        check("changes between 13:00 and 13:20?", Window::new(at(13, 0), at(13, 20)));
        check("changes between 13:20 and 13:00?", Window::new(at(13, 0), at(13, 20)));
        check("errors since 14:05", Window::new(at(14, 5), incident.end));
        check("99:99 14:61 2:2:3:4:5", Window::new(at(2, 2).plus(Duration::from_secs(3)), incident.end));
        assert!(span("since 14:05", &report).before.end <= at(14, 5));
    }

    #[test]
    fn a_model_chooses_among_what_is_known() {
        let options = options(&report(), &services());
        assert!(options.len() <= MAX_OPTIONS);
        assert_eq!(options[0], Lookup::Changes(None));
        assert!(options.contains(&Lookup::Logs("checkout".into())));
        assert_eq!(options.iter().collect::<BTreeSet<_>>().len(), options.len());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_store_answers_with_evidence() {
        let report = report();
        let (start, quiet) = (report.diagnosis.window.start, Duration::from_secs(600));
        let mut batch = Batch::default();
        for (at, ms, bad) in [(start.minus(quiet), 20, 0), (start.plus(quiet), 400, 5)] {
            for number in 0..20_u64 {
                let trace_id = format!("{:032x}", at.0.unsigned_abs() + number);
                let span = |id: u64, parent: &str, service: &str, kind: SpanKind| TraceSpan {
                    start: at.plus(Duration::from_secs(number)),
                    trace_id: trace_id.clone(),
                    span_id: format!("{id:016x}"),
                    parent_span_id: parent.to_owned(),
                    name: "GET /cart".into(),
                    kind,
                    service: service.into(),
                    duration_ns: ms * 1_000_000,
                    status: if number < bad { StatusCode::Error } else { StatusCode::Unset },
                    ..TraceSpan::default()
                };
                batch.spans.push(span(1, "", "checkout", SpanKind::Client));
                batch.spans.push(span(2, "0000000000000001", "cart", SpanKind::Server));
                batch.logs.push(LogRecord {
                    at: at.plus(Duration::from_secs(number)),
                    service: "cart".into(),
                    body: if number < bad { "pool is empty".into() } else { format!("served {number}") },
                    ..LogRecord::default()
                });
            }
        }
        batch.changes.push(Change {
            at: start.plus(Duration::from_secs(60)),
            kind: ChangeKind::Deploy,
            service: "cart".into(),
            version: "2.0".into(),
            ..Change::default()
        });
        let store = Store::scratch().await.unwrap();
        store.append(&batch).await.unwrap();
        let mut told = Vec::new();
        for question in [
            "is cart slow?",
            "is GET /cart of cart slow?",
            "logs of cart?",
            "who calls cart?",
            "was cart deployed?",
            "was catalog deployed?",
        ] {
            let lookups = chosen(question, &report, &services());
            let found = look(&store, &lookups, span(question, &report), question, &report).await.unwrap();
            let last = report.diagnosis.evidence.len() as u32;
            assert!(found.iter().all(|one| one.id.0 > last));
            told.push((question, found.into_iter().map(|one| one.claim).collect::<Vec<_>>()));
        }
        store.close().await.unwrap();
        insta::assert_debug_snapshot!(told);
    }
}
